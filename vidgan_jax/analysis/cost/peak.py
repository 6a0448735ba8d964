"""Estimates what one GPU needs for an iteration of training, where it needs most; nothing runs."""

import functools

import jax
from ml_collections import ConfigDict

from vidgan_jax.analysis.cost import liveness
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration


def iteration_bytes(config: ConfigDict, gan: VideoGan, batch_size: int) -> dict[str, int]:
  """Memory of the iteration on one device.

  Args:
    config: the whole config.
    gan: its system, with the precision and the rematerialisation policy to estimate.
    batch_size: clips per update on this device.

  Returns:
    {"argument": bytes of the state, the batches and frozen stages; "temporary": bytes of all that
    exists between, see `analysis.cost.liveness`; "total": their sum; "copies": the part of
    "temporary" that cuDNN's padded copies add, which other devices than GPUs do not need}.
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
  argument = sum(map(liveness.size, jaxpr.invars))
  temporary = liveness.peak_bytes(jaxpr, cudnn=True)
  return {
    "argument": argument,
    "temporary": temporary,
    "total": argument + temporary,
    "copies": max(0, temporary - liveness.peak_bytes(jaxpr)),  # each is searched for by itself
  }
