"""Confidence intervals, and the floor that two sets of real clips give.

A Frechet distance of samples is too large by about c / N, an inception score too small, and a
resample with replacement adds as much again: the percentiles of a bootstrap may lie wholly above
the distance that they belong to. Moreover the bootstrap underestimates the bias where samples are
few for the dimensions, and overstates the spread of a small distance. So these two metrics get
their intervals from complementary halves (subsampling: Shao and Wu 1989, Politis and Romano 1994),
and so does the kernel distance, of which copies of a sample would be near each other:

  bias       mean of the halves' values - the value, since c / (N/2) - c / N = c / N
  deviation  root mean square of (one half - the other) / 2, where the bias falls out

and two questions are told apart:
  about="value"  the mean of what another draw of as many samples would give; goes with a table of
                 values at one count
  about="limit"  the value of unlimited samples; the interval need not contain the value itself

The intervals take the deviation as normal. They are a little wide for a distance near 0. A limit
takes the bias to be c / N: on Gaussians of flat spectrum, the worst case, it held from 2 samples
per dimension, and from 8 against a reference that is known exactly (4 left a third of a deviation,
2 left two). With fewer it is not to be trusted.
"""

import dataclasses
import statistics

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
  statistic, arrays, samples: int = 200, level: float = 0.95, seed: int = 0, method="percentile"
) -> tuple[float, float]:
  """Bootstrap interval of any statistic whose bias is small beside its spread.

  Not for Frechet distances, inception scores, or what counts neighbours (copies are their own
  nearest): see the module.

  Args:
    statistic: takes the resampled arrays, gives a number.
    arrays: sequence of arrays; each is resampled along its first axis, independently of the
      others.
    samples: resamples.
    level: of the interval.
    seed: of the draws.
    method: "percentile" of the resampled values, or "basic", which mirrors them at the value and
      so takes off the bias once.

  Returns:
    (low, high).

  Raises:
    UserError: no samples, an unknown method, or arguments out of range.
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


def bootstrap_frechet(x, y, samples: int = 200, seed: int = 0, ddof: int = 1) -> np.ndarray:
  """Frechet distances of bootstrap resamples; too large by about twice the bias (see the module).

  Args:
    x: real features [N, d], or a `Gaussian` that is not resampled.
    y: generated features [M, d].
    samples: resamples.
    seed: of the draws.
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
  values, samples: int = 200, seed: int = 0, kind: str = "logits", epsilon: Epsilon | None = None
) -> np.ndarray:
  """Inception scores of bootstrap resamples; too small by about twice the bias.

  Args:
    values: [N, C], see `inception_score.probabilities_of`.
    samples: resamples.
    seed: of the draws.
    kind, epsilon: see `inception_score.ScoreSums`.

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
  """A value, and what its halves tell of it.

  Attributes:
    value: of all samples.
    bias: of the value, as the halves show it.
    deviation: standard deviation of the value between draws.
  """

  value: float
  bias: float
  deviation: float

  @classmethod
  def of(cls, value: float, halves) -> "Halving":
    """From the value and those of the two halves of each splitting, [splits, 2]."""
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
      UserError: a level out of range, or an unknown `about`.
    """
    _check(2, level)
    if about not in ABOUT:
      raise UserError(f"an interval is about one of {', '.join(ABOUT)}, not {about!r}")
    center = self.value if about == "value" else self.limit
    reach = statistics.NormalDist().inv_cdf((1 + level) / 2) * self.deviation
    return center - reach, center + reach


def halve_frechet(x, y, samples: int = 200, seed: int = 0, ddof: int = 1) -> Halving:
  """Bias and deviation of a Frechet distance.

  Args:
    x: real features [N, d], N at least 4; or a `Gaussian`, then known without error.
    y: generated features [M, d], M at least 4.
    samples: distances of halves to compute.
    seed: of the draws.
    ddof: see `frechet.frechet_distance`.

  Returns:
    `Halving`.

  Raises:
    UserError: see `moments.as_pair`.
  """
  _check(samples, 0.5)
  if isinstance(x, Gaussian):
    y = as_features(y, "generated features", least=4)
    value = gaussian_distance(x, Gaussian.of_features(y, ddof))
  else:
    x, y = as_pair(x, y, least=4)
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
  values, samples: int = 200, seed: int = 0, kind: str = "logits", epsilon: Epsilon | None = None
) -> Halving:
  """Bias and deviation of an inception score of one split.

  Args:
    values: [N, C], N at least 4, see `inception_score.probabilities_of`.
    samples: scores of halves to compute.
    seed: of the draws.
    kind, epsilon: see `inception_score.ScoreSums`.

  Returns:
    `Halving`.

  Raises:
    UserError: see `inception_score.probabilities_of`.
  """
  _check(samples, 0.5)
  epsilon = epsilon or Epsilon()
  values = as_features(values, kind, least=4)
  random = np.random.default_rng(seed)
  weights = (w for _ in range(samples // 2) for w in resampling.half_weights(random, len(values)))
  halves = resampling.weighted_scores(values, weights, kind, epsilon)
  value, _ = inception_score(values, eps=epsilon.value, eps_place=epsilon.place, kind=kind)
  return Halving.of(value, halves)


def halve_kernel(
  x, y, samples: int = 200, seed: int = 0, labels=(None, None), populations=(None, None)
) -> Halving:
  """Bias, which is near 0, and deviation of a kernel distance of all samples.

  Args:
    x: real features [N, d], N at least 4.
    y: generated features [M, d], M at least 4.
    samples: distances of halves to compute; each costs a quarter of the distance itself.
    seed: of the draws.
    labels, populations: of `kernel_distance`'s estimator "classes", which is "unbiased" without
      labels. A set whose counts of classes are fixed is halved class by class.

  Returns:
    `Halving`. Near 0 the deviation is up to 1.4 times too large: the distance's own falls as 1 / N
    there, not as its root.

  Raises:
    UserError: see `moments.as_pair`.
  """
  _check(samples, 0.5)
  x, y = as_pair(x, y, least=4)
  fixed = [
    as_labels(own, len(a)) if own is not None and population in (None, len(a)) else None
    for a, own, population in zip((x, y), labels, populations, strict=True)
  ]
  random = np.random.default_rng(seed)
  halves = []
  for _ in range(samples // 2):
    halves_x = resampling.half_weights(random, len(x), fixed[0]) > 0
    halves_y = resampling.half_weights(random, len(y), fixed[1]) > 0
    for one, other in zip(halves_x, halves_y, strict=True):
      own = [
        each if each is None else each[some] for each, some in zip(fixed, (one, other), strict=True)
      ]
      halves.append(kernel_distance(x[one], y[other], estimator="classes", labels=own)[0])
  options = dict(estimator="classes", labels=labels, populations=populations)
  return Halving.of(kernel_distance(x, y, **options)[0], halves)


def kernel_interval(
  x, y, level=0.95, samples: int = 200, seed: int = 0, labels=(None, None), populations=(None, None)
):
  """Interval about a kernel distance, which may be negative; arguments as `halve_kernel`."""
  return halve_kernel(x, y, samples, seed, labels, populations).interval(level)


def frechet_interval(
  x, y, level: float = 0.95, samples: int = 200, seed: int = 0, ddof: int = 1, about: str = "value"
) -> tuple[float, float]:
  """Interval of a Frechet distance, not below 0; arguments as `halve_frechet`, see the module."""
  low, high = halve_frechet(x, y, samples, seed, ddof).interval(level, about)
  return max(low, 0.0), max(high, 0.0)


def score_interval(
  values,
  level: float = 0.95,
  samples: int = 200,
  seed: int = 0,
  kind: str = "logits",
  epsilon: Epsilon | None = None,
  about: str = "value",
) -> tuple[float, float]:
  """Interval of an inception score, not below 1; arguments as `halve_score`, see the module."""
  low, high = halve_score(values, samples, seed, kind, epsilon).interval(level, about)
  return max(low, 1.0), max(high, 1.0)


def disjoint_halves(total: int, count: int | None = None, seed: int = 0):
  """Two random disjoint sets of samples, of equal size.

  Args:
    total: samples that there are.
    count: in each; None is as many as there can be.
    seed: of the draw.

  Returns:
    (int64 [count], int64 [count]).

  Raises:
    UserError: fewer than 2 `count` samples.
  """
  count = total // 2 if count is None else count
  if count < 1 or 2 * count > total:
    raise UserError(f"two disjoint sets of {count} samples cannot be drawn from {total}")
  order = np.random.default_rng(seed).permutation(total)
  return order[:count], order[count : 2 * count]


def real_floor(statistic, real, count: int | None = None, seed: int = 0) -> float:
  """What a metric gives for real samples against other real samples.

  No generator can be told from the data below this, at this count: ask for the count of generated
  samples, and where there are too few real ones for that, say which count it was.

  Args:
    statistic: takes two arrays, gives a number.
    real: features [N, d].
    count: in each of the two sets; None is N // 2.
    seed: of the draw.

  Returns:
    The number.

  Raises:
    UserError: too few samples, or see `moments.as_features`.
  """
  real = as_features(real, "real features", least=2)
  first, second = disjoint_halves(len(real), count, seed)
  return statistic(real[first], real[second])
