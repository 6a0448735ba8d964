"""The state of a run: one frozen pytree, no keys, no host objects."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models import registry, stored_config, switches
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import precision, sharding, streams
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, paths
from vidgan_jax.runtime.text import composed
from vidgan_jax.training import optimizers as transforms

CHECKPOINTS = "checkpoints"  # folders and files of a run
CONFIG = "config.json"
DATA = "data.json"


class Network(struct.PyTreeNode):
  """One network in training.

  Attributes:
    params: nested dict of parameters, float32.
    spectral: power-iteration vectors u, at the paths of their weights; advanced once in each update
      of this network and in no other.
    batch_stats: running moments of batch normalisation, moved once in each update of this network.
    optimizer: Optax state.
  """

  params: Any
  spectral: Any
  batch_stats: Any
  optimizer: Any


class Average(struct.PyTreeNode):
  """Exponential moving average of the generator, what samples are drawn from.

  Parameters and running moments of batch normalisation are averaged. The power-iteration vectors
  are not, since an average of unit vectors is no unit vector: whoever uses the average normalises
  its weights by a power iteration of its own that begins at the live generator's vectors
  (`generator_variables`).
  """

  params: Any
  batch_stats: Any


class TrainState(struct.PyTreeNode):
  """State after `step` iterations."""

  step: jax.Array
  generator: Network
  discriminators: dict[str, Network]
  ema: Average


def create(gan, optimizers, seed: int) -> TrainState:
  """Draws the state before the first iteration; pure, to be jitted with output shardings."""
  variables = gan.init(streams.key(seed, streams.INITIALIZATION))

  def network(variables, optimizer: optax.GradientTransformation):
    params = variables["params"]
    return Network(
      params=params,
      spectral=variables.get(spectral_norm.COLLECTION, {}),
      batch_stats=variables.get(normalization.COLLECTION, {}),
      optimizer=optimizer.init(params),
    )

  generator = network(variables["generator"], optimizers.generator)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    generator=generator,
    discriminators={
      name: network(v, optimizers.discriminators[name])
      for name, v in variables["discriminators"].items()
    },
    # Copies: the state is donated to the step, and one buffer cannot be donated twice.
    ema=jax.tree.map(jnp.copy, Average(generator.params, generator.batch_stats)),
  )


# The average lags behind the live weights by 1 / (1 - decay) iterations, so that their vectors may
# have turned away from its own; this many power iterations bring them back.
_AVERAGE_POWER_ITERATIONS = 32


@functools.partial(jax.jit, static_argnums=(2, 3))
def _normalized(params, vectors, eps, iterations):
  """See `spectral_norm.normalize`; one program, for by itself each product would be compiled."""
  return spectral_norm.normalize(params, vectors, eps=eps, iterations=iterations)[0]


def generator_variables(state: TrainState, *, use_ema: bool = True, eps: float = 1e-8):
  """Variables to generate with: spectrally normalised weights and running moments.

  Args:
    state: of a run.
    use_ema: the average's parameters and moments, or the live ones.
    eps: `VideoGan.spectral_eps`.
  """
  source = state.ema if use_ema else state.generator
  iterations = _AVERAGE_POWER_ITERATIONS if use_ema else 1
  weights = _normalized(source.params, state.generator.spectral, eps, iterations)
  return {"params": weights, normalization.COLLECTION: source.batch_stats}


def placement(config, devices: int, batch_size: int | None = None) -> list[str]:
  """How the state of `config` would lie on so many devices. Nothing is computed.

  Args:
    config: the whole config.
    devices: how many.
    batch_size: clips per update in place of config.batch_size.

  Returns:
    a line that tells what all arrays take in all and on each device, then one for each array: name,
    type, shape, and how it would lie.

  Raises:
    UserError: on what training on these devices would refuse.
  """
  batch_size = config.batch_size if batch_size is None else batch_size
  switches.check(config)
  meshes.check_division(batch_size, devices, config.microbatch)
  gan = registry.build(config, platform="cpu")  # shapes and types of the state depend on none
  gan.check_new()
  optimizers = transforms.build(config, gan.discriminators)
  shapes = jax.eval_shape(functools.partial(create, gan, optimizers, config.seed))
  lines = sharding.describe(shapes, devices, config.sharding)
  return [_size(shapes, devices, config.sharding), *lines]


def _size(shapes, devices, rules):
  whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
  each = sharding.bytes_per_device(shapes, devices, rules)
  return f"state of {whole / 1e6:,.1f} MB, {each / 1e6:,.1f} MB on each of {devices} ({rules})"


def size(like: TrainState, mesh, rules: str) -> str:
  """A line that tells how large a state is, in all and on each device of `mesh`."""
  return _size(like, mesh.devices.size, rules)


def abstract(gan, optimizers, seed: int, mesh, rules: str = "replicated") -> TrainState:
  """The state's shapes, types and shardings; nothing is computed.

  Args:
    gan: a `VideoGan`.
    optimizers: of its networks.
    seed: of the run.
    mesh: devices.
    rules: a name in `runtime.sharding.RULES`.
  """
  shapes = jax.eval_shape(functools.partial(create, gan, optimizers, seed))
  return jax.tree.map(
    lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place),
    shapes,
    sharding.shardings(shapes, mesh, rules),
  )


def read_config(workdir):
  """The config of the run in `workdir`, checked field by field (`models.switches`).

  Raises:
    UserError: there is none, or it is damaged.
  """
  path = pathlib.Path(workdir) / CONFIG
  try:
    config = stored_config.from_json(path.read_bytes())
    switches.check(config)
    return config
  except json_files.JsonError as error:  # which names the file
    raise UserError(f"no run in {workdir}: {error}") from error
  except (OSError, ValueError, UserError) as error:
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"no run in {workdir}: {CONFIG}: {reason}") from error


@contextlib.contextmanager
def _describing(workdir) -> Iterator[None]:
  """Turns what a damaged config makes constructors raise into one line that names its file."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    raise UserError(f"no run in {workdir}: {CONFIG} describes no model ({reason})") from error


def load(workdir, step: int | None = None, *, mesh=None, report=print):
  """Opens the run in `workdir` at its newest sound checkpoint, or at `step`.

  Args:
    workdir: folder of a run.
    step: iterations done; None is the newest.
    mesh: devices to load onto; by default the first device alone.
    report: called with lines about damaged checkpoints.

  Returns:
    (config, gan, state).

  Raises:
    UserError: where there is no run or no such checkpoint.
  """
  workdir = paths.local(workdir, "the folder of the run")
  config = read_config(workdir)
  mesh = mesh or meshes.make_mesh(jax.devices()[:1])
  with _describing(workdir):
    gan = registry.build(config, platform=meshes.platform(mesh))
    precision.check_width(config.precision)
    like = abstract(gan, transforms.build(config, gan.discriminators), config.seed, mesh)
  restored = Checkpoints(pathlib.Path(workdir) / CHECKPOINTS, report=report).restore(like, step)
  if restored is None:
    raise UserError(f"the run in {workdir} has no checkpoint yet")
  return config, gan, restored[0]


def _data(workdir) -> dict | None:
  """What the run in `workdir` knows of its data; None where it knows nothing, as old runs do."""
  path = pathlib.Path(paths.local(workdir, "the folder of the run")) / DATA
  try:
    return json_files.read(path, _DATA_FORM)
  except FileNotFoundError:
    return None


_DATA_FORM = {"num_examples?": int, "class_names?": [str], "checksum?": str}


def _compared(value):
  """A value of a description, names in one of Unicode's forms."""
  return [composed(str(one)) for one in value] if isinstance(value, list) else value


def check_data(workdir, description: dict) -> None:
  """UserError where the run in `workdir` was trained on other data than `description` tells of.

  Args:
    workdir: folder of a run.
    description: of a source, by its method of this name.
  """
  before = _data(workdir)
  if before is None:
    return
  if before.get("checksum") == description.get("checksum_of_plain_names", ""):
    before = {**before, "checksum": description["checksum"]}  # of an earlier version
  for what in ("class_names", "num_examples", "checksum"):
    if _compared(before.get(what)) != _compared(description[what]):
      raise UserError(
        f"{workdir} was trained on other data: {what} {before.get(what)} there, "
        f"{description[what]} here (remove {DATA} there to continue on the new data)"
      )


def class_names(workdir) -> tuple[str, ...]:
  """Names of the classes that the run in `workdir` was trained on, by label."""
  return tuple((_data(workdir) or {}).get("class_names", ()))


def frozen_variables(gan, mesh=None, report=print) -> dict:
  """Opens the runs that `gan` builds on; returns {name: variables} for `Context.frozen`.

  Args:
    gan: a `VideoGan`; see `VideoGan.frozen_runs`.
    mesh: devices to load onto; by default the first device alone.
    report: called with lines about damaged checkpoints.

  Raises:
    UserError: where one of them is no run, or has no checkpoint.
  """
  found = {}
  for name, workdir in gan.frozen_runs.items():
    _, earlier, state = load(workdir, mesh=mesh, report=report)
    found[name] = generator_variables(state, eps=earlier.spectral_eps)
  return found
