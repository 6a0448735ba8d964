"""Kernel distances of few clips."""

import numpy as np

from vidgan_jax.evaluation.metrics.kernel import KernelDistance


def test_there_is_no_floor_with_three_real_clips(features, clip_set, score):
  x, y = features(3, 2)
  for options in ({}, {"subsets": 2}):
    (kvd,) = score(KernelDistance("any", "any", **options), clip_set(x), [clip_set(y)])
    assert np.isfinite(kvd.value) and kvd.floor is None
