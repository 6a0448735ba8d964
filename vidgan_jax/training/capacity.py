"""Refuses, before memory is taken, runs that do not fit into it.

A system that runs out of memory does not refuse: it stops answering, or ends the process without a
word. Sizes are therefore compared with the memory first: those that follow from the config before
anything is made, those of the compiled iteration before it runs.
"""

import jax

from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import cores

_BATCHES = 3  # of an iteration's clips: two on the devices ahead, one being made
_HINT = "a smaller config.batch_size, config.microbatch or fewer channels need less"


def check_config(config, like, mesh) -> None:
  """UserError where state and clips alone need more memory than there is.

  Args:
    config: the whole config.
    like: the state's shapes, see `state.abstract`.
    mesh: the devices.
  """
  model = config.model
  steps = model.get("discriminator_steps", 1)
  clips = config.batch_size // mesh.devices.size * steps
  clip_bytes = clips * model.frames * model.resolution**2 * 3 * _BATCHES
  state_bytes = sharding.bytes_per_device(like, mesh.devices.size, config.sharding)
  _compare("state and clips take", state_bytes + clip_bytes, device_memory(mesh))
  own = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
  _compare("the clips take", clip_bytes * len(own), cores.usable_memory(), of="this machine")


def check_program(program, mesh) -> None:
  """UserError where a compiled iteration needs more memory than a device has.

  Args:
    program: as `jax.jit(...).lower(...).compile()` returns it.
    mesh: the devices.
  """
  analysis = program.memory_analysis()
  if analysis is None:  # a backend that does not tell
    return
  needed = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
  needed += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  _compare("an iteration takes", needed, device_memory(mesh))


def device_memory(mesh) -> int | None:
  """Bytes that each device of this process has; None where it cannot be known.

  Devices on CPU share the memory of their machine.
  """
  own = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
  if own[0].platform == "cpu":
    memory = cores.usable_memory()
    return memory and memory // len(own)
  return (own[0].memory_stats() or {}).get("bytes_limit")


def _compare(what: str, needed: int, memory: int | None, of: str = "each device") -> None:
  if memory is not None and needed > memory:
    raise UserError(
      f"{what} {needed / 2**30:,.1f} GiB, the memory of {of} is {memory / 2**30:,.1f} GiB; {_HINT}"
    )
