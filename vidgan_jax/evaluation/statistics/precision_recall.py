"""Precision, recall, density and coverage, from balls that reach the k-th nearest neighbour.

Each sample has a ball whose radius is the distance to its k-th nearest neighbour in the same set,
not counting the sample itself.
  precision: share of generated samples inside the ball of any real sample
             (Kynkaanniemi et al. 2019)
  recall:    share of real samples inside the ball of any generated sample
  density:   number of real balls that contain a generated sample, averaged over generated samples
             and divided by k (Naeem et al. 2020); may exceed 1
  coverage:  share of real samples whose ball contains a generated sample

A sample on the surface of a ball counts as inside ("<=", Kynkaanniemi et al.) unless `strict` ("<",
the code of Naeem et al., where two sets of one repeated point score 0).

Distances are computed in blocks from |a|^2 + |b|^2 - 2 a.b, which has rounding errors. A comparison
that these errors could decide is repeated with distances from the differences a - b, so that equal
distances compare as equal.

In a collapsed set, almost every comparison would be repeated. Two measures avoid this. Equal
samples are stored as one point with a count. Samples that lie much closer to each other than to
the rest form a cluster, and their products are computed relative to one point of the cluster. This
makes rounding errors small compared with the distances.
"""

import dataclasses

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_pair
from vidgan_jax.runtime.errors import UserError

_BLOCK = 2**22  # distances in one block, 32 MiB
_CANDIDATES = 256  # points that are tried as centres of clusters
_CLOSE = 1e-8  # largest squared distance within a cluster, relative to the squared norms of a pair
_MIN_CLUSTER = 32  # smallest number of points in a cluster


@dataclasses.dataclass(frozen=True, eq=False)
class _Points:
  """The U distinct samples of a set.

  Attributes:
    plain: float64 [U, d], the samples; exact distances use their differences.
    centered: float64 [U, d], the samples minus a centre that both sets share; block distances use
      their products.
    counts: int64 [U], how many samples of the set equal each point.
    clusters: int64 [U], index of each point's cluster, -1 for none. Both sets share the clusters.
    origins: float64 [clusters, d], one point of each cluster.
  """

  plain: np.ndarray
  centered: np.ndarray
  counts: np.ndarray
  clusters: np.ndarray
  origins: np.ndarray

  def __len__(self):
    return len(self.plain)


def _distinct(samples):
  """Distinct rows [U, d], in order of first occurrence, and the count of each [U]."""
  samples = samples + 0.0  # turns -0.0 into 0.0, which has other bytes
  indices, counts = {}, []
  first = []
  for i, row in enumerate(samples):
    index = indices.setdefault(row.tobytes(), len(first))
    if index == len(first):
      first.append(i)
      counts.append(0)
    counts[index] += 1
  return samples[first], np.array(counts)


def _clusters(points):
  """Finds clusters of the centred points [U, d].

  Returns:
    (int64 [U], the cluster of each point, -1 for none; int64 [clusters], the index of each
    cluster's origin).
  """
  random = np.random.default_rng(0)
  candidates = random.permutation(len(points))[:_CANDIDATES]
  squares = np.einsum("nd,nd->n", points, points)
  scale = squares[candidates, None] + squares
  close = scale - 2.0 * (points[candidates] @ points.T) <= _CLOSE * scale
  clusters, origins = np.full(len(points), -1), []
  for candidate, near in zip(candidates, close, strict=True):
    near &= clusters < 0
    if clusters[candidate] < 0 and near.sum() >= _MIN_CLUSTER:
      clusters[near] = len(origins)
      origins.append(candidate)
  return clusters, np.array(origins, int)


def _exact(x, y, i, j):
  """Squared distances of the pairs (x[i], y[j]), from differences; symmetric to the last bit."""
  out = np.empty(len(i))
  step = max(1, _BLOCK // x.plain.shape[1])
  for begin in range(0, len(i), step):
    part = slice(begin, begin + step)
    difference = x.plain[i[part]] - y.plain[j[part]]
    out[part] = np.einsum("nd,nd->n", difference, difference)
  return out


def _products(x, y):
  """Squared distances [N, M] between two sets, from products, and bounds on their errors [N, M]."""
  squares = [np.einsum("nd,nd->n", a, a) for a in (x, y)]
  scale = squares[0][:, None] + squares[1]
  rounding = 4 * (x.shape[1] + 4) * np.finfo(np.float64).eps
  return scale - 2.0 * (x @ y.T), rounding * scale


def _blocks(x, y):
  """Squared distances from products, one block of rows at a time.

  Yields:
    (slice of rows of x, squared distances [rows, M], bounds on their errors [rows, M]).
  """
  rows = max(1, _BLOCK // len(y))
  for begin in range(0, len(x), rows):
    part = slice(begin, min(begin + rows, len(x)))
    distances, errors = _products(x.centered[part], y.centered)
    for cluster in np.unique(x.clusters[part]):
      if cluster >= 0:
        rows_x = np.flatnonzero(x.clusters[part] == cluster)
        rows_y = np.flatnonzero(y.clusters == cluster)
        pairs, origin = np.ix_(rows_x, rows_y), x.origins[cluster]
        distances[pairs], errors[pairs] = _products(
          x.plain[part][rows_x] - origin, y.plain[rows_y] - origin
        )
    yield part, distances, errors


def _radii(x, k):
  """Squared distance from each point to the k-th nearest other sample of its set, [U]."""
  radii = np.zeros(len(x))
  if len(x) == 1:
    return radii
  nearest = min(k, len(x) - 1)  # the k-th sample is one of this many points
  for part, distances, errors in _blocks(x, x):
    rows = np.arange(part.stop - part.start)
    distances[rows, rows + part.start] = np.inf
    kth = np.partition(distances + 2 * errors, nearest - 1, axis=1)[:, nearest - 1 : nearest]
    row, column = np.nonzero(distances - 2 * errors <= kth)
    exact = _exact(x, x, row + part.start, column)
    order = np.lexsort((exact, row))
    row, column, exact = row[order], column[order], exact[order]
    # `samples`: number of samples up to and including each candidate, counted within its row.
    # `needed`: which of them is the k-th neighbour; copies of the point itself come before them.
    samples, first = np.cumsum(x.counts[column]), np.searchsorted(row, rows)
    samples -= (samples[first] - x.counts[column[first]])[row]
    needed = k - (x.counts[part] - 1)
    skipped = np.bincount(row, samples < needed[row], minlength=len(rows)).astype(int)
    radii[part] = np.where(needed > 0, exact[np.minimum(first + skipped, len(exact) - 1)], 0.0)
  return radii


def _inside(x, y, radii, strict):
  """Which points of y lie in the balls around the points of x, one block of balls at a time.

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
      f"{len(generated)} generated samples"
    )
  center = real.mean(axis=0)  # products lose digits if the mean is far from zero
  sets = [_distinct(samples) for samples in (real, generated)]
  centered = [plain - center for plain, _ in sets]
  clusters, indices = _clusters(np.concatenate(centered))
  origins = np.concatenate([plain for plain, _ in sets])[indices]
  parts = np.split(clusters, [len(centered[0])])
  return [
    _Points(plain, about_center, counts, part, origins)
    for (plain, counts), about_center, part in zip(sets, centered, parts, strict=True)
  ]


def precision_recall(
  real: np.ndarray, generated: np.ndarray, k: int = 3, *, strict: bool = False
) -> dict[str, float]:
  """Precision and recall (see the module).

  Args:
    real: features [N, d].
    generated: features [M, d].
    k: the radius of a ball is the distance to the k-th nearest neighbour.
    strict: samples on the surface of a ball do not count as inside.

  Returns:
    {"precision": 0..1, "recall": 0..1}.

  Raises:
    UserError: a set has at most k samples, or see `moments.as_pair`.
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


def density_coverage(
  real: np.ndarray, generated: np.ndarray, k: int = 5, *, strict: bool = False
) -> dict[str, float]:
  """Density and coverage (see the module).

  Args:
    real: features [N, d].
    generated: features [M, d].
    k: the radius of a ball is the distance to the k-th nearest neighbour.
    strict: samples on the surface of a ball do not count as inside.

  Returns:
    {"density": at least 0, "coverage": 0..1}.

  Raises:
    UserError: a set has at most k samples, or see `moments.as_pair`.
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
