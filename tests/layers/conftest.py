"""Fixtures of the tests of layers: settings in float64, and random parameters."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.layers.settings import LayerSettings


@pytest.fixture(scope="session")
def wide():
  """Returns a function (**changes) to float64 settings."""
  return lambda **changes: LayerSettings(dtype=jnp.float64, param_dtype=jnp.float64, **changes)


@pytest.fixture(scope="session")
def draw(randomized):
  """Returns a function (module, *arguments) that draws parameters for a call of the module."""

  def parameters(module, *arguments, seed=0):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments))
    return randomized(shapes["params"], seed)

  return parameters
