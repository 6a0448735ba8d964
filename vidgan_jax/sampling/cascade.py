"""Cascades: statistics of all stages of a system, for clips of any length."""

from typing import Any

import jax

from vidgan_jax.models.contract import Context, VideoGan
from vidgan_jax.sampling import generation


def standing_stages(
  gan: VideoGan,
  context: Context,
  key: jax.Array,
  *,
  passes: int,
  frames: int,
  truncation: float,
) -> dict[str, Any]:
  """Collects standing statistics of all earlier stages, the first stage's first.

  Each stage normalises clips of the length that the next one needs, and is fed by the stages before
  it with their own standing statistics (SSW-GAN, appendix A).

  Args:
    gan: the last stage.
    context: its context, with running statistics.
    key: random key.
    passes: see `generation.standing_statistics`.
    frames: frames of the last stage's clips.
    truncation: of the latents of all stages.

  Returns:
    `Context.frozen` with the new statistics.
  """
  frozen = dict(context.frozen)
  for number, (name, stage) in enumerate(sorted(gan.stages.items())):
    inner_key, own_key = jax.random.split(jax.random.fold_in(key, number))
    settings: dict[str, Any] = dict(
      passes=passes, frames=gan.stage_frames(frames), truncation=truncation
    )
    inner = context.replace(frozen=frozen[name]["frozen"])
    inner = inner.replace(frozen=standing_stages(stage, inner, inner_key, **settings))
    variables = generation.standing_statistics(
      stage, frozen[name]["variables"], own_key, inner, **settings
    )
    frozen[name] = {"variables": variables, "frozen": inner.frozen}
  return frozen
