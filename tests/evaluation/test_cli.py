"""Requests that evaluate a run or a file of clips, and the files of results that they write."""

import dataclasses
import json
import shutil
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES
from vidgan_jax.evaluation import cli, evaluator
from vidgan_jax.evaluation import clips as clip_sources
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.features.extractor import PACKAGED
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols import published as published_protocols
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import page, writer
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import video_writers

report_page = page.write  # which `evaluate` replaces


class Stream:
  """Replaces the clips of a run: noise that depends on step, seed and truncation."""

  drawn = 0

  def __init__(self, run, seed, *, truncation, frames, mesh):
    self.shape = (frames, 8, 8, 3)
    self._number = int(run.step * 1000 + 10 * truncation + seed)
    self.about = {"step": run.step, "ema": run.use_ema, "truncation": truncation, "seed": seed}

  def __call__(self, begin, end):
    Stream.drawn += end - begin
    clips = [
      np.random.default_rng((self._number, i)).integers(0, 256, self.shape)
      for i in range(begin, end)
    ]
    return jnp.asarray(np.stack(clips), jnp.uint8), np.arange(begin, end) % 8


@pytest.fixture
def run(lean_config, tmp_path):
  """The folder of a run with checkpoints at 2 and 4; the checkpoints are empty."""
  folder = tmp_path / "run"
  folder.mkdir()
  (folder / "config.json").write_text(configuration.to_json(lean_config()))
  for step in (2, 4):
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
  return folder


@pytest.fixture
def evaluate(run, protocol, stand_in, monkeypatch, tmp_path):
  """A function (**fields of `Request`) that returns (results, lines returned, lines reported)."""
  monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": protocol})
  network = stand_in(class_names=CLASS_NAMES)
  monkeypatch.setattr(evaluator, "load_extractor", lambda name, path=None: network)
  monkeypatch.setattr(page, "write", lambda content, path, *clips, **more: path)  # slow
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "references"))
  monkeypatch.setattr(cli, "_POLL", 0.01)

  def load(workdir, *, step, use_ema, standing_passes, report):
    steps = sorted(int(path.name) for path in (run / "checkpoints").iterdir())
    if not steps or (step is not None and step not in steps):
      raise UserError(f"no checkpoint at iteration {step}")
    gan = types.SimpleNamespace(frames=4, resolution=8, num_classes=8, needs_conditioning=False)
    return types.SimpleNamespace(gan=gan, step=step or steps[-1], use_ema=use_ema)

  def run_evaluation(**fields):
    run_evaluation.reported = reported = []
    request = cli.Request(**{"protocol": "tiny", "workdir": str(run), **fields})
    opener = cli.Opener(run_evaluation.load, Stream)
    lines = cli.fulfil(request, opener, report=reported.append)
    folder = fields.get("output") or run / "evaluation" / "tiny"
    with open(f"{folder}/results.json") as stream:
      return json.load(stream), lines, reported

  run_evaluation.load = load
  return run_evaluation


def test_a_run(evaluate, run):
  content, lines, reported = evaluate()
  assert content["run"] == {"workdir": str(run), "name": "run"}
  assert [r["step"] for r in content["records"]] == [4] * 8
  assert {r["metric"] for r in content["records"]} == {
    "is", "fid", "accuracy", "kvd", "precision", "recall", "density", "coverage",
  }  # fmt: skip
  assert content["reference"]["count"] == 40 == content["records"][1]["count_real"]
  assert lines[0] == "iteration 4"
  assert f"written: {run / 'evaluation' / 'tiny' / 'results.json'}" in lines
  assert "evaluating iteration 4 by tiny, truncation 1" in reported


def test_metrics_added_by_name_do_not_change_the_others(evaluate):
  usual, _, _ = evaluate()
  content, lines, _ = evaluate(metrics=("fvd",))
  added = [r for r in content["records"] if r["metric"] == "fvd"]
  assert len(added) == 1 and any(line.strip().startswith("fvd ") for line in lines)
  digests = {r["metric"]: r["fingerprint"] for r in content["records"]}
  assert all(digests[r["metric"]] == r["fingerprint"] for r in usual["records"])


@pytest.fixture(autouse=True)
def fewer_real_clips(protocol):
  """The moving shapes of the tiny config have 40 scenes."""
  object.__setattr__(protocol, "real_count", 40)


def test_features_of_real_clips_are_computed_once(evaluate, monkeypatch):
  evaluate()
  _, _, reported = evaluate(seed=0)
  assert any(line.startswith("features of 40 real clips: ") for line in reported)


def test_features_of_other_code_are_recomputed_but_a_named_file_is_refused(
  evaluate, monkeypatch, tmp_path
):
  first, _, _ = evaluate()
  named = str(tmp_path / "named.npz")
  evaluate(reference=named)
  monkeypatch.setattr(references.code, "version", lambda network: "0ther")
  again, _, reported = evaluate()
  (line,) = (line for line in reported if "another version" in line)
  assert line.endswith("another version of the code of stand_in; it is computed again")
  assert not any(line.startswith("features of 40 real clips: ") for line in reported)
  # The cached file was replaced. The column is the same, because the values are.
  _, _, reported = evaluate()
  assert any(line.startswith("features of 40 real clips: ") for line in reported)
  prints = lambda content: {r["fingerprint"] for r in content["records"]}
  assert prints(again) == prints(first)
  with pytest.raises(UserError, match=r"named.npz was computed by .*; remove the file to compute"):
    evaluate(reference=named)


def test_damaged_features_are_recomputed_but_a_named_file_is_refused(evaluate, tmp_path):
  named = tmp_path / "named.npz"
  first, _, _ = evaluate(reference=str(named))
  evaluate()
  (cached,) = (tmp_path / "references").iterdir()
  whole = cached.read_bytes()
  damaged = whole[:400] + bytes([whole[400] ^ 1]) + whole[401:]
  cached.write_bytes(damaged)
  again, _, reported = evaluate()
  assert any(line.startswith(str(cached)) and "it is computed again" in line for line in reported)
  assert cached.read_bytes() == whole
  values = lambda content: [record["value"] for record in content["records"]]
  assert values(again) == values(first)
  named.write_bytes(damaged)
  with pytest.raises(UserError, match=r"named\.npz"):
    evaluate(reference=str(named))
  assert named.read_bytes() == damaged


def test_features_that_cannot_be_cached_give_a_warning(evaluate, tmp_path, monkeypatch):
  expected, _, _ = evaluate(output=str(tmp_path / "a"))
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "file" / "references"))
  content, _, reported = evaluate(output=str(tmp_path / "b"))
  (warning,) = [line for line in reported if line.startswith("WARNING")]
  assert "VIDGAN_JAX_REFERENCES" in warning and "\n" not in warning
  assert [r["value"] for r in content["records"]] == [r["value"] for r in expected["records"]]
  # A named file that cannot be written is refused before anything is computed.
  with pytest.raises(UserError, match=r"cannot write to .*file is no folder"):
    evaluate(output=str(tmp_path / "c"), reference=str(tmp_path / "file" / "reference.npz"))


def test_a_report_shows_real_clips_of_every_class(evaluate, monkeypatch, some_clips, tmp_path):
  shown = []
  monkeypatch.setattr(page, "write", lambda content, path, real, drawn, **more: shown.append(real))
  clips, _ = some_clips(60)
  real = clip_sources.ArrayClips(clips, np.repeat([0, 1, 2], [34, 20, 6]))
  drawn = clip_sources.ArrayClips(clips, np.arange(60) % 3)
  content = {"run": {"workdir": str(tmp_path)}}
  writer.write_report(tmp_path, content, real, writer.first_clips(drawn), ("a", "b", "c"))
  assert np.bincount(shown[0].labels).tolist() == [32, 4, 4]
  assert np.array_equal(shown[0].clips[-4:], clips[54:58])


def test_every_checkpoint_and_a_curve(evaluate):
  content, lines, _ = evaluate(every_checkpoint=True, truncations=(0.5, 1.0))
  rows = {(r["step"], r["truncation"]) for r in content["records"]}
  assert rows == {(2, 0.5), (2, 1.0), (4, 0.5), (4, 1.0)}
  assert len({r["fingerprint"] for r in content["records"] if r["metric"] == "fid"}) == 1
  curve = [p for p in content["truncation_curve"] if p["metric"] == "fid" and p["step"] == 4]
  assert [p["truncation"] for p in curve] == [0.5, 1.0]
  assert "iteration 2, truncation 0.5" in lines
  again, _, _ = evaluate(checkpoint=2)  # replaces its own records
  assert again["records"] == content["records"]


def test_results_without_the_fields_stride_and_estimator_are_read(evaluate, run):
  """Older results share a column with new ones, except kernel distances, whose estimator is new."""
  path = run / "evaluation" / "tiny" / "results.json"
  new, _, _ = evaluate(checkpoint=4)
  for record in new["records"]:
    record["step"] = record["fields"]["step"] = 2
    for name in ("stride", "split", "estimator", "subset_size_used"):
      record["fields"].pop(name, None)
    record["fingerprint"] = fingerprint.of_column(record["fields"])
    record["number"] = fingerprint.of_number(record["fields"])
  path.write_text(json.dumps(new))
  both, _, _ = evaluate(checkpoint=4)
  by_metric = {}
  for record in both["records"]:
    by_metric.setdefault(record["metric"], []).append((record["step"], record["fingerprint"]))
  for metric, records in by_metric.items():
    assert [step for step, _ in records] == [2, 4]
    assert len({digits for _, digits in records}) == (2 if metric == "kvd" else 1), metric


def test_the_embedded_classifier_warns_of_other_data(
  evaluate, run, lean_config, protocol, stand_in, some_clips, tmp_path, monkeypatch
):
  named = lambda name, path=None: dataclasses.replace(stand_in(), name=name)
  monkeypatch.setattr(evaluator, "load_extractor", named)
  clips, _ = some_clips(64)
  np.savez(tmp_path / "own.npz", clips=clips, labels=np.arange(64) % 8)
  changes = {"data.name": "npz", "data.directory": str(tmp_path / "own.npz")}
  note = f"{PACKAGED} knows only the built-in moving shapes, and this run was trained on other data"
  for network, data in ((PACKAGED, changes), (PACKAGED, {}), ("stand_in", changes)):
    measures = tuple(dataclasses.replace(m, network=network) for m in protocol.metrics)
    changed = dataclasses.replace(protocol, name=f"of_{network}_{len(data)}", metrics=measures)
    monkeypatch.setattr(protocols, "all_protocols", lambda changed=changed: {changed.name: changed})
    (run / "config.json").write_text(configuration.to_json(lean_config(**data)))
    output = str(tmp_path / changed.name)
    content, lines, reported = evaluate(protocol=changed.name, output=output)
    expected = network == PACKAGED and bool(data)
    for texts in (reported, lines, *(record["warnings"] for record in content["records"])):
      assert sum(note in line for line in texts) == expected
    assert not expected or "protocol recommended" in " ".join(reported)
  stored = types.SimpleNamespace(data="npz", class_names=CLASS_NAMES[:8])
  assert not clip_sources.other_data(stored, [PACKAGED])  # the built-in moving shapes in a file


def test_a_trial_is_marked(evaluate):
  whole, (trial, lines, _) = evaluate()[0], evaluate(count=20)
  fields = [r["fields"] for r in trial["records"] if r["metric"] == "is"]
  assert [(f["count_generated"], f["trial"]) for f in fields] == [(30, False), (20, True)]
  assert any("a trial" in line for line in lines)
  assert len(trial["records"]) == 2 * len(whole["records"])


def test_controls(evaluate):
  content, lines, _ = evaluate(controls=True)
  scores = {(r["control"], r["metric"]): r["value"] for r in content["controls"]}
  assert {control for control, _ in scores} == {"unharmed", "frozen", "shuffled", "reversed"}
  # Half of the 40 real clips is compared with the other half. The stand-in sees frame order.
  floors = {r["metric"]: r["floor"] for r in content["records"]}
  assert scores["unharmed", "fid"] == pytest.approx(floors["fid"]["value"], rel=1e-5)
  assert scores["shuffled", "fid"] > 1.1 * scores["unharmed", "fid"]
  assert "real clips with damaged motion, compared with 20 other real clips" in lines
  assert all(record["step"] is not None for record in content["records"])
  assert evaluate()[0]["controls"] == content["controls"]


def test_an_exported_model(evaluate, run):
  """It is scored like a run, has no other checkpoints, and does not say where its data is."""
  (run / "export.json").write_text("{}")
  assert {r["step"] for r in evaluate()[0]["records"]} == {4}
  for option in ("every_checkpoint", "follow"):
    with pytest.raises(
      UserError, match=r"run is an exported model.*--every_checkpoint or --follow"
    ):
      evaluate(**{option: True})
  config = json.loads((run / "config.json").read_text())
  config["data"]["name"] = "prepared"
  (run / "config.json").write_text(json.dumps(config))
  with pytest.raises(UserError, match="--data_directory=DIR names it"):
    evaluate()


def test_following_ends_with_the_run(evaluate, run):
  (run / "checkpoints" / "4").rename(run / "later")
  load, seen = evaluate.load, []

  def opened(workdir, *, step, **options):
    if step == 2:  # the next checkpoint appears during this evaluation
      (run / "later").rename(run / "checkpoints" / "4")
    seen.append(step)
    return load(workdir, step=step, **options)

  evaluate.load = opened
  content, _, reported = evaluate(follow=True)
  assert seen == [2, 4] and {r["step"] for r in content["records"]} == {2, 4}
  assert any(line.startswith("following ") for line in reported)


def test_following_ends_where_a_run_has_stopped(evaluate, run):
  """A guard stops a run before its last iteration."""
  (run / "checkpoints" / "4").rmdir()
  content, _, reported = evaluate(follow=True, patience=0.0005)
  assert {r["step"] for r in content["records"]} == {2}
  assert any("the run has stopped" in line for line in reported)


def test_a_checkpoint_that_was_deleted_is_left_out(evaluate, run):
  load = evaluate.load

  def opened(workdir, *, step, **options):
    if step == 2:
      raise UserError("gone")
    return load(workdir, step=step, **options)

  evaluate.load = opened
  content, _, reported = evaluate(every_checkpoint=True)
  assert {r["step"] for r in content["records"]} == {4} and "left out: gone" in reported


def test_clips_of_a_file(evaluate, some_clips, tmp_path):
  clips, labels = some_clips(30, 5)
  real, real_labels = some_clips(40, 6)
  np.savez(tmp_path / "clips.npz", clips=clips, labels=labels)
  np.savez(tmp_path / "real.npz", clips=real, labels=real_labels)
  options = dict(workdir=None, real=str(tmp_path / "real.npz"), output=str(tmp_path / "out"))
  content, lines, reported = evaluate(clips=str(tmp_path / "clips.npz"), **options)
  assert lines[0] == "given clips" and {r["step"] for r in content["records"]} == {None}
  assert "accuracy" not in {r["metric"] for r in content["records"]}  # other classes
  assert "accuracy is left out: the data does not have the classes of stand_in" in reported
  assert content["reference"]["description"] == f"40 clips of {tmp_path}/real.npz"
  text = report_page(content, tmp_path / "report.html").read_text("utf-8")
  assert f"40 clips of {tmp_path}/real.npz" in text and "train data" not in text
  assert f"generated clips <code>{tmp_path}/clips.npz</code>" in text and "run <code>" not in text


def test_scores_are_shown_if_they_cannot_be_written(evaluate, monkeypatch):
  def full(*arguments):
    raise UserError("results.json: cannot be written (No space left on device)")

  monkeypatch.setattr(writer.results, "write", full)
  with pytest.raises(UserError, match="No space left on device"):
    evaluate()
  assert any(line.strip().startswith("fid ") for line in evaluate.reported)


def test_results_of_others_are_refused_before_anything_is_read(
  evaluate, run, monkeypatch, tmp_path
):
  evaluate()
  monkeypatch.setattr(cli.given_clips, "generated", None)
  occupied = str(run / "evaluation" / "tiny")
  with pytest.raises(UserError, match=r"contains results of run .*/run, not others\.npz; choose"):
    evaluate(workdir=None, clips="others.npz", real="real.npz", output=occupied)
  evaluate.load = None
  other = tmp_path / "other"
  other.mkdir()
  (other / "config.json").write_text((run / "config.json").read_text())
  with pytest.raises(UserError, match=r"contains results of run .*/run, not .*/other; choose"):
    evaluate(workdir=str(other), output=occupied)


@pytest.fixture
def layouts(some_clips, tmp_path):
  """{layout: options} for the same 34 generated and 45 real clips of three classes."""
  options = {}
  for name, count, seed in (("clips", 34, 5), ("real", 45, 6)):
    clips, labels = some_clips(count, seed)
    order = np.argsort(labels, kind="stable")
    np.savez(tmp_path / f"{name}.npz", clips=clips[order], labels=labels[order])
    for number, clip in enumerate(clips):
      folder = tmp_path / name / f"class{labels[number]}" / f"{number:03}"
      folder.mkdir(parents=True)
      for frame, image in enumerate(clip):
        Image.fromarray(image).save(folder / f"{frame}.png")
    shutil.make_archive(str(tmp_path / name), "zip", tmp_path / name)
    for ending in ("", ".npz", ".zip"):
      options.setdefault(ending, dict(workdir=None))[name] = str(tmp_path / f"{name}{ending}")
  return options


def test_scores_do_not_depend_on_how_clips_are_stored(
  evaluate, layouts, protocol, monkeypatch, tmp_path
):
  object.__setattr__(protocol, "frames", 4)
  without_names = lambda records: [{k: v for k, v in r.items() if k != "name"} for r in records]
  scores = []
  for ending, options in layouts.items():
    # Without a cache, so that the real clips are read and scored each time.
    monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / f"references{ending}"))
    content, _, _ = evaluate(**options, output=str(tmp_path / f"out{ending}"))
    assert content["records"] and content["per_class"]
    scores.append((content["records"], without_names(content["per_class"])))
  assert scores[0] == scores[1] == scores[2]
  mixed = {**layouts[".npz"], "clips": layouts[""]["clips"]}
  content, _, reported = evaluate(**mixed, output=str(tmp_path / "mixed"))
  assert content["records"] == scores[0][0]
  assert any(line.startswith("generated clips: 30, from 30 of 34 video(s)") for line in reported)


def test_the_fingerprint_follows_the_content_and_not_the_path(
  evaluate, layouts, protocol, tmp_path
):
  object.__setattr__(protocol, "frames", 4)
  numbers = lambda content: {r["number"] for r in content["records"]}
  first, _, _ = evaluate(**layouts[""], output=str(tmp_path / "a"))
  moved = shutil.copytree(layouts[""]["clips"], tmp_path / "elsewhere" / "copy")
  options = {**layouts[""], "clips": str(moved)}
  again, _, _ = evaluate(**options, output=str(tmp_path / "b"))
  assert numbers(again) == numbers(first)
  for picture in moved.rglob("2.png"):
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
  changed, _, _ = evaluate(**options, output=str(tmp_path / "c"))
  assert not numbers(changed) & numbers(first)


def test_videos_score_nearly_as_their_frames(evaluate, protocol, tmp_path):
  """The codec changes pixels a little, so the scores are near and the fingerprints differ."""
  object.__setattr__(protocol, "frames", 4)
  generator, values = np.random.default_rng(0), []
  for name, bias in (("clips", 60), ("real", 0)):
    (tmp_path / name).mkdir()
    small = generator.integers(0, 190, (45, 4, 2, 2, 3)) + bias
    clips = np.repeat(np.repeat(small, 4, 2), 4, 3).astype(np.uint8)
    np.savez(tmp_path / f"{name}.npz", clips=clips)
    for number, clip in enumerate(clips):
      video_writers.write_mp4(tmp_path / name / f"{number:02}.mp4", clip, 8)
  for ending in ("", ".npz"):
    content, _, _ = evaluate(
      workdir=None,
      clips=str(tmp_path / f"clips{ending}"),
      real=str(tmp_path / f"real{ending}"),
      output=str(tmp_path / f"out{ending}"),
    )
    values.append({r["metric"]: (r["value"], r["number"]) for r in content["records"]})
  videos, frames = values
  assert videos["fid"][0] == pytest.approx(frames["fid"][0], rel=0.1)
  assert videos["is"][0] == pytest.approx(frames["is"][0], rel=0.05)
  assert videos["fid"][1] != frames["fid"][1]


def test_cached_features_take_the_labels_that_are_given(evaluate, layouts, protocol, tmp_path):
  object.__setattr__(protocol, "frames", 4)
  options = {**layouts[""], "count": 34}
  classes, _, _ = evaluate(**options, output=str(tmp_path / "a"))
  assert {r["class"] for r in classes["per_class"]} == {0, 1, 2}
  for name in ("clips", "real"):
    with np.load(layouts[".npz"][name]) as file:
      labels = np.where(file["labels"], 0, 1)
      np.savez(tmp_path / f"other_{name}.npz", clips=file["clips"], labels=labels)
    options[name] = str(tmp_path / f"other_{name}.npz")
  content, _, reported = evaluate(**options, output=str(tmp_path / "b"))
  assert any(line.startswith("features of 40 real clips: ") for line in reported)  # from the cache
  assert {r["class"] for r in content["per_class"]} == {0, 1}


def test_an_alias_says_what_it_stands_for(evaluate, run, monkeypatch):
  monkeypatch.setattr(protocols, "ALIASES", {"short": "tiny"})
  content, lines, reported = evaluate(protocol="short", output=str(run / "out"))
  assert reported[0] == "--protocol=short stands for tiny: a test"
  assert reported[1].startswith("  clips: frames as in training")
  plain, _, reported = evaluate()
  assert not any("stands for" in line for line in reported)
  assert [r["number"] for r in plain["records"]] == [r["number"] for r in content["records"]]
  _, _, reported = evaluate(protocol="short", output=str(run / "few"), count=16, real_count=20)
  text = " ".join(reported[:4])
  assert "real: 20 of the" in text and "generated: 16; real against real with 10 clips" in text
  _, lines, _ = evaluate(protocol="short")  # the same folder
  assert f"written: {run / 'evaluation' / 'tiny' / 'results.json'}" in lines


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (dict(split="test"), "--split chooses from a run's data; it does not apply to --real"),
    (dict(stride=2), "--stride chooses frames of videos; it does not apply to clips of an .npz"),
    (dict(frames=None), "scores clips of any length; --frames=N"),
    (dict(clips="missing"), "missing: no such file"),
    (dict(frames=5), "30 of 30 generated videos are too short"),
    (
      dict(count=35, real="missing"),
      "34 clips are too few for protocol tiny: it takes 35; --count",
    ),
  ],
)
def test_refusals_of_given_clips(evaluate, layouts, tmp_path, fields, words):
  options = {**layouts[".npz"], "clips": layouts[""]["clips"], "frames": 4, **fields}
  with pytest.raises(UserError, match=words) as error:
    evaluate(**options, output=str(tmp_path / "out"))
  assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.fixture
def by_class(some_clips, tmp_path):
  """Options for files of 90 generated and 80 real clips, class after class."""
  for name, count, seed in (("clips", 90, 5), ("real", 80, 6)):
    clips, labels = some_clips(count, seed)
    order = np.argsort(labels, kind="stable")
    np.savez(tmp_path / f"{name}.npz", clips=clips[order], labels=labels[order])
  paths = {name: str(tmp_path / f"{name}.npz") for name in ("clips", "real")}
  return paths | dict(workdir=None, output=str(tmp_path / "out"))


def test_a_part_of_a_file_contains_all_its_classes(evaluate, by_class, monkeypatch):
  seen, score = [], evaluator.Evaluator.score

  def watched(self, generated, reference, **options):
    seen.append((generated(0, 30)[1], reference.labels))
    return score(self, generated, reference, **options)

  monkeypatch.setattr(evaluator.Evaluator, "score", watched)
  content, _, _ = evaluate(**by_class)
  for labels in seen[0]:
    assert np.bincount(labels, minlength=3).min() >= 5
  assert len(seen[0][1]) == 40
  other, _, _ = evaluate(**by_class, seed=1)  # chooses other clips and other random numbers
  prints = [
    [r["fingerprint"] for r in c["records"] if r["metric"] == "is"] for c in (content, other)
  ]
  assert len({*prints[0], *prints[1]}) == 2


def test_repeats_from_a_file_contain_all_its_classes(evaluate, by_class, protocol):
  object.__setattr__(protocol, "repeats", 3)
  content, _, _ = evaluate(**by_class)
  (score,) = (r for r in content["records"] if r["metric"] == "is")
  assert len(score["values"]) == 3
  # With one class each, they would be hardly above 1.
  assert min(score["values"]) > 0.8 * max(score["values"]) and min(score["values"]) > 1.5


def test_too_few_real_clips_give_the_option_that_takes_them(
  evaluate, some_clips, protocol, tmp_path
):
  object.__setattr__(protocol, "real_count", 50)
  clips, labels = some_clips(40)
  np.savez(tmp_path / "clips.npz", clips=clips, labels=labels)
  file = str(tmp_path / "clips.npz")
  with pytest.raises(UserError, match="has 40 clips, protocol tiny takes 50; --real_count=40"):
    evaluate(workdir=None, clips=file, real=file, output=str(tmp_path / "out"))


def test_a_run_is_recognised_by_another_path_and_after_it_was_moved(evaluate, run, monkeypatch):
  evaluate(checkpoint=2)
  monkeypatch.chdir(run.parent)
  content, _, _ = evaluate(workdir="run", output=str(run / "evaluation" / "tiny"))
  assert {r["step"] for r in content["records"]} == {2, 4}
  moved = run.rename(run.parent / "elsewhere")
  run.symlink_to(moved)  # the stand-in reads checkpoints there
  content, _, _ = evaluate(workdir=str(moved), output=str(moved / "evaluation" / "tiny"))
  assert content["run"]["workdir"] == str(moved)


def test_a_reference_file_of_another_resolution(evaluate, some_clips, tmp_path):
  clips, labels = some_clips(40)
  for name, shown in (("small", clips), ("large", np.repeat(np.repeat(clips, 2, 2), 2, 3))):
    np.savez(tmp_path / f"{name}.npz", clips=shown, labels=labels)
  options = dict(workdir=None, reference=str(tmp_path / "reference.npz"), count=30)
  small = str(tmp_path / "small.npz")
  evaluate(clips=small, real=small, output=str(tmp_path / "a"), **options)
  assert (tmp_path / "reference.npz").exists()
  evaluate(clips=small, real=small, output=str(tmp_path / "b"), **options)
  large = str(tmp_path / "large.npz")
  with pytest.raises(
    UserError, match=r"resolution is \[8, 8\] in the file, but \[16, 16\] is needed"
  ):
    evaluate(clips=large, real=large, output=str(tmp_path / "c"), **options)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (dict(protocol="fvd"), "unknown protocol 'fvd'; known: tiny"),
    (dict(workdir=None), "--workdir .* or --clips .* is required"),
    (dict(workdir="nowhere"), "no run in nowhere"),
    (dict(checkpoint=3), "no checkpoint at iteration 3"),
    (
      dict(checkpoint=2, follow=True),
      "give only one of --checkpoint, --every_checkpoint and --follow",
    ),
    (dict(patience=1.0), "--patience needs --follow"),
    (dict(truncations=()), "--truncations needs at least one number"),
    (
      dict(truncations=(1.0, 0.0)),
      r"--truncations is \(1.0, 0.0\), must be a list of numbers above 0",
    ),
    (dict(count=1), "--count is 1, must be an integer from 2 to"),
    (dict(clips="nothing.npz", output="x", real="y", truncations=(0.5,)), "are generated already"),
    (dict(output=__file__), "cannot write to .*test_cli.py is no folder"),
    (dict(output=f"{__file__}/out"), "cannot write to .*test_cli.py is no folder"),
    (dict(clips="nothing.npz", output="x"), "nothing.npz: no such file"),
    (dict(clips="nothing.npz"), "--clips needs --output"),
    (dict(real_count=41), "41 real clips are requested, the train split has 40"),
    (dict(batch_size=0), "--batch_size is 0, must be an integer from 1 to 65536"),
  ],
)
def test_refusals(evaluate, fields, words):
  with pytest.raises(UserError, match=words) as error:
    evaluate(**fields)
  assert "\n" not in str(error.value)


def test_a_run_whose_clips_are_shorter_than_the_protocols(evaluate, protocol):
  object.__setattr__(protocol, "frames", 16)
  with pytest.raises(UserError, match="scores clips of 16 frames, the run makes 4; --frames=4"):
    evaluate()
  content, _, _ = evaluate(frames=4)
  assert content["records"][0]["fields"]["frames"] == 4


def test_a_length_that_the_network_refuses_is_not_suggested(evaluate, monkeypatch):
  published = {one.name: one for one in published_protocols.ALL}
  monkeypatch.setattr(protocols, "all_protocols", lambda: published)
  with pytest.raises(UserError, match=r"run makes 4; i3d_kinetics400 needs .* 9 frames") as error:
    evaluate(protocol="recommended")
  assert "--frames=4" not in str(error.value)
