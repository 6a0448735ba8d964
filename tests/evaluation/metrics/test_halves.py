"""Intervals of precision, recall, density, coverage, diversity and the Vendi score."""

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.accuracy import wilson
from vidgan_jax.evaluation.metrics.registry import METRICS


def test_shares_of_0_and_1_have_an_interval(clip_set, score):
  """All halves agree there, so only the number of clips counts."""
  random = np.random.default_rng(0)
  x, y = random.normal(size=(90, 3)), random.normal(size=(60, 3)) + 50
  metric = METRICS["prdc"]("any", "any")
  apart = {s.metric: s for s in score(metric, clip_set(x), [clip_set(y)], bootstrap=10)}
  assert apart["precision"].interval == wilson(0.0, 60)
  assert apart["recall"].interval == apart["coverage"].interval == wilson(0.0, 90)
  assert apart["density"].value == 0 and apart["density"].interval is None
  same = {s.metric: s for s in score(metric, clip_set(x), [clip_set(x)], bootstrap=10)}
  for name in ("precision", "recall", "coverage"):
    low, high = same[name].interval
    assert same[name].value == 1 and high == 1 and 0.5 < low <= wilson(1.0, 90)[0]


@pytest.mark.parametrize("name", ["prdc", "vendi", "diversity"])
def test_real_clips_have_intervals_too(name, features, clip_set, score):
  x, y = (clip_set(s, labels=np.arange(len(s)) % 6) for s in features())
  for one in score(METRICS[name]("any", "any"), x, [y], bootstrap=10):
    low, high = one.floor.interval
    assert low <= one.floor.value <= high and low < high
  for one in score(METRICS[name]("any", "any"), x, [y], bootstrap=0):
    assert one.interval is None and one.floor.interval is None


def test_classes_whose_halves_have_no_pairs_give_no_interval(clip_set, score):
  features = np.random.default_rng(0).normal(size=(24, 4))
  for labels, expected in ((np.arange(24) % 6, True), (np.arange(24) % 8, False)):
    clips = clip_set(features, labels=labels)
    (one,) = score(METRICS["diversity"]("any", "any"), clips, [clips], bootstrap=10)
    assert (one.interval is not None) is (one.floor.interval is not None) is expected
