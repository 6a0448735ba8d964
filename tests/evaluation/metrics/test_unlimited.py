"""Extrapolated values use subsets of both sets; their error is that of the extrapolation."""

import pytest

from vidgan_jax.evaluation.metrics.unlimited import FVDInfinity, InceptionScoreInfinity
from vidgan_jax.evaluation.statistics.extrapolation import frechet_infinity


@pytest.mark.parametrize("ddof", [0, 1])
def test_subsets_are_of_both_sets(ddof, features, clip_set, score):
  x, y = features(300, 200)
  metric, sets = FVDInfinity("any", "any", ddof=ddof), (clip_set(x), [clip_set(y)])
  (fvd,) = score(metric, *sets, bootstrap=10, seed=3)
  both = frechet_infinity(x, y, seed=3, ddof=ddof, both=True)
  assert fvd.value == both.value and fvd.std == both.error
  margin = 1.959963984540054 * both.error
  assert fvd.interval == pytest.approx((both.value - margin, both.value + margin))
  for others in (dict(ddof=ddof), dict(ddof=1 - ddof, both=True)):
    other = frechet_infinity(x, y, seed=3, **others)
    assert abs(fvd.value - other.value) > 1e-3 * abs(fvd.value)
  (without_error,) = score(metric, *sets, bootstrap=0, seed=3)
  assert without_error.interval is None and without_error.std is None
  assert without_error.value == fvd.value


def test_fields_are_those_of_older_results():
  fields = InceptionScoreInfinity("net", "out", eps=1e-7).fields()
  assert [*fields] == ["metric", "network", "output", "preprocess", "splits", "eps", "eps_place"]
  assert fields["splits"] == 1 and fields["eps"] == 1e-7
