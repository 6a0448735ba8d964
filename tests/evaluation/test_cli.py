"""Requests from a run's folder, or a file of clips, to files of results."""

import dataclasses
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES
from vidgan_jax.evaluation import cli, evaluator
from vidgan_jax.evaluation import clips as clip_sources
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.features.extractor import PACKAGED
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols import published as published_protocols
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import page as page
from vidgan_jax.evaluation.report import writer
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError


class Stream:
  """Stands for the clips of a run: noise by step, seed and truncation."""

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
  """The folder of a run with checkpoints at 2 and 4, as far as requests look at it."""
  folder = tmp_path / "run"
  folder.mkdir()
  (folder / "config.json").write_text(configuration.to_json(lean_config()))
  for step in (2, 4):
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
  return folder


@pytest.fixture
def ask(run, protocol, stand_in, monkeypatch, tmp_path):
  """A function (**fields of `Request`) that returns (results, lines returned, lines told)."""
  monkeypatch.setattr(protocols, "known", lambda: {"tiny": protocol})
  monkeypatch.setattr(evaluator, "load_extractor", lambda name, path=None: stand_in())
  monkeypatch.setattr(page, "write", lambda content, path, *clips, **more: path)  # slow
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "references"))
  monkeypatch.setattr(cli, "_POLL", 0.01)

  def load(workdir, *, step, use_ema, standing_passes, report):
    steps = sorted(int(path.name) for path in (run / "checkpoints").iterdir())
    if not steps or (step is not None and step not in steps):
      raise UserError(f"no checkpoint at iteration {step}")
    gan = types.SimpleNamespace(frames=4, resolution=8, num_classes=8)
    return types.SimpleNamespace(gan=gan, step=step or steps[-1], use_ema=use_ema)

  def fulfil(**fields):
    said = []
    request = cli.Request(**{"protocol": "tiny", "workdir": str(run), **fields})
    opener = cli.Opener(fulfil.load, Stream)
    lines = cli.fulfil(request, opener, report=said.append)
    folder = fields.get("output") or run / "evaluation" / "tiny"
    with open(f"{folder}/results.json") as stream:
      return json.load(stream), lines, said

  fulfil.load = load
  return fulfil


def test_a_run(ask, run):
  content, lines, said = ask()
  assert content["run"] == {"workdir": str(run), "name": "run"}
  assert [r["step"] for r in content["records"]] == [4] * 8
  assert {r["metric"] for r in content["records"]} == {
    "is", "fid", "accuracy", "kvd", "precision", "recall", "density", "coverage",
  }  # fmt: skip
  assert content["reference"]["count"] == 40 == content["records"][1]["count_real"]
  assert lines[0] == "iteration 4"
  assert f"written: {run / 'evaluation' / 'tiny' / 'results.json'}" in lines
  assert "evaluating iteration 4 by tiny, truncation 1" in said


def test_metrics_are_added_by_name_and_change_no_other(ask):
  usual, _, _ = ask()
  content, lines, _ = ask(metrics=("fvd",))
  added = [r for r in content["records"] if r["metric"] == "fvd"]
  assert len(added) == 1 and any(line.strip().startswith("fvd ") for line in lines)
  digests = {r["metric"]: r["fingerprint"] for r in content["records"]}
  assert all(digests[r["metric"]] == r["fingerprint"] for r in usual["records"])


@pytest.fixture(autouse=True)
def fewer_real_ones(protocol):
  """The embedded set of the tiny config has 40 scenes."""
  object.__setattr__(protocol, "real_count", 40)


def test_real_clips_are_looked_at_once(ask, monkeypatch):
  ask()
  _, _, said = ask(seed=0)
  assert any(line.startswith("features of 40 real clips: ") for line in said)


def test_features_that_other_code_made_are_made_anew_but_not_over_a_file_that_was_named(
  ask, monkeypatch, tmp_path
):
  first, _, _ = ask()
  named = str(tmp_path / "named.npz")
  ask(reference=named)
  monkeypatch.setattr(references.code, "version", lambda network: "0ther")
  again, _, said = ask()
  (line,) = (line for line in said if "another version" in line)
  assert line.endswith("another version of the code of stand_in; it is computed again")
  assert not any(line.startswith("features of 40 real clips: ") for line in said)
  # Written over the old one; and no column of its own, for the number is the same.
  _, _, said = ask()
  assert any(line.startswith("features of 40 real clips: ") for line in said)
  prints = lambda content: {r["fingerprint"] for r in content["records"]}
  assert prints(again) == prints(first)
  with pytest.raises(UserError, match=r"named.npz was computed by .*; remove the file to compute"):
    ask(reference=named)


def test_damaged_features_are_made_anew_but_not_over_a_file_that_was_named(ask, tmp_path):
  named = tmp_path / "named.npz"
  first, _, _ = ask(reference=str(named))
  ask()
  (kept,) = (tmp_path / "references").iterdir()
  whole = kept.read_bytes()
  damaged = whole[:400] + bytes([whole[400] ^ 1]) + whole[401:]
  kept.write_bytes(damaged)
  again, _, said = ask()
  assert any(line.startswith(str(kept)) and "it is computed again" in line for line in said)
  assert kept.read_bytes() == whole
  values = lambda content: [record["value"] for record in content["records"]]
  assert values(again) == values(first)
  named.write_bytes(damaged)
  with pytest.raises(UserError, match=r"named\.npz"):
    ask(reference=str(named))
  assert named.read_bytes() == damaged


def test_features_that_cannot_be_kept_cost_a_warning(ask, tmp_path, monkeypatch):
  expected, _, _ = ask(output=str(tmp_path / "a"))
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "file" / "references"))
  content, _, said = ask(output=str(tmp_path / "b"))
  (warning,) = [line for line in said if line.startswith("WARNING")]
  assert "VIDGAN_JAX_REFERENCES" in warning and "\n" not in warning
  assert [r["value"] for r in content["records"]] == [r["value"] for r in expected["records"]]
  # A file that was named is told before anything is computed.
  with pytest.raises(UserError, match=r"cannot write to .*file is no folder"):
    ask(output=str(tmp_path / "c"), reference=str(tmp_path / "file" / "reference.npz"))


def test_a_report_shows_real_clips_of_every_class(ask, monkeypatch, some_clips, tmp_path):
  shown = []
  monkeypatch.setattr(page, "write", lambda content, path, real, drawn, **more: shown.append(real))
  clips, _ = some_clips(60)
  real = clip_sources.ArrayClips(clips, np.repeat([0, 1, 2], [34, 20, 6]))
  drawn = clip_sources.ArrayClips(clips, np.arange(60) % 3)
  content = {"run": {"workdir": str(tmp_path)}}
  writer.write_report(tmp_path, content, real, writer.first_clips(drawn), ("a", "b", "c"))
  assert np.bincount(shown[0].labels).tolist() == [32, 4, 4]
  assert np.array_equal(shown[0].clips[-4:], clips[54:58])


def test_every_checkpoint_and_a_curve(ask):
  content, lines, _ = ask(every_checkpoint=True, truncations=(0.5, 1.0))
  found = {(r["step"], r["truncation"]) for r in content["records"]}
  assert found == {(2, 0.5), (2, 1.0), (4, 0.5), (4, 1.0)}
  assert len({r["fingerprint"] for r in content["records"] if r["metric"] == "fid"}) == 1
  curve = [p for p in content["truncation_curve"] if p["metric"] == "fid" and p["step"] == 4]
  assert [p["truncation"] for p in curve] == [0.5, 1.0]
  assert "iteration 2, truncation 0.5" in lines
  again, _, _ = ask(checkpoint=2)  # added to what is there, in place of itself
  assert again["records"] == content["records"]


def test_results_from_before_strides_and_estimators_were_told(ask, run):
  """Are read; what is computed as before shares their columns, kernel distances do not."""
  path = run / "evaluation" / "tiny" / "results.json"
  new, _, _ = ask(checkpoint=4)
  for record in new["records"]:
    record["step"] = record["fields"]["step"] = 2
    for name in ("stride", "split", "estimator", "subset_size_used"):
      record["fields"].pop(name, None)
    record["fingerprint"] = fingerprint.of_column(record["fields"])
    record["number"] = fingerprint.of_number(record["fields"])
  path.write_text(json.dumps(new))
  both, _, _ = ask(checkpoint=4)
  found = {}
  for record in both["records"]:
    found.setdefault(record["metric"], []).append((record["step"], record["fingerprint"]))
  for metric, records in found.items():
    assert [step for step, _ in records] == [2, 4]
    assert len({digits for _, digits in records}) == (2 if metric == "kvd" else 1), metric


def test_the_embedded_classifier_says_that_it_does_not_know_other_data(
  ask, run, lean_config, protocol, stand_in, some_clips, tmp_path, monkeypatch
):
  named = lambda name, path=None: dataclasses.replace(stand_in(), name=name)
  monkeypatch.setattr(evaluator, "load_extractor", named)
  clips, _ = some_clips(64)
  np.savez(tmp_path / "own.npz", clips=clips, labels=np.arange(64) % 8)
  changes = {"data.name": "npz", "data.directory": str(tmp_path / "own.npz")}
  note = f"{PACKAGED} knows only the embedded moving shapes, and this run was trained on other data"
  for network, data in ((PACKAGED, changes), (PACKAGED, {}), ("stand_in", changes)):
    measures = tuple(dataclasses.replace(m, network=network) for m in protocol.metrics)
    changed = dataclasses.replace(protocol, name=f"of_{network}_{len(data)}", metrics=measures)
    monkeypatch.setattr(protocols, "known", lambda changed=changed: {changed.name: changed})
    (run / "config.json").write_text(configuration.to_json(lean_config(**data)))
    output = str(tmp_path / changed.name)
    content, lines, said = ask(protocol=changed.name, output=output)
    expected = network == PACKAGED and bool(data)
    for found in (said, lines, *(record["warnings"] for record in content["records"])):
      assert sum(note in line for line in found) == expected
    assert not expected or "protocol recommended" in " ".join(said)
  stored = types.SimpleNamespace(data="npz", class_names=CLASS_NAMES[:8])
  assert not clip_sources.other_data(stored, [PACKAGED])  # the embedded set, in a file


def test_a_trial_says_so(ask):
  whole, (trial, lines, _) = ask()[0], ask(count=20)
  fields = [r["fields"] for r in trial["records"] if r["metric"] == "is"]
  assert [(f["count_generated"], f["trial"]) for f in fields] == [(30, False), (20, True)]
  assert any("a trial" in line for line in lines)
  assert len(trial["records"]) == 2 * len(whole["records"])


def test_controls(ask):
  content, lines, _ = ask(controls=True)
  found = {(r["control"], r["metric"]): r["value"] for r in content["controls"]}
  assert {control for control, _ in found} == {"unharmed", "frozen", "shuffled", "reversed"}
  # Half of the 40 real clips against the other; the stand-in sees the order of frames.
  floors = {r["metric"]: r["floor"] for r in content["records"]}
  assert found["unharmed", "fid"] == pytest.approx(floors["fid"]["value"], rel=1e-5)
  assert found["shuffled", "fid"] > 1.1 * found["unharmed", "fid"]
  assert "real clips made worse in their motion, against 20 other real clips" in lines
  assert all(record["step"] is not None for record in content["records"])
  assert ask()[0]["controls"] == content["controls"]


def test_following_ends_with_the_run(ask, run):
  (run / "checkpoints" / "4").rename(run / "later")
  load, seen = ask.load, []

  def opened(workdir, *, step, **options):
    if step == 2:  # the next comes while this one is judged
      (run / "later").rename(run / "checkpoints" / "4")
    seen.append(step)
    return load(workdir, step=step, **options)

  ask.load = opened
  content, _, said = ask(follow=True)
  assert seen == [2, 4] and {r["step"] for r in content["records"]} == {2, 4}
  assert any(line.startswith("following ") for line in said)


def test_following_ends_where_a_run_has_stopped(ask, run):
  """A guard stops a run before its last iteration."""
  (run / "checkpoints" / "4").rmdir()
  content, _, said = ask(follow=True, patience=0.0005)
  assert {r["step"] for r in content["records"]} == {2}
  assert any("the run has stopped" in line for line in said)


def test_a_checkpoint_that_went_is_left_out(ask, run):
  load = ask.load

  def opened(workdir, *, step, **options):
    if step == 2:
      raise UserError("gone")
    return load(workdir, step=step, **options)

  ask.load = opened
  content, _, said = ask(every_checkpoint=True)
  assert {r["step"] for r in content["records"]} == {4} and "left out: gone" in said


def test_clips_of_a_file(ask, some_clips, tmp_path):
  clips, labels = some_clips(30, 5)
  real, real_labels = some_clips(40, 6)
  np.savez(tmp_path / "clips.npz", clips=clips, labels=labels)
  np.savez(tmp_path / "real.npz", clips=real, labels=real_labels)
  options = dict(workdir=None, real=str(tmp_path / "real.npz"), output=str(tmp_path / "out"))
  content, lines, said = ask(clips=str(tmp_path / "clips.npz"), **options)
  assert lines[0] == "given clips" and {r["step"] for r in content["records"]} == {None}
  assert "accuracy" not in {r["metric"] for r in content["records"]}  # no classes of the set's
  assert any("accuracy is left out" in line for line in said)
  with pytest.raises(UserError, match="holds results of run"):
    np.savez(tmp_path / "others.npz", clips=clips[::-1], labels=labels)
    ask(clips=str(tmp_path / "others.npz"), **options)


@pytest.fixture
def by_class(some_clips, tmp_path):
  """Options for files of 90 generated and 80 real clips, class after class."""
  for name, count, seed in (("clips", 90, 5), ("real", 80, 6)):
    clips, labels = some_clips(count, seed)
    order = np.argsort(labels, kind="stable")
    np.savez(tmp_path / f"{name}.npz", clips=clips[order], labels=labels[order])
  paths = {name: str(tmp_path / f"{name}.npz") for name in ("clips", "real")}
  return paths | dict(workdir=None, output=str(tmp_path / "out"))


def test_some_clips_of_a_file_are_of_all_its_classes(ask, by_class, monkeypatch):
  seen, score = [], evaluator.Evaluator.score

  def watched(self, generated, reference, **options):
    seen.append((generated(0, 30)[1], reference.labels))
    return score(self, generated, reference, **options)

  monkeypatch.setattr(evaluator.Evaluator, "score", watched)
  content, _, _ = ask(**by_class)
  for labels in seen[0]:
    assert np.bincount(labels, minlength=3).min() >= 5
  assert len(seen[0][1]) == 40
  other, _, _ = ask(**by_class, seed=1)  # which clips, and what is drawn of them
  prints = [
    [r["fingerprint"] for r in c["records"] if r["metric"] == "is"] for c in (content, other)
  ]
  assert len({*prints[0], *prints[1]}) == 2


def test_repeats_of_a_file_are_of_all_its_classes(ask, by_class, protocol):
  object.__setattr__(protocol, "repeats", 3)
  content, _, _ = ask(**by_class)
  (score,) = (r for r in content["records"] if r["metric"] == "is")
  assert len(score["values"]) == 3
  # Of one class each they would be hardly above 1.
  assert min(score["values"]) > 0.8 * max(score["values"]) and min(score["values"]) > 1.5


def test_too_few_real_clips_say_how_to_take_them(ask, some_clips, protocol, tmp_path):
  object.__setattr__(protocol, "real_count", 50)
  clips, labels = some_clips(40)
  np.savez(tmp_path / "clips.npz", clips=clips, labels=labels)
  file = str(tmp_path / "clips.npz")
  with pytest.raises(UserError, match="has 40 clips, protocol tiny takes 50; --real_count=40"):
    ask(workdir=None, clips=file, real=file, output=str(tmp_path / "out"))


def test_a_run_is_the_same_by_another_name_and_where_it_was_moved(ask, run, monkeypatch):
  ask(checkpoint=2)
  monkeypatch.chdir(run.parent)
  content, _, _ = ask(workdir="run", output=str(run / "evaluation" / "tiny"))
  assert {r["step"] for r in content["records"]} == {2, 4}
  moved = run.rename(run.parent / "elsewhere")
  run.symlink_to(moved)  # the stand-in looks for checkpoints there
  content, _, _ = ask(workdir=str(moved), output=str(moved / "evaluation" / "tiny"))
  assert content["run"]["workdir"] == str(moved)


def test_a_reference_file_of_another_resolution(ask, some_clips, tmp_path):
  clips, labels = some_clips(40)
  for name, shown in (("small", clips), ("large", np.repeat(np.repeat(clips, 2, 2), 2, 3))):
    np.savez(tmp_path / f"{name}.npz", clips=shown, labels=labels)
  options = dict(workdir=None, reference=str(tmp_path / "reference.npz"), count=30)
  small = str(tmp_path / "small.npz")
  ask(clips=small, real=small, output=str(tmp_path / "a"), **options)
  assert (tmp_path / "reference.npz").exists()
  ask(clips=small, real=small, output=str(tmp_path / "b"), **options)
  large = str(tmp_path / "large.npz")
  with pytest.raises(
    UserError, match=r"resolution is \[8, 8\] in the file, but \[16, 16\] is needed"
  ):
    ask(clips=large, real=large, output=str(tmp_path / "c"), **options)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (dict(protocol="fvd"), "unknown protocol 'fvd'; known: tiny"),
    (dict(workdir=None), "--workdir .* or --clips .* is required"),
    (dict(workdir="nowhere"), "no run in nowhere"),
    (dict(checkpoint=3), "no checkpoint at iteration 3"),
    (dict(checkpoint=2, follow=True), "one of --checkpoint, --every_checkpoint and --follow"),
    (dict(patience=1.0), "--patience is for --follow"),
    (dict(truncations=()), "--truncations must name a number"),
    (dict(truncations=(1.0, 0.0)), "truncation is 0; it is a standard deviation"),
    (dict(clips="nothing.npz", output="x", real="y", truncations=(0.5,)), "are drawn already"),
    (dict(output=__file__), "cannot write to .*test_cli.py is no folder"),
    (dict(output=f"{__file__}/out"), "cannot write to .*test_cli.py is no folder"),
    (dict(clips="nothing.npz", output="x"), "nothing.npz: no such file"),
    (dict(clips="nothing.npz"), "--clips needs --output"),
    (dict(real_count=41), "41 real clips are asked for, the train split has 40"),
    (dict(batch_size=0), "batch_size is 0"),
  ],
)
def test_refusals(ask, fields, words):
  with pytest.raises(UserError, match=words) as refusal:
    ask(**fields)
  assert "\n" not in str(refusal.value)


def test_a_run_of_other_lengths_than_the_protocols(ask, protocol):
  object.__setattr__(protocol, "frames", 16)
  with pytest.raises(UserError, match="scores clips of 16 frames, the run makes 4; --frames=4"):
    ask()
  content, _, _ = ask(frames=4)
  assert content["records"][0]["fields"]["frames"] == 4


def test_a_length_that_no_network_takes_is_not_suggested(ask, monkeypatch):
  published = {one.name: one for one in published_protocols.ALL}
  monkeypatch.setattr(protocols, "known", lambda: published)
  with pytest.raises(UserError, match=r"run makes 4; i3d_kinetics400 needs .* 9 frames") as told:
    ask(protocol="recommended")
  assert "--frames=4" not in str(told.value)
