"""What an update makes of its gradients: a network's new parameters and running statistics."""

from collections.abc import Iterable
from typing import Any

import jax
import optax

from vidgan_jax.layers import normalization
from vidgan_jax.training.gradients import NormalizedNetwork
from vidgan_jax.training.optimizers import Optimizer
from vidgan_jax.training.state import Network


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
