"""Refuses runs that do not fit into memory, before they allocate it.

A machine that runs out of memory often raises no error: it stops responding, or kills the process
without a message. Therefore sizes are compared with the memory beforehand. The sizes that follow
from the config are checked before anything is created, those of the compiled iteration before it
runs.
"""

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vidgan_jax.models import switches
from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import cores
from vidgan_jax.training.state import TrainState

# Copies of an iteration's clips that exist at once: two prefetched to the devices, one in progress.
_BATCHES = 3
_HINT = "a smaller config.batch_size, config.microbatch or fewer channels need less"


def check_config(config: ConfigDict, like: TrainState, mesh: Mesh) -> None:
  """UserError if state and clips alone need more memory than a device or this machine has.

  Args:
    config: the whole config.
    like: shapes of the state, see `state.abstract`.
    mesh: devices of the run.
  """
  model = config.model
  steps = model.get("discriminator_steps", 1)
  clips = switches.largest_batch(config) // mesh.devices.size * steps
  clip_bytes = clips * model.frames * model.resolution**2 * 3 * _BATCHES
  state_bytes = sharding.bytes_per_device(like, mesh.devices.size, config.sharding)
  _compare("state and clips take", state_bytes + clip_bytes, device_memory(mesh))
  clip_bytes *= len(_local_devices(mesh))
  _compare("the clips take", clip_bytes, cores.usable_memory(), owner="this machine")


def check_program(program: jax.stages.Compiled, mesh: Mesh) -> None:
  """UserError if a compiled iteration needs more memory than a device has.

  Args:
    program: the result of `jax.jit(...).lower(...).compile()`.
    mesh: devices of the run.
  """
  analysis = program.memory_analysis()
  if analysis is None:  # some backends report no sizes
    return
  needed = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
  needed += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  _compare("an iteration takes", needed, device_memory(mesh))


def device_memory(mesh: Mesh) -> int | None:
  """Returns the memory of each device of this process in bytes; None if it is unknown.

  CPU devices share the memory of their machine equally.
  """
  devices = _local_devices(mesh)
  if devices[0].platform == "cpu":
    memory = cores.usable_memory()
    return memory and memory // len(devices)
  return (devices[0].memory_stats() or {}).get("bytes_limit")


def _local_devices(mesh: Mesh) -> list[jax.Device]:
  """Returns the devices of `mesh` that belong to this process."""
  return [device for device in mesh.devices.flat if device.process_index == jax.process_index()]


def _compare(what: str, needed: int, memory: int | None, owner: str = "each device") -> None:
  """UserError if `needed` bytes are more than the `memory` of `owner`; None is unknown."""
  if memory is not None and needed > memory:
    raise UserError(
      f"{what} {needed / 2**30:,.1f} GiB, the memory of {owner} is {memory / 2**30:,.1f} GiB; "
      f"{_HINT}"
    )
