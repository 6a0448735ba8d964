"""A measure's settings reach both sides of it: real and generated, the floor, and each class."""

import numpy as np
import pytest

from vidgan_jax.evaluation.features.pipeline import Gathered
from vidgan_jax.evaluation.metrics import by_class, measures
from vidgan_jax.evaluation.metrics.measures import score
from vidgan_jax.evaluation.protocols.base import Measure
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.extrapolation import frechet_infinity
from vidgan_jax.evaluation.statistics.inception_score import inception_score
from vidgan_jax.evaluation.statistics.moments import Moments


def gathered(features, kept=True):
  return Gathered(Moments.of(features), features if kept else None)


def sets(real=40, generated=24, width=6):
  random = np.random.default_rng(0)
  return random.standard_normal((real, width)), 1.3 * random.standard_normal((generated, width)) + 1


def distance(x, y, ddof_x, ddof_y):
  """By the definition, with a square root of the product of covariances by its eigenvalues."""
  shift = x.mean(0) - y.mean(0)
  a, b = np.cov(x.T, ddof=ddof_x), np.cov(y.T, ddof=ddof_y)
  root = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
  return shift @ shift + np.trace(a) + np.trace(b) - 2 * root


def fid(ddof):
  return Measure("fid", "any", "features", ddof=ddof)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("width", [6, 30])
def test_ddof_is_that_of_both_sides(ddof, kept, width):
  """More and fewer clips than dimensions, by features and by moments alone."""
  x, y = sets(width=width)
  (found,) = score(fid(ddof), gathered(x, kept), [gathered(y, kept)])
  assert found.value == pytest.approx(distance(x, y, ddof, ddof), rel=1e-6)
  for other in ((1 - ddof, ddof), (ddof, 1 - ddof)):
    assert abs(found.value / distance(x, y, *other) - 1) > 3e-5


@pytest.mark.parametrize("ddof", [0, 1])
def test_ddof_is_that_of_floor_and_intervals(ddof):
  x, y = sets()
  (found,) = score(fid(ddof), gathered(x), [gathered(y)], bootstrap=10, seed=3)
  assert found.interval == intervals.frechet_interval(x, y, 0.95, 10, 3, ddof)
  one, other = (x[half] for half in intervals.disjoint_halves(40, 20, 3))
  assert found.floor["value"] == pytest.approx(distance(one, other, ddof, ddof), rel=1e-6)
  assert found.floor["interval"] == intervals.frechet_interval(one, other, 0.95, 10, 3, ddof)


@pytest.mark.parametrize("ddof", [0, 1])
def test_ddof_is_that_of_every_class(ddof):
  x, y = sets(50, 30, 3)
  of_x, of_y = np.repeat([0, 1], [30, 20]), np.repeat([1, 0], [10, 20])
  found = by_class.by_class(fid(ddof), gathered(x), of_x, gathered(y), of_y)
  for label, entry in found.items():
    own = x[of_x == label], y[of_y == label]
    assert entry["value"] == pytest.approx(distance(*own, ddof, ddof), rel=1e-6)
    assert (entry["count_real"], entry["count_generated"]) == tuple(map(len, own))
    for other in ((1 - ddof, ddof), (ddof, 1 - ddof)):
      assert abs(entry["value"] / distance(*own, *other) - 1) > 1e-3
  assert {*found} == {0, 1}


@pytest.mark.parametrize("ddof", [0, 1])
def test_values_of_unlimited_clips_take_subsets_of_both_sides(ddof):
  x, y = sets(300, 200)
  measure = Measure("fvd_infinity", "any", "features", ddof=ddof)
  (found,) = score(measure, gathered(x), [gathered(y)], bootstrap=10, seed=3)
  both = frechet_infinity(x, y, seed=3, ddof=ddof, both=True)
  assert found.value == both.value and found.std == both.error
  reach = 1.959963984540054 * both.error
  assert found.interval == pytest.approx((both.value - reach, both.value + reach))
  for others in (dict(ddof=ddof), dict(ddof=1 - ddof, both=True)):
    other = frechet_infinity(x, y, seed=3, **others)
    assert abs(found.value - other.value) > 1e-3 * abs(found.value)
  (none,) = score(measure, gathered(x), [gathered(y)], bootstrap=0, seed=3)
  assert none.interval is None and none.std is None and none.value == found.value


def test_inception_scores_of_every_class_are_of_one_split():
  random = np.random.default_rng(1)
  logits, labels = 3 * random.standard_normal((41, 5)), np.repeat([0, 2, 3], [20, 20, 1])
  measure = Measure("is", "any", "logits", splits=10, eps=1e-2, eps_place="probabilities")
  found = by_class.by_class(measure, gathered(logits), labels, gathered(logits), labels)
  assert {*found} == {0, 2}  # one clip alone says nothing of variety
  for label, entry in found.items():
    expected, _ = inception_score(logits[labels == label], eps=1e-2, eps_place="probabilities")
    assert entry["value"] == expected > 1.5 and entry["count_generated"] == 20


def test_an_interval_is_where_it_is_said_to_be():
  x, y = sets()
  p = np.arange(24) % 6
  for measure, repeats, bootstrap in (
    *((fid(1), r, b) for r in (1, 2) for b in (0, 10)),
    *((Measure("is", "any", "logits", splits=s), 1, 10) for s in (1, 4)),
    *((Measure("kvd", "any", "features", subsets=s, subset_size=9), 1, 10) for s in (None, 3)),
    *((Measure(m, "any", "features"), 1, 10) for m in ("prdc", "diversity", "accuracy")),
    *((Measure(m, "any", "features"), 1, 10) for m in ("fvd_infinity", "is_infinity")),
  ):
    options = dict(bootstrap=bootstrap, real_labels=np.arange(40) % 6, labels=[p] * repeats)
    found = score(measure, gathered(x), [gathered(y)] * repeats, **options)
    told = measures.has_interval(measure, repeats, bootstrap)
    assert all((each.interval is not None) is told for each in found), measure


def test_kernel_distances_of_two_clips_have_no_floor():
  x, y = sets(3, 2)
  for options in ({}, {"subsets": 2}):
    (found,) = score(Measure("kvd", "any", "features", **options), gathered(x), [gathered(y)])
    assert np.isfinite(found.value) and found.floor is None


def test_ten_splits_of_fewer_real_clips_have_no_floor():
  x, y = sets()
  ten = Measure("is", "any", "logits", splits=10)
  for count, told in ((9, False), (10, True)):
    (found,) = score(ten, gathered(x[:count]), [gathered(y)])
    assert found.value > 0 and (found.floor is not None) is told


def test_numbers_that_overflow_are_left_out_of_a_score():
  floor = {"value": 1.0, "interval": (0.0, 1e101), "what": "halves"}
  whole = measures.Score("kvd", (1.0,), (0.0, 2.0), 0.5, {**floor, "interval": None})
  assert measures.without_overflow(whole) is whole
  odd = measures.Score("kvd", (1.0,), (0.0, np.inf), np.nan, floor, ("a",))
  found = measures.without_overflow(odd)
  assert (found.interval, found.std, found.floor["interval"]) == (None, None, None)
  assert found.floor["value"] == 1.0 and found.warnings[0] == "a" and len(found.warnings) == 2
  assert not measures.finite(np.nan) and not measures.finite(-np.inf) and measures.finite(1e99)
