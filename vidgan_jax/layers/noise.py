"""Noise inside a network. Its values do not depend on the number of devices."""

import jax
import jax.numpy as jnp


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
  draw = lambda key: jax.random.normal(
    jax.random.fold_in(jax.random.wrap_key_data(key), number), x.shape[1:], jnp.float32
  )
  return x + (deviation * jax.vmap(draw)(example_keys)).astype(x.dtype)
