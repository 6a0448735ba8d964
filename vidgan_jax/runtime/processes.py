"""Several processes that train one model together, each with devices of its own."""

import contextlib
import os
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidgan_jax.runtime.errors import UserError

_SECONDS_TO_APPEAR = 20.0  # a file of another machine, on a shared file system


def start(coordinator: str | None, count: int | None, index: int | None) -> None:
  """Joins this process to the others; returns once all are there.

  To be called before any device is looked at. HTTP proxies are taken out of this process'
  environment.

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
  # The processes talk by gRPC, which would send their words to an HTTP proxy and wait for minutes.
  for name in [name for name in os.environ if "_proxy" in name.lower()]:
    del os.environ[name]
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


def where(value: bool) -> list[int]:
  """The processes in which `value` is true; a meeting."""
  if jax.process_count() == 1:
    return [0] if value else []
  return np.flatnonzero(multihost_utils.process_allgather(np.asarray(value))).tolist()


def in_first(action: Callable[[], Any]) -> Any:
  """Runs `action` in the first process alone; returns its result there, None in others; a meeting.

  Raises:
    UserError: in every other process, where the first raises anything: the others would wait for it
      in the next meeting.
  """
  result, fault = None, None
  if first():
    try:
      result = action()
    except Exception as error:
      fault = error
  if from_first(fault is not None):
    raise fault or UserError("process 0 has met an error, and says which")
  return result


def share_a_folder(folder: str | os.PathLike, what: str) -> None:
  """UserError unless `folder` is one and the same in every process; a meeting.

  The first process writes a file into it, which is made if need be, and all look for it there.

  Args:
    folder: by its path in this process.
    what: names it in the message.
  """
  if jax.process_count() == 1:
    return
  token = multihost_utils.broadcast_one_to_all(np.frombuffer(uuid.uuid4().bytes, np.uint8))
  path = pathlib.Path(folder) / f".shared_{np.asarray(token, np.uint8).tobytes().hex()}"

  def write():
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
    except OSError as error:
      raise UserError(f"cannot use {folder} as {what}: {error}") from error

  in_first(write)
  end = time.monotonic() + _SECONDS_TO_APPEAR
  # Not Path.exists, which raises where a folder may not be entered, in this process alone.
  while not os.path.exists(path) and time.monotonic() < end:
    time.sleep(0.1)
  missing = where(not os.path.exists(path))
  if first():
    with contextlib.suppress(OSError):
      path.unlink()
  if missing:
    raise UserError(
      f"the {what} {folder} of process {missing[0]} is not the folder that process 0 writes "
      f"to; all processes need one {what}, on a file system that they share"
    )


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
