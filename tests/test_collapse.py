"""benchmarks/collapse.py: variances of a grid of clips, the rule of its verdict, and its files."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCHMARKS = str(ROOT / "benchmarks")


@pytest.fixture(scope="module", autouse=True)
def path():
  """The benchmarks are importable."""
  sys.path.insert(0, BENCHMARKS)
  yield
  sys.path.remove(BENCHMARKS)


def run(code, *, expected=0):
  """Runs code beside the benchmarks, in a process of its own, because they define flags."""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False,
    cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{BENCHMARKS}{os.pathsep}{ROOT}"},
  )  # fmt: skip
  assert done.returncode == expected, (done.stdout, done.stderr[-2000:])
  return done.stdout


def program(*arguments):
  """Runs the benchmark."""
  command = [sys.executable, ROOT / "benchmarks" / "collapse.py", *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


# Variances.


def grid(of_content, of_motion):
  """Rows of clips of 3 frames and 2 pixels: a number for each content and each motion, added."""
  return [np.asarray(of_motion)[:, None, None] + c + np.zeros((1, 3, 2)) for c in of_content]


def test_clips_that_depend_on_content_alone_have_no_motion():
  import variance_grid

  found = variance_grid.decompose(grid([0.0, 0.5, 1.0], [0.0, 0.0]))
  expected = {"content": 0.25, "motion": 0, "interaction": 0, "total": 0.25, "time": 0}
  assert found == pytest.approx(expected, abs=1e-12)


def test_clips_that_depend_on_motion_alone_have_no_content():
  import variance_grid

  frames = np.array([-1.0, 0.0, 1.0])[None, :, None]  # of variance 2/3
  rows = [row * frames for row in grid([0.0, 0.0, 0.0, 0.0], [1.0, 2.0])]
  found = variance_grid.decompose(rows)
  # 1 and 2 have variance 0.5; two of three frames are multiplied by 1 or -1, one by 0.
  motion = 0.5 * 2 / 3
  expected = {"content": 0, "motion": motion, "interaction": 0, "total": motion}
  assert found.pop("time") == pytest.approx((1 + 4) / 2 * 2 / 3)
  assert found == pytest.approx(expected, abs=1e-12)


def test_small_grids_are_right_on_average():
  """Of c + 2 m + 3 c m: variances 1 and 4, and 9 of the interaction, a part of motion's."""
  import variance_grid

  random, parts = np.random.default_rng(0), []
  for _ in range(400):
    # Pixels are independent grids, so that their mean is near the expectation.
    content, motion = random.normal(size=(3, 1, 1, 200)), random.normal(size=(2, 1, 200))
    parts.append(variance_grid.decompose(c + 2 * motion + 3 * c * motion for c in content))
  mean = {name: np.mean([part[name] for part in parts]) for name in parts[0]}
  assert mean["content"] == pytest.approx(1, abs=0.1)
  assert mean["motion"] == pytest.approx(13, abs=0.3)
  assert mean["interaction"] == pytest.approx(9, abs=0.3)
  assert mean["total"] == pytest.approx(14, abs=0.3)


@pytest.mark.parametrize(("contents", "motions"), [(0, 2), (1, 2), (2, 1)])
def test_one_content_or_motion_is_refused(contents, motions):
  import variance_grid

  with pytest.raises(ValueError, match="at least 2"):
    variance_grid.decompose(grid([0.0] * contents, [0.0] * motions))


def test_coarse_clips_are_means_over_squares():
  import variance_grid

  random = np.random.default_rng(0)
  noise = random.normal(size=(5, 4, 6, 16, 24, 3))
  coarse = np.stack([variance_grid.coarse(row) for row in noise])
  assert coarse.shape == (5, 4, 6, 2, 3, 3)
  assert coarse[1, 2, 3, 1, 2, 0] == pytest.approx(noise[1, 2, 3, 8:16, 16:24, 0].mean())
  whole, squares = (variance_grid.decompose(rows)["total"] for rows in (noise, coarse))
  assert squares == pytest.approx(whole / 64, rel=0.2)


def test_real_contents_keep_their_colours_and_real_motions_their_paths():
  import variance_grid

  rows = list(variance_grid.crossed_shapes(5, 4, 32, 0))
  assert len(rows) == 5 and all(row.shape == (5, 4, 32, 32, 3) for row in rows)
  for row in rows:  # the shape is lighter than the background
    brightest = row.max(axis=(2, 3))
    assert np.abs(brightest - brightest[:1, :1]).max() < 0.02
  # Contents 0 and 4 have the same shape in different colours.
  light = [row.max(axis=-1) > (row.max() + row.min()) / 2 for row in (rows[0], rows[4])]
  assert np.mean(light[0] == light[1]) > 0.99
  assert np.abs(rows[0] - rows[4]).max() > 0.1
  assert not np.array_equal(light[0][0], light[0][1])


_GRIDS = """
import json, types
import numpy as np
import collapse, settings
from absl import flags
from vidgan_jax.models import registry, switches

flags.FLAGS(["collapse", "--grid=4", "--iterations=7", "--every=3"])
said = {}
for case in collapse.CASES:
  config = settings.config_of(collapse.CONFIG, collapse.changes(case, 5))
  switches.check(config)
  gan = registry.build(config, platform="cpu")

  def depends(name):
    def generate(latents, labels, batch_size):
      first = lambda a: np.asarray(a).reshape(len(a), -1)[:, 0]
      value = labels / 16 - 0.5 if name == "label" else first(latents[name]) / 4
      level = np.clip(127.5 * (value + 1), 0, 255).astype(np.uint8)
      return np.broadcast_to(level[:, None, None, None, None], (len(labels), 2, 8, 8, 3))

    return collapse._variances(types.SimpleNamespace(gan=gan, generate=generate))

  seen = lambda latents, labels, batch_size: np.stack(
    [latents["content"][:, 0], latents["motion"][:, 0, 0], labels], axis=1
  )
  shown = collapse._shown(types.SimpleNamespace(gan=gan, generate=seen))
  said[case] = {
    "variances": {name: depends(name) for name in ("content", "motion", "start", "label")},
    "shown": {name: np.asarray(rows).tolist() for name, rows in shown.items()},
    "config": {
      "seed": config.seed, "batch": config.batch_size, "every": config.checkpoint_every,
      "channels": [config.model.generator.channels, config.model.discriminator.channels],
      "rate": [config.optimizer.generator_lr, config.optimizer.discriminator_lr],
      "video": config.model.discriminator.video, "spectral": config.model.discriminator.spectral,
      "infogan": config.model.infogan, "categories": config.model.categories,
      "average": config.ema.decay, "kept": config.checkpoints_kept, "end": config.num_iterations,
    },
  }
whole = settings.config_of(collapse.CONFIG, {})
print(json.dumps([whole.model.generator.channels, said]))
"""


@pytest.fixture(scope="module")
def grids():
  """What the benchmark makes of each case, and of generators that look at one latent alone."""
  return json.loads(run(_GRIDS))


def test_cases_differ_from_the_plain_one_as_they_say(grids):
  channels, said = grids
  plain = said["plain"]["config"]
  assert plain == {
    "seed": 5, "batch": 8, "every": 3, "channels": [channels // 2] * 2, "rate": [2e-4] * 2,
    "video": "patch", "spectral": False, "infogan": False, "categories": 0, "average": 0,
    "kept": 10_000, "end": 7,
  }  # fmt: skip
  differs = {
    case: {name: value for name, value in one["config"].items() if value != plain[name]}
    for case, one in said.items()
  }
  assert differs == {
    "plain": {},
    "batch_16": {"batch": 16},
    "categories": {"video": "categorical", "infogan": True, "categories": 16},
    "spectral_norm": {"spectral": True},
  }


def test_content_and_motion_are_crossed(grids):
  for case, one in grids[1].items():
    variances = one["variances"]
    content, motion, start = (variances[name] for name in ("content", "motion", "start"))
    for whole in (content, motion, start):  # these clips have one colour
      assert whole["coarse_content"] == pytest.approx(whole["content"], abs=1e-6)
      assert whole["coarse_motion"] == pytest.approx(whole["motion"], abs=1e-6)
    assert content["content"] > 0.005 and abs(content["motion"]) < 1e-9, case
    for moving in (motion, start):
      assert moving["motion"] > 0.005 and abs(moving["content"]) < 1e-9, case
    assert abs(variances["label"]["total"]) < 1e-9, case  # within one class
  of_label = grids[1]["categories"]["variances"]["label"]
  values = (127.5 * (np.arange(16) / 16 + 0.5)).astype(np.uint8) / 127.5 - 1
  assert of_label["category"] == pytest.approx(np.var(values, ddof=1), rel=1e-5)
  assert "category" not in grids[1]["plain"]["variances"]


def test_pictures_show_contents_of_a_motion_then_motions_of_a_content(grids):
  shown = grids[1]["categories"]["shown"]
  contents, motions, labels = zip(*shown["clips"], strict=True)
  assert len(set(contents[:4])) == 4 and len(set(motions[:4])) == 1
  assert len(set(contents[4:])) == 1 and len({motions[0], *motions[4:]}) == 4
  assert contents[0] == contents[4] and set(labels) == {0}
  contents, motions, labels = zip(*shown["classes"], strict=True)
  assert (len(set(contents)), len(set(motions)), len(set(labels))) == (1, 1, 7)
  assert "classes" not in grids[1]["plain"]["shown"]


# The rule and the files.


def line(case, contents, seed=0, **others):
  """A line of results that was measured every 10 iterations; the data's content variance is 0.5."""
  measured = [
    {
      "iteration": 10 * i, "content": c, "motion": 0.25, "coarse_content": c / 10,
      "coarse_motion": 0.125,
    }
    for i, c in enumerate(contents)
  ]  # fmt: skip
  real = {"content": 0.5, "motion": 1.0, "total": 1.5, "time": 0.7}
  real |= {"coarse_content": 0.375, "coarse_motion": 0.625}
  return {
    "case": case, "seed": seed, "batch_size": 8, "iterations": 10 * len(contents) - 10,
    "every": 10, "grid": 4, "seconds": 0.5, "real": real, "measured": measured,
    "date": "2026-01-02T03:04", "cpu": "x", "cores": 1, "versions": {"jax": "1"}, **others,
  }  # fmt: skip


@pytest.mark.parametrize(
  ("contents", "until", "times"),
  [
    ([0.3, 0.2, 0.04, 0.3], 10, 3),
    ([0.3, 0.05, 0.06], 20, 3),
    ([0.04, 0.3], None, 1),
    ([-0.001], None, 0),
  ],
)
def test_a_case_holds_until_content_is_below_a_tenth_of_the_datas(contents, until, times):
  import collapse_page

  result = line("plain", contents)
  assert collapse_page.holds_until(result) == until
  assert collapse_page.times_held(result) == times


def test_the_verdict_names_the_longest_of_each_seed_and_what_is_missing():
  import collapse_page

  results = [
    line("plain", [0.3, 0.01]),
    line("batch_16", [0.3, 0.3, 0.01], batch_size=16),
    line("categories", [0.3, 0.4, 0.01, 0.3]),
    line("plain", [0.3, 0.3], seed=1),
    line("batch_16", [0.3, 0.01], seed=1),
  ]
  first, second = collapse_page.verdict(results).split("\n\n")
  assert first.startswith("Seed 0: **batch 16 and categories hold longest**, until iteration 10. ")
  assert "at iteration 10, the last that all were measured at: 0.4000 (categories), 0.3000 (ba" in (
    first
  )
  assert first.endswith("Not measured: spectral normalisation.")
  assert second.startswith(
    "Seed 1: **plain (batch 8) holds** to the end of the run, at iteration 10. "
    "Of the others, **batch 16 holds longest**, until iteration 0. "
  )
  never = collapse_page.verdict([line("plain", [0.01])])
  assert "**" not in never and "No case holds at the start" in never


def test_the_later_line_of_a_case_counts():
  import collapse_page

  old, new = line("plain", [0.3]), line("plain", [0.3, 0.3])
  other = line("spectral_norm", [0.3])
  assert collapse_page.latest([other, old, new]) == [new, other]


def test_the_page_and_its_pictures(tmp_path):
  import collapse_page

  results, docs = tmp_path / "collapse.jsonl", tmp_path / "docs"
  docs.mkdir()
  with pytest.raises(collapse_page.UserError, match="no results yet"):
    collapse_page.write(results, tmp_path, docs)
  assert not list(docs.iterdir())
  lines = [line("plain", [0.3, 0.01, 0.0]), line("batch_16", [0.3, 0.3, 0.3], batch_size=16)]
  results.write_text("".join(json.dumps(one) + "\n" for one in lines))
  collapse_page.write(results, tmp_path, docs)  # without clips
  text = (docs / "collapse.md").read_text()
  assert "| plain (batch 8) | 0 (0 clips) | 1 of 3 | 0.3000 |" in text
  assert "| batch 16 | the end, 20 (320 clips) | 3 of 3 |" in text
  assert "| 10 | 0.01000, 0.25000 | 0.30000, 0.25000 |" in text
  assert "| 10 | 0.00100, 0.12500 | 0.03000, 0.12500 |" in text
  assert "| 0.0300, 0.00000 (20), 0.00000 |" in text
  assert "content 0.3750, motion 0.6250" in text
  assert "at least 0.0500," in text and "content 0.5000" in text
  assert {path.name for path in docs.iterdir()} == {"collapse.md", "collapse.png"}
  clips = np.zeros((7, 16, 64, 64, 3), np.uint8)
  (tmp_path / "plain_0").mkdir()
  np.savez(tmp_path / "plain_0" / "shown.npz", clips_0=clips, clips_10=clips + 9, clips_20=clips)
  rows = collapse_page.shown(lines, tmp_path)
  assert list(rows) == ["real clips", *(f"plain (batch 8), {step}" for step in (10, 20))]
  collapse_page.write(results, tmp_path, docs)
  with Image.open(docs / "collapse_clips.png") as picture:
    assert picture.height == 3 * 66 and picture.width > 7 * 2 * 64


def test_what_is_measured_is_not_measured_again(tmp_path):
  results = tmp_path / "results.jsonl"
  results.write_text(json.dumps(line("plain", [0.3, 0.01])) + "\n")
  flags = [f"--results={results}", "--cases=plain", "--every=10", "--grid=4"]
  done = program(*flags, "--iterations=10", f"--output={tmp_path}/runs")
  assert done.returncode == 0, done
  assert "plain@0: measured before" in done.stdout and "| plain (batch 8) |" in done.stdout
  assert not (tmp_path / "runs").exists() and len(results.read_text().splitlines()) == 1
  code = f"""
import collapse, collapse_page, pathlib
from absl import flags
lines = collapse_page.lines(pathlib.Path({str(results)!r}))
for values in ((10, 10, 4), (11, 10, 4), (10, 5, 4), (10, 10, 5)):
  flags.FLAGS(["x", *map("--{{}}={{}}".format, ("iterations", "every", "grid"), values)])
  print(collapse._known(lines, "plain", 0), collapse._known(lines, "plain", 1))
"""
  assert run(code).splitlines() == ["True False", "False False", "False False", "False False"]


@pytest.mark.parametrize(
  ("flag", "words"),
  [("--cases=plain,none", "none"), ("--seeds=a", "--seeds=a"), ("--page", "no results yet")],
)
def test_wrong_flags_are_refused(tmp_path, flag, words):
  result = program(flag, f"--results={tmp_path}/results.jsonl", f"--output={tmp_path}/runs")
  assert (result.returncode, result.stdout) == (2, "")
  (said,) = result.stderr.splitlines()
  assert said.startswith("error: ") and words in said
  assert not list(tmp_path.iterdir())
