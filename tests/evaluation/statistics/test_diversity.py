"""Diversity within classes equals direct computations."""

import numpy as np
import pytest
import scipy.ndimage

from vidgan_jax.evaluation.statistics import diversity
from vidgan_jax.runtime.errors import UserError


def window():
  """SciPy's Gaussian filter kernel, truncated at 5 pixels."""
  spike = np.zeros((11, 11))
  spike[5, 5] = 1
  return scipy.ndimage.gaussian_filter(spike, 1.5, radius=5, mode="constant")


def direct(a, b, weights):
  """MS-SSIM of two grey pictures, window by window."""
  gaussian, values = window() / window().sum(), []
  for scale in range(len(weights)):
    contrast, whole = [], []
    for i in range(a.shape[0] - 10):
      for j in range(a.shape[1] - 10):
        p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
        mp, mq = np.sum(gaussian * p), np.sum(gaussian * q)
        vp, vq = np.sum(gaussian * (p - mp) ** 2), np.sum(gaussian * (q - mq) ** 2)
        covariance = np.sum(gaussian * (p - mp) * (q - mq))
        contrast.append((2 * covariance + 58.5225) / (vp + vq + 58.5225))
        whole.append(contrast[-1] * (2 * mp * mq + 6.5025) / (mp**2 + mq**2 + 6.5025))
    values.append(np.mean(whole if scale == len(weights) - 1 else contrast))
    a, b = (x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2] for x in (a, b))
    a, b = (x.reshape(len(x) // 2, 2, -1, 2).mean((1, 3)) for x in (a, b))
  return np.prod(np.maximum(values, 0) ** np.array(weights))


def pictures(*shape, seed=0):
  """Smooth pictures, so that scales differ."""
  x = np.random.default_rng(seed).standard_normal(shape)
  x = scipy.ndimage.gaussian_filter(x, [0] * (len(shape) - 3) + [2, 2, 0])
  return np.clip(128 + 300 * x, 0, 255).astype(np.uint8)


def test_equals_the_definition():
  """Frames of 47 x 50 pixels (three scales, an odd side), in RGB and in grey."""
  a = pictures(2, 2, 47, 50, 3)
  b = np.clip(a + 20.0 * np.random.default_rng(1).standard_normal(a.shape), 0, 255).astype(np.uint8)
  weights = np.array([0.0448, 0.2856, 0.3001])
  assert diversity.scales_of(47, 50) == 3
  expected = np.mean(
    [
      [
        direct(a[0, t, ..., c] * 1.0, b[0, t, ..., c] * 1.0, weights / weights.sum())
        for c in range(3)
      ]
      for t in range(2)
    ]
  )
  values = diversity.ms_ssim(a, b)
  assert values.shape == (2,) and 0.3 < expected < 0.99
  assert values[0] == pytest.approx(expected, rel=1e-9)
  luma = [x[0, 0] @ [0.299, 0.587, 0.114] for x in (a, b)]
  grey = diversity.ms_ssim(a[:1, :1], b[:1, :1], grey=True)[0]
  assert grey == pytest.approx(direct(*luma, weights / weights.sum()), rel=1e-9)


def test_scales_and_bounds():
  sides = {11: 1, 21: 1, 22: 2, 64: 3, 128: 4, 175: 4, 176: 5, 1000: 5}
  assert {side: diversity.scales_of(side, 2 * side) for side in sides} == sides
  a = pictures(2, 1, 32, 32, 3)
  np.testing.assert_allclose(diversity.ms_ssim(a, a), 1, rtol=1e-12)
  assert np.all(diversity.ms_ssim(a, 255 - a) < 0.3)


def test_by_class():
  """Copies have similarity 1, other clips less; all pairs are used if there are few."""
  varied, copied = pictures(4, 2, 22, 22, 3), np.repeat(pictures(1, 2, 22, 22, 3, seed=9), 3, 0)
  clips, labels = np.concatenate([varied, copied]), np.array([2] * 4 + [5] * 3)
  values = diversity.ms_ssim_by_class(clips, labels)
  assert list(values) == [2, 5] and values[5] == pytest.approx(1, rel=1e-12)
  pairs = [(i, j) for j in range(4) for i in range(j)]
  similarities = [diversity.ms_ssim(varied[[i]], varied[[j]])[0] for i, j in pairs]
  assert values[2] == pytest.approx(np.mean(similarities)) and values[2] < 0.8
  of_two_pairs = diversity.ms_ssim_by_class(clips, labels, pairs=2)
  assert of_two_pairs != values
  assert of_two_pairs == diversity.ms_ssim_by_class(clips, labels, pairs=2)


def test_pairs():
  all_pairs = diversity.draw_pairs(50, 10**6, 0)
  assert {tuple(p) for p in all_pairs} == {(i, j) for j in range(50) for i in range(j)}
  drawn = diversity.draw_pairs(50, 40, 3)
  assert len({tuple(p) for p in drawn}) == 40 and np.all(drawn[:, 0] < drawn[:, 1])


def test_features(monkeypatch):
  monkeypatch.setattr(diversity, "_ROWS", 7)
  x = np.random.default_rng(2).standard_normal((30, 4)) + 3
  pairs = [np.linalg.norm(x[i] - x[j]) for j in range(30) for i in range(j)]
  assert diversity.mean_distance(x) == pytest.approx(np.mean(pairs))


def test_refusals():
  clips = np.zeros((3, 1, 16, 16, 3), np.uint8)
  for call, message in (
    (lambda: diversity.ms_ssim(clips[0], clips[0]), "shape"),
    (lambda: diversity.ms_ssim(clips[:, :, :8], clips[:, :, :8]), "11 pixels"),
    (lambda: diversity.ms_ssim(clips, clips[:2]), "cannot be compared"),
    (lambda: diversity.ms_ssim(clips * np.nan, clips), "not finite"),
    (lambda: diversity.ms_ssim_by_class(clips, [0, 0, 1]), "class 1 has only one"),
    (lambda: diversity.ms_ssim_by_class(clips, [0, 0, -1]), "negative"),
    (lambda: diversity.ms_ssim_by_class(clips, [0, 0, 0], pairs=0), "pairs"),
    (lambda: diversity.draw_pairs(1, 1, 0), "at least 2"),
  ):
    with pytest.raises(UserError, match=message):
      call()
