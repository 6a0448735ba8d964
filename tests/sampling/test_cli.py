"""Requests of `sample`, from flags to files; refused requests leave no files."""

import copy
import dataclasses
import types

import jax
import numpy as np
import pytest

from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import cli, generation, interpolation
from vidgan_jax.sampling import run as runs


@pytest.fixture
def ask(run, workdir, tmp_path, monkeypatch):
  """Returns a function (**fields of `Request`) -> (archive, reported lines, returned lines)."""

  def open_run(folder, **options):
    assert folder == workdir
    fulfil.opened.append(options)
    opened = copy.copy(run)  # shares its standing statistics
    opened.use_ema, opened.standing_passes = options["use_ema"], options["standing_passes"]
    return opened

  monkeypatch.setattr(runs, "load", open_run)
  monkeypatch.setattr(cli.files.video_writers, "write_mp4", lambda *a, **k: None)  # slow

  def fulfil(**fields):
    reported = []
    request = cli.Request(**{"workdir": workdir, "output": tmp_path / "out", **fields})
    lines = cli.fulfil(request, report=reported.append)
    with np.load(tmp_path / "out" / "samples.npz") as archive:
      return dict(archive), reported, lines

  fulfil.opened = []
  return fulfil


def test_every_class_by_default(ask, run, tmp_path):
  archive, reported, lines = ask()
  assert archive["labels"].tolist() == np.repeat(np.arange(8), 2).tolist()
  assert reported == ["generating 16 clips at iteration 4 (moving average)"]
  assert any(str(tmp_path / "out" / "samples.npz") in line for line in lines)
  np.testing.assert_array_equal(archive["clips"], run.sample(0, labels=archive["labels"]))


def test_chosen_classes_seed_length_and_spread(ask, run):
  archive, _, _ = ask(labels="2,square", per_label=3, seed=9, frames=6, truncation=0.5)
  assert archive["labels"].tolist() == [2, 2, 2, 1, 1, 1]
  expected = run.sample(9, labels=archive["labels"], frames=6, truncation=0.5)
  np.testing.assert_array_equal(archive["clips"], expected)


def test_live_weights_and_the_checkpoint_are_loaded_and_reported(ask):
  _, reported, _ = ask(labels="0", live=True, checkpoint=2, standing_passes=3)
  assert reported == ["generating 2 clips at iteration 4 (live weights)"]
  loaded = ask.opened[-1]
  assert (loaded["step"], loaded["use_ema"], loaded["standing_passes"]) == (2, False, 3)


@pytest.mark.parametrize(
  ("labels", "pairs"),
  [("0,5,5,2", [0, 5, 5, 2]), (None, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7])],
)
def test_class_walks_go_between_pairs_and_by_default_through_all_classes(ask, run, labels, pairs):
  archive, _, _ = ask(interpolate="class", labels=labels, interpolation_steps=3)
  key = streams.key(0, streams.SAMPLING)
  latents, weights = interpolation.class_walk(run.gan, key, pairs, 3)
  np.testing.assert_array_equal(archive["labels"], weights)
  np.testing.assert_array_equal(archive["clips"], run.generate(latents, weights))


def test_latent_walks(ask, run):
  archive, _, _ = ask(interpolate="latent", labels="4,2", interpolation_steps=4)
  assert archive["labels"].tolist() == [4] * 4 + [2] * 4
  latents, labels = interpolation.latent_walk(run.gan, streams.key(0, streams.SAMPLING), [4, 2], 4)
  np.testing.assert_array_equal(archive["clips"], run.generate(latents, labels))


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (
      dict(truncation=float("nan")),
      "--truncation is nan, must be a number above 0 and at most 100",
    ),
    (dict(frame_rate=float("nan")), "--frame_rate is nan, must be a number from 0.1 to 1000"),
    (dict(frame_rate=float("inf")), "--frame_rate is inf"),
    (dict(frames=0), "--frames is 0"),
    (dict(frames=7, standing_passes=0), "7 frames need standing statistics"),
    (dict(labels=""), "label '' is neither a number"),
    (dict(labels="8"), "label '8' is neither a number in 0..7"),
    (dict(interpolate="class", per_label=3), "--per_label cannot be combined with --interpolate"),
    (dict(interpolate="latent", per_label=2), "--per_label cannot be combined with --interpolate"),
    (dict(interpolation_steps=8), "--interpolation_steps needs --interpolate"),
    (dict(count=3), "--count is for runs without classes .*; --per_label and --labels choose"),
    (dict(interpolate="class", labels="1,2,3"), "pairs of labels, got 3"),
    (dict(interpolate="latent", interpolation_steps=1), "--interpolation_steps is 1"),
    (
      dict(labels="0", per_label=10**6, frames=4096),
      "1000000 clips of 4096 frames take 732 GiB",
    ),
    (dict(interpolate="class", interpolation_steps=10**4, frames=4096), "70000 clips of 4096"),
    (dict(interpolate="latent", interpolation_steps=10**4, frames=4096), "80000 clips of 4096"),
  ],
)
def test_bad_requests_are_refused_before_anything_is_drawn_or_written(
  ask, tmp_path, monkeypatch, fields, words
):
  monkeypatch.setattr(runs.Run, "generate", None)
  with pytest.raises(UserError, match=words):
    ask(**fields)
  assert not list(tmp_path.iterdir())


def test_clips_per_class_are_refused_without_classes(tmp_path, monkeypatch):
  gan = types.SimpleNamespace(num_classes=0, frames=4, needs_conditioning=False)
  run = types.SimpleNamespace(gan=gan, check_frames=lambda frames: None)
  monkeypatch.setattr(runs, "load", lambda *arguments, **options: run)
  with pytest.raises(UserError, match="--per_label needs a run with classes"):
    cli.fulfil(cli.Request("run", str(tmp_path / "out"), per_label=3))


def test_samples_in_the_way_are_refused_before_anything_is_drawn(ask, tmp_path, monkeypatch):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "grid.gif").write_text("mine")
  monkeypatch.setattr(runs, "load", None)
  with pytest.raises(UserError, match=r"already holds grid\.gif"):
    ask()
  with pytest.raises(UserError, match=r"grid\.gif is no folder"):
    ask(output=tmp_path / "out" / "grid.gif" / "in")
  assert (tmp_path / "out" / "grid.gif").read_text() == "mine"


def test_files_that_could_not_be_written_do_not_stand_in_the_way(ask, tmp_path, monkeypatch):
  def full(file, **arrays):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(np, "savez_compressed", full)
    with pytest.raises(UserError, match="No space left on device"):
      ask(labels="0")
  assert not list(tmp_path.iterdir())
  assert ask(labels="0")[0]["labels"].tolist() == [0, 0]
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_memory_gives_a_one_line_error(ask, monkeypatch):
  def exhausted(*arguments, **options):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

  monkeypatch.setattr(generation, "generate", exhausted)
  with pytest.raises(UserError, match="not enough memory; fewer frames or a smaller batch_size"):
    ask()

  def broken(*arguments, **options):
    raise jax.errors.JaxRuntimeError("INTERNAL: a fault of ours")

  monkeypatch.setattr(generation, "generate", broken)
  with pytest.raises(jax.errors.JaxRuntimeError):
    ask()


def test_a_request_without_classes_draws_sixteen(ask, run, monkeypatch):
  gan = dataclasses.replace(run.gan, num_classes=0)
  monkeypatch.setattr(run, "gan", gan)
  monkeypatch.setattr(
    runs.Run, "generate", lambda self, latents, *a, **k: np.zeros((16, 4, 8, 8, 3), np.uint8)
  )
  monkeypatch.setattr(run, "class_names", ())
  assert ask()[0]["labels"].tolist() == [0] * 16
  with pytest.raises(UserError, match="no classes"):
    ask(labels="0", overwrite=True)
