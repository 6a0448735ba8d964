"""What an update makes of its gradients, and resets of the optimizers."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vidgan_jax.layers import normalization
from vidgan_jax.training.gradients import NormalizedNetwork
from vidgan_jax.training.optimizers import Optimizer
from vidgan_jax.training.state import Network, TrainState


def updated(
  network: Network,
  normalized: NormalizedNetwork,
  by_params: Any,
  optimizer: Optimizer,
  batch_stats: Iterable,
  step: jax.Array | int,
) -> Network:
  """Returns the network after one optimizer step.

  Args:
    network: the network before the step.
    normalized: the same network with normalised weights.
    by_params: gradients with respect to the parameters.
    optimizer: optimizer of this network.
    batch_stats: statistics that batch normalisation reported, one tree for each pass.
    step: number of iterations done, which decides the learning rate.
  """
  changes, optimizer_state = optimizer.update(by_params, network.optimizer, network.params, step)
  running = network.batch_stats
  for reported in batch_stats:
    running = normalization.blend(running, reported) if reported else running
  return Network(
    params=optax.apply_updates(network.params, changes),
    spectral=normalized.spectral,
    batch_stats=running,
    optimizer=optimizer_state,
  )


def reset_optimizers(state: TrainState, steps: Sequence[int]) -> TrainState:
  """Sets the state of all optimizers to its start, zeros, if `state.step` is one of `steps`."""
  now = jnp.any(state.step == jnp.asarray(steps))

  def reset(network: Network) -> Network:
    zeroed = jax.tree.map(lambda a: jnp.where(now, jnp.zeros_like(a), a), network.optimizer)
    return network.replace(optimizer=zeroed)

  discriminators = {name: reset(network) for name, network in state.discriminators.items()}
  return state.replace(generator=reset(state.generator), discriminators=discriminators)
