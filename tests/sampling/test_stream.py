"""Streams of clips: each clip depends on its number and the seed alone."""

import copy
import types

import jax
import numpy as np
import pytest

import vidgan_jax.training.state as states
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling.stream import Stream, from_hook_context


@pytest.fixture(scope="module")
def clips(run):
  """Clips 0..15 on one device, and their labels."""
  return tuple(map(np.asarray, Stream(run, 3)(0, 16)))


def test_a_stream_equals_the_samples_of_the_run(run, clips):
  expected, labels = clips
  np.testing.assert_array_equal(labels, np.arange(16) % 8)
  drawn = run.sample(3, labels=labels)
  # The two programs may round half a grey level differently.
  assert np.max(np.abs(expected.astype(int) - drawn)) <= 1 and np.ptp(expected) > 50


def test_neither_the_batch_nor_the_devices_matter(run, clips):
  expected, labels = clips
  stream = Stream(run, 3, mesh=meshes.make_mesh(jax.devices()))
  spread, spread_labels = stream(8, 16)
  assert stream.shape == expected.shape[1:]
  assert len(spread.sharding.device_set) == len(jax.devices())
  np.testing.assert_array_equal(spread_labels, labels[8:])
  assert np.max(np.abs(np.asarray(spread).astype(int) - expected[8:])) <= 1


def test_seed_and_spread(run, clips):
  expected, _ = clips
  assert np.any(np.asarray(Stream(run, 4)(0, 16)[0]) != expected)
  narrow = Stream(run, 3, truncation=0.1)
  settings = {"step": run.step, "ema": run.use_ema, "standing_passes": run.standing_passes}
  assert narrow.about == {**settings, "truncation": 0.1, "seed": 3}
  # With less truncation, clips of one class would differ more.
  spread = lambda clips: np.mean(np.abs(clips[:8].astype(float) - clips[8:]))
  assert spread(np.asarray(narrow(0, 16)[0])) < 0.5 * spread(expected)
  with pytest.raises(UserError, match="seed -1"):
    Stream(run, -1)


def test_of_a_run_in_training(run, workdir, clips):
  config, gan, state = states.load(workdir)
  mesh = meshes.make_mesh(jax.devices()[:1])
  context = types.SimpleNamespace(config=config, gan=gan, state=state, frozen={}, mesh=mesh)
  np.testing.assert_array_equal(np.asarray(from_hook_context(context, seed=3)(0, 16)[0]), clips[0])


def test_inputs_that_are_drawn_belong_to_the_clip(run):
  """Inputs drawn from a key, as when a later stage draws the clips of an earlier one."""
  other = copy.copy(run)
  other.gan = copy.copy(run.gan)

  def drawn(key, labels, context, frames=None, conditioning=None):
    return {"label": jax.random.normal(key, (len(labels), run.gan.num_classes))}

  object.__setattr__(other.gan, "sampling_inputs", drawn)  # a frozen description, for this test
  other._standing = {(run.gan.frames, 1.0): run.variables()}
  stream = Stream(other, 3)
  whole, part = (np.asarray(stream(*ends)[0]).astype(int) for ends in ((0, 16), (8, 16)))
  assert np.max(np.abs(whole[8:] - part)) <= 1
  assert np.max(np.abs(whole[:8] - part)) > 50
