"""Precision, recall, density and coverage equal a direct computation from all distances."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics import precision_recall
from vidgan_jax.runtime.errors import UserError


def brute(real, generated, k, strict):
  """The definitions, computed sample by sample."""

  def distance(a, b):
    return float(np.sum((a - b) ** 2))

  def radius(points, i):
    return sorted(distance(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]

  def within(d, r):
    return d < r if strict else d <= r

  r_real = [radius(real, i) for i in range(len(real))]
  r_gen = [radius(generated, i) for i in range(len(generated))]
  inside = [
    [within(distance(x, y), r) for y in generated] for x, r in zip(real, r_real, strict=True)
  ]
  back = [[within(distance(x, y), r) for x in real] for y, r in zip(generated, r_gen, strict=True)]
  return {
    "precision": np.mean(
      [any(inside[i][j] for i in range(len(real))) for j in range(len(generated))]
    ),
    "recall": np.mean([any(back[j][i] for j in range(len(generated))) for i in range(len(real))]),
    "density": np.sum(inside) / (k * len(generated)),
    "coverage": np.mean([any(row) for row in inside]),
  }


def both(real, generated, k, strict):
  return precision_recall.precision_recall(
    real, generated, k, strict=strict
  ) | precision_recall.density_coverage(real, generated, k, strict=strict)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("kind", ["normal", "far", "grid"])
def test_equals_the_definition(monkeypatch, strict, k, kind):
  """Continuous features, also far from 0, and features on a grid, where distances are equal."""
  monkeypatch.setattr(precision_recall, "_BLOCK", 700)  # blocks that do not divide the counts
  random = np.random.default_rng(k)
  real, generated = random.standard_normal((60, 3)), random.standard_normal((45, 3)) + 1.2
  if kind == "far":
    real, generated = real + 1e6, generated + 1e6
  if kind == "grid":
    real, generated = np.round(2 * real) * 0.1, np.round(2 * generated) * 0.1
  expected = brute(real, generated, k, strict)
  assert 0 < expected["recall"] < 1 and 0 < expected["precision"] < 1
  assert both(real, generated, k, strict) == pytest.approx(expected, abs=1e-12)


def test_real_and_generated_are_not_exchanged():
  """Missing modes lower recall and coverage; samples far from the data lower precision."""
  random = np.random.default_rng(0)
  real = np.concatenate([random.standard_normal((50, 4)), random.standard_normal((50, 4)) + 20])
  dropped = both(real, random.standard_normal((80, 4)), 3, False)
  assert dropped["precision"] > 0.8 and dropped["recall"] < 0.52 and dropped["coverage"] < 0.52
  half_outside = np.concatenate([real[:40], random.standard_normal((40, 4)) - 30])
  scores = both(real, half_outside, 3, False)
  assert scores["precision"] == 0.5 and scores["density"] < 0.8


def test_one_repeated_point_and_equal_sets():
  """A ball of radius 0 contains its centre unless `strict`."""
  same = np.full((10, 4), 0.1)
  assert both(same, same, 3, False) == {
    "precision": 1.0, "recall": 1.0, "density": 10 / 3, "coverage": 1.0
  }  # fmt: skip
  assert set(both(same, same, 3, True).values()) == {0.0}
  x = np.random.default_rng(1).standard_normal((300, 40))
  equal = both(x, x.copy(), 5, True)  # with "<", a ball contains its centre and k - 1 neighbours
  assert equal == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
  assert both(x, x.copy(), 5, False)["density"] == 6 / 5


def collapsed(kind, random, count, width):
  """Sets in which most samples are equal, or differ by rounding errors of float32 or float64."""
  single = lambda x: x.astype(np.float32).astype(np.float64)
  spread = lambda n: single(random.standard_normal((n, width)))
  point, noise = 3 * spread(1) + 10, random.standard_normal((count, width))
  return {
    "copies": lambda: np.repeat(point, count, 0),
    "near": lambda: single(point + 1e-6 * noise),
    "nearer": lambda: point + 1e-12 * noise,
    "half": lambda: np.concatenate([spread(count // 2), np.zeros((count - count // 2, width))]),
    "modes": lambda: single((30 * spread(3))[np.arange(count) % 3] + 1e-6 * noise),
    "pool": lambda: spread(9)[random.integers(9, size=count)],
  }[kind]()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["copies", "near", "nearer", "half", "modes", "pool"])
@pytest.mark.parametrize("other", ["same", "normal"])
def test_collapsed_sets_equal_the_definition(monkeypatch, kind, other, strict):
  """Few pairs need exact differences; those of nearly all pairs would take minutes."""
  random, pairs, exact = np.random.default_rng(5), [], precision_recall._exact
  count = lambda x, y, i, j: pairs.append(len(i)) or exact(x, y, i, j)
  monkeypatch.setattr(precision_recall, "_exact", count)
  monkeypatch.setattr(precision_recall, "_BLOCK", 5000)
  one, two = collapsed(kind, random, 140, 7), collapsed(kind, random, 120, 7)
  if other == "normal":
    one = random.standard_normal((140, 7))
  elif kind in ("copies", "near", "nearer"):
    two = collapsed(kind, np.random.default_rng(5), 120, 7)  # around the same point as `one`
  for real, generated in ((one, two), (two, one)):
    expected = brute(real, generated, 3, strict)
    assert both(real, generated, 3, strict) == pytest.approx(expected, abs=1e-12)
  # Two calls, four passes over at most 140 samples each, with about 6 candidates per sample.
  assert sum(pairs) < 8 * 6 * 140


def test_copies_of_a_sample_are_its_neighbours():
  """A point with two copies: its third neighbour is another point."""
  real = np.array([[0.0], [0.0], [-0.0], [5.0], [5.0], [9.0]])
  generated = np.array([[0.0], [0.1], [5.0], [8.9], [20.0], [20.0]])
  for k in (1, 2, 3, 4, 5):
    for strict in (False, True):
      expected = brute(real, generated, k, strict)
      assert both(real, generated, k, strict) == pytest.approx(expected, abs=1e-12)


def test_refusals():
  x = np.ones((4, 2))
  with pytest.raises(UserError, match="more than 4 samples"):
    precision_recall.precision_recall(x, np.ones((9, 2)), k=4)
  with pytest.raises(UserError, match="k must be"):
    precision_recall.density_coverage(x, x, k=0)
  with pytest.raises(UserError, match="2 dimensions"):
    precision_recall.density_coverage(x, np.ones((4, 3)), k=1)
