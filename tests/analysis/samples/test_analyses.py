"""Files and lines of a request. A stand-in generates the clips, so that nothing compiles."""

import json
import re
import types

import jax
import numpy as np
import pytest
from PIL import Image

from vidgan_jax.analysis import cli
from vidgan_jax.analysis.samples import analyzed_run, darkness
from vidgan_jax.data.build import build_source
from vidgan_jax.runtime.errors import UserError

CLASSES = 4
NAMES = ("a", "b", "$c$", "<d>")


class Run:
  """Returns training clips, like a model that has memorised all of them."""

  step, class_names = 30, NAMES

  def __init__(self, config):
    self.config = config
    self.gan = types.SimpleNamespace(
      num_classes=CLASSES, frames=4, resolution=8, needs_conditioning=False
    )
    self._source = build_source(config.data, frames=4, resolution=8, num_classes=CLASSES)
    self.calls, self.given = [], []

  def sample(self, key, *, labels, truncation, frames, batch_size, conditioning=None):
    self.given.append(conditioning)
    self.calls.append((jax.random.key_data(key).tolist(), truncation, frames, batch_size))
    return np.stack([self._source.example(int(label) + 4, None)[0] for label in labels])

  def generate(self, latents, labels, *, key, truncation, frames, batch_size, conditioning=None):
    self.given.append(conditioning)
    del key, truncation, frames, batch_size
    weights = latents["z"][:, None, None, None, None] * np.ones((4, 8, 8, 3))
    shade = 40 * np.argmax(labels, -1).reshape(-1, 1, 1, 1, 1) if np.ndim(labels) > 1 else 0
    return (weights * 200 + shade).astype(np.uint8)


def latent_walk(gan, key, labels, steps, *, frames, truncation):
  """Even walks, and walks that jump, in turn."""
  del gan, key, frames, truncation
  line = np.linspace(0, 1, steps)
  walks = [line if i % 2 else np.round(line) for i in range(len(labels))]
  return {"z": np.concatenate(walks)}, np.repeat(labels, steps)


def class_walk(gan, key, labels, steps, *, frames, truncation):
  """Walks between two classes with one latent."""
  del gan, key, frames, truncation
  pairs = np.eye(CLASSES)[np.asarray(labels).reshape(-1, 2)]
  line = np.linspace(0, 1, steps)[None, :, None]
  weights = (1 - line) * pairs[:, :1] + line * pairs[:, 1:]
  return {"z": np.full(len(pairs) * steps, 0.2)}, weights.reshape(-1, CLASSES)


def of_split(config, gan, split, seed, report):
  """In place of `sampling.conditioning.of_split`: grey clips, whose level is their number."""
  assert split == "test"  # never the training data

  def clips(begin, end):
    return np.broadcast_to(
      np.arange(begin, end, dtype=np.uint8)[:, None, None, None, None], (end - begin, 4, 8, 8, 3)
    )

  return clips


@pytest.fixture(scope="module")
def run(lean_config):
  return Run(lean_config(**{"model.num_classes": CLASSES, "data.variety": 1.0}))


@pytest.fixture
def analyze(run, tmp_path):
  """A function (*what, **fields) that returns (returned lines, reported lines, folder)."""
  (tmp_path / "run").mkdir()
  features = {"mean": lambda clips: clips.mean((1, 2, 3))}
  tools = analyzed_run.Tools(
    open_run=lambda folder, **options: run,
    walks={"latent": latent_walk, "class": class_walk},
    features=features,
    conditioning=of_split,
  )

  def fulfil(*what, **fields):
    reported = []
    request = cli.Request([str(tmp_path / "run")], what=what, **fields)
    lines = cli.fulfil(request, reported.append, tools)
    return lines, reported, tmp_path / "run" / "analysis"

  return fulfil


def test_neighbours_of_a_run_that_copies(analyze, run):
  lines, reported, folder = analyze("neighbours", clips=10, truncation=0.5)
  names = ["neighbours.json", "neighbours_pixel.png", "neighbours_mean.png"]
  assert lines[2:] == [f"written: {folder / name}" for name in names]
  for line, space in zip(lines, ("pixel", "mean"), strict=False):
    assert line.startswith(
      f"neighbours, {space}: 0 [0, 0] times as far from training as from held-"
    )
  assert reported == ["analyzing neighbours after iteration 30"]
  content = json.loads((folder / "neighbours.json").read_text())
  assert content["labels"] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
  assert content["names"][:4] == list(NAMES)
  assert content["searched"] == {"train": 40, "of": 40, "held_out": 30}
  for record in content["spaces"].values():
    for label, nearest in zip(content["labels"], record["nearest"], strict=True):
      assert len(nearest) == 3
      assert nearest[0] == {"index": label + 4, "distance": 0.0}
      assert all(each["index"] % CLASSES == label for each in nearest)
    assert record["held_out"]["median_ratio"] == 0
    assert record["held_out"]["closer_to_train"] == 1
    assert record["held_out"]["count"] == 10
    assert record["control"]["count"] == 10
    assert 0.5 < record["control"]["median_ratio"] < 2
  picture = np.asarray(Image.open(folder / "neighbours_pixel.png"))
  # Four frames of 8 pixels, enlarged 7 times; lines of text are 20 pixels high.
  assert picture.shape == (20 + 8 * (56 + 20), 4 * 224 + 3 * 9, 3)
  copy, model = picture[20:76, :224], picture[20:76, 233:457]
  np.testing.assert_array_equal(copy, model)
  assert run.calls[-1][1:] == (0.5, None, 16)


def test_search_limits_the_training_clips(analyze):
  _, _, folder = analyze("neighbours", clips=2, search=12, seed=3)
  content = json.loads((folder / "neighbours.json").read_text())
  assert content["searched"] == {"train": 12, "of": 40, "held_out": 10}
  assert content["labels"] == [0, 2]


def test_data_without_a_held_out_split(analyze, run, tmp_path, monkeypatch):
  source = build_source(run.config.data, frames=4, resolution=8, num_classes=CLASSES)
  monkeypatch.setattr(analyzed_run, "build_source", lambda *a, **k: source)
  lines, reported, folder = analyze("neighbours", clips=2)
  assert lines[0].endswith("0 to the nearest training clip (median); no held-out clips to compare")
  assert reported[-1].startswith(
    "no distances to held-out clips: the data has no separate test split"
  )
  content = json.loads((folder / "neighbours.json").read_text())
  assert content["searched"]["held_out"] == 0
  assert content["spaces"]["pixel"]["held_out"] is None


def test_spectra(analyze):
  lines, _, folder = analyze("power_spectrum", clips=9)
  pattern = (
    r"power spectrum, high frequencies against real: frame 1 \S+ dB, frame 4 \S+ dB; 0 dB: .*"
  )
  assert re.fullmatch(pattern, lines[0])
  assert lines[-1] == f"written: {folder / 'power_spectrum.png'}"
  content = json.loads((folder / "power_spectrum.json").read_text())
  assert [record["frame"] for record in content["records"]] == [1, 4]
  assert content["clips"] == 9 and content["sets"] == 3
  assert content["frequency"] == [0, 0.125, 0.25, 0.375, 0.5]
  assert len(content["records"][0]["real"]["mean"]) == 5
  assert Image.open(folder / "power_spectrum.png").width > 500


def test_darkness(analyze, tmp_path):
  record = {f"pixel/{side}_{c}": 0.25 for side in darkness.SIDES for c in darkness.CHANNELS}
  record |= {"pixel/real_dark": 0.0, "pixel/generated_dark": 0.5}
  rows = [record | {"step": step} for step in (10, 20, 30, 40)]
  rows[1] = {"step": 20, "loss": 1.0}
  log = "\n".join(map(json.dumps, rows)) + '\n{"step": 50, "pi'
  (tmp_path / "run" / "log.jsonl").write_text(log)
  lines, _, folder = analyze("darkness", clips=8)
  content = json.loads((folder / "darkness.json").read_text())
  assert content["training"]["step"] == [10, 30]  # 40 is after the checkpoint
  assert content["training"]["generated"]["dark"] == [0.5, 0.5]
  assert [each["name"] for each in content["generated"]] == list(NAMES)
  assert re.fullmatch(
    r"darkness, clips below 0\.05: generated \S+ %, mean pixel 0\.\d\d; real .*", lines[0]
  )
  assert content["overall"]["generated"]["dark"] == np.mean(
    [e["dark"] for e in content["generated"]]
  )
  assert Image.open(folder / "darkness.png").width > 500


def test_darkness_of_a_run_without_a_log(analyze):
  _, _, folder = analyze("darkness", clips=4)
  assert json.loads((folder / "darkness.json").read_text())["training"]["step"] == []


def test_dark_clips_by_class():
  clips = np.zeros((4, 2, 4, 4, 3), np.uint8)
  clips[1], clips[3, ..., 0] = 255, 51
  classes = darkness.by_class(clips, np.array([5, 5, 5, 2]), 0.1)
  assert classes == [
    {"label": 2, "count": 1, "mean": pytest.approx([0.2, 0, 0]), "dark": 1.0},
    {"label": 5, "count": 3, "mean": pytest.approx([1 / 3] * 3), "dark": pytest.approx(2 / 3)},
  ]
  total = darkness.overall(classes)
  assert total == {"mean": pytest.approx([0.3, 0.25, 0.25]), "dark": pytest.approx(0.75)}
  assert darkness.by_class(clips, np.array([5, 5, 5, 2]), 0.05)[0]["dark"] == 0


def test_smoothness(analyze):
  lines, _, folder = analyze("smoothness", clips=4)
  assert lines[2] == (
    "smoothness, class walks, pixel: largest step 11 times the mean one, at worst 11; 1: even, "
    "11: one jump"
  )
  assert [line.rsplit("/", 1)[1] for line in lines[4:]] == [
    "smoothness.json", "smoothness.png", "smoothness_latent.png", "smoothness_class.png",
  ]  # fmt: skip
  content = json.loads((folder / "smoothness.json").read_text())
  latent, classes = content["records"]
  assert latent["labels"] == [0, 1, 2, 3]
  assert classes["labels"] == [0, 1, 1, 2, 2, 3, 3, 0]
  for space in ("pixel", "mean"):
    jumps = [walk["jump_ratio"] for walk in latent["spaces"][space]["walks"]]
    assert jumps == pytest.approx([11, 1, 11, 1], rel=0.06)
    summary = classes["spaces"][space]["summary"]
    assert summary["median_jump_ratio"] == pytest.approx(11)
  strip = np.asarray(Image.open(folder / "smoothness_latent.png"))
  assert strip.shape == (4 * 10 - 2, 12 * 10 - 2, 3)


def test_a_run_that_continues_frames_gets_held_out_clips(analyze, run, monkeypatch):
  monkeypatch.setattr(run.gan, "needs_conditioning", True)
  monkeypatch.setattr(run, "given", [])
  numbers = lambda: [given["clip"][:, 0, 0, 0, 0].tolist() for given in run.given]
  monkeypatch.setattr(analyzed_run, "_CHUNK", 4)
  analyze("darkness", clips=6)
  assert numbers() == [[0, 1, 2, 3], [4, 5]]
  run.given.clear()
  analyze("smoothness", clips=2)  # latent walks, then class walks: all clips of one continue one
  assert numbers() == [[0] * 12 + [1] * 12] * 2


def test_files_are_replaced_only_with_overwrite(analyze):
  _, _, folder = analyze("darkness", clips=4)
  before = (folder / "darkness.json").read_bytes()
  with pytest.raises(UserError, match="exists; --overwrite"):
    analyze("power_spectrum", "darkness", clips=8)
  assert (folder / "darkness.json").read_bytes() == before
  assert not (folder / "power_spectrum.json").exists()
  analyze("darkness", clips=8, overwrite=True)
  assert (folder / "darkness.json").read_bytes() != before


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (dict(every_checkpoint=True), "--every_checkpoint is not for --what=neighbours"),
    (dict(search=-1), "--search is -1, must be an integer from 0 to"),
    (dict(held_out="nowhere.npz"), "nowhere.npz: no such file"),
  ],
)
def test_bad_requests(analyze, run, monkeypatch, fields, words):
  if "held_out" in fields:
    build = analyzed_run.build_source

    def as_npz(config, *, split, **options):
      config.name = "npz" if split == "test" else config.name
      return build(config, split=split, **options)

    monkeypatch.setattr(analyzed_run, "build_source", as_npz)
  with pytest.raises(UserError, match=words):
    analyze("neighbours", **fields)
