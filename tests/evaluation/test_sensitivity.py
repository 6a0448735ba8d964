"""The corruptions of `benchmarks/sensitivity.py`, and its verdicts on responses."""

import importlib
import pathlib
import sys

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules():
  """benchmarks/corruptions.py and benchmarks/sensitivity.py."""
  sys.path.insert(0, str(BENCHMARKS))
  try:
    yield [importlib.import_module(name) for name in ("corruptions", "sensitivity")]
  finally:
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def clips():
  """Smooth frames whose bright spot wanders: no two of a clip are alike."""
  y, x, t = np.meshgrid(np.arange(24), np.arange(20), np.arange(8), indexing="ij")
  clip = np.exp(-((y - 4 - 2 * t) ** 2 + (x - 5 - t) ** 2) / 20.0).transpose(2, 0, 1)
  rng = np.random.default_rng(0)
  return (40 + 180 * rng.uniform(0.5, 1, (6, 1, 1, 1, 3)) * clip[None, ..., None]).astype(np.uint8)


def test_each_corruption_begins_with_nothing_and_grows(modules, clips):
  for name, (corrupt, strengths) in modules[0].CORRUPTIONS.items():
    before = clips.copy()
    distances = []
    for strength in (0, *strengths):
      out = corrupt(clips, strength, np.random.default_rng(1))
      assert out.shape == clips.shape and out.dtype == np.uint8
      distances.append(np.abs(out.astype(int) - clips).mean())
    assert distances[0] == 0, name
    assert (np.diff(distances) > 0).all(), (name, distances)
    assert np.array_equal(clips, before)


def test_what_they_do(modules, clips):
  rng = np.random.default_rng(2)
  corruptions = modules[0]
  still = corruptions.frozen(clips, 1.0, rng)
  assert np.array_equal(still, np.repeat(clips[:, :1], 8, axis=1))
  half = corruptions.frozen(clips, 0.5, rng)
  assert np.array_equal(half[:, :4], clips[:, :4]) and (half[:, 4:] == half[:, 4:5]).all()
  mixed = corruptions.shuffled(clips, 0.5, rng)
  same = (mixed == clips).all(axis=(2, 3, 4))
  assert (same.sum(axis=1) == 4).all()
  order = lambda a: np.sort(a.reshape(*a.shape[:2], -1).sum(axis=2).astype(int), axis=1)
  assert np.array_equal(order(mixed), order(clips))
  back = corruptions.reversed_clips(clips, 0.5, rng)
  turned = [np.array_equal(b, c[::-1]) for b, c in zip(back, clips, strict=True)]
  assert sum(turned) == 3 and np.array_equal(back[~np.array(turned)], clips[~np.array(turned)])


@pytest.mark.parametrize(
  "curve, answer",
  [
    ([0, 1, 0.5, 9], "monotone"),
    ([0, 9, 5, 20], "seen"),
    ([0, 20, 9, 1], "seen"),
    ([0, 1, -1, 2], "blind"),
    ([0, -1, -4], "better"),
  ],
)
def test_verdicts(modules, curve, answer):
  assert modules[1].verdict(np.array(curve, float)) == answer


def test_worsening_turns_scores_and_distances_the_same_way(modules):
  result = {
    "noise": {"frechet": 0.5, "recall": 0.1},
    "unharmed": {"frechet": 2.0, "recall": 0.9},
    "answers": {"blur": [{"frechet": 3.0, "recall": 0.7}]},
  }
  for metric in ("frechet", "recall"):
    np.testing.assert_allclose(modules[1].worsening(result, metric, "blur"), [0, 2])


def test_a_least_squares_classifier_learns(modules):
  rng = np.random.default_rng(3)
  labels = np.arange(120) % 3
  features = rng.standard_normal((120, 5)) + 4 * np.eye(3, 5)[labels] + 7
  classify = modules[1].ridge(features[:60], labels[:60], 3)
  assert (classify(features[60:]) == labels[60:]).mean() > 0.9
