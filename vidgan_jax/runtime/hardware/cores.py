"""The processor cores and the memory that this process may use."""

import contextlib
import math
import os
import pathlib

_MEMBERSHIP = "/proc/self/cgroup"
_MOUNT = "/sys/fs/cgroup"


def usable_cores() -> int:
  """Number of cores that this process may use, by its CPU affinity and its container's CPU limit.

  A container with a limit (`docker run --cpus=2`, limits of Kubernetes) sees all cores of its
  machine. One thread for each of them would be slower, and take memory for as many videos.
  """
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  limits = [limit for group in _groups("cpu") if (limit := _core_limit(group)) is not None]
  return max(1, min([cores, *map(math.ceil, limits)]))


def usable_memory() -> int | None:
  """Bytes of memory that this process may use, or None if unknown.

  The memory of the machine, or the limit of its container (`docker run --memory=8g`). The system
  kills a process that uses more, without a message.
  """
  limits = [limit for group in _groups("memory") if (limit := _memory_limit(group)) is not None]
  with contextlib.suppress(AttributeError, OSError, ValueError):
    pages = os.sysconf("SC_PHYS_PAGES")
    if pages > 0:  # -1 if unknown
      limits.append(os.sysconf("SC_PAGE_SIZE") * pages)
  return min(limits, default=None)


def _groups(controller: str) -> list[pathlib.Path]:
  """Folders of the control groups of this process and their parents; some may not exist."""
  try:
    lines = pathlib.Path(_MEMBERSHIP).read_text(encoding="utf-8").splitlines()
  except OSError:  # not Linux
    return []
  groups = []
  for line in lines:
    _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
    if controllers and controller not in controllers.split(","):
      continue
    # Version 1 has a tree of folders per controller, version 2 one tree for all of them.
    mount = pathlib.Path(_MOUNT, controllers)
    group = mount / path.lstrip("/")
    groups += [one for one in (group, *group.parents) if one.is_relative_to(mount)]
  return groups


def _core_limit(group: pathlib.Path) -> float | None:
  """Number of cores that a control group may use, or None if it has no limit."""
  read = lambda name: (group / name).read_text(encoding="utf-8").split()
  try:
    if (group / "cpu.max").exists():
      quota, period = read("cpu.max")
    else:
      quota, period = read("cpu.cfs_quota_us") + read("cpu.cfs_period_us")
    return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
  except (OSError, ValueError, ZeroDivisionError):
    return None


def _memory_limit(group: pathlib.Path) -> int | None:
  """Bytes of memory that a control group may use, or None if it has no limit."""
  for name in ("memory.max", "memory.limit_in_bytes"):  # of versions 2 and 1
    try:
      return int((group / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the file does not exist, or contains "max"
      continue
  return None
