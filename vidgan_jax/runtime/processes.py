"""Several processes that train one model together, each on its own devices.

A function marked "collective" must be called by every process, in the same order: each call waits
for all the others.
"""

import contextlib
import os
import pathlib
import time
import uuid
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.errors import Stopped, Unavailable, UserError, exit_code
from vidgan_jax.runtime.hardware import node

_Number = TypeVar("_Number", bool, int)
# Time that a new file may take to become visible on another machine with the same file system.
_SECONDS_TO_APPEAR = 20.0


def start(coordinator: str | None, count: int | None, index: int | None) -> None:
  """Connects this process to the others; returns when all are connected.

  Call it before JAX looks for devices. It removes HTTP proxies from this process's environment.

  Args:
    coordinator: "host:port" of process 0, the same in every process; "auto" takes all three
      arguments from the cluster (TPU pods, Slurm, Open MPI, Kubernetes; see `jax.distributed`);
      None if this is the only process.
    count: number of processes.
    index: number of this process, 0 <= index < count.

  Raises:
    UserError: an argument is missing or wrong, or the processes of a machine would not use all of
      its GPUs.
    Unavailable: the other processes cannot be reached.
  """
  if coordinator is None:
    if count is not None or index is not None:
      raise UserError("--num_processes and --process_id need --coordinator")
    return
  # The processes communicate by gRPC, which would send its messages to an HTTP proxy and wait for
  # minutes.
  for name in [name for name in os.environ if "_proxy" in name.lower()]:
    del os.environ[name]
  try:
    if coordinator == "auto":
      jax.distributed.initialize()
    elif not _is_address(coordinator):
      raise UserError(
        f"--coordinator is {coordinator!r}, must be host:port or auto, port from 1 to 65535"
      )
    elif count is None or index is None:
      raise UserError("--coordinator needs --num_processes and --process_id")
    elif not 0 <= index < count:
      raise UserError(f"--process_id {index} is not one of {count} processes")
    else:
      jax.distributed.initialize(coordinator, count, index)
  except (ValueError, RuntimeError) as error:
    kind = Unavailable if isinstance(error, RuntimeError) else UserError
    raise kind(f"cannot join the other processes: {str(error).splitlines()[0]}") from error
  node.check_devices()


def _is_address(text: str) -> bool:
  """Whether a text is host:port. JAX crashes on a port that is none."""
  host, _, port = text.rpartition(":")
  if ":" in host and not (host.startswith("[") and host.endswith("]")):  # IPv6 needs brackets
    return False
  if any(letter.isspace() or letter == "/" for letter in host):
    return False
  digits = port.isascii() and port.isdecimal() and len(port) <= 5
  return bool(host) and digits and 1 <= int(port) <= 65535


def first() -> bool:
  """Whether this is process 0, which writes files and reports."""
  return jax.process_index() == 0


def wait_for_all(name: str) -> None:
  """Waits until every process has called this with the same `name`. Collective."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def where(value: bool) -> list[int]:
  """Indices of the processes in which `value` is true. Collective."""
  if jax.process_count() == 1:
    return [0] if value else []
  return np.flatnonzero(multihost_utils.process_allgather(np.asarray(value))).tolist()


def in_first(action: Callable[[], Any]) -> Any:
  """Runs `action` in process 0 only. Collective.

  Returns:
    The result in process 0, None in the others.

  Raises:
    Exception: in process 0, whatever `action` raises.
    UserError, Stopped, Unavailable: in the other processes, if `action` raises, so that all
      processes end with one exit code. They would otherwise wait for process 0 in the next
      collective call.
  """
  result, fault = None, None
  if first():
    try:
      result = action()
    except Exception as error:
      fault = error
  code = from_first(0 if fault is None else exit_code(fault))
  if code:
    kind = {1: Unavailable, 2: UserError, 3: Stopped}[code]
    raise fault or kind("process 0 failed; its own message says why")
  return result


def share_a_folder(folder: str | os.PathLike, what: str) -> None:
  """Checks that `folder` is the same folder in every process. Collective.

  Process 0 creates the folder if it is missing and writes a file into it. Every process then looks
  for this file.

  Args:
    folder: its path in this process.
    what: what the folder is, for the message, such as "workdir".

  Raises:
    UserError: the folder cannot be written, or a process sees another folder at its path.
  """
  if jax.process_count() == 1:
    return
  if staged.address(folder) is not None:
    _share_an_address(str(staged.address(folder)), what)
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
  # Not Path.exists: it raises PermissionError, which would end this process alone.
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


def _share_an_address(address: str, what: str) -> None:
  """UserError if the other processes have another address of a bucket. Collective."""
  number = np.asarray(zlib.crc32(address.encode()), np.uint32)
  if where(int(number) != int(multihost_utils.broadcast_one_to_all(number))):
    raise UserError(f"the {what} {address} is not the same in all processes")


def from_first(value: _Number) -> _Number:
  """Returns the value that process 0 passes, in every process. Collective."""
  if jax.process_count() == 1:
    return value
  return type(value)(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def text_from_first(text: str) -> str:
  """Returns the text that process 0 passes, its first 256 bytes, in every process. Collective."""
  if jax.process_count() == 1:
    return text
  content = np.frombuffer(text.encode()[:256].ljust(256, b"\0"), np.uint8)
  shared = np.asarray(multihost_utils.broadcast_one_to_all(content), np.uint8)
  return shared.tobytes().rstrip(b"\0").decode(errors="replace")


def stop_requested(step: int) -> bool:
  """Whether all processes should stop at `step`, because one of them received SIGTERM.

  Every process must call it at every step. JAX chooses the next step that no process has begun.
  """
  return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step)


def local(tree, mesh):
  """Copies arrays that are sharded over all processes to this process's first device. Collective.

  Args:
    tree: arrays on `mesh`.
    mesh: the devices of all processes.

  Returns:
    The tree with whole arrays. With one process, `tree` itself.
  """
  if jax.process_count() == 1:
    return tree
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

  leaves, structure = jax.tree.flatten(tree)
  parts = {i: leaf for i, leaf in enumerate(leaves) if not leaf.is_fully_replicated}
  if parts:
    # One program for all arrays, and it is awaited. With one program per array, hundreds ran at
    # once on CPU: all threads waited for other processes, and none was left to make progress.
    parts = jax.block_until_ready(jax.jit(_identity, out_shardings=whole)(parts))
  copies = [parts.get(i, leaf).addressable_data(0) for i, leaf in enumerate(leaves)]
  return structure.unflatten(copies)


def _identity(tree):
  return tree
