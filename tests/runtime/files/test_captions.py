"""Names above clips."""

import numpy as np
import pytest

from vidgan_jax.runtime.files import captions


def pixels(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_the_clips_are_unchanged_below_their_names():
  clips = pixels(3, 2, 8, 64, 3)
  drawn = captions.captioned(clips, ["disk", "square", "disk"])
  np.testing.assert_array_equal(drawn[:, :, captions.HEIGHT :], clips)
  bars = drawn[:, :, : captions.HEIGHT]
  np.testing.assert_array_equal(bars[0], bars[2])
  assert not np.array_equal(bars[0, 0], bars[1, 0])
  np.testing.assert_array_equal(bars[:, 0], bars[:, 1])
  np.testing.assert_array_equal(captions.captioned(clips, ["a"] * 3)[:, 0, :18, :, :], bars_of("a"))


def test_a_name_goes_on_above_the_frames_beside_it():
  clips, name = pixels(1, 4, 8, 30, 3), "triangle_horizontal"
  bars = captions.captioned(clips, [name], gap=2)[0, :, : captions.HEIGHT]
  whole = captions._bar(name, 4 * 32)
  seen = whole.reshape(18, 4, 32, 3)[:, :, :30]  # without the gaps
  np.testing.assert_array_equal(np.concatenate(bars, axis=1), seen.reshape(18, 120, 3))
  assert bars[1].max() > 128 and np.all(bars[3][:, -2:] == captions._BAR)


def bars_of(name):
  return np.stack([captions._bar(name, 64)] * 3)


@pytest.mark.parametrize(
  "name", ["a" * 500, "\u0642\u0641\u0632", "<script>", "a\nb", "\ud800", ""]
)
def test_any_name_stays_within_its_bar(name):
  bar = captions._bar(name, 64)
  assert bar.shape == (captions.HEIGHT, 64, 3)
  assert np.all(bar[:, -2:] == captions._BAR), "cut off at the edge"
  assert (bar.max() > 128) == bool(name)


def test_scripts_have_letters_of_their_own():
  """A font without Arabic would draw the same box for each letter."""
  first, second = (captions._bar(name, 64) for name in ("\u0642", "\u0632"))
  assert not np.array_equal(first, second)


def test_enlarging():
  clips = pixels(2, 3, 4, 5, 3)
  large = captions.enlarged(clips, 3)
  assert large.shape == (2, 3, 12, 15, 3)
  np.testing.assert_array_equal(large[:, :, 1::3, 2::3], clips)
  assert captions.scale_of(32, 4, 4) == 4
  assert captions.scale_of(256, 4, 4) == 1
  assert captions.scale_of(8, 1, 100) == 2
  for side, columns, rows in ((32, 4, 30), (36, 6, 40), (16, 20, 20), (100, 8, 8)):
    scale = captions.scale_of(side, columns, rows)
    assert max(columns * (scale * side + 4), rows * (scale * side + 4 + 18)) <= 4096
