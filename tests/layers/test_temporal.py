import itertools

import jax
import numpy as np
import pytest

from vidgan_jax.layers.temporal import downsample, sample_frames
from vidgan_jax.runtime.errors import UserError


def numbered(batch, frames):
  """Clips of one pixel, whose value encodes the numbers of its clip and frame."""
  clip, frame = np.meshgrid(np.arange(batch), np.arange(frames), indexing="ij")
  return np.stack([clip, frame], -1).reshape(batch, frames, 1, 1, 2).astype(np.float32)


def within(counts, expected):
  """Whether counts of independent draws are within 5 standard deviations of `expected`."""
  return np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_sampled_frames_are_uniform_without_replacement():
  batch, frames, count = 12_000, 5, 3
  cut = np.asarray(
    jax.jit(sample_frames, static_argnums=2)(jax.random.key(3), numbered(batch, frames), count)
  )
  assert cut.shape == (batch, count, 1, 1, 2)
  np.testing.assert_array_equal(cut[:, :, 0, 0, 0], np.arange(batch)[:, None].repeat(count, 1))
  chosen = cut[:, :, 0, 0, 1].astype(int)
  assert np.all(np.diff(chosen, axis=1) > 0), "distinct and in order of time"
  assert within(np.bincount(chosen.ravel()), batch * count / frames)
  # All 10 choices of 3 out of 5 are equally likely: chi-square test with 9 degrees of freedom.
  subsets = list(itertools.combinations(range(frames), count))
  tally = np.array([np.sum(np.all(chosen == subset, axis=1)) for subset in subsets])
  expected = batch / len(subsets)
  assert tally.sum() == batch and np.sum((tally - expected) ** 2 / expected) < 35
  # Clips choose independently: neighbours agree as often as by chance.
  agree = np.sum(np.all(chosen[::2] == chosen[1::2], axis=1))
  assert within(agree, batch / 2 / len(subsets))


def test_sampling_all_frames_keeps_the_clip_and_more_is_refused():
  clips = numbered(3, 4)
  np.testing.assert_array_equal(sample_frames(jax.random.key(0), clips, 4), clips)
  with pytest.raises(UserError, match="cannot sample 5 frames without replacement from clips of 4"):
    sample_frames(jax.random.key(0), clips, 5)


def test_sampling_depends_on_its_key():
  cut = jax.jit(lambda key: sample_frames(key, numbered(64, 6), 2))
  first, again, other = (np.asarray(cut(jax.random.key(seed))) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)


def test_downsampling_by_means_equals_numpy(x64, normal, reference, assert_close):
  clips, key = normal((2, 3, 8, 10, 3)), jax.random.key(0)
  assert_close(downsample(key, clips, "identity"), clips)
  assert_close(downsample(key, clips, "pool2"), reference.average(clips, (2, 2)))
  assert_close(downsample(key, clips, "pool4"), reference.average(clips, (4, 4)))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 4)])
def test_half_crops_move_over_all_corners_and_stand_still_in_time(height, width):
  """Pixels encode their clip, frame, row and column, so that a crop shows its position."""
  batch, frames = 1800, 3
  axes = [np.arange(size) for size in (batch, frames, height, width)]
  clips = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
  cut = np.asarray(jax.jit(downsample, static_argnums=2)(jax.random.key(5), clips, "half_crop"))
  assert cut.shape == (batch, frames, height // 2, width // 2, 4)
  corners = cut[:, 0, 0, 0, 2:].astype(int)
  places = [range(height - height // 2 + 1), range(width - width // 2 + 1)]
  tally = [np.sum(np.all(corners == corner, axis=1)) for corner in itertools.product(*places)]
  assert sum(tally) == batch and within(np.array(tally), batch / len(tally))
  for clip in range(0, batch, 100):
    row, column = corners[clip]
    window = clips[clip, :, row : row + height // 2, column : column + width // 2]
    np.testing.assert_array_equal(cut[clip], window)
  # Each clip has a separate window.
  assert within(np.sum(np.all(corners[::2] == corners[1::2], axis=1)), batch / 2 / len(tally))


def test_unknown_downsampling_is_refused():
  with pytest.raises(
    UserError, match="unknown downsampling 'pool3'; known: identity, pool2, pool4, half_crop"
  ):
    downsample(jax.random.key(0), np.zeros((1, 2, 4, 4, 3), np.float32), "pool3")
