"""Coverage of intervals: how often they contain the true value, where it is known."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics import intervals, resampling
from vidgan_jax.evaluation.statistics.frechet import Gaussian, frechet_distance_of_features
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score
from vidgan_jax.evaluation.statistics.kernel_distance import kernel_distance
from vidgan_jax.runtime.errors import UserError

TRIALS = 80
# Of 80 correct 90 % intervals, fewer than 64 contain the true value with a probability of 1 in 300.
# If the true coverage is 70 %, this is almost certain.
MIN_COVERAGE = 0.8


def coverage(halvings, truth, about):
  limits = np.array([h.interval(0.9, about) for h in halvings])
  return np.mean((limits[:, 0] <= truth) & (truth <= limits[:, 1]))


def check(halvings, truth):
  """Both kinds of intervals have the coverage that they claim, and are not too wide."""
  values = np.array([h.value for h in halvings])
  assert coverage(halvings, truth, "limit") >= MIN_COVERAGE
  assert coverage(halvings, values.mean(), "value") >= MIN_COVERAGE
  deviation = np.mean([h.deviation for h in halvings])
  assert 0.8 < deviation / values.std() < 1.5
  limit = np.mean([h.limit for h in halvings])
  assert abs(limit - truth) < 4 * values.std() / np.sqrt(TRIALS)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_kernel_intervals_contain_the_mean_over_draws(shift):
  random, halvings = np.random.default_rng(3), []
  for trial in range(TRIALS):
    x, y = random.normal(size=(120, 4)), random.normal(size=(60, 4)) + shift
    halvings.append(intervals.halve_kernel(x, y, 20, seed=trial))
  values = np.array([h.value for h in halvings])
  assert coverage(halvings, values.mean(), "value") >= MIN_COVERAGE
  deviation = np.mean([h.deviation for h in halvings])
  assert 0.8 < deviation / values.std() < (1.5 if shift else 1.8)
  np.testing.assert_allclose(values[-1], kernel_distance(x, y, estimator="unbiased")[0])
  low, high = intervals.kernel_interval(x, y, 0.9, 20, seed=trial)
  assert (low, high) == halvings[-1].interval(0.9) and low < values[-1] < high
  if not shift:
    assert min(h.interval()[0] for h in halvings) < 0  # the distance itself may be negative


def test_kernel_intervals_of_balanced_classes():
  """The halves are balanced too; else random class counts would dominate the deviation."""
  random, halvings = np.random.default_rng(4), []
  centers, labels = random.normal(0, 3, (4, 6)), np.arange(60) % 4
  for trial in range(TRIALS):
    x, y = centers[labels] + random.normal(size=(2, 60, 6))
    halvings.append(intervals.halve_kernel(x, y, 20, seed=trial, labels=(labels, labels)))
  values = np.array([h.value for h in halvings])
  assert abs(values.mean()) < 4 * values.std() / np.sqrt(TRIALS)
  assert coverage(halvings, 0.0, "value") >= MIN_COVERAGE
  assert 0.8 < np.mean([h.deviation for h in halvings]) / values.std() < 2
  infinite = (np.inf, np.inf)
  independent = intervals.halve_kernel(x, y, 20, labels=(labels, labels), populations=infinite)
  assert independent.deviation > 2 * halvings[-1].deviation
  assert independent.value == kernel_distance(x, y, estimator="unbiased")[0]


@pytest.mark.parametrize(
  ("dimensions", "count", "shift", "fixed"),
  [(8, 200, 0.2, False), (8, 200, 0.2, True), (32, 64, 0.3, False), (32, 256, 0.3, True)],
)
def test_frechet_intervals_contain_the_true_distance(dimensions, count, shift, fixed):
  """Also if the bias is ten times the deviation, and with an exactly known reference."""
  random = np.random.default_rng(dimensions)
  a, b = np.linspace(0.5, 2, dimensions), np.linspace(1, 1.5, dimensions)
  truth = dimensions * shift**2 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
  exact = Gaussian(10**9, np.zeros(dimensions), np.diag(np.sqrt(a)))
  halvings = []
  for _ in range(TRIALS):
    x = exact if fixed else random.standard_normal((count, dimensions)) * np.sqrt(a)
    y = random.standard_normal((count, dimensions)) * np.sqrt(b) + shift
    halvings.append(intervals.halve_frechet(x, y, samples=60))
  check(halvings, truth)
  if dimensions == 32:
    assert np.mean([h.bias for h in halvings]) > 3 * np.mean([h.deviation for h in halvings])


def test_score_intervals_contain_the_true_score():
  random = np.random.default_rng(5)
  draw = lambda n: 4 * random.standard_normal((n, 20)) + np.linspace(0, 2, 20)
  truth = inception_score(draw(200_000))[0]
  halvings = [intervals.halve_score(draw(300), samples=100) for _ in range(TRIALS)]
  assert np.mean([h.bias for h in halvings]) < 0  # few samples lower the score
  check(halvings, truth)


def test_percentiles_of_a_frechet_bootstrap_are_too_high():
  """This is why intervals come from halves."""
  random = np.random.default_rng(6)
  x, y = random.standard_normal((2, 100, 16))
  y += 0.3
  values = intervals.bootstrap_frechet(x, y, samples=60)
  assert values.min() > frechet_distance_of_features(x, y) > 16 * 0.09
  low, high = intervals.frechet_interval(x, y, about="limit")
  assert low < 16 * 0.09 < high
  slow = intervals.bootstrap(frechet_distance_of_features, (x, y), samples=60)
  assert slow == pytest.approx(np.quantile(values, [0.025, 0.975]), rel=0.1)


def test_bootstrap_intervals_contain_a_difference_of_means():
  random, hits = np.random.default_rng(7), {"percentile": 0, "basic": 0}
  for i in range(TRIALS):
    x, y = random.normal(1.0, 2.0, 60), random.normal(2.0, 1.0, (40, 1))
    for method in hits:
      low, high = intervals.bootstrap(
        lambda a, b: b.mean() - a.mean(), (x, y), level=0.9, samples=200, seed=i, method=method
      )
      hits[method] += low <= 1.0 <= high
  assert all(MIN_COVERAGE <= count / TRIALS < 1 for count in hits.values())


def test_bootstrap_scores():
  """The fast computation has the quantiles of an ordinary bootstrap."""
  logits = 2 * np.random.default_rng(8).standard_normal((100, 5))
  fast = intervals.bootstrap_score(logits, samples=400)
  slow = intervals.bootstrap(lambda x: inception_score(x)[0], [logits], samples=400)
  assert np.quantile(fast, [0.025, 0.975]) == pytest.approx(slow, rel=0.03)


def test_levels_seeds_and_bounds():
  random = np.random.default_rng(9)
  x, y = random.standard_normal((2, 40, 5))
  value = frechet_distance_of_features(x, y)
  halving = intervals.halve_frechet(x, y)
  assert halving.value == value == pytest.approx(halving.limit + halving.bias)
  low, high = halving.interval(0.95)
  assert (low + high) / 2 == pytest.approx(value)
  assert (high - low) / 2 == pytest.approx(1.959964 * halving.deviation, rel=1e-6)
  assert halving == intervals.halve_frechet(x, y) != intervals.halve_frechet(x, y, seed=1)
  assert intervals.frechet_interval(x, y, about="limit")[0] == 0.0
  assert intervals.score_interval(0.01 * x[:5], level=1 - 1e-12)[0] == 1.0
  p, eps = np.eye(5)[np.arange(40) % 5], Epsilon(1e-7)
  low, high = intervals.score_interval(p, kind="probabilities", epsilon=eps)
  assert low < 5 < high + 1e-5


@pytest.mark.parametrize("ddof", [0, 1])
def test_halving_equals_the_definition(ddof):
  random = np.random.default_rng(12)
  x, y = random.standard_normal((2, 21, 3))
  halving = intervals.halve_frechet(x, y, samples=6, seed=5, ddof=ddof)
  draws, values = np.random.default_rng(5), []
  for _ in range(3):
    of_y, of_x = (resampling.half_weights(draws, 21) == 1 for _ in range(2))
    pairs = zip(of_x, of_y, strict=True)
    values.append([frechet_distance_of_features(x[a], y[b], ddof) for a, b in pairs])
  values = np.array(values)
  assert halving.value == frechet_distance_of_features(x, y, ddof)
  assert halving.bias == pytest.approx(values.mean() - halving.value)
  deviation = np.sqrt(np.mean((values[:, 0] - values[:, 1]) ** 2) / 4)
  assert halving.deviation == pytest.approx(deviation)


def test_floor():
  random = np.random.default_rng(10)
  real = random.standard_normal((101, 3))
  first, second = intervals.disjoint_halves(101, seed=2)
  assert len(first) == len(second) == 50 and not set(first) & set(second)
  value = intervals.real_floor(frechet_distance_of_features, real, 12, seed=4)
  first, second = intervals.disjoint_halves(101, 12, seed=4)
  assert value == frechet_distance_of_features(real[first], real[second])
  whole = frechet_distance_of_features(*(real[i] for i in intervals.disjoint_halves(101)))
  assert intervals.real_floor(frechet_distance_of_features, real) == whole


def test_refusals():
  x = np.random.default_rng(11).standard_normal((6, 3))
  for call, message in (
    (lambda: intervals.bootstrap(np.mean, []), "at least 2"),
    (lambda: intervals.bootstrap(np.mean, [x[:1]]), "at least 2"),
    (lambda: intervals.bootstrap(np.mean, [x], method="best"), "unknown method"),
    (lambda: intervals.bootstrap(np.mean, [x], level=95), "level"),
    (lambda: intervals.bootstrap(np.mean, [x], samples=1), "resamples"),
    (lambda: intervals.halve_frechet(x, x[:3]), "at least 4"),
    (lambda: intervals.halve_frechet(x, x, samples=1), "resamples"),
    (lambda: intervals.halve_score(x[:3]), "at least 4"),
    (lambda: intervals.frechet_interval(x, x, about="truth"), "about"),
    (lambda: intervals.frechet_interval(x, x, level=0), "level"),
    (lambda: intervals.disjoint_halves(9, 5), "cannot be drawn from 9"),
    (lambda: intervals.real_floor(frechet_distance_of_features, x[:1]), "at least 2"),
  ):
    with pytest.raises(UserError, match=message):
      call()
