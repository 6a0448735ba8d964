"""Normal noise: latents, and noise inside a network.

Its values do not depend on the number of devices.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Draws numbers from N(0, 1), as `jax.random.normal` does.

  Two programs may round float32's inverse error function differently. So with `jax_enable_x64`,
  which `config.precision=float64` needs, it is taken in float64, of the same uniform numbers: the
  results are those of float32, up to its rounding.

  Args:
    key: random key.
    shape: of the result.

  Returns:
    `shape`, in float64 with `jax_enable_x64`, else in float32.
  """
  wide = jnp.result_type(float)
  if wide == jnp.float32:
    return jax.random.normal(key, shape, jnp.float32)
  low = np.nextafter(np.float32(-1), np.float32(0))
  uniform = jax.random.uniform(key, shape, jnp.float32, low, 1)
  return math.sqrt(2) * jax.lax.erf_inv(uniform.astype(wide))


def keys(key: jax.Array, batch_size: int) -> jax.Array:
  """Returns one random key per example as uint32 [B, 2], to be passed along with the batch.

  Args:
    key: random key.
    batch_size: B.
  """
  return jax.random.key_data(jax.random.split(key, batch_size))


def add(x: jax.Array, example_keys: jax.Array | None, number: int, deviation: float) -> jax.Array:
  """Adds noise from N(0, deviation^2) to activations.

  Args:
    x: [B, ...].
    example_keys: uint32 [B, 2], see `keys`; may be None if `deviation` is 0.
    number: number of this call in the network. Different numbers draw different noise.
    deviation: standard deviation; 0 adds nothing.

  Returns:
    [B, ...] in the type of `x`.
  """
  if not deviation:
    return x
  assert example_keys is not None, "noise needs random keys"
  draw = lambda key: normal(jax.random.fold_in(jax.random.wrap_key_data(key), number), x.shape[1:])
  return x + (deviation * jax.vmap(draw)(example_keys)).astype(x.dtype)
