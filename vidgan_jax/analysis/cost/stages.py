"""What frozen earlier stages cost: work for each generated clip, and memory for their weights."""

from typing import Any

import jax

from vidgan_jax.models.contract import Context, VideoGan
from vidgan_jax.runtime.hardware import flops

_NAME = "earlier stages"


def stage_flops(gan: VideoGan) -> int:
  """FLOPs of all earlier stages per generated clip of training; 0 without stages."""
  if not gan.stages:
    return 0
  frozen = jax.eval_shape(gan.example_frozen)

  def drawn(frozen):
    key, batch = jax.random.key(0), gan.example_batch()
    context = Context(frozen=frozen)
    return gan.latents(key, 1), gan.generated_inputs(key, batch, context)

  return flops.count(gan.derive, frozen, *jax.eval_shape(drawn, frozen), padding=True)


def with_forward_pass(gflop: dict[str, Any], gan: VideoGan, plain: VideoGan) -> dict[str, Any]:
  """Adds the earlier stages to {network: {"as_written", "as_executed"}}, GFLOP per clip.

  Args:
    gflop: of the networks that are trained.
    gan, plain: the system with the layers' exact savings, and without.
  """
  if not gan.stages:
    return gflop
  work = {"as_written": stage_flops(plain) / 1e9, "as_executed": stage_flops(gan) / 1e9}
  return {**gflop, _NAME: work}


def with_weights(static: dict[str, int], gan: VideoGan) -> dict[str, int]:
  """Adds the weights of the earlier stages to {kind or "total": bytes that training holds}."""
  if not gan.stages:
    return static
  shapes = jax.eval_shape(gan.example_frozen)
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
  kinds = {kind: number for kind, number in static.items() if kind != "total"}
  return {**kinds, _NAME: size, "total": static["total"] + size}
