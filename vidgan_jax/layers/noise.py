"""Noise inside a network, the same on any number of devices."""

import jax
import jax.numpy as jnp


def keys(key, batch_size: int):
  """One random key per example, as data uint32 [B, 2] that a batch can carry."""
  return jax.random.key_data(jax.random.split(key, batch_size))


def add(x, example_keys, place: int, deviation: float):
  """Adds N(0, deviation^2) to [B, ...].

  Args:
    x: activations.
    example_keys: see `keys`.
    place: tells this layer from the network's others.
    deviation: 0 adds nothing.
  """
  if not deviation:
    return x
  draw = lambda key: jax.random.normal(
    jax.random.fold_in(jax.random.wrap_key_data(key), place), x.shape[1:], jnp.float32
  )
  return x + (deviation * jax.vmap(draw)(example_keys)).astype(x.dtype)
