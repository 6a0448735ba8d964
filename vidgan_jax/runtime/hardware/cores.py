"""How many processor cores, and how much memory, a process may use."""

import contextlib
import math
import os
import pathlib

_MEMBERSHIP = "/proc/self/cgroup"
_MOUNT = "/sys/fs/cgroup"


def usable_cores() -> int:
  """Processor cores this process may use: its affinity, and its container's share of time.

  A container with a limit (`docker run --cpus=2`, limits of Kubernetes) sees all cores of its
  machine. As many threads would take each other's time, and memory for as many videos.
  """
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  shares = [share for folder in _groups("cpu") if (share := _share(folder)) is not None]
  return max(1, min([cores, *map(math.ceil, shares)]))


def usable_memory() -> int | None:
  """Bytes of memory that this process may take; None where they cannot be known.

  They are its machine's, or those of its container (`docker run --memory=8g`). The system ends,
  without a word, a process that takes more.
  """
  limits = [limit for folder in _groups("memory") if (limit := _memory(folder)) is not None]
  with contextlib.suppress(AttributeError, OSError, ValueError):
    pages = os.sysconf("SC_PHYS_PAGES")
    if pages > 0:  # else it is not known
      limits.append(os.sysconf("SC_PAGE_SIZE") * pages)
  return min(limits, default=None)


def _groups(controller: str) -> list[pathlib.Path]:
  """Folders of the control groups that this process is in; some may not be there."""
  try:
    lines = pathlib.Path(_MEMBERSHIP).read_text(encoding="utf-8").splitlines()
  except OSError:  # no Linux
    return []
  found = []
  for line in lines:
    _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
    if controllers and controller not in controllers.split(","):
      continue
    mount = pathlib.Path(_MOUNT, controllers)  # version 2 has one tree, without controllers' names
    group = mount / path.lstrip("/")
    found += [one for one in (group, *group.parents) if one.is_relative_to(mount)]
  return found


def _share(group: pathlib.Path) -> float | None:
  """Cores that a group may use, None where there is no limit."""
  read = lambda name: (group / name).read_text(encoding="utf-8").split()
  try:
    if (group / "cpu.max").exists():
      quota, period = read("cpu.max")
    else:
      quota, period = read("cpu.cfs_quota_us") + read("cpu.cfs_period_us")
    return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
  except (OSError, ValueError, ZeroDivisionError):
    return None


def _memory(group: pathlib.Path) -> int | None:
  """Bytes that a group may take, None where there is no limit."""
  for name in ("memory.max", "memory.limit_in_bytes"):  # of versions 2 and 1
    try:
      return int((group / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is no such file, or it says max
      continue
  return None
