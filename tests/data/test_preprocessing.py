"""Windows, strides, crops, flips and reversals, on a video whose pixels are their coordinates."""

import numpy as np
import pytest

from vidgan_jax.data.preprocessing import (
  Crop,
  HorizontalFlip,
  Resize,
  TemporalReversal,
  View,
  Window,
)
from vidgan_jax.runtime.errors import UserError


def generator(seed):
  return np.random.default_rng(seed)


def test_windows_cover_every_start_evenly():
  starts = []
  for seed in range(400):
    frames = Window(4, stride=3)(View(range(16), 8, 8), generator(seed)).frames
    assert len(frames) == 4 and frames.step == 3 and frames[-1] <= 15
    starts.append(frames.start)
  counts = np.bincount(starts)
  assert len(counts) == 5 and counts.min() > 50  # a window covers 12 of the 16 frames


def test_crops_cover_every_place_and_the_middle_is_the_middle():
  view = View(range(1), 8, 11)
  crops = [Crop(8)(view, generator(seed)) for seed in range(100)]
  assert {(crop.top, crop.left, crop.side) for crop in crops} == {(0, i, 8) for i in range(4)}
  assert Crop(8, "center")(view, None)[5:8] == (0, 1, 8)
  assert Crop(6)(View(range(1), 9, 6), generator(0)).left == 0


@pytest.mark.parametrize("operation", [HorizontalFlip(), TemporalReversal()])
def test_half_of_the_examples_are_turned(operation):
  view = View(range(4), 8, 8)
  turned = [operation(view, generator(seed)) != view for seed in range(400)]
  assert 150 < sum(turned) < 250
  back = next(v for v in (operation(view, generator(s)) for s in range(9)) if v != view)
  assert back == (view._replace(flip=True) if back.flip else view._replace(frames=range(3, -1, -1)))


@pytest.mark.parametrize(
  ("stored", "wanted", "reducible", "expected"),
  [
    ((64, 85), 64, True, (64, 85, 1, False)),
    ((256, 340), 64, True, (64, 85, 4, False)),
    ((257, 340), 64, True, (64, 84, 4, True)),
    ((340, 256), 128, True, (170, 128, 2, False)),
    ((240, 320), 64, True, (64, 85, 2, True)),
    ((256, 340), 64, False, (64, 85, 1, True)),
    ((1024, 1024), 64, True, (64, 64, 8, True)),
  ],
)
def test_what_is_larger_is_reduced_by_the_decoder_and_then_resized(
  stored, wanted, reducible, expected
):
  view = Resize(wanted, reducible)(View(range(1), *stored))
  assert (view.height, view.width, view.ratio, view.resized) == expected


def test_what_is_smaller_is_refused():
  with pytest.raises(UserError, match="63x90 pixels are smaller than 64"):
    Resize(64)(View(range(1), 63, 90))
  with pytest.raises(UserError, match="unknown crop 'left', known are: random, center"):
    Crop(8, "left")
  with pytest.raises(UserError, match="at least 1, not 3 and 0"):
    Window(3, 0)
