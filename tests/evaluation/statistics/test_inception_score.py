"""Inception scores equal the definition, computed sample by sample."""

import math

import numpy as np
import pytest
import scipy.special

from vidgan_jax.evaluation.statistics import inception_score as scores
from vidgan_jax.evaluation.statistics.inception_score import (
  Epsilon,
  ScoreSums,
  inception_score,
)
from vidgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def logits():
  return 3 * np.random.default_rng(0).standard_normal((205, 7))


def direct(p, eps_logs=0.0, eps_added=0.0):
  """exp of the mean KL divergence between p(y|x) and its mean."""
  p = p + eps_added
  q = p.mean(0)
  total = 0.0
  for row in p:
    total += sum(
      a * (math.log(a + eps_logs) - math.log(b + eps_logs)) for a, b in zip(row, q, strict=True)
    )
  return math.exp(total / len(p))


def test_equals_the_definition(logits):
  p = scipy.special.softmax(logits, axis=1)
  assert inception_score(logits) == (pytest.approx(direct(p), rel=1e-13), 0.0)
  assert inception_score(p, kind="probabilities")[0] == pytest.approx(direct(p), rel=1e-13)
  large = inception_score(logits + 1e4)[0]  # overflows if softmax does not subtract the maximum
  assert large == pytest.approx(direct(p), rel=1e-10)


def test_epsilons_of_older_codes(logits):
  """TGAN adds it inside the logarithms, TGANv2 to the probabilities; large ones show the effect."""
  p = scipy.special.softmax(logits, axis=1)
  for eps in (1e-7, 1e-2):
    value = inception_score(logits, eps=eps)[0]
    assert value == pytest.approx(direct(p, eps_logs=eps), rel=1e-13)
    assert abs(value / direct(p) - 1) > eps / 1000
    value = inception_score(logits, eps=eps, eps_place="probabilities")[0]
    assert value == pytest.approx(direct(p, eps_added=eps), rel=1e-13)
    assert abs(direct(p, eps_added=eps) / direct(p, eps_logs=eps) - 1) > eps / 1000
  certain = np.eye(7)[np.arange(21) % 7]
  assert inception_score(certain, kind="probabilities")[0] == pytest.approx(7, rel=1e-14)
  tiny = inception_score(certain, kind="probabilities", eps=1e-20, eps_place="probabilities")
  assert tiny[0] == pytest.approx(7, rel=1e-14)


def test_bounds():
  assert inception_score(np.zeros((5, 4)))[0] == pytest.approx(1, rel=1e-15)
  assert inception_score(1e3 * np.eye(11))[0] == pytest.approx(11, rel=1e-14)


def test_splits(logits):
  """Each sample is in exactly one split; the deviation is over the scores of the splits."""
  p = scipy.special.softmax(logits, axis=1)
  for seed in (None, 5):
    order = np.arange(205) if seed is None else np.random.default_rng(seed).permutation(205)
    parts = [direct(p[order][i * 205 // 10 : (i + 1) * 205 // 10]) for i in range(10)]
    mean, deviation = inception_score(logits, splits=10, seed=seed)
    assert mean == pytest.approx(np.mean(parts), rel=1e-13)
    assert deviation == pytest.approx(np.std(parts), rel=1e-10)
  assert inception_score(logits, 10, 5) != inception_score(logits, 10, 6)
  assert inception_score(logits, 10, 5)[0] < inception_score(logits)[0]  # bias of few samples


@pytest.mark.parametrize("epsilon", [Epsilon(), Epsilon(1e-7), Epsilon(1e-3, "probabilities")])
def test_sums_over_blocks_and_processes(logits, epsilon):
  blocks = [ScoreSums.of(logits[i : i + 32], epsilon=epsilon) for i in range(0, 205, 32)]
  merged = scores.merge_all(ScoreSums.from_words(block.to_words()) for block in reversed(blocks))
  whole = inception_score(logits, eps=epsilon.value, eps_place=epsilon.added_to)[0]
  assert merged.count == 205 and merged.epsilon == epsilon
  assert merged.score() == pytest.approx(whole, rel=1e-13)


def test_refusals(logits):
  sums = ScoreSums.of(logits)
  for call, message in (
    (lambda: inception_score(logits, splits=206), "at least 206"),
    (lambda: inception_score(logits, splits=0), "splits"),
    (lambda: inception_score(logits, kind="probabilities"), "are these values logits"),
    (lambda: inception_score(logits, kind="scores"), "kind"),
    (
      lambda: inception_score(logits, eps=1e-7, eps_place="here"),
      "added to logs or probabilities, not to 'here'",
    ),
    (lambda: inception_score(logits, eps=-1), "epsilon"),
    (lambda: inception_score(logits[:, :1]), "2 classes"),
    (lambda: inception_score(np.where(logits > 2, np.inf, logits)), "not finite"),
    (lambda: sums.merge(ScoreSums.of(logits[:, :5])), "cannot be combined"),
    (lambda: sums.merge(ScoreSums.of(logits, epsilon=Epsilon(1e-7))), "cannot be combined"),
    (lambda: scores.merge_all([]), "no sums"),
    (lambda: ScoreSums.from_words(sums.to_words()[:4]), "not the sums"),
  ):
    with pytest.raises(UserError, match=message):
      call()
