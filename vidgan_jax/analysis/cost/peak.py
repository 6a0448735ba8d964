"""Estimates what one GPU or TPU needs for an iteration, where it needs most; nothing runs."""

import functools
from typing import Any

import jax
from ml_collections import ConfigDict

from vidgan_jax.analysis.cost import liveness
from vidgan_jax.analysis.cost.arrays import Kind
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration


def iteration_bytes(
  config: ConfigDict, gan: VideoGan, batch_size: int
) -> dict[str, dict[str, int]]:
  """Memory of the iteration on one device.

  Args:
    config: the whole config.
    gan: its system, with the precision and the rematerialisation policy to estimate.
    batch_size: clips per update on this device.

  Returns:
    {"gpu": numbers, "tpu": numbers}, where the numbers are {"argument": bytes of the state, the
    batches and frozen stages; "temporary": bytes of all that exists between, see
    `analysis.cost.liveness`; "total": their sum; "least": the sum if the compiler computes
    elementwise results again, see `liveness.least_bytes`}.
  """
  transforms = optimizers.build(config, gan.discriminators)
  iteration = Iteration(gan, transforms, config)

  def arguments() -> tuple:
    state = states.create(gan, transforms, config.seed)
    one = gan.example_batch(batch_size)
    several = [one] * gan.schedule.discriminator_steps
    return state, jax.tree.map(lambda *a: jax.numpy.stack(a), *several), gan.example_frozen()

  trace = jax.make_jaxpr(functools.partial(Iteration.__call__, iteration))
  jaxpr = trace(*jax.eval_shape(arguments)).jaxpr
  return {name: _of_kind(jaxpr, kind) for name, kind in liveness.KINDS.items()}


def _of_kind(jaxpr: Any, kind: Kind) -> dict[str, int]:
  """The numbers of `iteration_bytes` for one kind of device."""
  argument = sum(map(kind.size, jaxpr.invars))
  least, temporary = liveness.least_bytes(jaxpr, kind)
  return {
    "argument": argument,
    "temporary": temporary,
    "total": argument + temporary,
    "least": argument + least,
  }
