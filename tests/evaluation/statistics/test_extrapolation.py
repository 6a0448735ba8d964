"""Extrapolated values, tested on distributions whose true values are known."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics.extrapolation import (
  extrapolate,
  frechet_infinity,
  inception_score_infinity,
  subset_counts,
)
from vidgan_jax.evaluation.statistics.frechet import Gaussian, frechet_distance_of_features
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score
from vidgan_jax.runtime.errors import UserError


def test_lines():
  counts = np.array([10, 20, 50, 50, 100])
  fit = extrapolate(3 + 70 / counts, counts)
  assert (fit.value, fit.slope) == (pytest.approx(3), pytest.approx(70))
  assert fit.error == pytest.approx(0, abs=1e-10)
  random = np.random.default_rng(0)
  values = random.standard_normal(5)
  fit, (slope, value) = extrapolate(values, counts), np.polyfit(1 / counts, values, 1)
  assert (fit.value, fit.slope) == (pytest.approx(value), pytest.approx(slope))
  errors = [extrapolate(random.standard_normal(5), counts) for _ in range(2000)]
  spread = np.std([e.value for e in errors])
  assert np.sqrt(np.mean([e.error**2 for e in errors])) == pytest.approx(spread, rel=0.1)


def test_counts():
  assert subset_counts(50_000).tolist()[::14] == [5000, 50_000] and len(subset_counts(50_000)) == 15
  for arguments in ((100, 1), (100, 5, 100), (10,)):
    with pytest.raises(UserError, match="line"):
      subset_counts(*arguments)


def test_frechet():
  """`both` removes both biases. Otherwise the bias from the count of real samples remains, except
  with an exact reference, which has none.
  """
  random = np.random.default_rng(1)
  truth, fits, fixed, half, plain = 16 * 0.04, [], [], [], []
  exact = Gaussian(10**9, np.zeros(16), np.eye(16))
  for seed in range(20):
    x, y = random.standard_normal((2, 800, 16))
    y += 0.2
    plain.append(frechet_distance_of_features(x, y))
    fits.append(frechet_infinity(x, y, seed=seed, both=True).value)
    fixed.append(frechet_infinity(exact, y, seed=seed).value)
    half.append(frechet_infinity(x, y, seed=seed).value)
  assert np.mean(plain) - truth > 0.15
  assert np.mean(fits) == pytest.approx(truth, abs=0.06)
  assert np.mean(fixed) == pytest.approx(truth, abs=0.06)
  assert 0.3 < (np.mean(half) - truth) / (np.mean(plain) - truth) < 0.8


def test_the_largest_subset_is_the_whole_set():
  x, y = np.random.default_rng(2).standard_normal((2, 90, 4))
  for fit in (frechet_infinity(x, y, 5), frechet_infinity(x, y, 5, both=True)):
    assert fit.values[-1] == pytest.approx(frechet_distance_of_features(x, y))
    assert fit.counts.tolist() == [9, 29, 49, 69, 90]
  for both in (False, True):
    fit = frechet_infinity(x, y, 5, ddof=0, both=both)
    assert fit.values[-1] == pytest.approx(frechet_distance_of_features(x, y, ddof=0))
    assert fit.error != frechet_infinity(x, y, 5, ddof=1, both=both).error
  assert frechet_infinity(x, y).counts[0] == 9
  wide = np.random.default_rng(3).standard_normal((2, 90, 20))
  assert frechet_infinity(*wide).counts[0] == 40
  fit = inception_score_infinity(3 * y, 5, epsilon=Epsilon(1e-2))
  assert fit.values[-1] == pytest.approx(inception_score(3 * y, eps=1e-2)[0])


TRIALS = 60
# Of 60 correct 95 % intervals, fewer than 51 contain the value with a probability of 1 in 1000.
# If intervals are too narrow by a factor of 2.8, about 30 do.
MIN_COVERAGE = 0.85


def check_errors(fits):
  """Errors agree with the standard deviation over independent draws, or are slightly larger."""
  values, errors = np.array([f.value for f in fits]), np.array([f.error for f in fits])
  assert np.mean(np.abs(values - values.mean()) <= 1.96 * errors) >= MIN_COVERAGE
  assert 0.75 < np.sqrt(np.mean(errors**2)) / values.std() < 1.6


@pytest.mark.parametrize(
  ("shift", "both", "fixed"),
  [(0.3, True, False), (0.0, True, False), (0.3, False, False), (0.3, False, True)],
)
def test_errors_of_distances_agree_with_independent_draws(shift, both, fixed):
  random, fits = np.random.default_rng(6), []
  exact = Gaussian(10**9, np.zeros(6), np.eye(6))
  for seed in range(TRIALS):
    x, y = random.standard_normal((200, 6)), random.standard_normal((160, 6)) + shift
    fits.append(frechet_infinity(exact if fixed else x, y, 8, seed=seed, both=both))
  check_errors(fits)
  again = frechet_infinity(exact if fixed else x, y, 8, seed=seed, both=both, halvings=0)
  assert again.error is None and again.value == fits[-1].value


def test_errors_of_scores_agree_with_independent_draws():
  random, fits = np.random.default_rng(7), []
  for seed in range(TRIALS):
    logits = 4 * random.standard_normal((200, 10))
    fits.append(inception_score_infinity(logits, 8, seed=seed))
  check_errors(fits)
  again = inception_score_infinity(logits, 8, seed=seed, halvings=0)
  assert again.error is None and again.value == fits[-1].value


def test_few_samples_have_no_error():
  x = np.random.default_rng(8).standard_normal((7, 2))
  assert frechet_infinity(x, x + 1, both=True).error is None
  assert inception_score_infinity(x).error is None
  assert frechet_infinity(np.r_[x, x], np.r_[x, x] + 1).error is not None


def test_scores():
  random = np.random.default_rng(4)
  draw = lambda n: 4 * random.standard_normal((n, 30))
  truth = inception_score(draw(200_000))[0]
  sets = [draw(200) for _ in range(60)]
  plain = np.mean([inception_score(s)[0] for s in sets])
  infinite = np.mean([inception_score_infinity(s).value for s in sets])
  assert abs(infinite - truth) < 0.6 * (truth - plain)


def test_refusals():
  x = np.random.default_rng(5).standard_normal((40, 3))
  for call, message in (
    (lambda: extrapolate([1, 2], [5, 5]), "two counts"),
    (lambda: extrapolate([1, np.nan], [5, 6]), "finite"),
    (lambda: extrapolate([1, 2], [0, 6]), "positive"),
    (lambda: frechet_infinity(Gaussian.of_features(x), x, both=True), "features, not"),
    (lambda: frechet_infinity(x, x[:, :2]), "3 dimensions"),
    (lambda: frechet_infinity(x, x[:3]), "at least 4"),
    (lambda: inception_score_infinity(x[:3]), "at least 4"),
  ):
    with pytest.raises(UserError, match=message):
      call()
