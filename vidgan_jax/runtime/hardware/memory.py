"""Memory that is free: kept for XLA's next run of a program, given back after decoded files."""

import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import itertools
import os
from typing import Any

# Of mallopt(3) and madvise(2): glibc's malloc.h, Linux' mman.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_HUGE_PAGES = 14
_HUGE_PAGE = 2 << 20
_STEP = 2**31 - 4096  # bytes that the heap grows by; addresses alone, pages come when touched
_SETTINGS = (
  (_MMAP_MAX, 0),  # large blocks come from the heap too, not from mappings that end when freed
  (_TRIM_THRESHOLD, -1),  # the heap does not shrink
  (_TOP_PAD, _STEP),  # and grows in few steps
  (_ARENA_MAX, 1),  # the other heaps, of threads, cannot hold blocks above 64 MB
)


_FILES = itertools.count(1)  # atomic under Python's lock
_EVERY = 32


def give_back_after_file() -> None:
  """Hands free memory back to the system; to be called after each file that is decoded.

  PyAV's containers and streams refer to each other, so a file's decoder lives until Python's cycle
  collector runs, which counts objects and not their megabytes. And glibc keeps what lies free
  between aligned blocks. Without this a process that reads 1200 short videos holds 500 MiB instead
  of 230 (docs/bug_reports.md). Every 32nd call collects, which takes milliseconds.
  """
  if next(_FILES) % _EVERY:
    return
  gc.collect()
  with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries
    ctypes.CDLL(None).malloc_trim(0)


def keep_freed_on_cpu() -> bool:
  """`keep_freed` where the CPU is all that JAX can take; to be called before JAX's first use.

  Once JAX's threads have allocated anything, each keeps a heap of its own, which goes back to the
  system whenever it is empty. So this does not ask JAX for its devices, which would start them: an
  installed plugin counts as a device, unless JAX_PLATFORMS says that the CPU comes first.

  Returns:
    whether it was done.
  """
  import jax

  # `jax_platform_name`, deprecated, is not an attribute of every JAX version's config.
  config: Any = jax.config  # its options are defined at run time
  asked = config.jax_platforms or os.environ.get("JAX_PLATFORM_NAME")
  return (asked.split(",")[0] == "cpu" if asked else not _plugins()) and keep_freed()


def _plugins() -> bool:
  """Whether anything is installed, or named, that brings JAX another device than the CPU."""
  named = any(os.environ.get(n) for n in ("PJRT_NAMES_AND_LIBRARY_PATHS", "TPU_LIBRARY_PATH"))
  found = any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))
  return named or found or bool(importlib.metadata.entry_points(group="jax_plugins"))


def keep_freed() -> bool:
  """Makes the C library keep what is freed instead of handing it back to the system.

  On CPU XLA allocates the buffers of a program anew each time it runs. The C library takes blocks
  of that size from the system and gives them back, so that each run pays for every page again: a
  quarter of a million page faults and a fifth of the processor time per iteration of DVD-GAN at
  64x64x12, ch 16 (benchmarks/README.md). The process stays as large as it ever was. The first four
  GB of the heap are asked for in huge pages, where the system gives them to who asks.

  Nothing is changed where the environment already tunes the allocator (MALLOC_*_, GLIBC_TUNABLES),
  or where the C library is not glibc.

  Returns:
    whether it was done.
  """
  tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
  if tuned or any(name.startswith("MALLOC_") for name in os.environ):
    return False
  try:
    library = ctypes.CDLL(None)
    library.gnu_get_libc_version  # noqa: B018  (other C libraries lack it)
    mallopt = library.mallopt
  except (AttributeError, OSError, TypeError):
    return False
  done = all([mallopt(name, value) == 1 for name, value in _SETTINGS])
  if done:
    _ask_for_huge_pages(library)
  return done


def _ask_for_huge_pages(library) -> None:
  """Lets the heap grow once, and asks for huge pages in it; a wish, whose refusal is no fault."""
  library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
  library.free.argtypes = [ctypes.c_void_p]
  library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
  for size in (_STEP, 64 << 20):  # the heap grows by as much and a step; less where that is refused
    block = library.malloc(size)
    library.free(block)
    if block:
      break
  try:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
      place = next(line.split()[0] for line in maps if line.rstrip().endswith("[heap]"))
  except (OSError, StopIteration):
    return
  begin, end = (int(address, 16) for address in place.split("-"))
  begin = -(-begin // _HUGE_PAGE) * _HUGE_PAGE
  if begin < end:
    library.madvise(begin, end - begin, _HUGE_PAGES)
