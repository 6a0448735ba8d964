"""Halves give the deviation of statistics of neighbours and pairs over repeated draws."""

import numpy as np

from vidgan_jax.evaluation.metrics.vendi import vendi_score
from vidgan_jax.evaluation.statistics.diversity import mean_within_classes
from vidgan_jax.evaluation.statistics.halving import halvings
from vidgan_jax.evaluation.statistics.intervals import Halving
from vidgan_jax.evaluation.statistics.precision_recall import density_coverage, precision_recall

COUNT, DRAWS, TRIALS = 240, 60, 8
LABELS = np.arange(COUNT) % 6


def numbers(x, y, labels):
  return {
    **precision_recall(x, y),
    **density_coverage(x, y),
    "vendi": vendi_score(y),
    "diversity": mean_within_classes(y, labels),
  }


def test_deviations_are_those_of_repeated_draws():
  draws, found = [], []
  for draw in range(DRAWS):
    random = np.random.default_rng(draw)
    x, y = random.normal(size=(COUNT, 6)), random.normal(size=(COUNT, 6)) + LABELS[:, None] / 5
    draws.append(numbers(x, y, LABELS))
    if draw < TRIALS:
      of_halves = lambda i, j, x=x, y=y: numbers(x[i], y[j], LABELS[j])
      found.append(halvings(of_halves, (COUNT, COUNT), seed=draw, labels=(None, LABELS)))
  for name in draws[0]:
    true = np.std([draw[name] for draw in draws], ddof=1)
    estimated = np.mean([halving[name].deviation for halving in found])
    assert 0.7 < estimated / true < 1.4, (name, estimated, true)
    assert [halving[name].value for halving in found] == [d[name] for d in draws[:TRIALS]]


def test_halves_are_disjoint_and_of_each_class():
  seen = []
  halvings(lambda i, j: seen.append((i, j)) or {"n": 0.0}, (COUNT, 9), 6, labels=(LABELS, None))
  assert [(len(i), len(j)) for i, j in seen] == [(COUNT, 9)] + [(COUNT // 2, 4)] * 6
  for (i, j), (m, n) in zip(seen[1::2], seen[2::2], strict=True):
    assert not {*i} & {*m} and not {*j} & {*n}
    assert np.bincount(LABELS[i]).tolist() == [COUNT // 12] * 6
  first = {tuple(j) for _, j in seen[1:]}
  assert len(first) > 2


def test_too_few_samples_give_none():
  too_few = lambda i: {"n": 1.0} if len(i) > 5 else None
  assert halvings(too_few, [10]) == {}
  assert halvings(too_few, [12]) == {"n": Halving(1.0, 0.0, 0.0)}
