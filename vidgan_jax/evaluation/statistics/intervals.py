"""Confidence intervals, and the floor: what a metric gives between two sets of real clips.

Bootstrap intervals are wrong for Frechet distances and inception scores. The distance of N samples
is too large by about c / N (the score is too small), and resampling with replacement adds the same
bias again, so all percentiles may lie above the distance. The bootstrap also underestimates the
bias if there are few samples per dimension, and overestimates the spread of a small distance. In a
kernel distance, the copies in a resample would be each other's neighbours. So these metrics use
complementary halves of the samples (subsampling: Shao and Wu 1989, Politis and Romano 1994):

  bias       mean over the halves - value of all samples, because c / (N/2) - c / N = c / N
  deviation  root mean square of (first half - second half) / 2, where the bias cancels

There are two kinds of intervals:
  about="value"  contains the mean over repeated draws of N samples; for comparing values at the
                 same N
  about="limit"  contains the value at unlimited samples; it need not contain the computed value

Both assume a normal distribution. They are slightly too wide for a distance near 0. A limit assumes
that the bias is c / N. On Gaussians with a flat spectrum, the worst case, the limit was right from
2 samples per dimension on. Against a reference that is known exactly, it was right from 8 on; with
4 its error was a third of a deviation, with 2 it was two deviations. Do not use limits below this.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from vidgan_jax.evaluation.statistics import resampling
from vidgan_jax.evaluation.statistics.frechet import (
  Gaussian,
  frechet_distance_of_features,
  gaussian_distance,
)
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score
from vidgan_jax.evaluation.statistics.kernel_distance import kernel_distance
from vidgan_jax.evaluation.statistics.moments import as_features, as_labels, as_pair
from vidgan_jax.runtime.errors import UserError

ABOUT = ("value", "limit")
METHODS = ("percentile", "basic")


def _check(samples, level):
  if samples < 2:
    raise UserError(f"an interval needs at least 2 resamples, not {samples}")
  if not 0 < level < 1:
    raise UserError(f"a level must be between 0 and 1, not {level}")


def bootstrap(
  statistic: Callable[..., float],
  arrays: Sequence[np.ndarray],
  samples: int = 200,
  level: float = 0.95,
  seed: int = 0,
  method: str = "percentile",
) -> tuple[float, float]:
  """Bootstrap interval of a statistic whose bias is small compared with its standard deviation.

  Do not use it for Frechet distances or inception scores (see the module), nor for statistics of
  nearest neighbours: the nearest neighbour of a copied sample is its copy.

  Args:
    statistic: a function of the resampled arrays that returns a number.
    arrays: sequence of arrays; each is resampled along its first axis, independently of the
      others.
    samples: number of resamples.
    level: confidence level, such as 0.95.
    seed: seed of the resamples.
    method: "percentile" returns quantiles of the resampled values; "basic" reflects them at the
      value of the whole sample, which removes the bias once.

  Returns:
    (low, high).

  Raises:
    UserError: an array has fewer than 2 samples, the method is unknown, or an argument is out of
      range.
  """
  _check(samples, level)
  if method not in METHODS:
    raise UserError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
  arrays = [np.asarray(a) for a in arrays]
  if not arrays or any(a.ndim < 1 or len(a) < 2 for a in arrays):
    raise UserError("a bootstrap needs at least 2 samples in every array")
  random = np.random.default_rng(seed)
  values = [
    statistic(*(a[random.integers(len(a), size=len(a))] for a in arrays)) for _ in range(samples)
  ]
  low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
  if method == "basic":
    value = statistic(*arrays)
    low, high = 2 * value - high, 2 * value - low
  return float(low), float(high)


def bootstrap_frechet(
  x: np.ndarray | Gaussian, y: np.ndarray, samples: int = 200, seed: int = 0, ddof: int = 1
) -> np.ndarray:
  """Frechet distances of bootstrap resamples; their bias is about twice that of the distance.

  Args:
    x: real features [N, d], or a `Gaussian` that is not resampled.
    y: generated features [M, d].
    samples: number of resamples.
    seed: seed of the resamples.
    ddof: see `frechet.frechet_distance`.

  Returns:
    float64 [samples].

  Raises:
    UserError: see `resampling.weighted_frechet`.
  """
  random = np.random.default_rng(seed)
  n, m = x.count if isinstance(x, Gaussian) else len(x), len(y)
  draw = lambda: (resampling.bootstrap_weights(random, c) for c in (n, m))
  return resampling.weighted_frechet(x, y, (tuple(draw()) for _ in range(samples)), ddof)


def bootstrap_score(
  values: np.ndarray,
  samples: int = 200,
  seed: int = 0,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
) -> np.ndarray:
  """Inception scores of bootstrap resamples; their bias is about twice that of the score.

  Args:
    values: [N, C], see `inception_score.probabilities_of`.
    samples: number of resamples.
    seed: seed of the resamples.
    kind, epsilon: see `inception_score.terms_of`.

  Returns:
    float64 [samples].

  Raises:
    UserError: see `inception_score.probabilities_of`.
  """
  random = np.random.default_rng(seed)
  weights = (resampling.bootstrap_weights(random, len(values)) for _ in range(samples))
  return resampling.weighted_scores(values, weights, kind, epsilon)


@dataclasses.dataclass(frozen=True)
class Halving:
  """A value of a metric, with its bias and standard deviation as estimated from halves.

  Attributes:
    value: value of all samples.
    bias: estimated bias of `value`.
    deviation: estimated standard deviation of `value` over repeated draws of the samples.
  """

  value: float
  bias: float
  deviation: float

  @classmethod
  def of(cls, value: float, halves: np.ndarray) -> "Halving":
    """Estimates from the value of all samples and the values of both halves, [splits, 2]."""
    halves = np.asarray(halves).reshape(-1, 2)
    difference = (halves[:, 0] - halves[:, 1]) / 2
    return cls(float(value), float(halves.mean() - value), float(np.sqrt(np.mean(difference**2))))

  @property
  def limit(self) -> float:
    """The value without its bias."""
    return self.value - self.bias

  def interval(self, level: float = 0.95, about: str = "value") -> tuple[float, float]:
    """(low, high) about the value or about its limit (see the module).

    Raises:
      UserError: the level is out of range, or `about` is unknown.
    """
    _check(2, level)
    if about not in ABOUT:
      raise UserError(f"an interval is about one of {', '.join(ABOUT)}, not {about!r}")
    center = self.value if about == "value" else self.limit
    margin = statistics.NormalDist().inv_cdf((1 + level) / 2) * self.deviation
    return center - margin, center + margin


def halve_frechet(
  x: np.ndarray | Gaussian, y: np.ndarray, samples: int = 200, seed: int = 0, ddof: int = 1
) -> Halving:
  """Bias and standard deviation of a Frechet distance.

  Args:
    x: real features [N, d], N at least 4; or a `Gaussian`, which is treated as exact.
    y: generated features [M, d], M at least 4.
    samples: number of halves to compute the distance of.
    seed: seed of the halves.
    ddof: see `frechet.frechet_distance`.

  Returns:
    `Halving`.

  Raises:
    UserError: see `moments.as_pair`.
  """
  _check(samples, 0.5)
  if isinstance(x, Gaussian):
    y = as_features(y, "generated features", minimum=4)
    value = gaussian_distance(x, Gaussian.of_features(y, ddof))
  else:
    x, y = as_pair(x, y, minimum=4)
    value = frechet_distance_of_features(x, y, ddof)
  random = np.random.default_rng(seed)

  def pairs():
    for _ in range(samples // 2):
      halves_y = resampling.half_weights(random, len(y))
      if isinstance(x, Gaussian):
        halves_x = (None, None)
      else:
        halves_x = resampling.half_weights(random, len(x))
      yield from zip(halves_x, halves_y, strict=True)

  return Halving.of(value, resampling.weighted_frechet(x, y, pairs(), ddof))


def halve_score(
  values: np.ndarray,
  samples: int = 200,
  seed: int = 0,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
) -> Halving:
  """Bias and standard deviation of an inception score of one split.

  Args:
    values: [N, C], N at least 4, see `inception_score.probabilities_of`.
    samples: number of halves to compute the score of.
    seed: seed of the halves.
    kind, epsilon: see `inception_score.terms_of`.

  Returns:
    `Halving`.

  Raises:
    UserError: see `inception_score.probabilities_of`.
  """
  _check(samples, 0.5)
  epsilon = epsilon or Epsilon()
  values = as_features(values, kind, minimum=4)
  random = np.random.default_rng(seed)
  weights = (w for _ in range(samples // 2) for w in resampling.half_weights(random, len(values)))
  halves = resampling.weighted_scores(values, weights, kind, epsilon)
  value, _ = inception_score(values, eps=epsilon.value, eps_place=epsilon.added_to, kind=kind)
  return Halving.of(value, halves)


def halve_kernel(
  x: np.ndarray,
  y: np.ndarray,
  samples: int = 200,
  seed: int = 0,
  labels: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
  populations: tuple[float | None, float | None] = (None, None),
) -> Halving:
  """Bias, which is near 0, and standard deviation of a kernel distance of all samples.

  Args:
    x: real features [N, d], N at least 4.
    y: generated features [M, d], M at least 4.
    samples: number of halves to compute the distance of. Each costs a quarter of the whole set.
    seed: seed of the halves.
    labels, populations: for the estimator "classes" of `kernel_distance`, which equals "unbiased"
      without labels. A set in which the counts of the classes are fixed is halved class by class.

  Returns:
    `Halving`. The deviation is up to 1.4 times too large for distances near 0: there the true
    deviation falls as 1 / N, and the estimate assumes 1 / sqrt(N).

  Raises:
    UserError: see `moments.as_pair`.
  """
  _check(samples, 0.5)
  x, y = as_pair(x, y, minimum=4)
  strata = [
    as_labels(given, len(a)) if given is not None and population in (None, len(a)) else None
    for a, given, population in zip((x, y), labels, populations, strict=True)
  ]
  random = np.random.default_rng(seed)
  halves = []
  for _ in range(samples // 2):
    halves_x = resampling.half_weights(random, len(x), strata[0]) > 0
    halves_y = resampling.half_weights(random, len(y), strata[1]) > 0
    for half_x, half_y in zip(halves_x, halves_y, strict=True):
      labels_x, labels_y = (
        None if stratum is None else stratum[half]
        for stratum, half in zip(strata, (half_x, half_y), strict=True)
      )
      of_halves = (labels_x, labels_y)
      halves.append(kernel_distance(x[half_x], y[half_y], estimator="classes", labels=of_halves)[0])
  value, _ = kernel_distance(x, y, estimator="classes", labels=labels, populations=populations)
  return Halving.of(value, np.array(halves))


def kernel_interval(
  x: np.ndarray,
  y: np.ndarray,
  level: float = 0.95,
  samples: int = 200,
  seed: int = 0,
  labels: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
  populations: tuple[float | None, float | None] = (None, None),
) -> tuple[float, float]:
  """Interval of a kernel distance, which may be negative; see `halve_kernel` for the arguments."""
  return halve_kernel(x, y, samples, seed, labels, populations).interval(level)


def frechet_interval(
  x: np.ndarray | Gaussian,
  y: np.ndarray,
  level: float = 0.95,
  samples: int = 200,
  seed: int = 0,
  ddof: int = 1,
  about: str = "value",
) -> tuple[float, float]:
  """Interval of a Frechet distance, clipped at 0; see `halve_frechet` for the arguments."""
  low, high = halve_frechet(x, y, samples, seed, ddof).interval(level, about)
  return max(low, 0.0), max(high, 0.0)


def score_interval(
  values: np.ndarray,
  level: float = 0.95,
  samples: int = 200,
  seed: int = 0,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
  about: str = "value",
) -> tuple[float, float]:
  """Interval of an inception score, clipped at 1; see `halve_score` for the arguments."""
  low, high = halve_score(values, samples, seed, kind, epsilon).interval(level, about)
  return max(low, 1.0), max(high, 1.0)


def disjoint_halves(
  total: int, count: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Draws two disjoint subsets of equal size.

  Args:
    total: number of samples in the whole set.
    count: number of samples in each subset; None for total // 2.
    seed: seed of the draw.

  Returns:
    (int64 [count], int64 [count]), indices of samples.

  Raises:
    UserError: `total` is below 2 `count`.
  """
  count = total // 2 if count is None else count
  if count < 1 or 2 * count > total:
    raise UserError(f"two disjoint sets of {count} samples cannot be drawn from {total}")
  order = np.random.default_rng(seed).permutation(total)
  return order[:count], order[count : 2 * count]


def real_floor(
  statistic: Callable[[np.ndarray, np.ndarray], float],
  real: np.ndarray,
  count: int | None = None,
  seed: int = 0,
) -> float:
  """The value of a metric between two disjoint sets of real samples.

  A generator whose value is at or below this floor cannot be distinguished from the data at this
  count. Use the count of the generated samples; if there are too few real samples for it, report
  the count that was used.

  Args:
    statistic: a function of two arrays of features that returns a number.
    real: features [N, d].
    count: number of samples in each of the two sets; None for N // 2.
    seed: seed of the two sets.

  Returns:
    The value of `statistic`.

  Raises:
    UserError: there are too few samples, or see `moments.as_features`.
  """
  real = as_features(real, "real features", minimum=2)
  first, second = disjoint_halves(len(real), count, seed)
  return statistic(real[first], real[second])
