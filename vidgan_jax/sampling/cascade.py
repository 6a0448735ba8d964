"""Cascades: statistics of all stages of a system, and the clips of all of them side by side."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import Arrays, Context, Variables, VideoGan
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


def statistics_of(frozen: dict[str, Any]) -> dict[str, Any]:
  """The batch statistics in `Context.frozen`, of all stages."""
  return {
    name: {
      "own": stage["variables"].get(normalization.COLLECTION, {}),
      "stages": statistics_of(stage["frozen"]),
    }
    for name, stage in frozen.items()
  }


def with_statistics(frozen: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
  """`Context.frozen` with other batch statistics, in the form of `statistics_of`."""
  return {
    name: {
      "variables": {**stage["variables"], normalization.COLLECTION: statistics[name]["own"]},
      "frozen": with_statistics(stage["frozen"], statistics[name]["stages"]),
    }
    for name, stage in frozen.items()
  }


@functools.partial(jax.jit, static_argnums=(0, 4))
def side_by_side(
  gan: VideoGan,
  variables: Variables,
  latents: Arrays,
  inputs: Arrays,
  frames: int,
  frozen: dict[str, Any],
) -> jax.Array:
  """Generates the clips of all stages; those of earlier ones are enlarged by repetition.

  Args:
    gan, variables, latents, inputs, frames, frozen: see `generation.generate`.

  Returns:
    uint8 [N, frames, H, stages * W, 3], the first stage on the left.
  """
  last = generation.generate(gan, variables, latents, inputs, frames, frozen)
  clips = []
  for clip in gan.stage_clips(frozen, latents, inputs, frames):
    factor = last.shape[2] // clip.shape[2]
    clips.append(jnp.repeat(jnp.repeat(generation.to_uint8(clip), factor, axis=2), factor, axis=3))
  return jnp.concatenate([*clips, last], axis=3)
