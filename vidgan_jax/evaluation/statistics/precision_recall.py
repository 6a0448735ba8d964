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

Sets that have collapsed would leave nearly all decisions close. So equal samples are one point with
a count, and samples that lie close together beside their distance from the rest (a clump) have
their products taken about a point among them, where rounding is as small as they are apart.
"""

import dataclasses

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_pair
from vidgan_jax.runtime.errors import UserError

_BLOCK = 2**22  # distances at a time, 32 MiB
_LEADERS = 256  # points around which clumps are searched
_CLOSE = 1e-8  # squared distance within a clump, as a part of its points' squared norms
_LEAST = 32  # points of a clump


@dataclasses.dataclass(frozen=True, eq=False)
class _Points:
  """Different samples [U, d] as they are, for differences, and about a centre, for products.

  Attributes:
    plain: float64 [U, d].
    centered: float64 [U, d], about a centre that both sets share.
    counts: int64 [U], how many samples are equal to each.
    clumps: int64 [U], which clump each belongs to, of both sets together; -1 is none.
    leaders: float64 [clumps, d], a point within each clump.
  """

  plain: np.ndarray
  centered: np.ndarray
  counts: np.ndarray
  clumps: np.ndarray
  leaders: np.ndarray

  def __len__(self):
    return len(self.plain)


def _distinct(samples):
  """Different rows [U, d] in the order in which they come, and how often each does [U]."""
  samples = samples + 0.0  # -0.0 is 0.0
  numbers, counts = {}, []
  first = []
  for i, row in enumerate(samples):
    number = numbers.setdefault(row.tobytes(), len(first))
    if number == len(first):
      first.append(i)
      counts.append(0)
    counts[number] += 1
  return samples[first], np.array(counts)


def _clumps(points):
  """Clump of each centred point [U, d], -1 for none, and the numbers of the clumps' leaders."""
  random = np.random.default_rng(0)
  leaders = random.permutation(len(points))[:_LEADERS]
  squares = np.einsum("nd,nd->n", points, points)
  scale = squares[leaders, None] + squares
  close = scale - 2.0 * (points[leaders] @ points.T) <= _CLOSE * scale
  found, of_clump = np.full(len(points), -1), []
  for leader, near in zip(leaders, close, strict=True):
    near &= found < 0
    if found[leader] < 0 and near.sum() >= _LEAST:
      found[near] = len(of_clump)
      of_clump.append(leader)
  return found, np.array(of_clump, int)


def _exact(x, y, i, j):
  """Squared distances of the pairs (x[i], y[j]), from differences; the same both ways round."""
  out = np.empty(len(i))
  step = max(1, _BLOCK // x.plain.shape[1])
  for begin in range(0, len(i), step):
    part = slice(begin, begin + step)
    difference = x.plain[i[part]] - y.plain[j[part]]
    out[part] = np.einsum("nd,nd->n", difference, difference)
  return out


def _products(x, y):
  """Squared distances [N, M] of two sets by products, and bounds on their errors [N, M]."""
  squares = [np.einsum("nd,nd->n", a, a) for a in (x, y)]
  scale = squares[0][:, None] + squares[1]
  rounding = 4 * (x.shape[1] + 4) * np.finfo(np.float64).eps
  return scale - 2.0 * (x @ y.T), rounding * scale


def _blocks(x, y):
  """Squared distances by products, some rows at a time.

  Yields:
    (slice of rows of x, squared distances [rows, M], bound on their errors [rows, M]).
  """
  rows = max(1, _BLOCK // len(y))
  for begin in range(0, len(x), rows):
    part = slice(begin, min(begin + rows, len(x)))
    distances, errors = _products(x.centered[part], y.centered)
    for clump in np.unique(x.clumps[part]):
      if clump >= 0:
        own = np.flatnonzero(x.clumps[part] == clump), np.flatnonzero(y.clumps == clump)
        sides = x.plain[part][own[0]], y.plain[own[1]]
        pairs = np.ix_(*own)
        distances[pairs], errors[pairs] = _products(*(a - x.leaders[clump] for a in sides))
    yield part, distances, errors


def _radii(x, k):
  """Squared distance of each sample to its k-th nearest other one, [U]."""
  radii = np.zeros(len(x))
  if len(x) == 1:
    return radii
  nearest = min(k, len(x) - 1)  # points that may hold the k-th sample
  for part, distances, errors in _blocks(x, x):
    rows = np.arange(part.stop - part.start)
    distances[rows, rows + part.start] = np.inf
    kth = np.partition(distances + 2 * errors, nearest - 1, axis=1)[:, nearest - 1 : nearest]
    row, column = np.nonzero(distances - 2 * errors <= kth)
    exact = _exact(x, x, row + part.start, column)
    order = np.lexsort((exact, row))
    row, column, exact = row[order], column[order], exact[order]
    # Samples up to each candidate, and those that are wanted besides copies of the point itself.
    samples, first = np.cumsum(x.counts[column]), np.searchsorted(row, rows)
    samples -= (samples[first] - x.counts[column[first]])[row]
    wanted = k - (x.counts[part] - 1)
    short = np.bincount(row, samples < wanted[row], minlength=len(rows)).astype(int)
    radii[part] = np.where(wanted > 0, exact[np.minimum(first + short, len(exact) - 1)], 0.0)
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
  sets = [_distinct(each) for each in (real, generated)]
  centered = [plain - center for plain, _ in sets]
  clumps, leaders = _clumps(np.concatenate(centered))
  leaders = np.concatenate([plain for plain, _ in sets])[leaders]
  parts = np.split(clumps, [len(centered[0])])
  return [
    _Points(plain, about, counts, own, leaders)
    for (plain, counts), about, own in zip(sets, centered, parts, strict=True)
  ]


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
    shares[name] = float(others.counts[hit].sum() / others.counts.sum())
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
  for part, inside in _inside(real, generated, _radii(real, k), strict):
    within += int(real.counts[part] @ (inside @ generated.counts))
    covered += int(real.counts[part][inside.any(axis=1)].sum())
  return {
    "density": within / (k * int(generated.counts.sum())),
    "coverage": covered / int(real.counts.sum()),
  }
