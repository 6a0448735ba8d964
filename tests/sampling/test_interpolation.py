"""Interpolations have the right ends and are linear."""

import jax
import numpy as np
import pytest

from vidgan_jax.models import registry
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import generation, interpolation

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def unconditional(tiny_config):
  return registry.build(tiny_config(**{"model.num_classes": 0}))


def close(a, b):
  """Equal up to one grey level, because programs for different batch sizes round differently."""
  return a.shape == b.shape and np.max(np.abs(a.astype(int) - b)) <= 1


def test_latent_walks_are_straight_lines_between_two_latents(run):
  ends = np.asarray(generation.draw_latents(run.gan, KEY, 4)["z"])
  latents, labels = interpolation.latent_walk(run.gan, KEY, [6, 2], 5)
  walks = latents["z"].reshape(2, 5, 4)
  assert labels.tolist() == [6] * 5 + [2] * 5
  np.testing.assert_array_equal(walks[:, 0], ends[:2])
  np.testing.assert_array_equal(walks[:, -1], ends[2:])
  np.testing.assert_allclose(walks[:, 2], (ends[:2] + ends[2:]) / 2, atol=1e-6)
  np.testing.assert_allclose(np.diff(walks, 2, axis=1), 0, atol=1e-6)
  assert len(np.unique(ends[:, 0])) == 4  # four different ends


def test_clips_at_the_ends_of_a_latent_walk_are_those_of_their_latents(run):
  latents, labels = interpolation.latent_walk(run.gan, KEY, [6], 3, truncation=0.5)
  clips = run.generate(latents, labels, truncation=0.5)
  ends = generation.draw_latents(run.gan, KEY, 2, truncation=0.5)
  expected = run.generate(ends, [6, 6], truncation=0.5)
  assert clips.shape == (3, 4, 8, 8, 3)
  assert close(clips[[0, 2]], expected) and not close(clips[:1], clips[2:])
  middle = {"z": np.mean(ends["z"], axis=0, keepdims=True)}
  assert close(clips[1:2], run.generate(middle, [6], truncation=0.5))


def test_class_walks_keep_the_latent_and_go_straight_between_classes(run):
  latents, weights = interpolation.class_walk(run.gan, KEY, [6, 2, 0, 7], 4)
  drawn = np.asarray(generation.draw_latents(run.gan, KEY, 2)["z"])
  np.testing.assert_array_equal(latents["z"].reshape(2, 4, 4), np.repeat(drawn[:, None], 4, 1))
  weights = weights.reshape(2, 4, 8)
  np.testing.assert_array_equal(weights[:, 0], np.eye(8)[[6, 0]])
  np.testing.assert_array_equal(weights[:, -1], np.eye(8)[[2, 7]])
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
  np.testing.assert_allclose(np.diff(weights, 2, axis=1), 0, atol=1e-6)
  assert (weights >= 0).all()


def test_clips_at_the_ends_of_a_class_walk_are_those_of_their_classes(run):
  latents, weights = interpolation.class_walk(run.gan, KEY, [6, 2], 3, truncation=0.5)
  clips = run.generate(latents, weights, truncation=0.5)
  expected = run.generate(jax.tree.map(lambda a: a[:2], latents), [6, 2], truncation=0.5)
  assert close(clips[[0, 2]], expected)
  assert not close(clips[:1], clips[1:2]) and not close(clips[1:2], clips[2:])


@pytest.mark.parametrize(
  ("labels", "steps", "words"),
  [
    ([3], 4, r"pairs of labels, got 1 label\(s\)"),
    ([1, 2, 3], 4, r"pairs of labels, got 3 label\(s\)"),
    ([], 4, r"pairs of labels, got 0 label\(s\)"),
    ([0, 8], 4, "label 8 is outside 0..7"),
    ([0, 1], 1, "at least 2 steps, not 1"),
  ],
)
def test_class_walks_that_make_no_sense_are_refused(run, labels, steps, words):
  with pytest.raises(UserError, match=words):
    interpolation.class_walk(run.gan, KEY, labels, steps)


@pytest.mark.parametrize(
  ("labels", "steps", "words"),
  [([8], 4, "label 8 is outside 0..7"), ([0], 1, "at least 2 steps"), ([], 4, "one label")],
)
def test_latent_walks_that_make_no_sense_are_refused(run, labels, steps, words):
  with pytest.raises(UserError, match=words):
    interpolation.latent_walk(run.gan, KEY, labels, steps)


def test_without_classes_there_are_latent_walks_alone(unconditional):
  latents, _ = interpolation.latent_walk(unconditional, KEY, [0, 0], 3)
  assert latents["z"].shape == (6, 4)
  with pytest.raises(UserError, match="no classes to interpolate between"):
    interpolation.class_walk(unconditional, KEY, [0, 0], 3)
