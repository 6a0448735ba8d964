"""Kernel distances against sums over all pairs."""

import numpy as np
import pytest

from vidgan_jax.evaluation import kernel_distance as module
from vidgan_jax.evaluation.kernel_distance import kernel_distance
from vidgan_jax.runtime.errors import UserError


def brute(x, y, degree=3, gamma=None, coefficient=1.0, unbiased=True):
  gamma = gamma or 1 / x.shape[1]
  k = lambda a, b: (gamma * float(a @ b) + coefficient) ** degree

  def within(a):
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a)) if i != j or not unbiased]
    return sum(k(a[i], a[j]) for i, j in pairs) / len(pairs)

  between = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
  return within(x) + within(y) - 2 * between


@pytest.fixture(scope="module")
def sets():
  random = np.random.default_rng(0)
  return random.standard_normal((37, 5)), random.standard_normal((29, 5)) * 1.5 + 0.3


@pytest.mark.parametrize("rows", [1, 8, 1024])
@pytest.mark.parametrize(
  "options",
  [{}, {"unbiased": False}, {"degree": 2, "coefficient": 0.0, "unbiased": False}, {"gamma": 0.7}],
)
def test_as_by_definition(monkeypatch, sets, rows, options):
  monkeypatch.setattr(module, "_ROWS", rows)
  value, deviation = kernel_distance(*sets, **options)
  assert value == pytest.approx(brute(*sets, **options), rel=1e-10)
  assert deviation is None


def test_unbiased():
  """Of one distribution the mean is 0 within its error, and the biased one far off."""
  random = np.random.default_rng(1)
  draws = [random.standard_normal((2, 40, 16)) for _ in range(100)]
  values = np.array([kernel_distance(x, y)[0] for x, y in draws])
  error = values.std() / 10
  assert abs(values.mean()) < 3 * error and values.min() < 0
  biased = np.mean([kernel_distance(x, y, unbiased=False)[0] for x, y in draws])
  assert biased > 30 * error


def test_subsets(sets):
  whole = kernel_distance(*sets, subsets=3, subset_size=29)
  random = np.random.default_rng(0)
  x, y = sets
  values = []
  for _ in range(3):
    some = x[random.choice(37, 29, replace=False)], y[random.choice(29, 29, replace=False)]
    values.append(brute(*some))
  assert whole == (pytest.approx(np.mean(values)), pytest.approx(np.std(values)))
  again = kernel_distance(*sets, subsets=3, subset_size=29, seed=1)
  assert again != whole


def test_refusals(sets):
  for options, message in (
    ({"subsets": 2, "subset_size": 30}, "cannot be drawn"),
    ({"subsets": 2, "subset_size": 1}, "cannot be drawn"),
    ({"subsets": 0}, "subsets must"),
    ({"degree": 0}, "degree"),
  ):
    with pytest.raises(UserError, match=message):
      kernel_distance(*sets, **options)
  with pytest.raises(UserError, match="at least 2"):
    kernel_distance(sets[0], sets[1][:1])
