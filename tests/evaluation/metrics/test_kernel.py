"""Kernel distances of few clips."""

import numpy as np

from vidgan_jax.evaluation.metrics.kernel import KernelDistance


def test_kernel_distances_of_two_clips_have_no_floor(features, clip_set, score):
  x, y = features(3, 2)
  for options in ({}, {"subsets": 2}):
    (found,) = score(KernelDistance("any", "any", **options), clip_set(x), [clip_set(y)])
    assert np.isfinite(found.value) and found.floor is None
