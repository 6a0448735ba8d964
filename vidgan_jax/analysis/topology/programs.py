"""The programs of a run, traced for devices that need not be here."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vidgan_jax.layers import normalization
from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context, VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import generation
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.phases import Phases

SAMPLED_CLIPS = 16  # of one call of the generator: the default of `vidgan sample`


def lower(name: str, config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
  """Traces a program for the devices of a mesh.

  Args:
    name: of `names.PROGRAMS`. "iteration": one iteration of training; of the last phase, which
      needs the most memory, if the networks grow. "initialisation": draws the first state.
      "sampling": 16 clips of the generator, on the first device alone.
    config: the whole config.
    mesh: the devices.

  Raises:
    UserError: the batch cannot be split over the devices, or the config cannot be built.
  """
  gan = registry.build(config, platform=meshes.platform(mesh))
  gan.check_new()
  if name == "sampling":
    return _sampling(gan, meshes.make_mesh([mesh.devices.flat[0]]), config)
  phases = Phases(gan, config)
  phases.check(mesh)
  transforms = optimizers.build(config, gan.discriminators)
  like = states.abstract(gan, transforms, config.seed, mesh, config.sharding)
  if name == "initialisation":
    return states.initialisation(gan, transforms, config.seed, like).lower()
  frozen = _shapes(gan.example_frozen, mesh)
  return phases.lowered(len(phases.all) - 1, transforms, like, mesh, frozen)


def _sampling(gan: VideoGan, mesh: Mesh, config: ConfigDict) -> jax.stages.Lowered:
  """`sampling.generation.generate`, which every command that draws clips calls."""
  gan = gan.sampler(config.num_iterations)
  example = lambda: _example_of_sampling(gan)
  variables, latents, inputs, frozen = _shapes(example, mesh)
  return generation.generate.lower(gan, variables, latents, inputs, gan.frames, frozen)


def _example_of_sampling(gan: VideoGan) -> tuple[Any, Any, Any, Any]:
  """(variables, latents, inputs, frozen variables) for 16 clips; evaluated for their shapes."""
  key, clips, frozen = jax.random.key(0), SAMPLED_CLIPS, gan.example_frozen()
  context = Context(jnp.zeros((), jnp.int32), frozen)
  batch = gan.example_batch(clips)
  inputs = gan.sampling_inputs(key, batch["label"], context, gan.frames, batch)
  generator = gan.init(key)["generator"]
  variables = {k: v for k, v in generator.items() if k in ("params", normalization.COLLECTION)}
  return variables, gan.latents(key, clips), inputs, frozen


def _shapes(example: Any, mesh: Mesh) -> Any:
  """Shapes of what `example()` returns, as arrays that every device holds completely."""
  whole = meshes.replicated(mesh)
  put = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole)
  return jax.tree.map(put, jax.eval_shape(example))


def mesh_warnings(mesh: Mesh) -> list[str]:
  """Why training would refuse the mesh when it starts; [] if it would not."""
  try:
    meshes.part_of_batch(mesh)
  except (UserError, ValueError) as error:
    return [f"training would refuse this mesh: {error}"]
  return []
