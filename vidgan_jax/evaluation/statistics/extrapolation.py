"""Values extrapolated to unlimited samples: FVD-infinity and IS-infinity (Chong and Forsyth 2020).

Frechet distances and inception scores of N samples have a bias of c / N, and c depends on the
model, so values of different models are not comparable at any N. These functions compute the value
of subsets of increasing size, fit a + b / N by least squares, and return a.

Subsets share samples, so the scatter about the line underestimates the error of a. The error comes
from complementary halves of the samples instead. Each half is extrapolated separately, and half of
the difference between both is an estimate of the error, see `intervals`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vidgan_jax.evaluation.statistics import resampling
from vidgan_jax.evaluation.statistics.frechet import Gaussian, gaussian_distance
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, ScoreSums, terms_of
from vidgan_jax.evaluation.statistics.moments import as_features, as_pair
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Extrapolation:
  """A line fitted to values as a function of 1 / N.

  Attributes:
    value: the value of the line at 1 / N = 0.
    slope: the slope of the line, which is the bias times N.
    error: standard error of `value`. `extrapolate` computes it from the scatter about the line;
      this is right for independent values, and 0 for two points. The other functions compute it
      from halves, see the module, and give None if no error was requested or there are fewer than
      8 samples.
    counts: int64 [points], the counts N.
    values: float64 [points], the values at these counts.
  """

  value: float
  slope: float
  error: float | None
  counts: np.ndarray
  values: np.ndarray


def extrapolate(values: npt.ArrayLike, counts: npt.ArrayLike) -> Extrapolation:
  """Fits value = a + b / count by least squares.

  Args:
    values: [points].
    counts: [points], positive, at least two different ones.

  Returns:
    `Extrapolation`.

  Raises:
    UserError: the shapes differ, the counts are not as above, or values are not finite.
  """
  values, counts = np.asarray(values, np.float64), np.asarray(counts)
  if values.ndim != 1 or values.shape != counts.shape or len(np.unique(counts)) < 2:
    raise UserError("an extrapolation needs one value for each of at least two counts")
  if not np.isfinite(values).all() or counts.min() <= 0:
    raise UserError("an extrapolation needs finite values and positive counts")
  x = 1.0 / counts
  spread = x - x.mean()
  slope = float(spread @ values / (spread @ spread))
  value = float(values.mean() - slope * x.mean())
  residuals = values - value - slope * x
  variance = residuals @ residuals / max(len(values) - 2, 1)
  error = np.sqrt(variance * (1 / len(values) + x.mean() ** 2 / (spread @ spread)))
  return Extrapolation(value, slope, float(error), counts, values)


def subset_counts(total: int, points: int = 15, smallest: int | None = None) -> np.ndarray:
  """Evenly spaced sizes of subsets; the last one is the whole set.

  Args:
    total: number of samples in the set.
    points: number of sizes, at least 2.
    smallest: the smallest size; None for total / 10 (Chong and Forsyth: 5000 of 50000).

  Returns:
    int64 [points].

  Raises:
    UserError: `points` is below 2, or `smallest` is not in 2 .. total - 1.
  """
  smallest = total // 10 if smallest is None else smallest
  if points < 2 or not 2 <= smallest < total:
    raise UserError(f"a line cannot be fitted to {points} subsets of {smallest} to {total} samples")
  return np.linspace(smallest, total, points).astype(np.int64)


def _subsets(random, order, counts) -> Iterator[np.ndarray]:
  """For each count, that many elements of `order`, drawn without replacement; independent draws."""
  for count in counts:
    yield random.permutation(order)[:count]


def _halves(random, totals, halvings) -> Iterator[list[np.ndarray]]:
  """Splits sets of `totals` samples into halves, `halvings` times.

  Yields:
    for each of 2 `halvings` halves, a list with the indices of its samples in each set. Two
    consecutive halves are complementary.
  """
  for _ in range(halvings):
    weights = [resampling.half_weights(random, total) for total in totals]
    for half in zip(*weights, strict=True):
      yield [np.flatnonzero(weight) for weight in half]


def _error(values, counts) -> float:
  """Standard error from the values of complementary halves, [2 halvings, points]."""
  limits = np.array([extrapolate(half, counts).value for half in values]).reshape(-1, 2)
  return float(np.sqrt(np.mean((limits[:, 0] - limits[:, 1]) ** 2)) / 2)


def _weights(indices, total) -> np.ndarray:
  """Weights [total] of a subset: 1 at `indices`, else 0."""
  weights = np.zeros(total, np.int64)
  weights[indices] = 1
  return weights


def frechet_infinity(
  x: np.ndarray | Gaussian,
  y: np.ndarray,
  points: int = 15,
  smallest: int | None = None,
  seed: int = 0,
  ddof: int = 1,
  *,
  both: bool = False,
  halvings: int = 8,
) -> Extrapolation:
  """Frechet distance extrapolated to unlimited samples.

  Args:
    x: real features [N, d], or a `Gaussian`.
    y: generated features [M, d].
    points: number of subsets.
    smallest: samples in the smallest subset. None for a tenth of the samples, but at least 2 d if
      that is at most half of them: with fewer than 2 d samples, the bias deviates from c / N.
    seed: seed of the subsets; each is drawn independently, without replacement.
    ddof: see `frechet.frechet_distance`.
    both: False takes subsets of the generated samples only, as published. The bias from the count
      of real samples then remains, and the value is too large if there are few. True takes subsets
      of equal count from both sets (at most the count of the smaller set) and removes both biases.
    halvings: number of splits into halves for the error; 0 computes no error.

  Returns:
    `Extrapolation`.

  Raises:
    UserError: there are too few samples, `both` is set and x is a `Gaussian`, or see
      `moments.as_pair`.
  """
  if isinstance(x, Gaussian):
    if both:
      raise UserError("subsets of the real samples need their features, not their moments")
    y = as_features(y, "generated features", minimum=4)
    real, fixed, sets = x, x, [y]
  else:
    real, y = as_pair(x, y, minimum=4)
    fixed = None if both else Gaussian.of_features(real, ddof)
    sets = [y, real] if both else [y]
  total = min(map(len, sets))
  if smallest is None:
    smallest = max(total // 10, min(2 * y.shape[1], total // 2), 2)
  random = np.random.default_rng(seed)
  counts, values = subset_counts(total, points, smallest), []
  for count in counts:
    subsets = [Gaussian.of_features(s[random.permutation(len(s))[:count]], ddof) for s in sets]
    values.append(gaussian_distance(fixed or subsets[1], subsets[0]))
  fit = extrapolate(values, counts)
  error = _frechet_error(real, y, points, smallest, random, ddof, both, halvings)
  return dataclasses.replace(fit, error=error)


def _frechet_error(x, y, points, smallest, random, ddof, both, halvings) -> float | None:
  """Standard error of `frechet_infinity`; None if not requested, or with fewer than 8 samples."""
  fixed = isinstance(x, Gaussian)
  totals = (len(y),) if fixed else (len(x), len(y))
  if not halvings or min(totals) < 8:
    return None
  total = (min(totals) if both else len(y)) // 2
  counts = subset_counts(total, points, max(smallest // 2, 2))

  def pairs():
    for half in _halves(random, totals, halvings):
      subsets_y = _subsets(random, half[-1], counts)
      subsets_x = _subsets(random, half[0], counts) if both else (half[0] for _ in counts)
      for subset_x, subset_y in zip(subsets_x, subsets_y, strict=True):
        yield None if fixed else _weights(subset_x, len(x)), _weights(subset_y, len(y))

  values = resampling.weighted_frechet(x, y, pairs(), ddof)
  return _error(values.reshape(-1, points), counts)


def inception_score_infinity(
  logits: np.ndarray,
  points: int = 15,
  smallest: int | None = None,
  seed: int = 0,
  *,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
  halvings: int = 8,
) -> Extrapolation:
  """Inception score (one split) extrapolated to unlimited samples.

  Args:
    logits: [N, C], see `inception_score.probabilities_of`.
    points, seed, halvings: see `frechet_infinity`.
    smallest: samples in the smallest subset; None for a tenth of the samples.
    kind, epsilon: see `inception_score.terms_of`.

  Returns:
    `Extrapolation`.

  Raises:
    UserError: there are too few samples, or see `inception_score.probabilities_of`.
  """
  epsilon = epsilon or Epsilon()
  p, terms = terms_of(logits, kind, epsilon, minimum=4)
  if smallest is None:
    smallest = max(len(p) // 10, 2)
  random = np.random.default_rng(seed)

  def subset_scores(order, counts):
    scores = []
    for subset in _subsets(random, order, counts):
      sums = ScoreSums(len(subset), p[subset].sum(axis=0), float(terms[subset].sum()), epsilon)
      scores.append(sums.score())
    return scores

  counts = subset_counts(len(p), points, smallest)
  fit, error = extrapolate(subset_scores(np.arange(len(p)), counts), counts), None
  if halvings and len(p) >= 8:
    counts = subset_counts(len(p) // 2, points, max(smallest // 2, 2))
    halves = _halves(random, (len(p),), halvings)
    error = _error([subset_scores(half, counts) for (half,) in halves], counts)
  return dataclasses.replace(fit, error=error)
