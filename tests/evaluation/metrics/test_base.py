"""What all metrics have in common: when there is an interval, and what a file can hold."""

import numpy as np

from vidgan_jax.evaluation.metrics.base import Floor, Score, finite
from vidgan_jax.evaluation.metrics.registry import METRICS


def test_an_interval_is_where_it_is_said_to_be(features, clip_set, score):
  x, y = features()
  kinds = [("fid", {}, r, b) for r in (1, 2) for b in (0, 10)]
  kinds += [("is", {"splits": s}, 1, 10) for s in (1, 4)]
  kinds += [("kvd", {"subsets": s, "subset_size": 9}, 1, 10) for s in (None, 3)]
  others = [name for name in METRICS if name not in ("fid", "is", "kvd")]
  kinds += [(name, {}, 1, 10) for name in others]
  for name, options, repeats, bootstrap in kinds:
    metric = METRICS[name]("any", "any", **options)
    real, generated = (clip_set(s, labels=np.arange(len(s)) % 6) for s in (x, y))
    found = score(metric, real, [generated] * repeats, bootstrap=bootstrap)
    expected = metric.has_interval(repeats, bootstrap)
    assert all((each.interval is not None) is expected for each in found), metric


def test_numbers_that_overflow_are_left_out_of_a_score():
  floor = Floor(1.0, (0.0, 1e101), "halves")
  whole = Score("kvd", (1.0,), (0.0, 2.0), 0.5, Floor(1.0, None, "halves"))
  assert whole.without_overflow() is whole
  odd = Score("kvd", (1.0,), (0.0, np.inf), np.nan, floor, ("a",))
  found = odd.without_overflow()
  assert (found.interval, found.std, found.floor.interval) == (None, None, None)
  assert found.floor.value == 1.0 and found.warnings[0] == "a" and len(found.warnings) == 2
  assert Score("kvd", (1.0,), floor=Floor(np.nan, None, "halves")).without_overflow().floor is None
  assert not finite(np.nan) and not finite(-np.inf) and finite(1e99)
