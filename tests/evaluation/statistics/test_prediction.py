"""PSNR and SSIM of predicted clips against NumPy in float64."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics import prediction


def clips(seed, shape=(3, 4, 13, 14, 3)):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def psnr_reference(x, y):
  error = np.mean((x.astype(float) - y) ** 2)
  return 10 * np.log10(255**2 / max(error, 1 / 12))


def ssim_reference(x, y):
  """Wang et al. 2004 on one frame [H, W, C], position by position."""
  offsets = np.arange(11) - 5
  window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
  window /= window.sum()
  x, y, values = x.astype(float), y.astype(float), []
  for top in range(x.shape[0] - 10):
    for left in range(x.shape[1] - 10):
      for channel in range(x.shape[2]):
        a, b = (v[top : top + 11, left : left + 11, channel] for v in (x, y))
        mean_a, mean_b = np.sum(window * a), np.sum(window * b)
        var_a, var_b = np.sum(window * (a - mean_a) ** 2), np.sum(window * (b - mean_b) ** 2)
        both = np.sum(window * (a - mean_a) * (b - mean_b))
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append(
          (2 * mean_a * mean_b + c1)
          * (2 * both + c2)
          / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        )
  return np.mean(values)


@pytest.mark.parametrize("given", [1, 2])
def test_both_measures_equal_numpy_and_leave_out_given_frames(given):
  predicted, true = clips(0), clips(1)
  predicted[1] = true[1] // 2 + predicted[1] // 4  # similar
  values = prediction.quality(predicted, true, given)
  for name, measure in (("psnr", psnr_reference), ("ssim", ssim_reference)):
    by_frame = lambda of, against, measure=measure: [
      np.mean([measure(of(n, t), against[n, t]) for t in range(given, 4)]) for n in range(3)
    ]
    own = by_frame(lambda n, t: predicted[n, t], true)
    repeat = by_frame(lambda n, t: true[n, given - 1], true)
    np.testing.assert_allclose(values[name], own, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(values[f"{name}_repeat"], repeat, rtol=2e-5, atol=2e-5)


def test_exact_copies_have_the_largest_values():
  true = clips(1)
  values = prediction.quality(true, true, 1)
  np.testing.assert_allclose(values["ssim"], 1, atol=1e-5)
  np.testing.assert_allclose(values["psnr"], 10 * np.log10(255**2 * 12), rtol=1e-6)


def test_ssim_of_flat_frames_is_stable():
  """Frames of one grey value have no variance; rounding must not become structure."""
  x, y = np.full((1, 16, 16, 3), 250, np.uint8), np.full((1, 16, 16, 3), 240, np.uint8)
  expected = ssim_reference(x[0], y[0])
  np.testing.assert_allclose(prediction.ssim(x, y), [expected], rtol=1e-3)
