"""Memory that XLA frees on a CPU, kept for its next run of a program."""

import ctypes
import os

# Of mallopt(3), glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_SETTINGS = (
  (_MMAP_MAX, 0),  # large blocks come from the heap too, not from mappings that end when freed
  (_TRIM_THRESHOLD, -1),  # the heap does not shrink
  (_TOP_PAD, 64 << 20),  # and grows in few steps
  (_ARENA_MAX, 1),  # the other heaps, of threads, cannot hold blocks above 64 MB
)


def keep_freed() -> bool:
  """Makes the C library keep what is freed instead of handing it back to the system.

  On CPU XLA allocates the buffers of a program anew each time it runs. The C library takes blocks
  of that size from the system and gives them back, so that each run pays for every page again: a
  quarter of a million page faults and a fifth of the processor time per iteration of DVD-GAN at
  64x64x12, ch 16 (benchmarks/README.md). The process stays as large as it ever was.

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
  return all([mallopt(name, value) == 1 for name, value in _SETTINGS])
