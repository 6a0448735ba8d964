"""Noise inside a network, the same on any number of devices."""

import jax
import jax.numpy as jnp


def keys(key: jax.Array, batch_size: int) -> jax.Array:
  """One random key per example, as data uint32 [B, 2] that a batch can carry.

  Args:
    key: a random key.
    batch_size: B.
  """
  return jax.random.key_data(jax.random.split(key, batch_size))


def add(x: jax.Array, example_keys: jax.Array, place: int, deviation: float) -> jax.Array:
  """Adds noise from N(0, deviation^2) to activations.

  Args:
    x: [B, ...].
    example_keys: uint32 [B, 2]; see `keys`.
    place: number of the layer in its network; layers of other numbers draw other noise.
    deviation: standard deviation; 0 adds nothing.

  Returns:
    [B, ...] in the type of `x`.
  """
  if not deviation:
    return x
  draw = lambda key: jax.random.normal(
    jax.random.fold_in(jax.random.wrap_key_data(key), place), x.shape[1:], jnp.float32
  )
  return x + (deviation * jax.vmap(draw)(example_keys)).astype(x.dtype)
