"""Several processes that train one model together, each with devices of its own."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidgan_jax.runtime.errors import UserError


def start(coordinator: str | None, count: int | None, index: int | None) -> None:
  """Joins this process to the others; returns once all are there.

  To be called before any device is looked at.

  Args:
    coordinator: "host:port" of process 0, the same in every process; "auto" asks the surroundings
      for all three (TPU pods, Slurm, Open MPI, Kubernetes: `jax.distributed`); None is a process by
      itself.
    count: number of processes.
    index: this one, 0 <= index < count.

  Raises:
    UserError: where an argument is missing or wrong, or the others cannot be reached.
  """
  if coordinator is None:
    if count is not None or index is not None:
      raise UserError("--num_processes and --process_id need --coordinator")
    return
  try:
    if coordinator == "auto":
      jax.distributed.initialize()
      return
    if ":" not in coordinator:
      raise UserError(f"--coordinator is {coordinator!r}, must be host:port or auto")
    if count is None or index is None:
      raise UserError("--coordinator needs --num_processes and --process_id")
    if not 0 <= index < count:
      raise UserError(f"--process_id {index} is not one of {count} processes")
    jax.distributed.initialize(coordinator, count, index)
  except (ValueError, RuntimeError) as error:
    raise UserError(f"cannot join the other processes: {str(error).splitlines()[0]}") from error


def first() -> bool:
  """Whether this process is the one that writes and reports."""
  return jax.process_index() == 0


def meet(name: str) -> None:
  """Waits until every process is at the meeting `name`."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def all_agree(value: bool) -> bool:
  """Whether `value` is true in every process; a meeting."""
  if jax.process_count() == 1:
    return value
  return bool(np.all(multihost_utils.process_allgather(np.asarray(value))))


def from_first(value: bool) -> bool:
  """What `value` is in the first process, in every one; a meeting."""
  if jax.process_count() == 1:
    return value
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def told_to_leave(step: int) -> bool:
  """Whether all processes should leave now, some of them having been told to (SIGTERM).

  To be called in every process at every step: they agree on the next step that none has begun.
  """
  return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step)


def local(tree, mesh):
  """Whole copies, on this process' first device, of arrays that lie on the devices of all.

  A meeting. With one process, the arrays themselves.
  """
  if jax.process_count() == 1:
    return tree
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

  leaves, structure = jax.tree.flatten(tree)
  parts = {i: leaf for i, leaf in enumerate(leaves) if not leaf.is_fully_replicated}
  if parts:
    # One program, waited for: with one for each array, hundreds at a time, the threads of a CPU
    # were all taken by those that waited for another process, and none was left to go on.
    parts = jax.block_until_ready(jax.jit(_same, out_shardings=whole)(parts))
  found = [parts.get(i, leaf).addressable_data(0) for i, leaf in enumerate(leaves)]
  return structure.unflatten(found)


def _same(tree):
  return tree
