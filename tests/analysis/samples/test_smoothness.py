"""Walks with known steps."""

import numpy as np
import pytest

from vidgan_jax.analysis.samples import smoothness


@pytest.fixture
def ends():
  return np.random.default_rng(7).uniform(0, 255, size=(2, 3, 4, 4, 3))


def test_a_straight_even_walk(ends):
  points = np.linspace(ends[0], ends[1], 9)
  record = smoothness.walk_record(points)
  distance = np.sqrt(np.mean((ends[0] - ends[1]) ** 2))
  assert record["ends"] == pytest.approx(distance)
  np.testing.assert_allclose(record["steps"], distance / 8)
  assert record["jump_ratio"] == pytest.approx(1)
  assert record["largest_share"] == pytest.approx(1 / 8)
  assert record["largest_by_ends"] == pytest.approx(1 / 8)
  assert record["detour"] == pytest.approx(1)


def test_one_abrupt_jump(ends):
  """A model that has memorised its clips (DVD-GAN, Figure 11)."""
  record = smoothness.walk_record(np.stack([ends[0]] * 4 + [ends[1]] * 5))
  assert record["jump_ratio"] == pytest.approx(8)
  names = ("largest_share", "largest_by_ends", "detour")
  assert [record[name] for name in names] == pytest.approx([1, 1, 1])


def test_a_walk_that_returns_to_its_start(ends):
  walk = np.concatenate([np.linspace(*ends, 5), np.linspace(*ends, 5)[-2::-1]])
  record = smoothness.walk_record(walk)
  assert record["jump_ratio"] == pytest.approx(1)
  assert record["ends"] == 0
  assert record["detour"] is None and record["largest_by_ends"] is None


@pytest.mark.parametrize(("jump", "top"), [(False, (0.13, 0.2)), (True, (1.0, 1.1))])
def test_the_height_of_the_plot(ends, monkeypatch, tmp_path, jump, top):
  even = np.linspace(*ends, 12)
  points = np.stack([ends[0]] * 6 + [ends[1]] * 6) if jump else even
  walks = [smoothness.walk_record(each) for each in (even, points)]
  result = {"summary": smoothness.summary(walks), "walks": walks}
  drawn = []
  monkeypatch.setattr(smoothness.figures, "write_figure", lambda figure, path: drawn.append(figure))
  records = [{"kind": "latent", "spaces": {"pixel": result}}]
  smoothness.plot({"steps": 12, "records": records}, tmp_path / "plot.png")
  low, high = drawn[0].axes[0].get_ylim()
  assert low == 0 and top[0] <= high <= top[1]


def test_a_walk_without_change(ends):
  still = smoothness.walk_record(np.stack([ends[0]] * 4))
  assert still["jump_ratio"] is still["largest_share"] is None
  summary = smoothness.summary([still, smoothness.walk_record(np.linspace(*ends, 5))])
  assert summary["walks"] == 2
  assert summary["median_jump_ratio"] == summary["max_jump_ratio"] == pytest.approx(1)
  assert smoothness.summary([still])["max_jump_ratio"] is None
