"""Resizing equals cases computed by hand, and independent loops in float64."""

import math

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.evaluation.features import preprocessing, resizing


def row(values, new, method):
  """One row of pixels resized to `new` of them."""
  image = np.asarray(values, np.float32)[None, :, None]
  return np.asarray(resizing.resize(image, (1, new), method))[0, :, 0]


@pytest.mark.parametrize(
  ("method", "values", "new", "expected"),
  [
    # src = dst * 2/4: 0, 0.5, 1, 1.5 (positions beyond the last pixel take the last pixel)
    ("tf1", [0, 10], 4, [0, 5, 10, 10]),
    ("tf1", [0, 10, 20, 40], 2, [0, 20]),  # every second pixel, without averaging
    ("tf1", [0, 3, 9], 2, [0, 6]),  # src = 0, 1.5
    # src = dst * 1/3
    ("align_corners", [0, 9], 4, [0, 3, 6, 9]),
    ("align_corners", [1, 2, 30, 4], 2, [1, 4]),  # the two corners
    # src = (dst + 1/2)/2 - 1/2: -0.25 (0), 0.25, 0.75, 1.25 (1)
    ("half_pixel", [0, 8], 4, [0, 2, 6, 8]),
    ("half_pixel", [0, 10, 20, 40], 2, [5, 30]),
    # src 0.5 between four taps: weights -3/32, 19/32, 19/32, -3/32 for a = -3/4
    ("cubic", [0, 32, 64, 0], 2, [19 * 32 / 32 - 3 * 64 / 32, 19 * 64 / 32 - 3 * 32 / 32]),
    # triangles of half width 2: weights of pixel centres 0.5, 1.5, 2.5 at 1.0: 1.5, 1.5, 0.5 of 3.5
    (
      "antialiased",
      [0, 7, 14, 28],
      2,
      [(7 * 1.5 + 14 * 0.5) / 3.5, 14 * 1.5 / 3.5 + 28 * 1.5 / 3.5 + 1],
    ),
  ],
)
def test_small_cases_by_hand(method, values, new, expected):
  np.testing.assert_allclose(row(values, new, method), expected, atol=1e-5)


def source(method, index, size, new):
  """The input position of output pixel `index`, in float64."""
  if method == "tf1":
    return index * size / new
  if method == "align_corners":
    return index * (size - 1) / (new - 1) if new > 1 else 0.0
  return (index + 0.5) * size / new - 0.5


def taps(method, index, size, new):
  """[(input pixel, weight)] for an output pixel, from the definition."""
  at = source(method, index, size, new)
  if method == "cubic":
    result = []
    for pixel in range(math.floor(at) - 1, math.floor(at) + 3):
      d, a = abs(at - pixel), -0.75
      if d <= 1:
        weight = (a + 2) * d**3 - (a + 3) * d**2 + 1
      else:
        weight = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
      result.append((min(max(pixel, 0), size - 1), weight))
    return result
  if method == "antialiased":
    scale = max(size / new, 1)
    result = [(p, max(0.0, 1 - abs(p - at) / scale)) for p in range(size)]
    total = sum(weight for _, weight in result)
    return [(p, weight / total) for p, weight in result]
  at = min(max(at, 0), size - 1)
  low = math.floor(at)
  return [(low, 1 - (at - low)), (min(low + 1, size - 1), at - low)]


def loop(image, size, method):
  """The resized image, computed pixel by pixel in float64."""
  height, width, channels = image.shape
  result = np.zeros((*size, channels))
  for i in range(size[0]):
    for j in range(size[1]):
      for p, a in taps(method, i, height, size[0]):
        for q, b in taps(method, j, width, size[1]):
          result[i, j] += a * b * image[p, q].astype(np.float64)
  return result


@pytest.mark.parametrize("method", resizing.METHODS)
@pytest.mark.parametrize("sizes", [((6, 9), (14, 5)), ((8, 8), (28, 28)), ((12, 7), (5, 7))])
def test_methods_equal_their_definitions(method, sizes):
  before, after = sizes
  image = np.random.default_rng(3).integers(0, 256, (*before, 3))
  resized = np.asarray(resizing.resize(image, after, method))
  assert resized.dtype == np.float32
  np.testing.assert_allclose(resized, loop(image, after, method), atol=2e-4)


def test_methods_differ_by_more_than_two_grey_levels():
  image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.float32)
  resized = {m: np.asarray(resizing.resize(image, (224, 224), m)) for m in resizing.METHODS}
  for one, other in (("tf1", "half_pixel"), ("tf1", "align_corners"), ("half_pixel", "cubic")):
    assert np.mean(np.abs(resized[one] - resized[other])) > 2


def test_antialiased_equals_pillow():
  image = np.random.default_rng(1).integers(0, 256, (37, 50, 3)).astype(np.uint8)
  pillow = Image.fromarray(image).resize((20, 16), Image.Resampling.BILINEAR)
  resized = np.asarray(resizing.resize(image, (16, 20), "antialiased"))
  assert np.max(np.abs(resized - np.asarray(pillow, np.float32))) <= 1.01  # Pillow rounds twice


def test_leading_axes_and_equal_sizes():
  clips = np.random.default_rng(2).integers(0, 256, (2, 3, 5, 6, 3))
  resized = np.asarray(resizing.resize(clips, (7, 6), "tf1"))
  np.testing.assert_array_equal(resized[1, 2], resizing.resize(clips[1, 2], (7, 6), "tf1"))
  np.testing.assert_array_equal(resizing.resize(clips, (5, 6), "cubic"), clips)


def test_crops():
  image = np.arange(5 * 7).reshape(5, 7, 1)
  np.testing.assert_array_equal(resizing.crop(image, 1, 2, 3, 4), image[1:4, 2:6])
  # An odd margin is larger below and at the right, because of floor((H - h) / 2).
  np.testing.assert_array_equal(resizing.center_crop(image, 2, 4), image[1:3, 1:5])
  with pytest.raises(ValueError, match="no 3x3"):
    resizing.crop(image, 3, 0, 3, 3)


@pytest.fixture
def mean():
  """A mean clip in which each value depends on its frame, row, column and channel."""
  t, h, w, c = np.meshgrid(*map(np.arange, (16, 128, 171, 3)), indexing="ij")
  return (t * 100 + h / 2 + w / 3 + 5 * c).astype(np.float32)


def test_preprocessing_of_tgan(mean):
  """Resize to 128x128 (cubic), BGR, subtract the middle columns of the mean, crop 8..120."""
  from vidgan_jax.evaluation.protocols import registry as protocols

  (metric,) = protocols.get_protocol("tgan_is_c3d").metrics
  clip = np.random.default_rng(5).integers(0, 256, (1, 16, 64, 64, 3)).astype(np.uint8)
  prepared = preprocessing.apply(clip, metric.preprocess, {"mean": mean})
  assert prepared.shape == (1, 16, 112, 112, 3)
  frame, y, x = 7, 20, 90
  for channel in range(3):
    pixel = sum(
      a * b * (clip[0, frame, p, q, 2 - channel] / 127.5 * 128)
      for p, a in taps("cubic", y + 8, 64, 128)
      for q, b in taps("cubic", x + 8, 64, 128)
    )
    expected = pixel - mean[frame, y + 8, 21 + 8 + x, channel]
    np.testing.assert_allclose(prepared[0, frame, y, x, channel], expected, atol=1e-2)


def test_preprocessing_of_tganv2(mean):
  """Resize to 112x112 (aligned corners); the window of the mean begins at row and column 8."""
  from vidgan_jax.evaluation.protocols import registry as protocols

  metric = protocols.get_protocol("tganv2_is_fid_c3d").metrics[0]
  clip = np.random.default_rng(6).integers(0, 256, (1, 16, 192, 192, 3)).astype(np.uint8)
  prepared = preprocessing.apply(clip, metric.preprocess, {"mean": mean})
  frame, y, x = 3, 100, 11
  for channel in range(3):
    pixel = sum(
      a * b * (clip[0, frame, p, q, 2 - channel] / 127.5 * 128)
      for p, a in taps("align_corners", y, 192, 112)
      for q, b in taps("align_corners", x, 192, 112)
    )
    expected = pixel - mean[frame, y + 8, x + 8, channel]
    np.testing.assert_allclose(prepared[0, frame, y, x, channel], expected, atol=1e-2)


# Mean and standard deviation of each channel in torchvision's preset.
R2PLUS1D = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


@pytest.mark.parametrize(
  ("name", "method", "size", "scaled"),
  [
    ("fvd_unterthiner2018", "tf1", 224, lambda x, c: 2 * x / 255 - 1),
    ("recommended", "tf1", 224, lambda x, c: 2 * x / 255 - 1),
    ("dvd_gan_fid_is_k600", "tf1", 224, lambda x, c: 2 * x / 255 - 1),
    ("ssw_gan", "tf1", 224, lambda x, c: 2 * x / 255 - 1),
    ("stylegan_v_fvd2048_16f", "half_pixel", 224, lambda x, c: 2 * x / 255 - 1),
    ("du_r2plus1d", "half_pixel", 112, lambda x, c: (x / 255 - R2PLUS1D[0][c]) / R2PLUS1D[1][c]),
  ],
)
def test_preprocessing_of_other_protocols(name, method, size, scaled):
  from vidgan_jax.evaluation.protocols import registry as protocols

  clip = np.random.default_rng(7).integers(0, 256, (1, 2, 64, 64, 3)).astype(np.uint8)
  for metric in protocols.get_protocol(name).metrics:
    prepared = np.asarray(preprocessing.apply(clip, metric.preprocess))
    assert prepared.shape == (1, 2, size, size, 3)
    for y, x, channel in ((5, size - 2, 0), (size // 3, 18, 1), (size - 1, 50, 2)):
      pixel = sum(
        a * b * clip[0, 1, p, q, channel]
        for p, a in taps(method, y, 64, size)
        for q, b in taps(method, x, 64, size)
      )
      np.testing.assert_allclose(prepared[0, 1, y, x, channel], scaled(pixel, channel), atol=1e-4)


def test_ldvd_gan_has_the_preprocessing_of_tgan():
  from vidgan_jax.evaluation.protocols import registry as protocols

  (tgan,) = protocols.get_protocol("tgan_is_c3d").metrics
  assert {m.preprocess for m in protocols.get_protocol("ldvd_is_fid_c3d").metrics} == {
    tgan.preprocess
  }


def test_preprocessing_of_i3d_returns_minus_one_to_one():
  from vidgan_jax.evaluation.protocols import registry as protocols

  (metric,) = protocols.get_protocol("fvd_unterthiner2018").metrics
  clip = np.stack([np.zeros((9, 4, 4, 3)), np.full((9, 4, 4, 3), 255)]).astype(np.uint8)
  prepared = np.asarray(preprocessing.apply(clip, metric.preprocess))
  assert prepared.shape == (2, 9, 224, 224, 3)
  assert np.ptp(prepared[0]) == 0 and np.ptp(prepared[1]) < 1e-6
  np.testing.assert_allclose((prepared[0].max(), prepared[1].max()), (-1, 1), atol=1e-6)


def test_clips_longer_than_the_mean_are_refused(mean):
  with pytest.raises(ValueError, match="16 frames"):
    preprocessing.apply(
      np.zeros((1, 17, 112, 112, 3), np.uint8), (("subtract_mean", 8, 8),), {"mean": mean}
    )
