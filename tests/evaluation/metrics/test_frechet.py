"""Settings of a Frechet distance reach both sides of it, its floor and its classes."""

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.frechet import FID
from vidgan_jax.evaluation.statistics import intervals


def distance(x, y, ddof_x, ddof_y):
  """By the definition, with a square root of the product of covariances by its eigenvalues."""
  shift = x.mean(0) - y.mean(0)
  a, b = np.cov(x.T, ddof=ddof_x), np.cov(y.T, ddof=ddof_y)
  root = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
  return shift @ shift + np.trace(a) + np.trace(b) - 2 * root


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("width", [6, 30])
def test_ddof_is_that_of_both_sides(ddof, kept, width, features, clip_set, score):
  """More and fewer clips than dimensions, by features and by moments alone."""
  x, y = features(width=width)
  (found,) = score(FID("any", "any", ddof=ddof), clip_set(x, kept), [clip_set(y, kept)])
  assert found.value == pytest.approx(distance(x, y, ddof, ddof), rel=1e-6)
  for other in ((1 - ddof, ddof), (ddof, 1 - ddof)):
    assert abs(found.value / distance(x, y, *other) - 1) > 3e-5


@pytest.mark.parametrize("ddof", [0, 1])
def test_ddof_is_that_of_floor_and_intervals(ddof, features, clip_set, score):
  x, y = features()
  metric = FID("any", "any", ddof=ddof)
  (found,) = score(metric, clip_set(x), [clip_set(y)], bootstrap=10, seed=3)
  assert found.interval == intervals.frechet_interval(x, y, 0.95, 10, 3, ddof)
  one, other = (x[half] for half in intervals.disjoint_halves(40, 20, 3))
  assert found.floor.value == pytest.approx(distance(one, other, ddof, ddof), rel=1e-6)
  assert found.floor.interval == intervals.frechet_interval(one, other, 0.95, 10, 3, ddof)


@pytest.mark.parametrize("ddof", [0, 1])
def test_ddof_is_that_of_every_class(ddof, features, clip_set):
  x, y = features(50, 30, 3)
  of_x, of_y = np.repeat([0, 1], [30, 20]), np.repeat([1, 0], [10, 20])
  real, generated = clip_set(x, labels=of_x), clip_set(y, labels=of_y)
  found = FID("any", "any", ddof=ddof).by_class(real, generated)
  for label, entry in found.items():
    own = x[of_x == label], y[of_y == label]
    assert entry["value"] == pytest.approx(distance(*own, ddof, ddof), rel=1e-6)
    assert (entry["count_real"], entry["count_generated"]) == tuple(map(len, own))
    for other in ((1 - ddof, ddof), (ddof, 1 - ddof)):
      assert abs(entry["value"] / distance(*own, *other) - 1) > 1e-3
  assert {*found} == {0, 1}
