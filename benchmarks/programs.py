"""The training iteration as the training loop compiles it, for the benchmarks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import settings  # noqa: F401 - makes the package importable

from vidgan_jax.runtime import mesh as meshes


@dataclasses.dataclass(frozen=True)
class TrainingProgram:
  """A compiled training iteration.

  Attributes:
    gan: the system.
    mesh: devices of the program.
    call: maps (state, batch, frozen) to (state, metrics). The batch is on the devices, see
      `runtime.mesh.put_batch`.
    compile_seconds: time that compilation took.
    abstract_state: shapes, types and shardings of the program's state.
    initial_state: makes the state before the first iteration, on the devices of a mesh.
    frozen: zeros in place of the variables of frozen earlier stages; {} without stages.
  """

  gan: Any
  mesh: Any
  call: Any
  compile_seconds: float
  abstract_state: Any
  initial_state: Callable[[Any], Any]
  frozen: Any


def compile_iteration(config, mesh=None, optimizers=None) -> TrainingProgram:
  """Compiles the training iteration of `config`.

  Args:
    config: the whole config.
    mesh: devices to compile for; by default all.
    optimizers: in place of the config's.

  Returns:
    the program; of a system with phases, that of the last phase.
  """
  import jax

  from vidgan_jax.models import registry
  from vidgan_jax.training import loop, state
  from vidgan_jax.training import optimizers as training_optimizers
  from vidgan_jax.training.phases import Phases

  mesh = meshes.make_mesh() if mesh is None else mesh
  gan = registry.build(config, platform=meshes.platform(mesh))
  optimizers = optimizers or training_optimizers.build(config, gan.discriminators)

  def abstract_state(mesh):
    return state.abstract(gan, optimizers, config.seed, mesh, config.sharding)

  def initial_state(mesh):
    return loop._initialised(gan, optimizers, config, abstract_state(mesh))

  like = abstract_state(mesh)
  phases = Phases(gan, config)
  phases.check(mesh)
  frozen = jax.device_put(gan.example_frozen(), meshes.replicated(mesh))
  program, seconds = phases.compiled(len(phases.all) - 1, optimizers, like, mesh, frozen)
  return TrainingProgram(gan, mesh, program, seconds, like, initial_state, frozen)


def shape_features(clips: np.ndarray) -> np.ndarray:
  """Features of the built-in classifier, float64 [N, 64], of clips uint8 [N, T, H, W, 3]."""
  import jax

  from vidgan_jax.evaluation.features import extractor
  from vidgan_jax.evaluation.features.architectures import moving_shapes as network

  variables = extractor.load_extractor(extractor.PACKAGED).variables
  apply = jax.jit(lambda batch: network.apply(variables, batch / 127.5 - 1.0)["features"])
  parts = [apply(clips[i : i + 32].astype(np.float32)) for i in range(0, len(clips), 32)]
  return np.concatenate([np.asarray(part, np.float64) for part in parts])
