"""Spectra of images with known spectra, and of blurred clips."""

import numpy as np
import pytest

from vidgan_jax.analysis.samples import power_spectrum
from vidgan_jax.runtime.errors import UserError


@pytest.fixture
def rng():
  return np.random.default_rng(5)


@pytest.mark.parametrize("size", [32, 33])
def test_white_noise_is_flat_at_its_variance(rng, size):
  images = 0.3 * rng.normal(size=(400, size, size))
  spectrum = power_spectrum.radial_average(power_spectrum.power(images)).mean(0)
  assert spectrum.shape == (size // 2 + 1,)
  np.testing.assert_allclose(spectrum[2:], 0.09, rtol=0.05)
  np.testing.assert_allclose(spectrum.mean(), 0.09, rtol=0.05)


@pytest.mark.parametrize(("fx", "fy", "ring"), [(5, 0, 5), (0, 7, 7), (3, 4, 5), (0, 0, 0)])
def test_a_wave_is_in_one_ring(fx, fy, ring):
  y, x = np.mgrid[:32, :32]
  wave = np.cos(2 * np.pi * (fx * x + fy * y) / 32)[None]
  spectrum = power_spectrum.radial_average(power_spectrum.power(wave))[0]
  assert spectrum[ring] > 0.1
  assert np.all(np.delete(spectrum, ring) < 1e-20)


def test_the_sum_of_the_spectrum_is_the_energy(rng):
  images = rng.uniform(size=(3, 24, 24))
  spectra = power_spectrum.power(images)
  np.testing.assert_allclose(spectra.sum((1, 2)), np.square(images).sum((1, 2)), rtol=1e-12)
  # Averages times ring sizes, plus the corners outside the rings, are the whole energy.
  rings = power_spectrum.radii(24)
  average = power_spectrum.radial_average(spectra)
  inside = average @ np.bincount(rings.ravel())[:13]
  corners = spectra[:, rings > 12].sum(1)
  np.testing.assert_allclose(inside + corners, np.square(images).sum((1, 2)), rtol=1e-12)


def test_a_ring_by_hand(rng):
  (image,) = images = rng.uniform(size=(1, 8, 8))
  total, number = 0.0, 0
  for ky in range(-4, 4):
    for kx in range(-4, 4):
      if round(float(np.hypot(kx, ky))) == 3:
        waves = np.exp(-2j * np.pi * (ky * np.arange(8)[:, None] + kx * np.arange(8)) / 8)
        total, number = total + abs(np.sum(image * waves)) ** 2 / 64, number + 1
  spectrum = power_spectrum.radial_average(power_spectrum.power(images))[0]
  assert spectrum[3] == pytest.approx(total / number, rel=1e-12)


def test_luma():
  pixels = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
  np.testing.assert_allclose(power_spectrum.luma(pixels), [0.299, 0.587, 0.114, 1.0], rtol=1e-12)


def test_frames_of_the_paper_as_far_as_clips_have_them():
  assert power_spectrum.chosen_frames(50) == [1, 10, 25, 50]
  assert power_spectrum.chosen_frames(48) == [1, 10, 25]
  assert power_spectrum.chosen_frames(6) == [1, 6]
  assert power_spectrum.chosen_frames(1) == [1]


def test_sets_are_disjoint_and_do_not_depend_on_blocks(rng):
  clips = rng.integers(0, 256, size=(10, 3, 8, 8, 3), dtype=np.uint8)
  means = []
  for step in (1, 4, 10):
    spectra = power_spectrum.Spectra(10, [1, 3])
    for begin in range(0, 10, step):
      spectra.add(clips[begin : begin + step])
    means.append(spectra.means())
  np.testing.assert_allclose(means[1], means[0], rtol=1e-12)
  np.testing.assert_allclose(means[2], means[0], rtol=1e-12)
  middle = power_spectrum.luma(clips[4:7, 2])  # clips 4 to 6 of 10 are the second set
  expected = power_spectrum.radial_average(power_spectrum.power(middle)).mean(0)
  np.testing.assert_allclose(means[0][1, 1], expected, rtol=1e-12)
  with pytest.raises(UserError, match="2 clips do not make 3 disjoint sets"):
    power_spectrum.Spectra(2, [1])


def test_blur_in_decibels(rng):
  sharp = np.abs(rng.normal(size=(3, 2, 17))) + 1
  blurred = sharp.copy()
  blurred[:, 1, 9:] /= 10
  first, last = power_spectrum.compare(sharp, blurred, [1, 50])
  assert first["high_frequency_db"] == pytest.approx(0)
  assert last["high_frequency_db"] == pytest.approx(-10)
  np.testing.assert_allclose(first["real"]["mean"], sharp[:, 0].mean(0))
  np.testing.assert_allclose(first["real"]["std"], sharp[:, 0].std(0, ddof=1))
  assert power_spectrum.compare(sharp, 0 * sharp, [1])[0]["high_frequency_db"] is None
