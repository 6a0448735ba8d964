"""Intervals from halves for statistics of neighbours and of pairs of samples.

A bootstrap is wrong for them: a copy in a resample is its own nearest neighbour, has distance 0,
and adds nothing to the variety of a set. The halves of a set have no copies; `intervals` explains
why half the difference of two halves has the deviation of the whole set. Both sets of clips are
halved. The interval of a share that takes one of them as given, Wilson's, is up to 1.7 times too
narrow for them.
"""

from collections.abc import Callable, Sequence

import numpy as np

from vidgan_jax.evaluation.statistics.intervals import Halving
from vidgan_jax.evaluation.statistics.resampling import half_weights

MOST_HALVES = 16  # a half costs a quarter of the whole


def halvings(
  statistic: Callable[..., dict[str, float] | None],
  counts: Sequence[int],
  samples: int = MOST_HALVES,
  seed: int = 0,
  labels: Sequence[np.ndarray | None] | None = None,
) -> dict[str, Halving]:
  """Estimates biases and standard deviations of the numbers of a statistic.

  Args:
    statistic: a function of the indices [n] of samples of each set that returns {name: number}, or
      None if the samples are too few.
    counts: number of samples of each set.
    samples: number of halves, at least 2; more than `MOST_HALVES` are not computed.
    seed: seed of the halves.
    labels: integers [count] of each set whose classes are halved one by one, or None.

  Returns:
    {name: `Halving`}; {} if the statistic returns None.
  """
  random, halves = np.random.default_rng(seed), []
  whole = statistic(*map(np.arange, counts))
  for _ in range(max(min(samples, MOST_HALVES), 2) // 2):
    sets = [
      half_weights(random, count, of_set)
      for count, of_set in zip(counts, labels or [None] * len(counts), strict=True)
    ]
    halves += [statistic(*(np.flatnonzero(of_set[side]) for of_set in sets)) for side in (0, 1)]
    if whole is None or None in halves:
      return {}
  return {
    name: Halving.of(value, np.array([half[name] for half in halves]))
    for name, value in whole.items()
  }
