"""Samples during training."""

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.runtime import streams
from vidgan_jax.runtime.files import video_files, video_writers
from vidgan_jax.runtime.hooks import HookContext
from vidgan_jax.sampling import run as runs
from vidgan_jax.sampling.preview import PreviewHook
from vidgan_jax.training import state as states


@pytest.fixture(scope="module")
def state(workdir):
  return states.load(workdir)[2]


class Log:
  """Receives clips instead of the training log."""

  def __init__(self):
    self.clips = []

  def clip(self, step, name, gif, height, width):
    self.clips.append((step, name, gif, height, width))


@pytest.fixture
def walk(run, state):
  """Returns a function (hook, folder, first step, last) that calls the hook as the loop does."""

  def through(hook, folder, begin, end, log=None):
    log = log or Log()
    folder.mkdir(exist_ok=True)
    for step in range(begin, end + 1):
      last = step == end
      if hook.due(step, last):
        hook.before_save(
          HookContext(
            step=step,
            state=state,
            sharded_state=state,
            frozen={},
            gan=run.gan,
            config=run.config,
            source=None,
            mesh=None,
            workdir=folder,
            log=log,
            start_step=begin,
            last=last,
          )
        )
      hook.metrics(step, {})
    return log

  return through


@pytest.fixture
def quick(monkeypatch):
  """Replaces sampling by black clips, and counts the calls."""
  drawn = []

  def sample(self, key, *, count):
    drawn.append(count)
    return np.zeros((count, 4, 8, 8, 3), np.uint8)

  monkeypatch.setattr(runs.Run, "sample", sample)
  monkeypatch.setattr(runs.Run, "__init__", lambda *a, **k: None)
  return drawn


def names(folder):
  return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_drawn_once_at_each_due_step_and_at_the_last(walk, quick, tmp_path):
  log = walk(PreviewHook(3), tmp_path, 0, 7)
  expected = [f"{step:08d}.{end}" for step in (3, 6, 7) for end in ("mp4", "png")]
  assert names(tmp_path) == expected and quick == [16, 16, 16]
  assert [clip[:2] for clip in log.clips] == [(step, "samples") for step in (3, 6, 7)]
  assert (tmp_path / "samples" / "00000003.mp4").exists()


def test_zero_never_draws(walk, quick, tmp_path):
  assert walk(PreviewHook(0), tmp_path, 0, 5).clips == [] and names(tmp_path) == []


def test_a_resumed_run_samples_repeated_steps_again(walk, quick, tmp_path):
  """A run killed after 6 resumes at 3; the samples of 6 are made again, also for TensorBoard."""
  walk(PreviewHook(3), tmp_path, 0, 6)
  log = walk(PreviewHook(3), tmp_path, 3, 8)
  assert [clip[0] for clip in log.clips] == [6, 8]
  assert len(quick) == 4


def test_previews_are_clips_of_the_average_in_turn_over_the_classes(walk, run, state, tmp_path):
  log = walk(PreviewHook(2, clips=5, standing_passes=2), tmp_path / "a", 1, 2)
  walk(PreviewHook(2, clips=5, standing_passes=2), tmp_path / "b", 1, 2)
  for name in ("00000002.mp4", "00000002.png"):  # deterministic
    a, b = ((tmp_path / folder / "samples" / name).read_bytes() for folder in "ab")
    assert a == b, name
  opened = runs.Run(run.config, run.gan, state, standing_passes=2)
  expected = opened.sample(streams.key(0, streams.SAMPLING), labels=[0, 1, 2, 3, 4])
  with Image.open(tmp_path / "a" / "samples" / "00000002.png") as sheet:
    np.testing.assert_array_equal(np.asarray(sheet), video_writers.contact_sheet(expected))
  video, _ = video_files.read_video(tmp_path / "a" / "samples" / "00000002.mp4")
  assert video.shape == (4, 8 * 18, 8 * 28, 3)  # 2 rows of 3 clips, each pixel enlarged by 8
  ((step, name, gif, height, width),) = log.clips
  assert (step, name, height, width) == (2, "samples", 18, 28)
  assert gif == video_writers.gif_bytes(video_writers.grid(expected, 3), 8.0)
