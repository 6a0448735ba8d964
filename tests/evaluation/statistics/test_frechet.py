"""Frechet distances against closed forms and a matrix square root."""

import numpy as np
import pytest
import scipy.linalg

from vidgan_jax.evaluation.statistics import frechet
from vidgan_jax.evaluation.statistics.frechet import Gaussian, gaussian_distance
from vidgan_jax.evaluation.statistics.moments import Moments, merge_all
from vidgan_jax.runtime.errors import UserError


def exactly(mean, covariance, count, seed=0):
  """Features with exactly this sample mean and covariance (ddof 1)."""
  x = np.random.default_rng(seed).standard_normal((count, len(mean)))
  x -= x.mean(0)
  x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / (count - 1))).T
  return mean + x @ scipy.linalg.sqrtm(covariance).real


def by_square_root(x, y, ddof):
  """The definition of the distance, with a matrix square root."""
  a, b = np.cov(x.T, ddof=ddof), np.cov(y.T, ddof=ddof)
  root = scipy.linalg.sqrtm(a @ b).real
  return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * root)


def all_ways(x, y, ddof=1):
  """The distance from features, from moments, and from one of each."""
  moments = Moments.of(x), Moments.of(y)
  mixed = Gaussian.of_moments(moments[0], ddof), Gaussian.of_features(y, ddof)
  return (
    frechet.frechet_distance_of_features(x, y, ddof),
    frechet.frechet_distance(*moments, ddof),
    gaussian_distance(*mixed),
  )


def test_commuting_covariances():
  """|m1 - m2|^2 + sum (sqrt a - sqrt b)^2 in one eigenbasis."""
  random = np.random.default_rng(1)
  basis, _ = np.linalg.qr(random.standard_normal((6, 6)))
  a, b = random.uniform(0.1, 9, 6), random.uniform(0.1, 9, 6)
  shift = random.standard_normal(6)
  x = exactly(np.zeros(6), (basis * a) @ basis.T, 40)
  y = exactly(shift, (basis * b) @ basis.T, 70, seed=2)
  expected = shift @ shift + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
  assert all_ways(x, y) == pytest.approx([expected] * 3, rel=1e-11)


def test_equal_covariances_leave_the_distance_of_the_means():
  random = np.random.default_rng(2)
  x, shift = random.standard_normal((30, 50)), random.standard_normal(50)
  assert all_ways(x, x + shift) == pytest.approx([shift @ shift] * 3, rel=1e-10)


@pytest.mark.parametrize("ddof", [0, 1])
def test_equals_the_definition(ddof):
  """The distances for ddof 0 and 1 differ by far more than the tolerance."""
  random = np.random.default_rng(3)
  x = random.standard_normal((60, 12)) @ random.standard_normal((12, 12))
  y = random.standard_normal((45, 12)) @ random.standard_normal((12, 12)) + 0.5
  assert all_ways(x, y, ddof) == pytest.approx([by_square_root(x, y, ddof)] * 3, rel=1e-9)
  assert abs(by_square_root(x, y, 0) / by_square_root(x, y, 1) - 1) > 1e-3


@pytest.mark.parametrize(("n", "m"), [(20, 30), (30, 500), (500, 30), (2, 2)])
def test_fewer_samples_than_dimensions(n, m):
  """All ways agree, and approximately equal the square root of a regularised product."""
  random = np.random.default_rng(n)
  spectrum = np.arange(1, 65.0) ** -1.0
  x = random.standard_normal((n, 64)) * spectrum
  y = random.standard_normal((m, 64)) * spectrum + 0.1
  values = all_ways(x, y)
  assert values == pytest.approx([values[0]] * 3, rel=1e-10)
  a, b = np.cov(x.T) + 1e-11 * np.eye(64), np.cov(y.T) + 1e-11 * np.eye(64)
  root = np.sqrt(np.clip(scipy.linalg.eigvals(a @ b).real, 0, None)).sum()
  by_eigenvalues = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b) - 2 * root
  assert values[0] == pytest.approx(by_eigenvalues, rel=1e-3)


def test_singular_covariances_of_many_samples():
  """Rounding gives such covariances eigenvalues of 1e-16; their roots must not be summed."""
  random = np.random.default_rng(9)
  x = random.standard_normal((200, 5)) @ random.standard_normal((5, 60))
  y = random.standard_normal((300, 7)) @ random.standard_normal((7, 60))
  values = all_ways(x, y)
  assert values == pytest.approx([values[0]] * 3, rel=1e-11)
  assert len(Gaussian.of_moments(Moments.of(x)).root) == 5


@pytest.mark.parametrize("shape", [(100, 8), (40, 200), (300, 300)])
def test_identical_sets(shape):
  x = np.random.default_rng(4).standard_normal(shape) + 5
  assert max(all_ways(x, x[::-1])) < 1e-9
  assert max(all_ways(x, x.astype(np.float32).astype(np.float64))) < 1e-9
  constant = np.full((9, 5), 0.1)
  assert all_ways(constant, constant + 2) == pytest.approx([20.0] * 3)


def test_invariances():
  """Symmetric, invariant to a shift or rotation of both sets, and quadratic in their scale."""
  random = np.random.default_rng(5)
  x, y = random.standard_normal((50, 9)), random.standard_normal((30, 9)) * 2 + 1
  basis, _ = np.linalg.qr(random.standard_normal((9, 9)))
  value = frechet.frechet_distance_of_features(x, y)
  for a, b, expected in (
    (y, x, value),
    (x + 7, y + 7, value),
    (x @ basis, y @ basis, value),
    (3 * x, 3 * y, 9 * value),
    (np.tile(x, 2) / np.sqrt(2), np.tile(y, 2) / np.sqrt(2), value),
    (np.pad(x, [(0, 0), (0, 3)]), np.pad(y, [(0, 0), (0, 3)]), value),
  ):
    assert all_ways(a, b) == pytest.approx([expected] * 3, rel=1e-11)


def test_distances_of_uncorrelated_dimensions_add_up():
  """The distance of joint features is the sum; merging blocks does not change a distance."""
  parts = [(exactly(np.zeros(3), np.diag(c), 50), exactly(np.ones(3), np.eye(3), 50)) for c in
           ([1.0, 2, 3], [4.0, 5, 6])]  # fmt: skip
  values = [frechet.frechet_distance_of_features(x, y) for x, y in parts]
  joined = Gaussian(50, np.zeros(6), np.diag(np.sqrt([1.0, 2, 3, 4, 5, 6])))
  other = Gaussian(50, np.ones(6), np.eye(6))
  assert gaussian_distance(joined, other) == pytest.approx(sum(values), rel=1e-10)
  x, y = parts[0]
  blocks = [Moments.of(x[i : i + 7]) for i in range(0, 50, 7)]
  merged = frechet.frechet_distance(merge_all(reversed(blocks)), Moments.of(y))
  assert merged == pytest.approx(values[0], rel=1e-12)


def test_sample_bias():
  """Two samples of N(0, I): about d (d + 1) / (2 N) from covariances plus 2 d / N from means."""
  random = np.random.default_rng(6)
  x, y = random.standard_normal((2, 1000, 64))
  value = frechet.frechet_distance_of_features(x, y)
  assert value == pytest.approx(64 * 65 / 2000 + 2 * 64 / 1000, rel=0.1)


def test_by_class():
  random = np.random.default_rng(7)
  x, y = random.standard_normal((30, 40)), random.standard_normal((36, 40))
  labels_x, labels_y = np.arange(30) % 3, np.arange(36) % 3
  values = frechet.frechet_by_class(x, labels_x, y, labels_y)
  assert list(values) == [0, 1, 2]
  for label, value in values.items():
    parts = x[labels_x == label], y[labels_y == label]
    assert value == frechet.frechet_distance_of_features(*parts)
  with pytest.raises(UserError, match="class 3 has 1 real and 0 generated"):
    frechet.frechet_by_class(x, np.r_[3, labels_x[1:]], y, labels_y)
  selected = frechet.frechet_by_class(x, np.r_[3, labels_x[1:]], y, labels_y, classes=[2, 1])
  assert list(selected) == [1, 2]


def test_refusals():
  x = np.random.default_rng(8).standard_normal((5, 3))
  for call, message in (
    (lambda: frechet.frechet_distance_of_features(x, x[:, :2]), "3 dimensions"),
    (lambda: frechet.frechet_distance_of_features(x, x[:1]), "generated features: at least 2"),
    (lambda: frechet.frechet_distance_of_features(np.full_like(x, np.nan), x), "5 of 5"),
    (lambda: frechet.frechet_distance_of_features(x, x, ddof=2), "ddof"),
    (lambda: frechet.frechet_distance_of_features(x * 1e200, x * 1e200), "too large"),
    (lambda: frechet.frechet_distance(Moments.of(x), Moments.of(x[:1])), "at least 2"),
    (lambda: frechet.frechet_distance(Moments.of(x), Moments.of(x[:, :2])), "cannot be compared"),
    (lambda: Gaussian.of_moments(Moments(9, np.zeros(2), np.diag([1.0, -1]))), "eigenvalue"),
    (lambda: Gaussian.of_moments(Moments(9, np.zeros(2), np.full((2, 2), np.nan))), "finite"),
  ):
    with pytest.raises(UserError, match=message):
      call()
