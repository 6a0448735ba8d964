"""Nearest neighbours against brute force, and ratios of models that copy or generalise."""

import numpy as np
import pytest

from vidgan_jax.analysis.samples import neighbours


@pytest.fixture
def rng():
  return np.random.default_rng(6)


def clips_of(rng, number, size=4):
  return rng.integers(0, 256, size=(number, 2, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("block_bytes", [1, 3000, 2**20])
def test_distances_against_brute_force(rng, block_bytes):
  a, b = clips_of(rng, 5), clips_of(rng, 7)
  b[3] = a[2]
  result = neighbours.distances(a, b, block_bytes)
  expected = np.array([[np.sqrt(np.mean((x.astype(float) - y) ** 2)) for y in b] for x in a])
  np.testing.assert_allclose(result, expected, rtol=1e-12)
  assert result[2, 3] == 0


def test_one_changed_pixel_has_its_distance(rng):
  """The sums of squares here are too large for float32."""
  a = np.full((1, 16, 64, 64, 3), 255, np.uint8)
  b = a.copy()
  b[0, 0, 0, 0, 0] -= 1
  assert neighbours.distances(a, b)[0, 0] == pytest.approx(np.sqrt(1 / a.size), rel=1e-9)


def test_nearest_by_class_over_blocks(rng):
  queries, others = clips_of(rng, 6), clips_of(rng, 40)
  labels, other_labels = np.arange(6) % 3, rng.integers(0, 2, 40)  # none of class 2
  blocks = [(others[i : i + 7], other_labels[i : i + 7]) for i in range(0, 40, 7)]
  spaces = {"pixel": lambda c: c, "mean": lambda c: c.mean((1, 2, 3))}
  result = neighbours.search(queries, labels, blocks, spaces)
  for space, embed in spaces.items():
    brute_force = neighbours.distances(embed(queries), embed(others))
    for query in range(6):
      allowed = np.flatnonzero(other_labels == labels[query])
      order = allowed[np.argsort(brute_force[query, allowed], kind="stable")][:3]
      expected = [(int(i), pytest.approx(brute_force[query, i], rel=1e-12)) for i in order]
      assert result[space].nearest(query, 3) == expected
      assert labels[query] < 2 or expected == []


def ratio_of(queries, train, held_out):
  """(Nearest distances, held-out ratio) of clips of one class."""
  zeros = lambda clips: np.zeros(len(clips), int)
  to_train, to_held_out = (
    neighbours.search(queries, zeros(queries), [(clips, zeros(clips))], {"pixel": lambda c: c})
    for clips in (train, held_out)
  )
  pair = neighbours.nearest_of_equally_many(
    to_train["pixel"], to_held_out["pixel"], range(len(queries))
  )
  return pair, neighbours.held_out_ratio(*pair)


def test_the_ratio_of_a_model_that_copies(rng):
  train, held_out = clips_of(rng, 60), clips_of(rng, 30)
  noisy = np.clip(train[:20].astype(int) + rng.integers(-9, 9, train[:20].shape), 0, 255)
  _, ratio = ratio_of(noisy.astype(np.uint8), train, held_out)
  assert ratio["median_ratio"] < 0.2
  assert ratio["interval"][1] < 0.3
  assert ratio["closer_to_train"] == 1
  _, exact = ratio_of(train[:5], train, held_out)
  assert exact["median_ratio"] == 0


def test_the_ratio_of_a_model_that_generalises(rng):
  """With ten times as many training clips as held-out clips.

  The nearest of all training clips is half as far away as the nearest held-out clip.
  """
  train, held_out, queries = (
    rng.integers(0, 256, size=(number, 1, 1, 1, 3), dtype=np.uint8) for number in (2000, 200, 400)
  )
  (near, far), ratio = ratio_of(queries, train, held_out)
  assert ratio["count"] == 400
  assert ratio["median_ratio"] == pytest.approx(1, abs=0.15)
  assert ratio["interval"][0] < ratio["median_ratio"] < ratio["interval"][1]
  assert 0.4 < ratio["closer_to_train"] < 0.6
  assert ratio["median_ratio"] == pytest.approx(np.median(near / far))


def test_ties_and_classes_without_clips():
  ratio = neighbours.held_out_ratio(np.array([0.0, 1.0, np.inf]), np.array([0.0, 2.0, 1.0]))
  assert (ratio["count"], ratio["median_ratio"], ratio["closer_to_train"]) == (2, 0.75, 0.75)
  nothing = neighbours.held_out_ratio(np.array([np.inf]), np.array([1.0]))
  assert nothing == {"count": 0, "median_ratio": None, "interval": None, "closer_to_train": None}


def test_the_picture(rng):
  queries, others = clips_of(rng, 2, 12), clips_of(rng, 3, 12)
  near = [[others[0], others[1]], [others[2]]]
  captions = [["a", "1", "2"], ["an endless name " * 20, "3\n\x1b"]]
  sheet = neighbours.picture(queries, near, captions)
  # Two frames of 12 pixels, enlarged 9 times: 216 pixels. Lines of text are 20 pixels high.
  assert sheet.shape == (20 + 2 * (108 + 20), 3 * 216 + 2 * 9, 3)
  large = lambda frame: frame.repeat(9, 0).repeat(9, 1)
  np.testing.assert_array_equal(sheet[20:128, :108], large(queries[0, 0]))
  np.testing.assert_array_equal(sheet[20:128, 108:216], large(queries[0, 1]))
  np.testing.assert_array_equal(sheet[148:256, 225:333], large(others[2, 0]))
  np.testing.assert_array_equal(sheet[20:128, 450:558], large(others[1, 0]))
  background = sheet[128, -1]
  has_text = lambda rows, left: np.any(sheet[rows, left : left + 216] != background)
  for left in (0, 225, 450):
    assert has_text(slice(0, 20), left) and has_text(slice(128, 148), left)
  assert has_text(slice(256, 276), 0) and has_text(slice(256, 276), 225)
  assert not has_text(slice(148, 276), 450)  # the second clip has one neighbour
  assert np.all(sheet[:, 216:225] == background)  # no text between the columns
