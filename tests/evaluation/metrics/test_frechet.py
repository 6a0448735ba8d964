"""`ddof` of a Frechet distance applies to both sides, to intervals, floors and single classes."""

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.frechet import FID
from vidgan_jax.evaluation.statistics import intervals


def distance(x, y, ddof_x, ddof_y):
  """The definition; the trace of the matrix square root is the sum of roots of eigenvalues."""
  shift = x.mean(0) - y.mean(0)
  a, b = np.cov(x.T, ddof=ddof_x), np.cov(y.T, ddof=ddof_y)
  root = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
  return shift @ shift + np.trace(a) + np.trace(b) - 2 * root


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("width", [6, 30])
def test_ddof_applies_to_both_sides(ddof, stored, width, features, clip_set, score):
  """More and fewer clips than dimensions, with features and with moments only."""
  x, y = features(width=width)
  (fid,) = score(FID("any", "any", ddof=ddof), clip_set(x, stored), [clip_set(y, stored)])
  assert fid.value == pytest.approx(distance(x, y, ddof, ddof), rel=1e-6)
  for other in ((1 - ddof, ddof), (ddof, 1 - ddof)):
    assert abs(fid.value / distance(x, y, *other) - 1) > 3e-5


@pytest.mark.parametrize("ddof", [0, 1])
def test_ddof_applies_to_floor_and_intervals(ddof, features, clip_set, score):
  x, y = features()
  metric = FID("any", "any", ddof=ddof)
  (fid,) = score(metric, clip_set(x), [clip_set(y)], bootstrap=10, seed=3)
  assert fid.interval == intervals.frechet_interval(x, y, 0.95, 10, 3, ddof)
  halves = [x[half] for half in intervals.disjoint_halves(40, 20, 3)]
  assert fid.floor.value == pytest.approx(distance(*halves, ddof, ddof), rel=1e-6)
  assert fid.floor.interval == intervals.frechet_interval(*halves, 0.95, 10, 3, ddof)


@pytest.mark.parametrize("ddof", [0, 1])
def test_ddof_applies_to_every_class(ddof, features, clip_set):
  x, y = features(50, 30, 3)
  of_x, of_y = np.repeat([0, 1], [30, 20]), np.repeat([1, 0], [10, 20])
  real, generated = clip_set(x, labels=of_x), clip_set(y, labels=of_y)
  by_class = FID("any", "any", ddof=ddof).by_class(real, generated)
  for label, entry in by_class.items():
    sets = x[of_x == label], y[of_y == label]
    assert entry["value"] == pytest.approx(distance(*sets, ddof, ddof), rel=1e-6)
    assert (entry["count_real"], entry["count_generated"]) == tuple(map(len, sets))
    for other in ((1 - ddof, ddof), (ddof, 1 - ddof)):
      assert abs(entry["value"] / distance(*sets, *other) - 1) > 1e-3
  assert {*by_class} == {0, 1}
