"""Sampling from all stages of a cascade, by the folder of the last one alone."""

import jax
import numpy as np
import pytest

import vidgan_jax
from tests import cascades
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import cli, generation
from vidgan_jax.sampling.request import Request
from vidgan_jax.sampling.stream import Stream


@pytest.fixture(scope="module")
def folder(load_config, tmp_path_factory):
  """The folder with runs of three stages, as wide as the first stage's 6 frames allow: 24."""
  folder = tmp_path_factory.mktemp("cascade")
  cascades.write_cascade(folder, load_config, 3)
  return folder


@pytest.fixture(scope="module")
def run(folder):
  return vidgan_jax.load(folder / "stage3", standing_passes=1)


def lengths(variables):
  """Frames of the batch statistics."""
  return {leaf.shape[0] for leaf in jax.tree.leaves(variables["batch_stats"])}


def test_statistics_are_collected_for_the_lengths_of_every_stage(run):
  for frames, expected in ((24, (24, 12, 6)), (4, (4, 4, 6))):
    stage = run.context_of(frames).frozen["earlier"]
    inner = stage["frozen"]["earlier"]
    found = run.variables(frames), stage["variables"], inner["variables"]
    assert tuple(map(lengths, found)) == tuple({length} for length in expected)
  # Each stage's statistics depend on those of the stages before it.
  raw = run.context.frozen["earlier"]["variables"]
  changed = run.context_of(4).frozen["earlier"]["variables"]
  same = jax.tree.map(np.array_equal, raw["batch_stats"], changed["batch_stats"])
  assert not any(jax.tree.leaves(same))
  jax.tree.map(np.testing.assert_array_equal, raw["params"], changed["params"])


def test_long_clips_of_three_stages(run):
  clips = run.sample(3, labels=[0, 2], frames=24)
  assert clips.shape == (2, 24, 32, 32, 3) and clips.dtype == np.uint8
  single = run.sample(3, labels=[0, 2], frames=24, batch_size=1)
  np.testing.assert_allclose(clips.astype(int), single.astype(int), atol=1)
  latents = generation.draw_latents(run.gan, jax.random.key(0), 2, frames=24)
  wide = run.generate(latents, [0, 2], frames=24, show_stages=True)
  assert wide.shape == (2, 24, 32, 96, 3)
  alone = run.generate(latents, [0, 2], frames=24)
  np.testing.assert_allclose(wide[..., 64:, :].astype(int), alone.astype(int), atol=1)
  first = wide[:, :, :, :32]
  np.testing.assert_array_equal(first, first[:, np.arange(24) // 4 * 4])  # each frame four times
  np.testing.assert_array_equal(first[:, :, ::4, ::4].repeat(4, 2).repeat(4, 3), first)


def test_the_stream_draws_from_all_stages(run):
  clips, labels = Stream(run, seed=1)(0, 4)
  assert clips.shape == (4, 4, 32, 32, 3) and list(labels) == [0, 1, 2, 3]
  few, _ = Stream(run, seed=1)(2, 4)
  np.testing.assert_allclose(few.astype(int), clips[2:].astype(int), atol=1)


def test_frames_out_of_reach_are_refused(run, folder, tmp_path):
  with pytest.raises(UserError, match="at most 24 frames together"):
    run.sample(labels=[0], frames=26)
  request = Request(workdir=str(folder / "stage3"), output=str(tmp_path / "out"), frames=25)
  with pytest.raises(UserError, match="frames is 25, must be a multiple of 2"):
    cli.fulfil(request)
  assert not (tmp_path / "out").exists()


def test_the_command_shows_the_stages(run, folder, tmp_path):
  request = dict(labels="1", per_label=1, frames=24, standing_passes=1, show_stages=True)
  output, workdir = tmp_path / "a", str(folder / "stage3")
  lines = cli.fulfil(Request(workdir=workdir, output=str(output), **request))
  assert f"stages side by side: {output / 'stages.mp4'}" in lines
  assert (output / "stages.mp4").stat().st_size
  latents = generation.draw_latents(run.gan, streams.key(0, streams.SAMPLING), 1, frames=24)
  alone = run.generate(latents, [1], frames=24).astype(int)
  with np.load(output / "samples.npz") as arrays:  # the clip of the last stage
    np.testing.assert_allclose(arrays["clips"].astype(int), alone, atol=1)
  with pytest.raises(UserError, match="--show_stages needs a run with earlier stages"):
    del request["frames"]
    cli.fulfil(Request(workdir=str(folder / "stage1"), output=str(tmp_path / "b"), **request))


def test_a_run_without_an_earlier_stage_draws_nothing(run):
  poor = object.__new__(type(run))
  poor.gan, poor.standing_passes, poor.context = run.gan, 1, run.context.replace(frozen={})
  with pytest.raises(UserError, match="draws no clips"):
    poor.check_frames(None)
