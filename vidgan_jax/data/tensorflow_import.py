"""Imports tensorflow without its greeting: a page about oneDNN, CPUs and GPUs that are not there.

Whoever wants to read it sets TF_CPP_MIN_LOG_LEVEL to another value than 1, such as 0. No number
changes: TF_ENABLE_ONEDNN_OPTS is left alone.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_OF_JAX = "1"  # what importing jax sets where nothing is: taken for nothing
_QUIET = "2"  # errors alone
_GREETING = re.compile(
  rb"WARNING: All log messages before absl::InitializeLog"
  rb"|[IW]\d{4} \d\d"  # as absl writes them
  rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] "  # as tensorflow did before
  rb"|.*: E.* (cuFFT|cuDNN|cuBLAS|computation placer)"  # registered twice, says every build
  rb"|E\d{4} .*(cuFFT|cuDNN|cuBLAS|computation placer|failed call to cuInit)"
)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
  """Keeps tensorflow quiet from now on; within the block, where it is imported, altogether.

  Its level keeps back what it says later. What it says while it loads comes before it has read the
  level, so that stderr is held back, and what is no greeting, or all of it after a failure, is
  written at the end.
  """
  if os.environ.get(LEVEL, _OF_JAX) != _OF_JAX:
    yield
    return
  os.environ[LEVEL] = _QUIET
  with tempfile.TemporaryFile() as held:
    try:
      stderr = os.dup(2)
    except OSError:  # there is none
      yield
      return
    failed = True
    try:
      sys.stderr.flush()
      os.dup2(held.fileno(), 2)
      yield
      failed = False
    finally:
      sys.stderr.flush()
      os.dup2(stderr, 2)
      held.seek(0)
      for line in held:
        if failed or not _GREETING.match(line):
          os.write(stderr, line)
      os.close(stderr)
