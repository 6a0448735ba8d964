import dataclasses

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.prepare import pictures
from vidgan_jax.data.prepare.pictures import ArrayFrame, Geometry, Selection
from vidgan_jax.runtime.files.video_files import VideoError


def picture(height, width, seed=0):
  return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


def area_reference(image, size):
  """The mean over each area, computed with matrices in float64."""
  out = image.astype(np.float64)
  for axis, length in enumerate(size):
    rows = image.shape[axis]
    begin, row = np.arange(length)[:, None] * rows, np.arange(rows) * length
    overlap = np.minimum(begin + rows, row + length) - np.maximum(begin, row)
    weights = np.maximum(overlap, 0) / rows
    out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
  return out


@pytest.mark.parametrize(
  ("before", "after"),
  [((240, 320), (64, 85)), ((45, 33), (32, 44)), ((10, 12), (17, 40)), ((6, 6), (6, 6))],
)
def test_area_is_the_mean_over_each_area(before, after):
  image = picture(*before)
  resized = pictures.resize_area(image, after)
  assert resized.shape == (*after, 3) and resized.dtype == np.uint8
  assert np.abs(resized - area_reference(image, after)).max() <= 0.5 + 1e-9


def test_area_of_whole_factors_is_pillows():
  image = picture(240, 320)
  box = np.asarray(Image.fromarray(image).resize((80, 60), Image.Resampling.BOX))
  # Pillow rounds after each of the two directions.
  assert np.abs(pictures.resize_area(image, (60, 80)).astype(int) - box).max() <= 1


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (99, 161)])
def test_the_smaller_side_becomes_the_resolution(size):
  image = picture(*size)
  small = Geometry(64)(image, size)
  height, width = small.shape[:2]
  assert min(height, width) == 64 and abs(height / width - size[0] / size[1]) < 0.02
  expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
  assert np.abs(small.astype(int) - np.asarray(expected)).max() <= 1
  assert np.array_equal(
    Geometry(64, "area")(image, size), pictures.resize_area(image, (height, width))
  )
  assert Geometry(None)(image, size) is image


def test_both_resizes_average_over_what_they_shrink():
  checkers = np.repeat((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
  for resize in pictures.RESIZES:
    assert np.abs(Geometry(32, resize)(checkers, (256, 256)).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("resize", ["bilinear", "area"])
def test_the_central_square_is_cropped_before_resizing(resize):
  """TGANv2 5.1 and "Lower Dimensional Kernels" 3.1: the central 240x240 of UCF-101's 320x240."""
  image = picture(240, 320)
  cut = Geometry(64, resize, crop=240)(image, (240, 320))
  assert np.array_equal(cut, pictures.RESIZES[resize](image[:, 40:280], (64, 64)))
  assert np.array_equal(Geometry(None, resize, crop=100)(image, (240, 320)), image[70:170, 110:210])
  with pytest.raises(ValueError, match="320x240 pixels, smaller than the crop of 241"):
    Geometry(64, resize, crop=241)(image, (240, 320))


def test_pixels_that_are_not_square_are_made_so_in_one_step():
  image = picture(48, 48)
  assert np.array_equal(
    Geometry(24)(image, (48, 64)),
    Image.fromarray(image).resize((32, 24), Image.Resampling.BILINEAR),
  )
  assert Geometry(24, crop=40)(image, (48, 64)).shape == (24, 24, 3)


@pytest.mark.parametrize("resize", ["bilinear", "area"])
def test_a_size_that_takes_too_much_memory_is_refused_before_resizing(monkeypatch, resize):
  def resized(image, size):
    raise AssertionError(f"resized to {size}")

  monkeypatch.setattr(pictures, "resize_bilinear", resized)
  monkeypatch.setitem(pictures.RESIZES, resize, resized)
  for geometry, size in (
    (Geometry(256, resize), (2, 1_000_000)),
    (Geometry(9000, resize), (9, 9)),
    (Geometry(None, resize), (9000, 9000)),
    (Geometry(4, resize, crop=8), (8, 65501)),
    (Geometry(4, resize, crop=8), (9000, 9000)),
  ):
    with pytest.raises(ValueError, match=r"would have .* the limit is 65500 per side"):
      geometry(picture(2, 2), size)


def select(selection, times, rate):
  frame = ArrayFrame("a.mp4", 0, picture(2, 2), frame_rate=rate)
  frames = [dataclasses.replace(frame, index=i, time=time) for i, time in enumerate(times)]
  return [frame.index for frame in frames if selection.keeps(frame)]


def test_a_stride_keeps_every_nth_frame():
  assert select(Selection(stride=3), [None] * 8, 25.0) == [0, 3, 6]
  assert Selection(stride=3).rate(25.0) == 25.0 / 3
  assert Selection().rate(0.0) == 0.0 and Selection().rate(90000.0) == 0.0


@pytest.mark.parametrize("jitter", [0.0, 0.0005])
@pytest.mark.parametrize(
  ("rate", "target", "expected"),
  [
    (25.0, 12.5, [0, 2, 4, 6, 8, 10]),
    (30.0, 10.0, [0, 3, 6, 9]),
    (30.0, 25.0, [0, 1, 3, 4, 5, 6, 7, 9, 10, 11]),
    (30.0, 30.0, list(range(12))),
    (59.94, 30.0, [0, 2, 4, 6, 8, 10]),
    (5.0, 25.0, list(range(12))),
  ],
)
def test_a_frame_rate_keeps_one_frame_per_period(rate, target, expected, jitter):
  """Even if a container rounds its times."""
  times = [i / rate + (-1) ** i * jitter for i in range(12)]
  assert select(Selection(frame_rate=target), times, rate) == expected
  assert select(Selection(frame_rate=target), [None] * 12, rate) == expected
  assert Selection(frame_rate=target).rate(rate) == min(rate, target)


def test_a_variable_rate_is_taken_by_its_times():
  times = [0, 0.1, 0.2, 0.3, 1.0, 1.05, 1.5, 2.2]
  assert select(Selection(frame_rate=2.0), times, 3.6) == [0, 4, 6, 7]


def test_a_frame_rate_of_an_unknown_one_is_refused():
  with pytest.raises(VideoError, match="its frame rate is unknown"):
    select(Selection(frame_rate=2.0), [None], 0.0)


def test_pictures_come_back():
  image = np.asarray(Image.fromarray(picture(4, 6)).resize((48, 32), Image.Resampling.BICUBIC))
  assert np.array_equal(pictures.decode(pictures.encode(image, None), (32, 48)), image)
  errors = []
  for quality in (100, 95, 50):
    content = pictures.encode(image, quality)
    assert content == pictures.encode(image, quality) and content[:2] == b"\xff\xd8"
    errors.append(np.abs(pictures.decode(content).astype(int) - image).mean())
  assert errors[0] < 2 and errors == sorted(errors)


def test_damaged_and_unexpected_pictures_are_refused():
  content = pictures.encode(picture(32, 48), 95)
  for damaged in (content[: len(content) // 2], b"", b"GIF89a", content[10:]):
    with pytest.raises(ValueError, match="does not decode"):
      pictures.decode(damaged)
  with pytest.raises(ValueError, match="48x32 pixels, not 48x31"):
    pictures.decode(content, (31, 48))
  with pytest.raises(ValueError, match="the limit is 65500"):
    pictures.encode(np.zeros((1, 65501, 3), np.uint8), 95)
