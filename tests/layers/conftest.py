"""What tests of layers share: settings in float64 and drawn parameters."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.layers.settings import LayerSettings


@pytest.fixture(scope="session")
def wide():
  """A function that returns float64 settings with the given changes."""
  return lambda **changes: LayerSettings(dtype=jnp.float64, param_dtype=jnp.float64, **changes)


@pytest.fixture(scope="session")
def draw(randomized):
  """A function (module, *arguments) that draws parameters for a module called so."""

  def parameters(module, *arguments, seed=0):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments))
    return randomized(shapes["params"], seed)

  return parameters
