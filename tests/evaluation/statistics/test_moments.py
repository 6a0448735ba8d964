"""Moments of blocks, merged in any order, equal those that NumPy computes from all features."""

import numpy as np
import pytest

from vidgan_jax.evaluation.statistics.moments import (
  Moments,
  as_features,
  as_labels,
  merge_all,
)
from vidgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def features():
  """The mean is large beside the spread: sums of raw squares would have errors of 1e-6."""
  random = np.random.default_rng(3)
  return 1e3 + 0.1 * random.standard_normal((500, 7)) @ random.standard_normal((7, 7))


def check_moments(moments, features, tolerance=1e-12):
  assert moments.count == len(features)
  np.testing.assert_allclose(moments.mean, features.mean(0), rtol=tolerance)
  for ddof in (0, 1):
    expected = np.cov((features - 1e3).T, ddof=ddof)
    np.testing.assert_allclose(moments.covariance(ddof), expected, atol=1e-12 * expected.max())


def test_any_blocks_in_any_order(features):
  check_moments(Moments.of(features), features)
  random = np.random.default_rng(0)
  for _ in range(5):
    edges = np.sort(random.choice(np.arange(1, 500), 12, replace=False))
    parts = [Moments.of(block) for block in np.split(features, edges)]
    random.shuffle(parts)
    check_moments(merge_all(parts), features)
    left, right = merge_all(parts[:5]), merge_all(parts[5:])
    check_moments(right.merge(left), features)
  check_moments(Moments.empty(7).merge(Moments.of(features)).merge(Moments.empty(7)), features)


@pytest.mark.parametrize("rows", [1, 64, 10_000])
def test_streams_of_blocks(features, rows):
  """The last block is shorter than the others, and one block is empty."""
  blocks = [features[i : i + 48] for i in range(0, 500, 48)]
  check_moments(Moments.of_blocks(iter([*blocks[:3], features[:0], *blocks[3:]]), rows), features)


def test_between_processes_and_files(features, tmp_path):
  moments = Moments.of(features)
  words = moments.to_words()
  assert words.dtype == np.uint32  # JAX would round float64 to float32
  np.savez(tmp_path / "m.npz", **moments.to_arrays())
  with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
    for restored in (Moments.from_words(words), Moments.from_arrays(file)):
      assert restored.count == 500
      np.testing.assert_array_equal(restored.mean, moments.mean)
      np.testing.assert_array_equal(restored.m2, moments.m2)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"count": np.float64(5)}, "count"),
    ({"count": np.int64(-1)}, "count"),
    ({"mean": np.zeros(3)}, "do not fit"),
    ({"mean": np.zeros(2, np.float32)}, "float64"),
    ({"mean": np.array([0.0, np.nan])}, "not finite"),
    ({"m2": np.array([[1.0, 0.5], [0.4, 1.0]])}, "symmetric"),
    ({"m2": -np.eye(2)}, "negative"),
    ({"m2": None}, "lack m2"),
  ],
)
def test_invalid_arrays_are_refused(change, message):
  arrays = {"count": np.int64(5), "mean": np.zeros(2), "m2": np.eye(2)} | change
  with pytest.raises(UserError, match=message):
    Moments.from_arrays({k: v for k, v in arrays.items() if v is not None})


def test_refusals(features):
  for bad, message in (
    (np.ones(3), "shape"),
    (np.ones((3, 0)), "shape"),
    (np.array([["a"]]), "real numbers"),
    (np.array([[1.0], [np.inf], [np.nan]]), "2 of 3 samples"),
    (np.ones((0, 3)), "at least 1"),
  ):
    with pytest.raises(UserError, match=message):
      as_features(bad, minimum=1)
  with pytest.raises(UserError, match="7 and 6 dimensions cannot be combined"):
    Moments.of(features).merge(Moments.empty(6))
  for rows in (1, 10_000):
    with pytest.raises(UserError, match="7 and 3 dimensions cannot be combined"):
      Moments.of_blocks([features, features[:, :3]], rows)
  with pytest.raises(UserError, match="no moments to merge"):
    merge_all([])
  with pytest.raises(UserError, match="at least one block"):
    Moments.of_blocks([])
  with pytest.raises(UserError, match="ddof"):
    Moments.of(features[:1]).covariance()
  with pytest.raises(UserError, match="not moments"):
    Moments.from_words(Moments.of(features).to_words()[:-2])
  with pytest.raises(UserError, match="one per sample"):
    as_labels(np.ones(3), 3)
