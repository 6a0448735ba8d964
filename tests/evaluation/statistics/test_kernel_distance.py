"""Kernel distances equal sums over all pairs."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics import kernel_distance as module
from vidgan_jax.evaluation.statistics.kernel_distance import kernel_distance
from vidgan_jax.runtime.errors import UserError


def brute(x, y, degree=3, gamma=None, coefficient=1.0, estimator="unbiased"):
  gamma = gamma or 1 / x.shape[1]
  k = lambda a, b: (gamma * float(a @ b) + coefficient) ** degree

  def within(a):
    pairs = [
      (i, j) for i in range(len(a)) for j in range(len(a)) if i != j or estimator == "biased"
    ]
    return sum(k(a[i], a[j]) for i, j in pairs) / len(pairs)

  pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if i != j or estimator != "paired"]
  between = sum(k(x[i], y[j]) for i, j in pairs) / len(pairs)
  return within(x) + within(y) - 2 * between


@pytest.fixture(scope="module")
def sets():
  random = np.random.default_rng(0)
  return random.standard_normal((37, 5)), random.standard_normal((29, 5)) * 1.5 + 0.3


@pytest.mark.parametrize("rows", [1, 8, 1024])
@pytest.mark.parametrize(
  "options",
  [
    {"estimator": "unbiased"},
    {"estimator": "biased"},
    {"degree": 2, "coefficient": 0.0, "estimator": "biased"},
    {"gamma": 0.7, "estimator": "unbiased"},
    {"estimator": "paired"},
  ],
)
def test_equals_the_definition(monkeypatch, sets, rows, options):
  monkeypatch.setattr(module, "_ROWS", rows)
  if options["estimator"] == "paired":
    sets = [samples[:29] for samples in sets]  # the U-statistic needs equal counts
  value, deviation = kernel_distance(*sets, **options)
  assert value == pytest.approx(brute(*sets, **options), rel=1e-10)
  assert deviation is None
  if options["estimator"] == "unbiased":
    assert kernel_distance(*sets, **{**options, "estimator": "classes"})[0] == value  # no labels


def test_unbiased():
  """For samples of one distribution, the mean is 0 within its error; "biased" is far from 0."""
  random = np.random.default_rng(1)
  draws = [random.standard_normal((2, 40, 16)) for _ in range(100)]
  for estimator in ("unbiased", "paired"):
    values = np.array([kernel_distance(x, y, estimator=estimator)[0] for x, y in draws])
    error = values.std() / 10
    assert abs(values.mean()) < 3 * error and values.min() < 0
  biased = np.mean([kernel_distance(x, y, estimator="biased")[0] for x, y in draws])
  assert biased > 30 * error


CLASSES, WIDTH = 5, 6
CENTERS = np.random.default_rng(2).normal(0, 3, (CLASSES, WIDTH))


def labelled(random, labels):
  """(features, labels) of five well separated classes."""
  return CENTERS[labels] + random.standard_normal((len(labels), WIDTH)), labels


def in_turn(random, count):
  return labelled(random, np.arange(count) % CLASSES)


def in_any_order(random, count):
  return labelled(random, random.permutation(np.arange(count) % CLASSES))


def independent(random, count):
  return labelled(random, random.integers(CLASSES, size=count))


def part_of_100(random, count):
  return labelled(random, random.permutation(np.arange(100) % CLASSES)[:count])


def off_by(one, other, estimator, counts, populations=(None, None), trials=150):
  """The mean distance between two sets of one distribution, in standard errors."""
  random, values = np.random.default_rng(3), []
  for seed in range(trials):
    (x, of_x), (y, of_y) = one(random, counts[0]), other(random, counts[1])
    options = dict(estimator=estimator, seed=seed)
    if estimator == "classes":
      options |= dict(labels=(of_x, of_y), populations=populations)
    if len(counts) > 2:
      options |= dict(subsets=2, subset_size=counts[2])
    values.append(kernel_distance(x, y, **options)[0])
  return np.mean(values) / (np.std(values) / np.sqrt(trials))


@pytest.mark.parametrize(
  ("one", "other", "estimator", "counts", "populations"),
  [
    (in_turn, in_turn, "paired", (40, 40), None),
    (in_turn, in_turn, "paired", (40, 25), None),
    (in_turn, in_turn, "paired", (20, 60), None),
    (in_turn, in_turn, "paired", (40, 60, 15), None),
    (independent, independent, "paired", (40, 25), None),
    (in_any_order, in_any_order, "classes", (40, 40), (None, None)),
    (in_any_order, in_turn, "classes", (40, 25), (None, None)),
    (in_turn, in_any_order, "classes", (40, 40, 20), (None, None)),
    (part_of_100, in_turn, "classes", (40, 25), (100, None)),
    (independent, in_turn, "classes", (40, 40), (np.inf, None)),
    (independent, independent, "unbiased", (40, 40), None),
  ],
)
def test_equal_distributions_have_mean_distance_0(one, other, estimator, counts, populations):
  assert abs(off_by(one, other, estimator, counts, populations)) < 4


def test_the_published_estimator_is_too_small_for_balanced_classes():
  """Its bias is far larger than its error; this is why there are other estimators."""
  assert off_by(in_turn, in_turn, "unbiased", (40, 40)) < -20
  wrong_populations = (None, None)  # the first set is a part of 100 samples
  assert off_by(part_of_100, in_turn, "classes", (40, 25), wrong_populations) > 4
  assert off_by(part_of_100, in_turn, "unbiased", (40, 25)) < -10


def test_classes_are_weighted_by_their_counts():
  """Equals the formula, computed from the kernel matrices; a class of one sample has no pairs."""
  random = np.random.default_rng(4)
  x, of_x = labelled(random, np.array([0, 0, 0, 0, 1, 1, 2]))
  y, of_y = labelled(random, np.array([0, 1, 1, 2, 2]))
  k = lambda a, b: (a @ b.T / WIDTH + 1) ** 3
  added = 0.0
  for z, labels in ((x, of_x), (y, of_y)):
    kernels = k(z, z)
    pairs = ~np.eye(len(z), dtype=bool)
    same = [kernels[i, (labels == labels[i]) & pairs[i]] for i in range(len(z))]
    within_classes = np.mean([row.mean() for row in same if row.size])
    added += (within_classes - kernels[pairs].mean()) / len(z)
  value = kernel_distance(x, y, estimator="classes", labels=(of_x, of_y))[0]
  assert value == pytest.approx(kernel_distance(x, y, estimator="unbiased")[0] + added)
  assert module.balanced_population(np.array([3, 3, 4, 5, 5])) == 5.0
  assert module.balanced_population(of_x) == np.inf
  alone = kernel_distance(x[:3], y[:3], estimator="classes", labels=(np.arange(3), np.arange(3)))
  assert alone == kernel_distance(x[:3], y[:3], estimator="unbiased")


def test_subsets(sets):
  whole = kernel_distance(*sets, subsets=3, subset_size=29, estimator="unbiased")
  random = np.random.default_rng(0)
  x, y = sets
  values = []
  for _ in range(3):
    subsets = x[random.choice(37, 29, replace=False)], y[random.choice(29, 29, replace=False)]
    values.append(brute(*subsets))
  assert whole == (pytest.approx(np.mean(values)), pytest.approx(np.std(values)))
  again = kernel_distance(*sets, subsets=3, subset_size=29, seed=1, estimator="unbiased")
  assert again != whole
  random, values = np.random.default_rng(0), []
  for _ in range(3):  # "paired" takes the same indices from both sets
    indices = random.choice(29, 7, replace=False)
    values.append(brute(x[indices], y[indices], estimator="paired"))
  paired = kernel_distance(*sets, subsets=3, subset_size=7)
  assert paired == (pytest.approx(np.mean(values)), pytest.approx(np.std(values)))


def test_refusals(sets):
  for options, message in (
    ({"subsets": 2, "subset_size": 30}, "cannot be drawn"),
    ({"subsets": 2, "subset_size": 1}, "cannot be drawn"),
    ({"subsets": 0}, "subsets must"),
    ({"degree": 0}, "degree"),
    ({"estimator": "best"}, "unknown estimator 'best'; known: paired, classes, unbiased, biased"),
    ({"estimator": "classes", "labels": (np.zeros(3, int), None)}, "37 integers"),
  ):
    with pytest.raises(UserError, match=message):
      kernel_distance(*sets, **options)
  with pytest.raises(UserError, match="at least 2"):
    kernel_distance(sets[0], sets[1][:1])
