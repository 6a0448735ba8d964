"""Values at unlimited samples: FVD-infinity and IS-infinity (Chong and Forsyth 2020).

The bias of a Frechet distance and of an inception score is c / N and c depends on the model, so
that no count is fair to all. Values of subsets of rising size are fitted by a + b / N; a is given.

Subsets share samples, so the scatter about the line says little of how far another draw of as many
samples would lie. The error comes from complementary halves of the samples instead, each fitted by
a line of its own: (one half - the other) / 2, see `intervals`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vidgan_jax.evaluation.statistics import resampling
from vidgan_jax.evaluation.statistics.frechet import Gaussian, gaussian_distance
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, ScoreSums, terms_of
from vidgan_jax.evaluation.statistics.moments import as_features, as_pair
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Extrapolation:
  """A line fitted to values over 1 / N.

  Attributes:
    value: where it meets 1 / N = 0.
    slope: the bias times N.
    error: standard error of the value. Of `extrapolate` it is by the scatter about the line, right
      for independent values, 0 for two points. Of samples it is by halves, see the module; None
      where it was not asked for, or the samples are fewer than 8.
    counts: int64 [points].
    values: float64 [points].
  """

  value: float
  slope: float
  error: float | None
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


def _subsets(random, order, counts) -> Iterator[np.ndarray]:
  """For each count the numbers of so many samples of `order`, drawn anew without replacement."""
  for count in counts:
    yield random.permutation(order)[:count]


def _halves(random, totals, halvings) -> Iterator[list[np.ndarray]]:
  """For each of 2 `halvings` halves the numbers of its samples, of each set of so many samples."""
  for _ in range(halvings):
    weights = [resampling.half_weights(random, total) for total in totals]
    for half in zip(*weights, strict=True):
      yield [np.flatnonzero(own) for own in half]


def _error(values, counts) -> float:
  """From values [2 halvings, points] of complementary halves at `counts` [points]."""
  limits = np.array([extrapolate(own, counts).value for own in values]).reshape(-1, 2)
  return float(np.sqrt(np.mean((limits[:, 0] - limits[:, 1]) ** 2)) / 2)


def _weights(numbers, total) -> np.ndarray:
  found = np.zeros(total, np.int64)
  found[numbers] = 1
  return found


def frechet_infinity(
  x,
  y,
  points: int = 15,
  smallest: int | None = None,
  seed: int = 0,
  ddof: int = 1,
  *,
  both: bool = False,
  halvings: int = 8,
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
    halvings: splittings into halves behind the error; 0 computes none.

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
  fit = extrapolate(values, counts)
  error = _frechet_error(x, y, points, smallest, random, ddof, both, halvings)
  return dataclasses.replace(fit, error=error)


def _frechet_error(x, y, points, smallest, random, ddof, both, halvings):
  fixed = isinstance(x, Gaussian)
  totals = (len(y),) if fixed else (len(x), len(y))
  if not halvings or min(totals) < 8:
    return None
  total = (min(totals) if both else len(y)) // 2
  counts = subset_counts(total, points, max(smallest // 2, 2))

  def pairs():
    for half in _halves(random, totals, halvings):
      of_y = _subsets(random, half[-1], counts)
      if both:
        of_x = _subsets(random, half[0], counts)
      else:
        of_x = (half[0] for _ in counts)
      for one, other in zip(of_x, of_y, strict=True):
        yield None if fixed else _weights(one, len(x)), _weights(other, len(y))

  values = resampling.weighted_frechet(x, y, pairs(), ddof)
  return _error(values.reshape(-1, points), counts)


def inception_score_infinity(
  logits,
  points: int = 15,
  smallest: int | None = None,
  seed: int = 0,
  *,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
  halvings: int = 8,
) -> Extrapolation:
  """Inception score (one split) at unlimited samples.

  Args:
    logits: [N, C], see `inception_score.probabilities_of`.
    points, smallest, seed, halvings: as `frechet_infinity`, smallest None is a tenth.
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

  def values(order, counts):
    found = []
    for some in _subsets(random, order, counts):
      sums = ScoreSums(len(some), p[some].sum(axis=0), float(terms[some].sum()), epsilon)
      found.append(sums.score())
    return found

  counts = subset_counts(len(p), points, smallest)
  fit, error = extrapolate(values(np.arange(len(p)), counts), counts), None
  if halvings and len(p) >= 8:
    counts = subset_counts(len(p) // 2, points, max(smallest // 2, 2))
    halves = _halves(random, (len(p),), halvings)
    error = _error([values(own, counts) for (own,) in halves], counts)
  return dataclasses.replace(fit, error=error)
