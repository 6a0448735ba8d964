"""Values at unlimited samples: FVD-infinity and IS-infinity (Chong and Forsyth 2020).

The bias of a Frechet distance and of an inception score is c / N and c depends on the model, so
that no count is fair to all. Values of subsets of rising size are fitted by a + b / N; a is given.
"""

import dataclasses

import numpy as np

from vidgan_jax.evaluation.frechet import Gaussian, gaussian_distance
from vidgan_jax.evaluation.inception_score import Epsilon, ScoreSums, terms_of
from vidgan_jax.evaluation.moments import as_features, as_pair
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Extrapolation:
  """A line fitted to values over 1 / N.

  Attributes:
    value: where it meets 1 / N = 0.
    slope: the bias times N.
    error: standard error of the value by the scatter about the line; subsets share samples, so
      it is too small. 0 for two points.
    counts: int64 [points].
    values: float64 [points].
  """

  value: float
  slope: float
  error: float
  counts: np.ndarray
  values: np.ndarray


def extrapolate(values, counts) -> Extrapolation:
  """Fits value = a + b / count by least squares.

  Args:
    values: [points].
    counts: [points], at least two different ones, positive.

  Returns:
    `Extrapolation`.

  Raises:
    UserError: other shapes, or values that are not finite.
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
  rest = values - value - slope * x
  variance = rest @ rest / max(len(values) - 2, 1)
  error = np.sqrt(variance * (1 / len(values) + x.mean() ** 2 / (spread @ spread)))
  return Extrapolation(value, slope, float(error), counts, values)


def subset_counts(total: int, points: int = 15, smallest: int | None = None) -> np.ndarray:
  """Evenly spaced sizes of subsets, the last one all samples.

  Args:
    total: samples.
    points: sizes, at least 2.
    smallest: None is a tenth of them (Chong and Forsyth: 5000 of 50000).

  Returns:
    int64 [points].

  Raises:
    UserError: no room for different sizes.
  """
  smallest = total // 10 if smallest is None else smallest
  if points < 2 or not 2 <= smallest < total:
    raise UserError(f"{points} subsets of {smallest} to {total} samples cannot be fitted by a line")
  return np.linspace(smallest, total, points).astype(np.int64)


def frechet_infinity(
  x,
  y,
  points: int = 15,
  smallest: int | None = None,
  seed: int = 0,
  ddof: int = 1,
  *,
  both: bool = False,
) -> Extrapolation:
  """Frechet distance at unlimited samples.

  Args:
    x: real features [N, d], or a `Gaussian`.
    y: generated features [M, d].
    points: subsets.
    smallest: samples in the smallest; None is a tenth, but at least 2 d where that is no more than
      half of them: below, the bias bends off the line.
    seed: of the draw; every subset is drawn anew, without replacement.
    ddof: see `frechet.frechet_distance`.
    both: False takes subsets of the generated samples only, as published: the bias by the count of
      real ones stays, and where there are few the value is too large. True takes subsets of both,
      of equal count (at most that of the smaller set), and removes both biases.

  Returns:
    `Extrapolation`.

  Raises:
    UserError: too few samples, `both` of a `Gaussian`, or see `moments.as_pair`.
  """
  fixed = isinstance(x, Gaussian)
  if fixed:
    if both:
      raise UserError("subsets of the real samples need their features, not their moments")
    y, reference = as_features(y, "generated features", least=4), x
  else:
    x, y = as_pair(x, y, least=4)
    reference = None if both else Gaussian.of_features(x, ddof)
  total = min(len(x), len(y)) if both else len(y)
  if smallest is None:
    smallest = max(total // 10, min(2 * y.shape[1], total // 2), 2)
  random = np.random.default_rng(seed)
  counts, values = subset_counts(total, points, smallest), []
  for count in counts:
    some = Gaussian.of_features(y[random.permutation(len(y))[:count]], ddof)
    if both:
      reference = Gaussian.of_features(x[random.permutation(len(x))[:count]], ddof)
    values.append(gaussian_distance(reference, some))
  return extrapolate(values, counts)


def inception_score_infinity(
  logits,
  points: int = 15,
  smallest: int | None = None,
  seed: int = 0,
  *,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
) -> Extrapolation:
  """Inception score (one split) at unlimited samples.

  Args:
    logits: [N, C], see `inception_score.probabilities_of`.
    points, smallest, seed: as `frechet_infinity`, smallest None is a tenth.
    kind, epsilon: see `inception_score.ScoreSums`.

  Returns:
    `Extrapolation`.

  Raises:
    UserError: too few samples, or see `inception_score.probabilities_of`.
  """
  epsilon = epsilon or Epsilon()
  p, terms = terms_of(logits, kind, epsilon, least=4)
  if smallest is None:
    smallest = max(len(p) // 10, 2)
  random = np.random.default_rng(seed)
  counts, values = subset_counts(len(p), points, smallest), []
  for count in counts:
    some = random.permutation(len(p))[:count]
    sums = ScoreSums(int(count), p[some].sum(axis=0), float(terms[some].sum()), epsilon)
    values.append(sums.score())
  return extrapolate(values, counts)
