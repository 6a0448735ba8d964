"""The part of `VideoGan` that concerns frozen earlier stages, whose clips a system builds on."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.layers import normalization


def zeros(tree: Any) -> Any:
  """Arrays of zeros with the shapes and types of `tree`."""
  return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), tree)


class Staged:
  """What systems with frozen earlier stages override; all others have no stages.

  `Context.frozen` holds {name: {"variables": variables of the stage's generator, "frozen": the same
  for the stages that it builds on}}.
  """

  stages: Mapping[str, Any]

  def derive(self, frozen: Any, latents: Any, inputs: Any, frames: int | None = None) -> Any:
    """Completes the drawn inputs of generated clips with what frozen networks compute.

    Training calls it on each device with its part of the batch, and differentiates nothing of it.

    Args:
      frozen: see `Context`.
      latents: see `VideoGan.latents`.
      inputs: from `generated_inputs` or `sampling_inputs`.
      frames: frames per generated clip; None is as in training.

    Returns:
      the inputs for `generate`; by default those that were drawn.
    """
    del frozen, latents, frames
    return inputs

  def check_frames(self, frames: int) -> None:
    """UserError if no clips of `frames` frames can be generated; by default all numbers can."""
    del frames

  def stage_frames(self, frames: int) -> int:
    """Frames that the earlier stages generate for a clip of `frames` frames."""
    return frames

  def stage_clips(self, frozen: Any, latents: Any, inputs: Any, frames: int) -> list[jax.Array]:
    """What each earlier stage contributes to a clip of `frames` frames; [] without stages."""
    del frozen, latents, inputs, frames
    return []

  def example_frozen(self) -> dict[str, Any]:
    """Zeros with the structure of `Context.frozen`; {} without earlier stages."""
    return {name: _example(stage) for name, stage in self.stages.items()}

  def example_derived(self, latents: Any, inputs: Any) -> Any:
    """Zeros with the structure of what `derive` returns; without stages, `inputs` itself."""
    if not self.stages:
      return inputs
    return zeros(jax.eval_shape(lambda: self.derive(self.example_frozen(), latents, inputs)))


def _example(stage: Any) -> dict[str, Any]:
  shapes = jax.eval_shape(lambda: stage.init(jax.random.key(0)))["generator"]
  statistics = normalization.COLLECTION
  variables = {"params": shapes["params"], statistics: shapes.get(statistics, {})}
  return {"variables": zeros(variables), "frozen": stage.example_frozen()}
