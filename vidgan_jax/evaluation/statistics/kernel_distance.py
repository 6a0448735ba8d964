"""Kernel distances: KVD and KID, squared maximum mean discrepancy (Gretton et al. 2012).

The polynomial kernel of Binkowski et al. (2018), k(x, y) = (x.y / d + 1)^3. With X, Y the mean
kernels of two different samples of one set, and B the mean kernel between the sets, the distance is
X + Y - 2 B, by one of four estimators:

  unbiased  as published, and as the code of KID has it: B over all pairs. Its mean is the true
            value, at any count, where samples are independent. Where the classes of a set come in
            equal numbers, two different samples are of one class less often than a sample of X and
            one of Y are: the value is then too small, by (S - X) / N for each set of N samples,
            where S is the mean kernel of two different samples of one class.
  classes   adds (S - X) / N and (S - Y) / M, and so needs labels.
  paired    leaves the pairs (x[i], y[i]) out of B: the U-statistic of Gretton et al., lemma 6, and
            its counterpart for sets of unequal counts. It needs no labels, but x[i] and y[i] must
            be of one class, or independent.
  biased    keeps kernels of samples with themselves: too large by the order of 1 / N.

All but "biased" may be negative where the two sets agree; that is as it should be.
"""

import math

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_labels, as_pair
from vidgan_jax.runtime.errors import UserError

ESTIMATORS = ("paired", "classes", "unbiased", "biased")
_ROWS = 1024  # a block of kernels takes _ROWS^2 float64 numbers, 8 MiB


def _sum(x, y, kernel, same):
  """Sum of kernels; with `same`, x is y and a sample's kernel with itself is left out."""
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
  """Mean kernel of two samples of x, different ones unless `biased`."""
  total = _sum(x, x, kernel, True)
  if biased:
    return (total + kernel(np.einsum("nd,nd->n", x, x)).sum()) / len(x) ** 2
  return total / (len(x) * (len(x) - 1))


def _between(x, y, kernel):
  return _sum(x, y, kernel, False) / (len(x) * len(y))


def _of_classes(x, labels, population, kernel, within) -> float:
  """What "classes" adds for one set of mean kernel `within`; 0 where no class has two samples."""
  if labels is None or not math.isfinite(population):
    return 0.0
  total, count = 0.0, 0
  for label in np.unique(labels):
    own = x[labels == label]
    if len(own) > 1:
      total += len(own) * _within(own, kernel)
      count += len(own)
  return (total / count - within) / population if count else 0.0


def _estimate(x, y, kernel, estimator, sides) -> float:
  """The distance of all samples; `sides` are (labels, population) of both sets."""
  sets = (x, y)
  within = [_within(each, kernel, estimator == "biased") for each in sets]
  between = _between(x, y, kernel)
  found = sum(within) - 2.0 * between
  if estimator == "paired":
    count = min(map(len, sets))
    pairs = kernel(np.einsum("nd,nd->n", x[:count], y[:count])).mean()
    found += (pairs - between) * sum(1 / (len(each) - 1) for each in sets)
  for each, side, own in zip(sets, sides, within, strict=True):
    found += _of_classes(each, *side, kernel, own)
  return float(found)


def fixed_among(labels) -> float:
  """Samples among which the counts of classes are fixed: all, where these differ by 1 at most.

  Args:
    labels: integers [N].

  Returns:
    N, or infinity: where counts differ by more, each label is taken to be drawn by itself.
  """
  _, counts = np.unique(labels, return_counts=True)
  return float(len(labels)) if counts.max() - counts.min() <= 1 else math.inf


def kernel_distance(
  x,
  y,
  degree: int = 3,
  subsets: int | None = None,
  subset_size: int = 1000,
  seed: int = 0,
  *,
  gamma: float | None = None,
  coefficient: float = 1.0,
  estimator: str = "paired",
  labels=(None, None),
  populations=(None, None),
) -> tuple[float, float | None]:
  """Squared maximum mean discrepancy with k(a, b) = (gamma a.b + coefficient)^degree.

  Args:
    x: [N, d], N at least 2.
    y: [M, d], M at least 2.
    degree: of the polynomial.
    subsets: None takes all samples at once; a number draws that many subsets of both sets.
    subset_size: samples in each, drawn without replacement within a subset.
    seed: of the draw.
    gamma: None is 1 / d.
    coefficient: see above.
    estimator: one of ESTIMATORS, see the module. Of subsets, "paired" takes samples of the same
      indices from both sets; what "classes" adds to the mean is that of all samples. JEDi is
      "biased", with degree 2, coefficient 0 and a factor 100.
    labels: of "classes": integers [N] and [M]; None for a set whose samples are independent.
    populations: of "classes", for each set: the samples, of which the set is a random part, among
      which the counts of classes are fixed. None is the set itself; infinity is a set whose labels
      are independent.

  Returns:
    (value, None), or (mean over subsets, standard deviation over them with divisor `subsets`).
    Subsets share samples: this deviation is no error of the mean.

  Raises:
    UserError: subsets larger than a set, an unknown estimator, or see `moments.as_pair`.
  """
  x, y = as_pair(x, y, least=2)
  if degree < 1:
    raise UserError(f"the kernel's degree must be at least 1, not {degree}")
  if estimator not in ESTIMATORS:
    raise UserError(f"unknown estimator {estimator!r}; known: {', '.join(ESTIMATORS)}")
  gamma = 1.0 / x.shape[1] if gamma is None else gamma

  def kernel(products):
    return (gamma * products + coefficient) ** degree

  sides = [(None, math.inf)] * 2
  if estimator == "classes":
    sides = [
      (None if own is None else as_labels(own, len(each)), population or len(each))
      for each, own, population in zip((x, y), labels, populations, strict=True)
    ]
  if subsets is None:
    return _estimate(x, y, kernel, estimator, sides), None
  if subsets < 1:
    raise UserError(f"subsets must be at least 1, not {subsets}")
  if not 2 <= subset_size <= min(len(x), len(y)):
    raise UserError(
      f"subsets of {subset_size} samples cannot be drawn from {len(x)} real and {len(y)} "
      "generated ones"
    )
  random = np.random.default_rng(seed)
  values = []
  for _ in range(subsets):
    if estimator == "paired":
      one = other = random.choice(min(len(x), len(y)), subset_size, replace=False)
    else:
      one, other = (random.choice(len(a), subset_size, replace=False) for a in (x, y))
    values.append(_estimate(x[one], y[other], kernel, estimator, [(None, math.inf)] * 2))
  added = sum(
    _of_classes(each, *side, kernel, _within(each, kernel))
    for each, side in zip((x, y), sides, strict=True)
    if side[0] is not None
  )
  return float(np.mean(values)) + added, float(np.std(values))
