"""Precision and recall, density and coverage: by balls that reach the k-th nearest neighbour.

Every sample of a set has a ball as wide as the distance to its k-th nearest neighbour in the same
set, itself left out.
  precision: share of generated samples within any real sample's ball (Kynkaanniemi et al. 2019)
  recall:    share of real samples within any generated sample's ball
  density:   how many real balls a generated sample lies in, mean over these, over k
             (Naeem et al. 2020); may exceed 1
  coverage:  share of real samples whose ball holds a generated one

A sample on the rim of a ball counts as within ("<=", Kynkaanniemi et al.) unless `strict` ("<", the
code of Naeem et al., by which sets of one repeated point score 0). Equal distances compare as
equal: close decisions are taken on differences of features, not on the products that the blocks are
made of.
"""

import dataclasses

import numpy as np

from vidgan_jax.evaluation.moments import as_pair
from vidgan_jax.runtime.errors import UserError

_BLOCK = 2**22  # distances at a time, 32 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class _Points:
  """Samples [N, d] as they are, for differences, and about a common centre, for products."""

  plain: np.ndarray
  centered: np.ndarray

  def __len__(self):
    return len(self.plain)


def _exact(x, y, i, j):
  """Squared distances of the pairs (x[i], y[j]), from differences; the same both ways round."""
  out = np.empty(len(i))
  step = max(1, _BLOCK // x.plain.shape[1])
  for begin in range(0, len(i), step):
    part = slice(begin, begin + step)
    difference = x.plain[i[part]] - y.plain[j[part]]
    out[part] = np.einsum("nd,nd->n", difference, difference)
  return out


def _blocks(x, y):
  """Squared distances by products, some rows at a time.

  Yields:
    (slice of rows of x, squared distances [rows, M], bound on their errors [rows, M]).
  """
  x, y = x.centered, y.centered
  squares = np.einsum("nd,nd->n", y, y)
  rows = max(1, _BLOCK // len(y))
  rounding = 4 * (x.shape[1] + 4) * np.finfo(np.float64).eps
  for begin in range(0, len(x), rows):
    part = slice(begin, min(begin + rows, len(x)))
    scale = np.einsum("nd,nd->n", x[part], x[part])[:, None] + squares
    yield part, scale - 2.0 * (x[part] @ y.T), rounding * scale


def _radii(x, k):
  """Squared distance of each sample to its k-th nearest other one, [N]."""
  radii = np.empty(len(x))
  for part, distances, errors in _blocks(x, x):
    rows = np.arange(part.start, part.stop)
    distances[rows - part.start, rows] = np.inf
    kth = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    # The k-th stays the k-th however far below it a sample is; only those beside it are uncertain.
    bound = errors.max(axis=1, keepdims=True)
    below = distances < kth - 2 * bound
    row, column = np.nonzero((distances <= kth + 2 * bound) & ~below)
    exact = _exact(x, x, row + part.start, column)
    wanted = k - 1 - below.sum(axis=1)  # which of the uncertain ones, by rising distance
    order = np.lexsort((exact, row))
    first = np.searchsorted(row[order], np.arange(len(rows)))
    radii[part] = exact[order][first + wanted]
  return radii


def _inside(x, y, radii, strict):
  """Whether y lies in the balls around x.

  Yields:
    (slice of rows of x, bool [rows, M]).
  """
  for part, distances, errors in _blocks(x, y):
    limits = radii[part, None]
    inside = distances < limits if strict else distances <= limits
    row, column = np.nonzero(np.abs(distances - limits) <= 2 * errors)
    exact, limit = _exact(x, y, row + part.start, column), radii[part][row]
    inside[row, column] = exact < limit if strict else exact <= limit
    yield part, inside


def _prepare(real, generated, k):
  real, generated = as_pair(real, generated)
  if k < 1:
    raise UserError(f"k must be at least 1, not {k}")
  if min(len(real), len(generated)) <= k:
    raise UserError(
      f"distances to {k} nearest neighbours need more than {k} samples, got {len(real)} real and "
      f"{len(generated)} generated ones"
    )
  center = real.mean(axis=0)  # a far mean would cost the products digits
  return _Points(real, real - center), _Points(generated, generated - center)


def precision_recall(real, generated, k: int = 3, *, strict: bool = False) -> dict[str, float]:
  """Precision and recall (see the module).

  Args:
    real: features [N, d].
    generated: features [M, d].
    k: which neighbour a ball reaches to.
    strict: leaves out samples on the rim.

  Returns:
    {"precision": 0..1, "recall": 0..1}.

  Raises:
    UserError: not more than k samples, or see `moments.as_pair`.
  """
  real, generated = _prepare(real, generated, k)
  shares = {}
  for name, centers, others in (
    ("precision", real, generated),
    ("recall", generated, real),
  ):
    hit = np.zeros(len(others), bool)
    for _, inside in _inside(centers, others, _radii(centers, k), strict):
      hit |= inside.any(axis=0)
    shares[name] = float(hit.mean())
  return shares


def density_coverage(real, generated, k: int = 5, *, strict: bool = False) -> dict[str, float]:
  """Density and coverage (see the module).

  Args:
    real: features [N, d].
    generated: features [M, d].
    k: which neighbour a ball reaches to.
    strict: leaves out samples on the rim.

  Returns:
    {"density": at least 0, "coverage": 0..1}.

  Raises:
    UserError: not more than k samples, or see `moments.as_pair`.
  """
  real, generated = _prepare(real, generated, k)
  within, covered = 0, 0
  for _, inside in _inside(real, generated, _radii(real, k), strict):
    within += int(inside.sum())
    covered += int(inside.any(axis=1).sum())
  return {"density": within / (k * len(generated)), "coverage": covered / len(real)}
