"""Fixtures of the training tests: a tiny run."""

import types

import jax
import numpy as np
import pytest

from vidgan_jax.models import registry
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.step import Iteration


@pytest.fixture(scope="session")
def game():
  """Returns a function (config, **gan changes) -> gan, optimizers, iteration, state, batch."""

  def build(config, gan=None):
    gan = gan or registry.build(config)
    transforms = optimizers.build(config, gan.discriminators)
    create = jax.jit(lambda: state.create(gan, transforms, config.seed))
    generator = np.random.default_rng(0)
    shape = (gan.schedule.discriminator_steps, config.batch_size)
    size = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
    batch = {
      "clip": generator.integers(0, 256, size, dtype=np.uint8),
      "label": generator.integers(0, max(1, gan.num_classes), shape, dtype=np.int32),
    }
    return types.SimpleNamespace(
      config=config,
      gan=gan,
      transforms=transforms,
      iteration=Iteration(gan, transforms, config),
      state=create(),
      batch=batch,
    )

  return build
