"""The phases of a run: which one an iteration belongs to, its program, its batches, its name."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vidgan_jax.data.build import build_batches
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.data.sources.base import Source
from vidgan_jax.models import phases
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.models.phases import Phase
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import compilation
from vidgan_jax.training.optimizers import Optimizers
from vidgan_jax.training.state import TrainState
from vidgan_jax.training.step import Iteration


class Phases:
  """The phases that a system trains in; most systems have one.

  Args:
    gan: the system.
    config: the whole config.

  Attributes:
    all: the phases, in order.
  """

  def __init__(self, gan: VideoGan, config: ConfigDict):
    self._gan, self._config = gan, config
    self.all = gan.training_phases(config.batch_size)

  def index(self, step: int) -> int:
    """Index of the phase of iteration `step`, counted from 0."""
    return phases.index_at(self.all, step)

  def at(self, step: int) -> Phase:
    """The phase of iteration `step`, counted from 0."""
    return self.all[self.index(step)]

  def check(self, mesh: Mesh) -> None:
    """UserError where the batch of a phase cannot be split over the devices."""
    config, multiple = self._config, self._gan.batch_multiple
    for index, phase in enumerate(self.all):
      try:
        meshes.check_batch(phase.batch_size, mesh, config.microbatch, multiple, config.chunks)
      except UserError as error:
        if len(self.all) == 1:
          raise
        raise UserError(f"phase {self.name(index)}: {error}") from error

  def batches(
    self, source: Source, part: tuple[int, int], report: Callable[[str], None]
  ) -> Callable[[int], dict]:
    """The batch of every iteration, across all phases.

    Each phase has its own stream, which begins at the clip where the previous one ends. Only the
    stream of the phase that was asked for last exists, so that threads and buffers of earlier
    phases are released.

    Args:
      source: see `build_source`.
      part: (this host, number of hosts).
      report: receives lines for the user.

    Returns:
      a function of an iteration; see `build_batches`.

    Raises:
      UserError: see `build_batches`.
    """
    reported = set()

    def report_once(line: str) -> None:
      if line not in reported:
        reported.add(line)
        report(line)

    def build(phase: Phase) -> Batches:
      return build_batches(
        self._config.data,
        source,
        batch_size=phase.batch_size,
        steps=self._gan.schedule.discriminator_steps,
        seed=self._config.seed,
        part=part,
        begin=phase.begin,
        shown=phase.first_clip,
        report=report_once,
      )

    current, stream = 0, build(self.all[0])  # built at once, so that a wrong reader is refused

    def batch(iteration: int) -> dict:
      nonlocal current, stream
      index = self.index(iteration)
      if index != current:
        current, stream = index, build(self.all[index])
      return stream(iteration)

    return batch

  def lowered(
    self,
    index: int,
    optimizers: Optimizers,
    like: TrainState,
    mesh: Mesh,
    frozen: Mapping[str, Any],
  ) -> jax.stages.Lowered:
    """Traces the iteration of a phase for the devices of a mesh, which need not be here.

    Args:
      index: of the phase.
      optimizers: of the networks.
      like: shapes, types and shardings of the state; see `state.abstract`.
      mesh: the devices.
      frozen: see `Context`; arrays, or their shapes and shardings.
    """
    phase, config = self.all[index], self._config
    gan = self._gan.at(index)
    iteration = Iteration(gan, optimizers.scaled(phase.rate), config, mesh, phase)
    batch = jax.eval_shape(lambda: gan.example_batch(phase.batch_size))
    steps = gan.schedule.discriminator_steps
    batch = jax.tree.map(
      lambda a: jax.ShapeDtypeStruct(
        (steps, *a.shape), a.dtype, sharding=meshes.batch_sharding(mesh, 1)
      ),
      batch,
    )
    shardings = (jax.tree.map(lambda a: a.sharding, like), meshes.replicated(mesh))
    program = jax.jit(iteration.__call__, donate_argnums=0, out_shardings=shardings)
    return program.lower(like, batch, frozen)

  def compiled(
    self,
    index: int,
    optimizers: Optimizers,
    like: TrainState,
    mesh: Mesh,
    frozen: Mapping[str, Any],
  ) -> tuple[jax.stages.Compiled, float]:
    """Compiles the iteration of a phase.

    Args:
      index, optimizers, like, mesh, frozen: see `lowered`.

    Returns:
      the program, and the seconds that it took.
    """
    begin = time.perf_counter()
    program = self.lowered(index, optimizers, like, mesh, frozen)
    program = program.compile(compilation.options(mesh.devices.flat[0]))
    return program, time.perf_counter() - begin

  def name(self, index: int) -> str:
    """What distinguishes a phase, e.g. "8x8, 8 frames, batch 32"; "" where there is only one."""
    if len(self.all) == 1:
      return ""
    phase = self.all[index]
    size = f"{phase.resolution}x{phase.resolution}"
    return f"{size}, {phase.frames} frames, batch {phase.batch_size}"

  def progress(self, step: int) -> str:
    """Phase and fade after `step` iterations, for a progress bar; "" where there is one phase."""
    if len(self.all) == 1:
      return ""
    phase = self.at(step)
    faded = phase.faded(step)
    size = f"{phase.resolution}x{phase.resolution}"
    return size if faded == 1 else f"{size}, faded in to {faded:.0%}"

  def scalars(self, step: int) -> dict[str, float]:
    """What the log records of the phase of iteration `step`; {} where there is one phase."""
    if len(self.all) == 1:
      return {}
    phase = self.at(step)
    return {
      "phase/resolution": phase.resolution,
      "phase/frames": phase.frames,
      "phase/batch_size": phase.batch_size,
      "phase/fade": phase.faded(step),
    }
