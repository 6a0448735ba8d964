"""Memory: settings of the C library's allocator, and the error of a command that needs too much."""

import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import itertools
import os
from collections.abc import Iterator
from typing import Any

from vidgan_jax.runtime.errors import UserError

# Options of mallopt(3) and madvise(2), from glibc's malloc.h and Linux' mman.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2 << 20  # bytes
_STEP = 2**31 - 4096  # bytes by which the heap grows: addresses only; pages are taken when touched
_SETTINGS = (
  (_MMAP_MAX, 0),  # take large blocks from the heap too, not from mappings that end when freed
  (_TRIM_THRESHOLD, -1),  # never shrink the heap
  (_TOP_PAD, _STEP),  # grow the heap in few steps
  (_ARENA_MAX, 1),  # use one heap: those of other threads cannot hold blocks above 64 MB
)


_FILES = itertools.count(1)  # atomic under Python's lock
_EVERY = 32


def release_after_file() -> None:
  """Returns free memory to the system. Call it after each decoded file.

  PyAV's containers and streams refer to each other, so a file's decoder lives until Python's cycle
  collector runs; that depends on the number of objects, not on their size. glibc also keeps free
  memory between aligned blocks. Without this call, a process that reads 1200 short videos holds
  500 MiB instead of 230 MiB (docs/bug_reports.md). Every 32nd call does the work, which takes
  milliseconds.
  """
  if next(_FILES) % _EVERY:
    return
  gc.collect()
  with contextlib.suppress(AttributeError, OSError, TypeError):  # the C library is not glibc
    ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def reported_if_full(advice: str) -> Iterator[None]:
  """Raises UserError instead of JAX's error if the devices have too little memory for the body.

  Args:
    advice: part of the message; says what needs less.
  """
  import jax  # not above, because decoders that do not use JAX import this module

  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError(f"not enough memory; {advice}") from error


def keep_freed_on_cpu() -> bool:
  """Calls `keep_freed` if JAX will run on CPU. Call it before the first use of JAX.

  Once a thread of JAX has allocated memory, it has its own heap, which returns memory to the system
  when it is empty. So this function must not ask JAX for its devices, which starts the threads. It
  assumes another device if a JAX plugin is installed, unless JAX_PLATFORMS names the CPU first.

  Returns:
    Whether the allocator was changed.
  """
  import jax

  # `jax_platform_name`, deprecated, is not an attribute of every JAX version's config.
  config: Any = jax.config  # its options are defined at run time
  platforms = config.jax_platforms or os.environ.get("JAX_PLATFORM_NAME")
  return (platforms.split(",")[0] == "cpu" if platforms else not _plugins()) and keep_freed()


def _plugins() -> bool:
  """Whether a plugin that gives JAX a device other than the CPU is installed or named."""
  named = any(os.environ.get(n) for n in ("PJRT_NAMES_AND_LIBRARY_PATHS", "TPU_LIBRARY_PATH"))
  installed = any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))
  return named or installed or bool(importlib.metadata.entry_points(group="jax_plugins"))


def keep_freed() -> bool:
  """Makes the C library keep freed memory instead of returning it to the system.

  On CPU, XLA allocates the buffers of a program each time the program runs. By default the C
  library takes such large blocks from the system and returns them afterwards, so each run has to
  touch every page anew: a quarter of a million page faults and a fifth of the processor time per
  iteration of DVD-GAN at 64x64x12, ch 16 (benchmarks/README.md). With this setting the process
  never shrinks. It also asks for huge pages for the first 4 GB of the heap.

  Nothing changes if the environment tunes the allocator already (MALLOC_*_, GLIBC_TUNABLES), or if
  the C library is not glibc.

  Returns:
    Whether the allocator was changed.
  """
  tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
  if tuned or any(name.startswith("MALLOC_") for name in os.environ):
    return False
  try:
    library = ctypes.CDLL(None)
    library.gnu_get_libc_version  # noqa: B018  (only glibc has it)
    mallopt = library.mallopt
  except (AttributeError, OSError, TypeError):
    return False
  done = all([mallopt(name, value) == 1 for name, value in _SETTINGS])
  if done:
    _ask_for_huge_pages(library)
  return done


def _ask_for_huge_pages(library) -> None:
  """Makes the heap grow once, and asks for huge pages in it. The system may refuse."""
  library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
  library.free.argtypes = [ctypes.c_void_p]
  library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
  for size in (_STEP, 64 << 20):  # the heap grows by `size` + _STEP; try less if that is refused
    block = library.malloc(size)
    library.free(block)
    if block:
      break
  try:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
      addresses = next(line.split()[0] for line in maps if line.rstrip().endswith("[heap]"))
  except (OSError, StopIteration):
    return
  begin, end = (int(address, 16) for address in addresses.split("-"))
  begin = -(-begin // _HUGE_PAGE) * _HUGE_PAGE
  if begin < end:
    library.madvise(begin, end - begin, _MADV_HUGEPAGE)
