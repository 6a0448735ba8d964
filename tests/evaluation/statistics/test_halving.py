"""Intervals from halves contain the mean over repeated draws."""

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.vendi import vendi_score
from vidgan_jax.evaluation.statistics.diversity import mean_within_classes
from vidgan_jax.evaluation.statistics.halving import MOST_HALVES, half_intervals
from vidgan_jax.evaluation.statistics.precision_recall import density_coverage, precision_recall

COUNT, DRAWS = 120, 80
LABELS = np.arange(COUNT) % 6


def neighbours(shift):
  def draw(random):
    return random.normal(size=(COUNT, 6)), random.normal(size=(COUNT, 6)) + shift

  def numbers(x, y, labels):
    return {**precision_recall(x, y), **density_coverage(x, y)}

  return draw, numbers


def variety(width):
  def draw(random):
    features = random.normal(size=(COUNT, width)) * np.arange(1, width + 1) ** -0.5
    return np.zeros((COUNT, 1)), features + LABELS[:, None] / 5

  def numbers(x, y, labels):
    return {"vendi": np.log(vendi_score(y)), "diversity": mean_within_classes(y, labels)}

  return draw, numbers


@pytest.mark.parametrize(
  ("draw", "numbers", "least"),
  [
    (*neighbours(0.4), 0.88),
    (*neighbours(1.2), 0.75),  # precision of about 0.2
    (*variety(12), 0.88),
    (*variety(300), 0.88),  # more dimensions than samples: the score grows with their number
  ],
)
def test_intervals_contain_the_mean_over_draws(draw, numbers, least):
  """The target is 95 %; `DRAWS` trials of 95 % contain it at least 0.88 of the time."""
  values, found = [], []
  for seed in range(DRAWS):
    x, y = draw(np.random.default_rng(seed))
    values.append(numbers(x, y, LABELS))
    of_half = lambda i, j, x=x, y=y: numbers(x[i], y[j], LABELS[j])
    counts = (COUNT, COUNT)
    found.append(half_intervals(of_half, values[-1], counts, seed=seed, labels=(None, LABELS)))
  for name in values[0]:
    mean = np.mean([each[name] for each in values])
    share = np.mean([low <= mean <= high for low, high in (each[name] for each in found)])
    spread = np.std([each[name] for each in values], ddof=1)
    width = np.mean([high - low for low, high in (each[name] for each in found)]) / spread
    assert share >= least and width < 7, (name, share, width)


def test_halves_are_disjoint_and_of_each_class():
  seen = []
  look = lambda i, j: seen.append((i, j)) or {"n": 0.0}
  half_intervals(look, {"n": 0.0}, (COUNT, 9), 6, labels=(LABELS, None))
  assert [(len(i), len(j)) for i, j in seen] == [(COUNT // 2, 4)] * 6
  for (i, j), (m, n) in zip(seen[::2], seen[1::2], strict=True):
    assert not {*i} & {*m} and not {*j} & {*n}
    assert np.bincount(LABELS[i]).tolist() == [COUNT // 12] * 6
  assert len({tuple(j) for _, j in seen}) > 2


def test_few_samples_or_halves_give_none():
  number = lambda i: {"n": float(i[0])} if len(i) > 5 else None
  assert half_intervals(number, {"n": 1.0}, [10]) == {}
  assert half_intervals(number, {"n": 1.0}, [12], samples=1) == {}
  (ends,) = half_intervals(number, {"n": 1.0}, [12], samples=2).values()
  assert ends[0] < 1 < ends[1]


def test_many_halves_are_not_computed():
  calls = []
  half_intervals(lambda i: calls.append(0) or {"n": 0.0}, {"n": 0.0}, [50], samples=1000)
  assert len(calls) == MOST_HALVES
