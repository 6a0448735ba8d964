"""Kernel distances: KVD and KID, squared maximum mean discrepancy (Gretton et al. 2012).

The polynomial kernel of Binkowski et al. (2018), k(x, y) = (x.y / d + 1)^3. The unbiased estimate
leaves out every sample's kernel with itself, so its mean is the true value at any count, and it may
be negative where the two sets agree; that is as it should be.
"""

import numpy as np

from vidgan_jax.evaluation.moments import as_pair
from vidgan_jax.runtime.errors import UserError

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


def _distance(x, y, kernel, unbiased):
  n, m = len(x), len(y)
  within = [(_sum(a, a, kernel, True), a) for a in (x, y)]
  if unbiased:
    parts = [total / (len(a) * (len(a) - 1)) for total, a in within]
  else:
    parts = [
      (total + kernel(np.einsum("nd,nd->n", a, a)).sum()) / len(a) ** 2 for total, a in within
    ]
  return float(parts[0] + parts[1] - 2.0 * _sum(x, y, kernel, False) / (n * m))


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
  unbiased: bool = True,
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
    unbiased: False keeps kernels of samples with themselves, the V-statistic: the value is then
      biased upwards by an amount of the order of 1 / N (JEDi has it so, with degree 2,
      coefficient 0 and a factor 100).

  Returns:
    (value, None), or (mean over subsets, standard deviation over them with divisor `subsets`).
    Subsets share samples: this deviation is no error of the mean.

  Raises:
    UserError: subsets larger than a set, or see `moments.as_pair`.
  """
  x, y = as_pair(x, y, least=2)
  if degree < 1:
    raise UserError(f"the kernel's degree must be at least 1, not {degree}")
  gamma = 1.0 / x.shape[1] if gamma is None else gamma

  def kernel(products):
    return (gamma * products + coefficient) ** degree

  if subsets is None:
    return _distance(x, y, kernel, unbiased), None
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
    some_x = x[random.choice(len(x), subset_size, replace=False)]
    some_y = y[random.choice(len(y), subset_size, replace=False)]
    values.append(_distance(some_x, some_y, kernel, unbiased))
  return float(np.mean(values)), float(np.std(values))
