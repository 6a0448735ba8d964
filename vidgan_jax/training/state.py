"""The state of a run: one frozen pytree of arrays, without random keys or Python objects.

Also opens the runs in workdirs, for sampling, evaluation and analyses.
"""

import contextlib
import difflib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models import registry, stored_config, switches
from vidgan_jax.models.contract import Variables, VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import precision, sharding, streams
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, paths
from vidgan_jax.runtime.text import composed
from vidgan_jax.training import optimizers as transforms
from vidgan_jax.training.starts import records

# Folders and files in a workdir.
CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
DATA = "data.json"
# Which other model's weights a run began with (`training.starts.weights`); most runs have none.
INIT = "init.json"
# The index of an exported model (`sampling.exported`): a folder without checkpoints, optimizers and
# discriminators.
EXPORT = "export.json"


class Network(struct.PyTreeNode):
  """One network in training.

  Attributes:
    params: nested dict of parameters, float32.
    spectral: power-iteration vectors u, at the paths of their weights. Each update of this network
      advances them by one power iteration; updates of other networks do not change them.
    batch_stats: running statistics of batch normalisation, changed once in each update of this
      network.
    optimizer: state of the Optax optimizer.
  """

  params: Any
  spectral: Any
  batch_stats: Any
  optimizer: Any


class Average(struct.PyTreeNode):
  """Exponential moving average of the generator, from which samples are drawn.

  It averages the parameters and the running statistics of batch normalisation. It does not average
  the power-iteration vectors, because an average of unit vectors is no unit vector. To normalise
  the averaged weights, `generator_variables` starts a power iteration at the vectors of the live
  generator.
  """

  params: Any
  batch_stats: Any


class TrainState(struct.PyTreeNode):
  """State after `step` iterations."""

  step: jax.Array
  generator: Network
  discriminators: dict[str, Network]
  ema: Average


def create(gan: VideoGan, optimizers: transforms.Optimizers, seed: int) -> TrainState:
  """Draws the state before the first iteration.

  A pure function, so that it can be jitted with the output shardings of the state.

  Args:
    gan: a `VideoGan`.
    optimizers: optimizers of its networks.
    seed: seed of the run.
  """
  variables = gan.init(streams.key(seed, streams.INITIALIZATION))

  def network(variables: Variables, optimizer: transforms.Optimizer) -> Network:
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
    # Copies, because the state is donated to the iteration, and one buffer cannot be donated twice.
    ema=jax.tree.map(jnp.copy, Average(generator.params, generator.batch_stats)),
  )


# The average lags behind the live weights by about 1 / (1 - decay) iterations. The vectors of the
# live weights may therefore differ from those of the average. This many power iterations suffice to
# reach the latter.
_AVERAGE_POWER_ITERATIONS = 32


@functools.partial(jax.jit, static_argnums=(2, 3))
def _normalized(params: Any, vectors: Any, eps: float, iterations: int) -> dict[str, Any]:
  """See `spectral_norm.normalize`. Jitted, because otherwise JAX would compile each product."""
  return spectral_norm.normalize(params, vectors, eps=eps, iterations=iterations)[0]


def normalized_average(average: Any, vectors: Any, eps: float) -> Any:
  """The spectrally normalised parameters of a moving average.

  Args:
    average: {"params": its parameters, ...}.
    vectors: of the power iteration, of the live generator.
    eps: `VideoGan.spectral_eps`.
  """
  return _normalized(average["params"], vectors, eps, _AVERAGE_POWER_ITERATIONS)


def generator_variables(
  state: TrainState, *, use_ema: bool = True, eps: float = 1e-8
) -> dict[str, Any]:
  """Returns the variables to generate with: spectrally normalised weights, running statistics.

  Args:
    state: state of a run.
    use_ema: use the moving average of the generator instead of the live generator.
    eps: `VideoGan.spectral_eps`.
  """
  source = state.ema if use_ema else state.generator
  iterations = _AVERAGE_POWER_ITERATIONS if use_ema else 1
  weights = _normalized(source.params, state.generator.spectral, eps, iterations)
  return {"params": weights, normalization.COLLECTION: source.batch_stats}


def placement(config: ConfigDict, devices: int, batch_size: int | None = None) -> list[str]:
  """Describes how the state of `config` would be sharded over devices, without computing it.

  Args:
    config: the whole config.
    devices: number of devices.
    batch_size: clips per update; None is `config.batch_size`.

  Returns:
    A line with the size of the state in total and on each device, then one line for each array with
    its name, type, shape and sharding.

  Raises:
    UserError: training on these devices would refuse the config.
  """
  batch_size = config.batch_size if batch_size is None else batch_size
  switches.check(config)
  gan = registry.build(config, platform="cpu")  # the state has the same shapes on any platform
  split = config.microbatch, gan.batch_multiple, config.chunks
  for phase in gan.training_phases(batch_size):
    meshes.check_division(phase.batch_size, devices, *split)
  gan.check_new()
  optimizers = transforms.build(config, gan.discriminators)
  shapes = jax.eval_shape(functools.partial(create, gan, optimizers, config.seed))
  lines = sharding.describe(shapes, devices, config.sharding)
  return [_size(shapes, devices, config.sharding), *lines]


def _size(shapes: TrainState, devices: int, rules: str) -> str:
  whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
  each = sharding.bytes_per_device(shapes, devices, rules)
  return f"state of {whole / 1e6:,.1f} MB, {each / 1e6:,.1f} MB on each of {devices} ({rules})"


def describe_size(like: TrainState, mesh: Mesh, rules: str) -> str:
  """Returns a line with the size of a state in total and on each device of `mesh`."""
  return _size(like, mesh.devices.size, rules)


def abstract(
  gan: VideoGan, optimizers: transforms.Optimizers, seed: int, mesh: Mesh, rules: str = "replicated"
) -> TrainState:
  """Returns the state's shapes, types and shardings without computing it.

  Args:
    gan: a `VideoGan`.
    optimizers: optimizers of its networks.
    seed: seed of the run.
    mesh: devices of the run.
    rules: sharding rules, a name in `runtime.sharding.RULES`.
  """
  shapes = jax.eval_shape(functools.partial(create, gan, optimizers, seed))
  return jax.tree.map(
    lambda a, sharding: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
    shapes,
    sharding.shardings(shapes, mesh, rules),
  )


def initialisation(
  gan: VideoGan, optimizers: transforms.Optimizers, seed: int, like: TrainState
) -> Any:
  """The jitted function () -> state before the first iteration, each array in its sharding.

  Args:
    gan, optimizers, seed: see `create`.
    like: the result of `abstract`.
  """
  make = functools.partial(create, gan, optimizers, seed)
  return jax.jit(make, out_shardings=jax.tree.map(lambda a: a.sharding, like))


def read_config(workdir: str | os.PathLike) -> ConfigDict:
  """Reads the config of the run in `workdir` and checks every field (`models.switches`).

  Raises:
    UserError: there is no config, or it is damaged.
  """
  path = pathlib.Path(workdir) / CONFIG
  try:
    config = stored_config.from_json(path.read_bytes())
    switches.check(config)
    return config
  except json_files.JsonError as error:  # its message already names the file
    raise UserError(f"no run in {workdir}: {error}") from error
  except (OSError, ValueError, UserError) as error:
    reason = getattr(error, "strerror", None) or error
    similar = difflib.get_close_matches(str(workdir), paths.pretrained(), n=1)
    hint = f"; did you mean {similar[0]}, a model of the package?" if similar else ""
    raise UserError(f"no run in {workdir}: {CONFIG}: {reason}{hint}") from error


def is_export(workdir: str | os.PathLike) -> bool:
  """Whether a folder holds an exported model."""
  return (pathlib.Path(workdir) / EXPORT).is_file()


def refuse_export(workdir: str | os.PathLike, what: str) -> None:
  """UserError if a folder holds an exported model, which cannot be used for `what`."""
  if is_export(workdir):
    raise UserError(
      f"{workdir} is an exported model, with the averaged generator alone; {what} needs the folder "
      "of a run, with its checkpoints"
    )


def check_data_named(workdir: str | os.PathLike, config: ConfigDict, directory: str | None) -> None:
  """UserError if the data of an exported model is needed, and the user has not named its folder.

  Args:
    workdir: folder of a run or of an exported model.
    config: its config.
    directory: value of --data_directory.
  """
  if is_export(workdir) and config.data.name != "moving_shapes" and not directory:
    raise UserError(
      f"{workdir} is an exported model, which does not say where its data is: --data_directory=DIR "
      f"names it (config.data.name is {config.data.name})"
    )


@contextlib.contextmanager
def _describing(workdir: str | os.PathLike) -> Iterator[None]:
  """Turns exceptions that a damaged config causes into a UserError that names its file."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    raise UserError(f"no run in {workdir}: {CONFIG} describes no model ({reason})") from error


def described(
  workdir: str | os.PathLike, config: ConfigDict, mesh: Mesh
) -> tuple[VideoGan, TrainState]:
  """Returns the system that a folder's config describes, and its state's shapes on a mesh.

  Raises:
    UserError: the config describes no system. The message names its file in `workdir`.
  """
  with _describing(workdir):
    gan = registry.build(config, platform=meshes.platform(mesh))
    precision.check_width(config.precision)
    transform = transforms.build(config, gan.discriminators)
    return gan, abstract(gan, transform, config.seed, mesh)


def load(
  workdir: str | os.PathLike,
  step: int | None = None,
  *,
  mesh: Mesh | None = None,
  report: Callable[[str], None] = print,
) -> tuple[ConfigDict, VideoGan, TrainState]:
  """Opens the run in `workdir` at its newest undamaged checkpoint, or at `step`.

  Args:
    workdir: folder of a run.
    step: step of the checkpoint; None is the newest.
    mesh: devices to load onto; None is the first device alone.
    report: called with lines about damaged checkpoints, and about a later branch.

  Returns:
    (config, gan, state).

  Raises:
    UserError: there is no run, or no such checkpoint, or the folder holds an exported model.
  """
  workdir = paths.run(workdir, "the folder of the run")
  refuse_export(workdir, "this")
  config = read_config(workdir)
  if step is None:
    mention_branch(workdir, report)
  mesh = mesh or meshes.make_mesh(jax.devices()[:1])
  gan, like = described(workdir, config, mesh)
  restored = Checkpoints(pathlib.Path(workdir) / CHECKPOINTS, report=report).restore(like, step)
  if restored is None:
    raise UserError(f"the run in {workdir} has no checkpoint yet")
  return config, gan, restored[0]


def mention_branch(workdir: str | os.PathLike, report: Callable[[str], None] = print) -> None:
  """Reports the branch in which training went on after a guard stopped the run in `workdir`.

  Commands still open `workdir` itself, because results in it must belong to its own run.
  """
  run, number = records.home(workdir)
  try:
    branches = records.read(run)
  except (OSError, UserError) as error:  # the run itself can be opened
    report(f"WARNING: {error}")
    return
  last = records.following(branches, number)
  if last != number:
    line = records.describe(run, branches, last)
    report(f"WARNING: {line}; name that folder instead to open its newest checkpoint")


def recorded_data(workdir: str | os.PathLike) -> dict | None:
  """Reads the description of a run's training data; None if there is none, as in old runs."""
  path = pathlib.Path(paths.run(workdir, "the folder of the run")) / DATA
  try:
    return json_files.read(path, _DATA_FORM)
  except FileNotFoundError:
    return None


_DATA_FORM = {"num_examples?": int, "class_names?": [str], "checksum?": str}


def _normal_form(value: Any) -> Any:
  """A value of a description; the names in a list are converted to one Unicode normal form."""
  return [composed(str(one)) for one in value] if isinstance(value, list) else value


def check_data(workdir: str | os.PathLike, description: dict) -> None:
  """UserError if the run in `workdir` was trained on other data than those described.

  Args:
    workdir: folder of a run.
    description: the result of `Source.description`.
  """
  before = recorded_data(workdir)
  if before is None:
    return
  if before.get("checksum") == description.get("checksum_of_plain_names", ""):
    # Earlier versions computed the checksum from class names without Unicode normalisation.
    before = {**before, "checksum": description["checksum"]}
  for what in ("class_names", "num_examples", "checksum"):
    if _normal_form(before.get(what)) != _normal_form(description[what]):
      raise UserError(
        f"{workdir} was trained on other data: {what} {before.get(what)} there, "
        f"{description[what]} here (remove {DATA} there to continue on the new data)"
      )


def class_names(workdir: str | os.PathLike) -> tuple[str, ...]:
  """Returns the class names of the data that the run in `workdir` was trained on, by label."""
  return tuple((recorded_data(workdir) or {}).get("class_names", ()))
