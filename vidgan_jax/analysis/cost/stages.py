"""The work of frozen earlier stages, which each batch of generated clips needs."""

import jax

from vidgan_jax.models.contract import Context, VideoGan
from vidgan_jax.runtime.hardware import flops


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
