"""Values of unlimited clips take subsets of both sides, and have the error of the line."""

import pytest

from vidgan_jax.evaluation.metrics.unlimited import FVDInfinity, InceptionScoreInfinity
from vidgan_jax.evaluation.statistics.extrapolation import frechet_infinity


@pytest.mark.parametrize("ddof", [0, 1])
def test_values_of_unlimited_clips_take_subsets_of_both_sides(ddof, features, clip_set, score):
  x, y = features(300, 200)
  metric, sets = FVDInfinity("any", "any", ddof=ddof), (clip_set(x), [clip_set(y)])
  (found,) = score(metric, *sets, bootstrap=10, seed=3)
  both = frechet_infinity(x, y, seed=3, ddof=ddof, both=True)
  assert found.value == both.value and found.std == both.error
  reach = 1.959963984540054 * both.error
  assert found.interval == pytest.approx((both.value - reach, both.value + reach))
  for others in (dict(ddof=ddof), dict(ddof=1 - ddof, both=True)):
    other = frechet_infinity(x, y, seed=3, **others)
    assert abs(found.value - other.value) > 1e-3 * abs(found.value)
  (none,) = score(metric, *sets, bootstrap=0, seed=3)
  assert none.interval is None and none.std is None and none.value == found.value


def test_fields_of_a_score_are_those_of_older_results():
  fields = InceptionScoreInfinity("net", "out", eps=1e-7).fields()
  assert [*fields] == ["metric", "network", "output", "preprocess", "splits", "eps", "eps_place"]
  assert fields["splits"] == 1 and fields["eps"] == 1e-7
