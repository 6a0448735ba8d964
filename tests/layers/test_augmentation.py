"""Differentiable augmentation: ranges, the same for all frames, its own for each clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers import augmentation
from vidgan_jax.runtime.errors import UserError

BATCH, FRAMES, SIZE = 64, 3, 16


@pytest.fixture
def clips(normal):
  """[64, 3, 16, 16, 3] without zeros."""
  return normal((BATCH, FRAMES, SIZE, SIZE, 3)) + 5


@pytest.mark.parametrize("kind", augmentation.KINDS)
def test_all_frames_of_a_clip_are_transformed_alike(clips, kind):
  frozen = np.repeat(clips[:, :1], FRAMES, axis=1).astype(np.float32)
  out = np.asarray(augmentation.augment(jax.random.key(0), frozen, (kind,)))
  np.testing.assert_allclose(out, np.repeat(out[:, :1], FRAMES, axis=1), rtol=1e-6)
  same = np.repeat(frozen[:1], BATCH, axis=0)  # one clip, 64 times
  out = np.asarray(augmentation.augment(jax.random.key(0), same, (kind,)))
  assert len(np.unique(out.reshape(BATCH, -1), axis=0)) > 20


def test_colour_is_brightness_then_saturation_then_contrast(x64, clips):
  """The factors are recovered from the result, clip by clip."""
  out = np.asarray(augmentation.colour(jax.random.key(1), clips))
  brightness, saturation, contrast = [], [], []
  for clip, seen in zip(clips, out, strict=True):
    brightness.append(seen.mean() - clip.mean())  # the others leave the mean of the clip
    grey, grey_seen = clip.mean(-1, keepdims=True), seen.mean(-1, keepdims=True)
    both = np.vdot(clip - grey, seen - grey_seen) / np.vdot(clip - grey, clip - grey)
    contrast.append((grey_seen - seen.mean()).std() / (grey - clip.mean()).std())
    saturation.append(both / contrast[-1])
    expected = grey + (clip + brightness[-1] - grey - brightness[-1]) * saturation[-1]
    expected = clip.mean() + (expected - clip.mean()) * contrast[-1] + brightness[-1]
    np.testing.assert_allclose(seen, expected, rtol=1e-9)
  for values, low, high in (brightness, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5):
    assert low <= min(values) < low + 0.2 * (high - low)
    assert high - 0.2 * (high - low) < max(values) <= high


def test_translations_are_up_to_an_eighth_and_uncover_zeros(clips):
  out = np.asarray(augmentation.translation(jax.random.key(2), clips.astype(np.float32)))
  shifts = set()
  for clip, seen in zip(clips.astype(np.float32), out, strict=True):
    padded = np.pad(clip, [(0, 0), (2, 2), (2, 2), (0, 0)])
    window = lambda y, x, padded=padded: padded[:, 2 - y : 18 - y, 2 - x : 18 - x]
    found = [
      (y, x) for y in range(-2, 3) for x in range(-2, 3) if np.array_equal(window(y, x), seen)
    ]
    assert len(found) == 1
    shifts.add(found[0])
  assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(-2, 3))


def test_cutouts_are_squares_of_half_of_the_size(clips):
  out = np.asarray(augmentation.cutout(jax.random.key(3), clips.astype(np.float32)))
  centres = []
  for clip, seen in zip(clips.astype(np.float32), out, strict=True):
    gone = np.all(seen == 0, axis=(0, 3))
    assert np.array_equal(np.where(gone[None, :, :, None], 0, clip), seen)
    rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
    assert gone.sum() == len(rows) * len(columns)  # a rectangle
    assert 4 <= len(rows) <= 8 and 4 <= len(columns) <= 8  # at the border, half is outside
    centres.append(len(rows) == len(columns) == 8)
  assert any(centres)


def test_gradients_pass_through_all_transformations(x64, normal, assert_gradient):
  key = jax.random.key(4)
  kinds = tuple(augmentation.KINDS)
  run = lambda clips: jnp.sum(jnp.sin(augmentation.augment(key, clips, kinds)))
  assert_gradient(run, (normal((2, 2, 8, 8, 3)),))


def test_unknown_transformations_are_refused(clips):
  with pytest.raises(UserError, match="unknown augmentation 'blur'; known: colour, translation"):
    augmentation.augment(jax.random.key(0), clips, ("blur",))
