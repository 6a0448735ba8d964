"""What the controls change in clips, and what they do not change."""

import numpy as np
import pytest
import scipy.ndimage

from vidgan_jax.evaluation.statistics import controls
from vidgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def clips():
  return np.random.default_rng(0).integers(0, 256, (6, 5, 16, 12, 3), dtype=np.uint8)


def all_controls(clips, seed=0, first=0):
  for name in controls.MOTIONS:
    yield name, controls.apply(name, clips, None, seed, first)
  for name, strengths in controls.LADDERS.items():
    for strength in strengths:
      yield f"{name} {strength}", controls.apply(name, clips, strength, seed, first)


def test_blocks_seeds_and_inputs(clips):
  """Blocks give the same as all clips at once; only random controls depend on the seed."""
  before = clips.copy()
  whole, other = dict(all_controls(clips)), dict(all_controls(clips, seed=1))
  head, tail = dict(all_controls(clips[:2])), dict(all_controls(clips[2:], first=2))
  for name, value in whole.items():
    assert value.dtype == np.uint8 and value.shape == clips.shape
    assert not np.array_equal(value, clips), name
    np.testing.assert_array_equal(np.concatenate([head[name], tail[name]]), value)
    is_random = name.split()[0] in ("frozen", "shuffled", "noise")
    assert np.array_equal(value, other[name]) != is_random, name
  np.testing.assert_array_equal(clips, before)


def test_motion(clips):
  still = controls.frozen(clips)
  assert np.all(still == still[:, :1])
  assert all(
    any(np.array_equal(s[0], f) for f in clip) for s, clip in zip(still, clips, strict=True)
  )
  np.testing.assert_array_equal(controls.frozen(clips, frame=2)[:, 4], clips[:, 2])
  np.testing.assert_array_equal(controls.reversed_(clips)[:, 1], clips[:, 3])
  two = clips[:, :2]
  np.testing.assert_array_equal(controls.shuffled(two), two[:, ::-1])  # the only other order
  mixed = controls.shuffled(clips)
  key = lambda clip: sorted(frame.tobytes() for frame in clip)
  assert all(key(a) == key(b) for a, b in zip(mixed, clips, strict=True))


def test_noise():
  grey = np.full((4, 4, 32, 32, 3), 128, np.uint8)
  difference = controls.noise(grey, 8.0).astype(float) - 128
  assert abs(difference.mean()) < 0.2
  assert not np.array_equal(difference[0], difference[1])  # the noise of clips is independent
  assert difference.std() == pytest.approx(np.sqrt(64 + 1 / 12), rel=0.02)
  white = controls.noise(np.full_like(grey, 255), 50.0)
  assert white.max() == 255 and np.mean(white == 255) == pytest.approx(0.5, abs=0.02)
  np.testing.assert_array_equal(controls.noise(grey, 0.0), grey)


@pytest.mark.parametrize("sigma", [0.5, 1.3, 6.0])
def test_blur(clips, sigma):
  expected = scipy.ndimage.gaussian_filter(clips.astype(float), [0, 0, sigma, sigma, 0])
  difference = np.abs(controls.blur(clips, sigma).astype(float) - expected)
  assert difference.max() <= 0.5 + 1e-9
  np.testing.assert_array_equal(controls.blur(clips, 0), clips)


def test_ladders_are_ordered():
  """On smooth clips, mean errors increase along every ladder."""
  random = np.random.default_rng(1).standard_normal((3, 2, 32, 32, 3))
  smooth = scipy.ndimage.gaussian_filter(random, [0, 0, 1.5, 1.5, 0])
  clips = np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8)
  for name, strengths in controls.LADDERS.items():
    errors = [np.abs(controls.apply(name, clips, s) * 1.0 - clips).mean() for s in strengths]
    assert np.all(np.diff([0.0, *errors]) > 0), (name, errors)


def test_without_classes(clips):
  labels = np.array([0, 1, 2, 0, 1, 2])
  remaining, remaining_labels = controls.without_classes(clips, labels, [1], refill=False)
  np.testing.assert_array_equal(remaining, clips[[0, 2, 3, 5]])
  np.testing.assert_array_equal(remaining_labels, [0, 2, 0, 2])
  filled, filled_labels = controls.without_classes(clips, labels, [0, 1])
  assert len(filled) == 6 and set(filled_labels) == {2}
  counts = [sum(np.array_equal(f, clips[i]) for f in filled) for i in (2, 5)]
  assert counts == [3, 3]
  np.testing.assert_array_equal(filled[[2, 5]], clips[[2, 5]])
  same, _ = controls.without_classes(clips, labels, [])
  np.testing.assert_array_equal(same, clips)


def test_refusals(clips):
  labels = np.zeros(6, int)
  for call, message in (
    (lambda: controls.frozen(clips / 255), "uint8"),
    (lambda: controls.frozen(clips[0]), "uint8"),
    (lambda: controls.frozen(clips, frame=5), "no frame 5"),
    (lambda: controls.shuffled(clips[:, :1]), "one frame"),
    (lambda: controls.noise(clips, -1), "noise"),
    (lambda: controls.blur(clips, float("nan")), "blur"),
    (lambda: controls.jpeg(clips, 0), "quality"),
    (lambda: controls.without_classes(clips, labels, [1]), "class 1 does not occur"),
    (lambda: controls.without_classes(clips, labels, [0]), "no clips remain"),
    (lambda: controls.without_classes(clips, labels[:3], [0]), "one per sample"),
    (lambda: controls.apply("fog", clips), "unknown control"),
    (lambda: controls.apply("noise", clips), "takes a strength"),
    (lambda: controls.apply("frozen", clips, 3), "takes no strength"),
  ):
    with pytest.raises(UserError, match=message):
      call()
