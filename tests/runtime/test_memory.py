import os
import platform
import subprocess
import sys

import pytest

# Faults of the same allocations before and after, and whether the function said it did something.
_PROGRAM = """
import resource
import numpy as np
from vidgan_jax.runtime import memory

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(10):
    np.empty(96 << 20, np.uint8)[::4096] = 1
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
done = memory.keep_freed()
faults()
print(done, first, faults())
"""


def _run(**environment):
  inherited = {n: v for n, v in os.environ.items() if "MALLOC" not in n and "GLIBC" not in n}
  command = [sys.executable, "-c", _PROGRAM]
  done = subprocess.run(
    command, env={**inherited, **environment}, capture_output=True, text=True, check=True
  )
  said, before, after = done.stdout.split()
  return said == "True", int(before), int(after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's allocator alone")
def test_freed_memory_is_not_faulted_in_again():
  done, before, after = _run()
  assert done
  assert before > 1000  # NumPy's arrays of this size come in huge pages where the system has them
  assert after < before / 20


def test_the_environment_has_the_first_word():
  assert not _run(MALLOC_TRIM_THRESHOLD_="1000000")[0]
  assert not _run(GLIBC_TUNABLES="glibc.malloc.hugetlb=1")[0]
