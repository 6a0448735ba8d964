"""The GPUs of a machine, compared with those that its processes use."""

import os
import re
import socket
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidgan_jax.runtime.errors import UserError

_LONGEST_NAME = 64  # bytes: the limit of Linux for host names


def check_devices() -> None:
  """Checks that the processes of each machine together use all GPUs that they may use. Collective.

  Under Slurm and Open MPI, JAX gives each process one GPU: the one whose number is that of the
  process on its machine (`jax.distributed.initialize`). One process on a machine of eight GPUs
  would then train on one of them, and nothing else would tell. If a process may use one GPU only
  (`--gpus-per-task`), JAX does not find the one of that number and takes the CPU. Does nothing on
  CPUs and TPUs, or if JAX_LOCAL_DEVICE_IDS chooses the devices.

  Raises:
    UserError: a machine has GPUs that training would not use.
  """
  if os.environ.get("JAX_LOCAL_DEVICE_IDS"):
    return
  devices, available, name = jax.local_devices(), visible_gpus(), socket.gethostname()
  platform = devices[0].platform
  config: Any = jax.config  # its options are defined at run time
  if platform == "cpu" and available and "cpu" not in (config.jax_platforms or ""):
    raise UserError(
      f"process {jax.process_index()} on {name} would train on the CPU, but {available} GPU(s) are "
      "there; under Slurm each task must see all GPUs of its node (--gpus-per-node, not "
      "--gpus-per-task); JAX_PLATFORMS=cpu trains on CPUs"
    )
  if platform == "gpu":
    message = fault(_of_all_processes(name, len(devices), available))
    if message:
      raise UserError(message)


def fault(rows: Iterable[tuple[str, int, int]]) -> str | None:
  """Describes the first machine with GPUs that no process uses; None if there is none.

  Args:
    rows: for each process the name of its machine, the number of GPUs that it uses, and the number
      that it may use.
  """
  machines: dict[str, list[int]] = {}
  for name, used, available in rows:
    total = machines.setdefault(name, [0, 0, 0])
    total[0] += 1
    total[1] += used
    total[2] = max(total[2], available)  # the processes of a machine may use the same GPUs
  for name, (processes, used, available) in machines.items():
    if used < available:
      return (
        f"{processes} process(es) on {name} use {used} of its {available} GPUs; start one process "
        f"per GPU (Slurm: --ntasks-per-node={available} --gpus-per-node={available}, see "
        "launch/slurm.sbatch), or set CUDA_VISIBLE_DEVICES to the GPUs that training should use"
      )
  return None


def visible_gpus() -> int:
  """Number of NVIDIA GPUs that this process may use: CUDA_VISIBLE_DEVICES, else all that exist."""
  chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
  if chosen is not None:
    names = [name.strip() for name in chosen.split(",")]
    # CUDA ignores the first invalid name and all that follow; "" and "-1" hide all GPUs.
    invalid = [not name or name.startswith("-") for name in names]
    return invalid.index(True) if any(invalid) else len(names)
  try:
    return sum(re.fullmatch(r"nvidia\d+", name) is not None for name in os.listdir("/dev"))
  except OSError:
    return 0


def _of_all_processes(name: str, used: int, available: int) -> list[tuple[str, int, int]]:
  """Collects the arguments of every process. Collective."""
  if jax.process_count() == 1:
    return [(name, used, available)]
  text = name.encode()[:_LONGEST_NAME].ljust(_LONGEST_NAME, b"\0")
  row = np.frombuffer(text + bytes([min(used, 255), min(available, 255)]), np.uint8)
  rows = np.asarray(multihost_utils.process_allgather(row), np.uint8)
  return [(row[:-2].tobytes().rstrip(b"\0").decode(), int(row[-2]), int(row[-1])) for row in rows]
