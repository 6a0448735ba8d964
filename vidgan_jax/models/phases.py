"""The course of training: the order of the updates in an iteration, and phases.

A phase is a stretch of iterations with one size of clips and one batch size. Networks that grow
(`VideoGan.phases`) have several. Each phase has one compiled program and one batch stream; within a
phase, everything follows from the number of iterations done. This module needs no JAX, so that
commands can check a config at once.
"""

import dataclasses
from collections.abc import Sequence
from typing import Self


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The order of the updates within one iteration.

  Attributes:
    discriminator_steps: discriminator updates per generator update, each on a new real batch.
    generator_first: the generator is updated before the discriminators.
    shared_fakes: the generator's update and the discriminator update next to it use the same
      latents, inputs and generated clips. One generator pass then serves both. With
      `generator_first`, the first discriminator update uses the clips of the generator's update.
      Otherwise, the generator's update uses the clips of the last discriminator update.
  """

  discriminator_steps: int = 1
  generator_first: bool = False
  shared_fakes: bool = False


@dataclasses.dataclass(frozen=True)
class Phase:
  """One phase.

  Attributes:
    begin: iterations done before the phase.
    resolution: height and width in pixels of the clips that the networks see.
    frames: of these clips.
    batch_size: clips of each update, over all devices.
    first_clip: ordinal of the phase's first clip: the number of clips in the discriminator updates
      of all earlier phases.
    fade: iterations, from the first of the phase, during which its new layers fade in; 0 has no
      fade.
    rate: factor on the learning rates.
  """

  begin: int
  resolution: int
  frames: int
  batch_size: int
  first_clip: int = 0
  fade: int = 0
  rate: float = 1.0

  @property
  def resets(self) -> tuple[int, ...]:
    """Iterations that begin with a reset of the optimizers: the first, and that after the fade.

    The phase at iteration 0 has none at its beginning, because its optimizers are new.
    """
    begin = (self.begin,) if self.begin else ()
    return (*begin, self.begin + self.fade) if self.fade else begin

  def faded(self, step: int) -> float:
    """How far the phase's new layers have faded in after `step` iterations, 0 to 1."""
    return min(max((step - self.begin) / self.fade, 0.0), 1.0) if self.fade else 1.0


def index_at(phases: Sequence[Phase], step: int) -> int:
  """Index of the phase that iteration `step` (counted from 0) belongs to.

  A state after `step` iterations at the border of two phases belongs to the later one, whose first
  iteration comes next.
  """
  return max(index for index, phase in enumerate(phases) if phase.begin <= step or not index)


class Phased:
  """The part of `VideoGan` that concerns phases. Systems that grow override `at` and `sampler`."""

  phases: tuple[Phase, ...]
  resolution: int
  frames: int

  def training_phases(self, batch_size: int) -> tuple[Phase, ...]:
    """All phases of training; a system without phases has one, with this batch size."""
    return self.phases or (Phase(0, self.resolution, self.frames, batch_size),)

  def at(self, index: int) -> Self:
    """The system as phase `index` trains it; always the same object for the same index."""
    del index
    return self

  def at_step(self, step: int) -> Self:
    """The system as the phase of iteration `step`, counted from 0, trains it; see `at`."""
    return self.at(index_at(self.phases, step)) if self.phases else self

  def sampler(self, step: int) -> Self:
    """The system that draws clips of full size after `step` iterations, whatever their phase.

    Always the same object for the same phase.
    """
    del step
    return self
