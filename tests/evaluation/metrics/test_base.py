"""What all metrics share: when there is an interval, and which numbers a file can store."""

import numpy as np

from vidgan_jax.evaluation.metrics.base import Floor, Score, finite
from vidgan_jax.evaluation.metrics.registry import METRICS


def test_there_is_an_interval_exactly_if_has_interval(features, clip_set, score):
  x, y = features()
  kinds = [("fid", {}, r, b) for r in (1, 2) for b in (0, 10)]
  kinds += [("is", {"splits": s}, 1, 10) for s in (1, 4)]
  kinds += [("kvd", {"subsets": s, "subset_size": 9}, 1, 10) for s in (None, 3)]
  others = [name for name in METRICS if name not in ("fid", "is", "kvd")]
  kinds += [(name, {}, 1, 10) for name in others]
  for name, options, repeats, bootstrap in kinds:
    metric = METRICS[name]("any", "any", **options)
    real, generated = (clip_set(s, labels=np.arange(len(s)) % 6) for s in (x, y))
    scores = score(metric, real, [generated] * repeats, bootstrap=bootstrap)
    expected = metric.has_interval(repeats, bootstrap)
    assert all((one.interval is not None) is expected for one in scores), metric


def test_numbers_that_overflow_are_left_out_of_a_score():
  floor = Floor(1.0, (0.0, 1e101), "halves")
  whole = Score("kvd", (1.0,), (0.0, 2.0), 0.5, Floor(1.0, None, "halves"))
  assert whole.without_overflow() is whole
  overflowing = Score("kvd", (1.0,), (0.0, np.inf), np.nan, floor, ("a",))
  reduced = overflowing.without_overflow()
  assert (reduced.interval, reduced.std, reduced.floor.interval) == (None, None, None)
  assert reduced.floor.value == 1.0 and reduced.warnings[0] == "a" and len(reduced.warnings) == 2
  assert Score("kvd", (1.0,), floor=Floor(np.nan, None, "halves")).without_overflow().floor is None
  assert not finite(np.nan) and not finite(-np.inf) and finite(1e99)
