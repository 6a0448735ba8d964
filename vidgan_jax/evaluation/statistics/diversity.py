"""Diversity within a class, which an inception score does not measure.

There are two measures. MS-SSIM between pairs of clips (Wang, Simoncelli and Bovik 2003; used for
diversity by Odena, Olah and Shlens 2017) is lower for more diverse clips. The distance between
features is higher for more diverse clips. Compare either with real clips of the same class, at the
same resolution, length and number of pairs.
"""

from collections.abc import Sequence

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_features, as_labels
from vidgan_jax.runtime.errors import UserError

_WEIGHTS = np.array(
  [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
)  # exponents of the scales, finest first
_WINDOW = 11
_SIGMA = 1.5
_K = (0.01, 0.03)  # K1 and K2 of the paper
_LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601
_ROWS = 1024


def _smooth(x):
  """Gaussian filter without padding, [n, H, W, C] -> [n, H - 10, W - 10, C]."""
  offsets = np.arange(_WINDOW) - _WINDOW // 2
  kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
  kernel /= kernel.sum()
  height, width = x.shape[1] - _WINDOW + 1, x.shape[2] - _WINDOW + 1
  x = sum(w * x[:, i : i + height] for i, w in enumerate(kernel))
  return sum(w * x[:, :, i : i + width] for i, w in enumerate(kernel))


def _halve(x):
  """Halves the resolution by means of 2 x 2 pixels; drops an odd last row or column."""
  height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
  x = x[:, :height, :width]
  return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def _check_clips(clips, what="clips"):
  clips = np.asarray(clips)
  if clips.ndim != 5 or clips.shape[-1] not in (1, 3) or clips.shape[1] < 1:
    raise UserError(f"{what} must have shape [N, T, H, W, 1 or 3], got {list(clips.shape)}")
  if min(clips.shape[2:4]) < _WINDOW:
    raise UserError(f"MS-SSIM needs frames of at least {_WINDOW} pixels, got {clips.shape[2:4]}")
  return clips


def scales_of(height: int, width: int) -> int:
  """Number of MS-SSIM scales that fit, at most 5: the shorter side stays at least 11 pixels."""
  return max(1, min(5, int(np.log2(min(height, width) / _WINDOW)) + 1))


def ms_ssim(a: np.ndarray, b: np.ndarray, *, peak: float = 255.0, grey: bool = False) -> np.ndarray:
  """Multi-scale structural similarity of pairs of clips, averaged over frames.

  The original has five scales and needs frames of 176 pixels. Smaller frames use as many scales as
  fit (3 at 64 pixels), with weights rescaled to add up to 1, so values are comparable only at one
  resolution. A negative similarity at one scale counts as 0. Colour channels are compared
  separately and averaged.

  Args:
    a: [N, T, H, W, C], C 1 or 3, uint8 or any real type.
    b: the same shape.
    peak: the range of the values.
    grey: compares the luma of Rec. 601 instead of the colour channels.

  Returns:
    float64 [N], mean over frames and channels; 1 for equal clips.

  Raises:
    UserError: the shapes are wrong, or frames have fewer than 11 pixels.
  """
  a, b = _check_clips(a), _check_clips(b)
  if a.shape != b.shape:
    raise UserError(f"clips of shapes {list(a.shape)} and {list(b.shape)} cannot be compared")
  count, frames = a.shape[:2]
  a, b = (x.reshape(-1, *x.shape[2:]).astype(np.float64) for x in (a, b))
  if not (np.isfinite(a).all() and np.isfinite(b).all()):
    raise UserError("clips hold values that are not finite")
  if grey and a.shape[-1] == 3:
    a, b = (a @ _LUMA)[..., None], (b @ _LUMA)[..., None]
  scales = scales_of(*a.shape[1:3])
  weights = _WEIGHTS[:scales] / _WEIGHTS[:scales].sum()
  c1, c2 = ((k * peak) ** 2 for k in _K)
  similarity = np.ones((len(a), a.shape[-1]))
  for scale, weight in enumerate(weights):
    if scale:
      a, b = _halve(a), _halve(b)
    mean_a, mean_b = _smooth(a), _smooth(b)
    variances = _smooth(a * a) - mean_a**2 + _smooth(b * b) - mean_b**2
    parts = (2 * (_smooth(a * b) - mean_a * mean_b) + c2) / (variances + c2)
    if scale == scales - 1:
      parts = parts * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    similarity = similarity * np.maximum(parts.mean(axis=(1, 2)), 0.0) ** weight
  return similarity.mean(axis=1).reshape(count, frames).mean(axis=1)


def draw_pairs(count: int, pairs: int, seed: int | Sequence[int]) -> np.ndarray:
  """Draws unordered pairs of different samples without repetition.

  Args:
    count: number of samples, at least 2.
    pairs: number of pairs. If there are fewer, all pairs are returned.
    seed: an integer, or a sequence of integers.

  Returns:
    int64 [pairs, 2], indices of samples.

  Raises:
    UserError: `count` is below 2, or `pairs` is below 1.
  """
  if count < 2:
    raise UserError(f"pairs need at least 2 samples, got {count}")
  if pairs < 1:
    raise UserError(f"pairs must be at least 1, not {pairs}")
  total = count * (count - 1) // 2
  chosen = np.arange(total)
  if pairs < total:
    chosen = np.random.default_rng(seed).choice(total, pairs, replace=False)
  # The pair (i, j) with i < j has the index j (j - 1) / 2 + i.
  second = np.floor((1 + np.sqrt(1 + 8.0 * chosen)) / 2).astype(np.int64)
  second -= second * (second - 1) // 2 > chosen  # corrects a square root that was rounded up
  return np.stack([chosen - second * (second - 1) // 2, second], axis=1)


def _members(labels, count):
  """{class: indices of its samples}, in ascending order of classes."""
  labels = as_labels(labels, count)
  if count and labels.min() < 0:
    raise UserError("labels must not be negative")
  return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}


def ms_ssim_by_class(
  clips: np.ndarray,
  labels: np.ndarray,
  pairs: int = 100,
  seed: int = 0,
  *,
  peak: float = 255.0,
  grey: bool = False,
) -> dict[int, float]:
  """Mean MS-SSIM of pairs of clips within each class.

  Args:
    clips: [N, T, H, W, C], see `ms_ssim`.
    labels: integers [N].
    pairs: largest number of pairs per class, drawn without replacement.
    seed: seed of the pairs.
    peak, grey: see `ms_ssim`.

  Returns:
    {class: mean similarity}, in ascending order of classes.

  Raises:
    UserError: a class has only one clip, or see `ms_ssim`.
  """
  clips = _check_clips(clips)
  means = {}
  for label, members in _members(labels, len(clips)).items():
    if len(members) < 2:
      raise UserError(f"class {label} has only one clip; its diversity needs at least 2")
    chosen = members[draw_pairs(len(members), pairs, [seed, label])]
    values = [ms_ssim(clips[i : i + 1], clips[j : j + 1], peak=peak, grey=grey) for i, j in chosen]
    means[label] = float(np.mean(values))
  return means


def mean_distance(features: np.ndarray) -> float:
  """Mean Euclidean distance over all pairs of different samples.

  Args:
    features: [N, d], N at least 2.

  Raises:
    UserError: see `moments.as_features`.
  """
  x = as_features(features, minimum=2)
  x = x - x.mean(axis=0)
  squares, total = np.einsum("nd,nd->n", x, x), 0.0
  for begin in range(0, len(x), _ROWS):
    rows = slice(begin, begin + _ROWS)
    distances = squares[rows, None] + squares - 2.0 * (x[rows] @ x.T)
    indices = np.arange(len(distances))
    distances[indices, indices + begin] = 0.0
    total += np.sqrt(np.maximum(distances, 0.0)).sum()
  return float(total / (len(x) * (len(x) - 1)))


def mean_within_classes(features: np.ndarray, labels: np.ndarray) -> float | None:
  """Mean of `mean_distance` over classes with at least two samples; None if there is no such class.

  Args:
    features: [N, d].
    labels: integers [N].

  Raises:
    UserError: see `moments.as_features`.
  """
  labels = np.asarray(labels)
  distances = [
    mean_distance(features[labels == label])
    for label in np.unique(labels)
    if np.sum(labels == label) > 1
  ]
  return float(np.mean(distances)) if distances else None
