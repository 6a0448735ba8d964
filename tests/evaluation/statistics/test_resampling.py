"""Weighted resamples equal the metrics of sets in which samples are repeated."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics import resampling
from vidgan_jax.evaluation.statistics.frechet import (
  Gaussian,
  frechet_distance_of_features,
  gaussian_distance,
)
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score
from vidgan_jax.evaluation.statistics.resampling import weighted_frechet, weighted_scores
from vidgan_jax.runtime.errors import UserError


def draws(n, m, count=4, seed=0):
  random = np.random.default_rng(seed)
  pairs = [
    (resampling.bootstrap_weights(random, n), resampling.bootstrap_weights(random, m))
    for _ in range(count)
  ]
  halves = resampling.half_weights(random, n), resampling.half_weights(random, m)
  return [*pairs, *zip(*halves, strict=True)]


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(("n", "m"), [(200, 150), (20, 25), (20, 300), (300, 20)])
def test_frechet(n, m, ddof):
  """More and fewer samples than dimensions; one constant dimension; a mean far from 0."""
  random = np.random.default_rng(1)
  x = random.standard_normal((n, 30)) * np.arange(30) + 100
  y = random.standard_normal((m, 30)) * np.arange(30)[::-1] + 101
  weights = draws(n, m)
  expected, one_sided = [], []
  reference = Gaussian.of_features(x, ddof)
  for a, b in weights:
    repeated = np.repeat(y, b, axis=0)
    expected.append(frechet_distance_of_features(np.repeat(x, a, axis=0), repeated, ddof))
    one_sided.append(gaussian_distance(reference, Gaussian.of_features(repeated, ddof)))
  np.testing.assert_allclose(weighted_frechet(x, y, weights, ddof), expected, rtol=1e-6)
  np.testing.assert_allclose(weighted_frechet(reference, y, weights, ddof), one_sided, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [None, Epsilon(1e-3), Epsilon(1e-3, "probabilities")])
def test_scores(epsilon):
  logits = 2 * np.random.default_rng(2).standard_normal((60, 5))
  weights = [a for a, _ in draws(60, 60)]
  e = epsilon or Epsilon()
  expected = [
    inception_score(np.repeat(logits, w, axis=0), eps=e.value, eps_place=e.added_to)[0]
    for w in weights
  ]
  np.testing.assert_allclose(weighted_scores(logits, weights, epsilon=epsilon), expected)


def test_weights():
  random = np.random.default_rng(3)
  assert resampling.bootstrap_weights(random, 50).sum() == 50
  for count in (8, 9):
    halves = resampling.half_weights(random, count)
    assert halves.sum(axis=1).tolist() == [4, 4] and halves.sum(axis=0).max() == 1


def test_refusals():
  x = np.random.default_rng(4).standard_normal((6, 3))
  with pytest.raises(UserError, match="3 dimensions"):
    weighted_frechet(x, x[:, :2], [])
  with pytest.raises(UserError, match="3 dimensions"):
    weighted_frechet(Gaussian.of_features(x), x[:, :2], [])
  with pytest.raises(UserError, match="more than 1 sample"):
    weighted_frechet(x, x, [(np.eye(6)[0], np.ones(6))])
