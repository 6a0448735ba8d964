"""Precision, recall, density and coverage against all distances at once."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics import precision_recall
from vidgan_jax.runtime.errors import UserError


def brute(real, generated, k, strict):
  """The definitions, sample by sample."""

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
def test_as_by_definition(monkeypatch, strict, k, kind):
  """Continuous features, some far from 0, and features on a grid, where distances tie."""
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


def test_the_two_sides_are_not_exchanged():
  """Modes that were dropped cost recall and coverage; samples off the data cost precision."""
  random = np.random.default_rng(0)
  real = np.concatenate([random.standard_normal((50, 4)), random.standard_normal((50, 4)) + 20])
  dropped = both(real, random.standard_normal((80, 4)), 3, False)
  assert dropped["precision"] > 0.8 and dropped["recall"] < 0.52 and dropped["coverage"] < 0.52
  wild = np.concatenate([real[:40], random.standard_normal((40, 4)) - 30])
  wild = both(real, wild, 3, False)
  assert wild["precision"] == 0.5 and wild["density"] < 0.8


def test_one_repeated_point_and_equal_sets():
  """A point of no width is its own neighbourhood, but for a strict rim."""
  same = np.full((10, 4), 0.1)
  assert both(same, same, 3, False) == {
    "precision": 1.0, "recall": 1.0, "density": 10 / 3, "coverage": 1.0
  }  # fmt: skip
  assert set(both(same, same, 3, True).values()) == {0.0}
  x = np.random.default_rng(1).standard_normal((300, 40))
  equal = both(x, x.copy(), 5, True)  # by "<" a ball holds its centre and k - 1 neighbours
  assert equal == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
  assert both(x, x.copy(), 5, False)["density"] == 6 / 5


def collapsed(kind, random, count, width):
  """Sets of which nearly all are alike, some exactly, some by as much as float32 tells apart."""
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
def test_collapsed_sets_are_as_by_definition(monkeypatch, kind, other, strict):
  """And decided by few differences: not by those of nearly all pairs, which take minutes."""
  random, pairs, exact = np.random.default_rng(5), [], precision_recall._exact
  count = lambda x, y, i, j: pairs.append(len(i)) or exact(x, y, i, j)
  monkeypatch.setattr(precision_recall, "_exact", count)
  monkeypatch.setattr(precision_recall, "_BLOCK", 5000)
  one, two = collapsed(kind, random, 140, 7), collapsed(kind, random, 120, 7)
  if other == "normal":
    one = random.standard_normal((140, 7))
  elif kind in ("copies", "near", "nearer"):
    two = collapsed(kind, np.random.default_rng(5), 120, 7)  # about one point
  for real, generated in ((one, two), (two, one)):
    expected = brute(real, generated, 3, strict)
    assert both(real, generated, 3, strict) == pytest.approx(expected, abs=1e-12)
  # Twice four passes over the samples, each with some candidates for three neighbours.
  assert sum(pairs) < 8 * 6 * 140


def test_a_sample_has_copies_that_are_its_neighbours():
  """Two copies, then the next point: of three neighbours, the third is elsewhere."""
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
