"""Kernel distances: KVD and KID, squared maximum mean discrepancy (Gretton et al. 2012).

The kernel is the polynomial of Binkowski et al. (2018), k(x, y) = (x.y / d + 1)^3. Let X and Y be
the mean kernel between two different samples of the first and of the second set, and B the mean
kernel between a sample of the first and a sample of the second set. The distance is X + Y - 2 B.
There are four estimators:

  unbiased  The published estimator, also that of the KID code: B averages over all pairs. If the
            samples are independent, its expectation is the true value at any count. If a set has
            equally many samples of each class, two different samples of that set share a class less
            often than two samples of different sets do. The value is then too small, by (S - X) / N
            for a set of N samples, where S is the mean kernel between two different samples of one
            class.
  classes   Adds (S - X) / N and (S - Y) / M to "unbiased", so it needs labels.
  paired    Leaves the pairs (x[i], y[i]) out of B: the U-statistic of Gretton et al., lemma 6, and
            its counterpart for sets of unequal counts. It needs no labels, but x[i] and y[i] must
            be of the same class, or independent.
  biased    Includes the kernel of each sample with itself in X and Y: too large, by O(1 / N).

All but "biased" may be negative when the two distributions agree; this is correct.
"""

import math

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_labels, as_pair
from vidgan_jax.runtime.errors import UserError

ESTIMATORS = ("paired", "classes", "unbiased", "biased")
_ROWS = 1024  # a block of the kernel matrix has _ROWS^2 float64 values, 8 MiB


def _sum(x, y, kernel, same):
  """Sum of kernels over all pairs; if `same`, x is y and a sample is not paired with itself."""
  total = 0.0
  for i in range(0, len(x), _ROWS):
    for j in range(i if same else 0, len(y), _ROWS):
      block = kernel(x[i : i + _ROWS] @ y[j : j + _ROWS].T)
      if same and i == j:
        total += block.sum() - np.trace(block)
      else:
        total += block.sum() * (2 if same else 1)
  return total


def _within(x, kernel, biased=False):
  """Mean kernel between two samples of x; between two different samples unless `biased`."""
  total = _sum(x, x, kernel, True)
  if biased:
    return (total + kernel(np.einsum("nd,nd->n", x, x)).sum()) / len(x) ** 2
  return total / (len(x) * (len(x) - 1))


def _between(x, y, kernel):
  return _sum(x, y, kernel, False) / (len(x) * len(y))


def _class_correction(x, labels, population, kernel, within) -> float:
  """The term (S - X) / N of "classes" for one set, where `within` is X and `population` is N.

  It is 0 if no class has two samples.
  """
  if labels is None or not math.isfinite(population):
    return 0.0
  total, count = 0.0, 0
  for label in np.unique(labels):
    samples = x[labels == label]
    if len(samples) > 1:
      total += len(samples) * _within(samples, kernel)
      count += len(samples)
  return (total / count - within) / population if count else 0.0


def _estimate(x, y, kernel, estimator, classes) -> float:
  """The distance between all samples; `classes` is (labels, population) of x and of y."""
  sets = (x, y)
  means = [_within(samples, kernel, estimator == "biased") for samples in sets]
  between = _between(x, y, kernel)
  distance = sum(means) - 2.0 * between
  if estimator == "paired":
    count = min(map(len, sets))
    pairs = kernel(np.einsum("nd,nd->n", x[:count], y[:count])).mean()
    distance += (pairs - between) * sum(1 / (len(samples) - 1) for samples in sets)
  for samples, (labels, population), mean in zip(sets, classes, means, strict=True):
    distance += _class_correction(samples, labels, population, kernel, mean)
  return float(distance)


def balanced_population(labels: np.ndarray) -> float:
  """The `population` of `kernel_distance` for a set, from the counts of its classes.

  Args:
    labels: integers [N].

  Returns:
    N if the counts of the classes differ by at most 1: the counts were then fixed in advance. Else
    infinity: the labels were then drawn independently.
  """
  _, counts = np.unique(labels, return_counts=True)
  return float(len(labels)) if counts.max() - counts.min() <= 1 else math.inf


def kernel_distance(
  x: np.ndarray,
  y: np.ndarray,
  degree: int = 3,
  subsets: int | None = None,
  subset_size: int = 1000,
  seed: int = 0,
  *,
  gamma: float | None = None,
  coefficient: float = 1.0,
  estimator: str = "paired",
  labels: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
  populations: tuple[float | None, float | None] = (None, None),
) -> tuple[float, float | None]:
  """Squared maximum mean discrepancy with k(a, b) = (gamma a.b + coefficient)^degree.

  Args:
    x: [N, d], N at least 2.
    y: [M, d], M at least 2.
    degree: degree of the polynomial.
    subsets: number of random subsets of both sets to average over; None uses all samples at once.
    subset_size: samples in each subset, drawn without replacement.
    seed: seed of the subsets.
    gamma: see the formula; None for 1 / d.
    coefficient: see the formula.
    estimator: one of ESTIMATORS, see the module. With subsets, "paired" takes the samples of the
      same indices from both sets, and "classes" adds the correction of all samples to the mean.
      The metric JEDi is 100 times the "biased" estimate with degree 2 and coefficient 0.
    labels: for "classes": integers [N] and [M]; None for a set whose samples are independent.
    populations: for "classes": for each set, the number of samples in the population that it is a
      random part of, and in which the counts of the classes are fixed. None if the set is the
      population; infinity if the labels of the set are independent.

  Returns:
    (value, None), or (mean over subsets, standard deviation over subsets with divisor `subsets`).
    Subsets share samples, so this deviation is not the error of the mean.

  Raises:
    UserError: subsets are larger than a set, the estimator is unknown, or see `moments.as_pair`.
  """
  x, y = as_pair(x, y, minimum=2)
  if degree < 1:
    raise UserError(f"the kernel's degree must be at least 1, not {degree}")
  if estimator not in ESTIMATORS:
    raise UserError(f"unknown estimator {estimator!r}; known: {', '.join(ESTIMATORS)}")
  gamma = 1.0 / x.shape[1] if gamma is None else gamma

  def kernel(products):
    return (gamma * products + coefficient) ** degree

  classes = [(None, math.inf)] * 2
  if estimator == "classes":
    classes = [
      (None if given is None else as_labels(given, len(samples)), population or len(samples))
      for samples, given, population in zip((x, y), labels, populations, strict=True)
    ]
  if subsets is None:
    return _estimate(x, y, kernel, estimator, classes), None
  if subsets < 1:
    raise UserError(f"subsets must be at least 1, not {subsets}")
  if not 2 <= subset_size <= min(len(x), len(y)):
    raise UserError(
      f"subsets of {subset_size} samples cannot be drawn from {len(x)} real and {len(y)} "
      "generated samples"
    )
  random = np.random.default_rng(seed)
  values = []
  for _ in range(subsets):
    if estimator == "paired":
      of_x = of_y = random.choice(min(len(x), len(y)), subset_size, replace=False)
    else:
      of_x, of_y = (random.choice(len(a), subset_size, replace=False) for a in (x, y))
    values.append(_estimate(x[of_x], y[of_y], kernel, estimator, [(None, math.inf)] * 2))
  correction = sum(
    _class_correction(samples, given, population, kernel, _within(samples, kernel))
    for samples, (given, population) in zip((x, y), classes, strict=True)
    if given is not None
  )
  return float(np.mean(values)) + correction, float(np.std(values))
