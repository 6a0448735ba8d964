"""Imports tensorflow without its start-up messages, a page about oneDNN, CPUs and missing GPUs.

Set TF_CPP_MIN_LOG_LEVEL to any value except 1, such as 0, to see these messages. No result changes,
because TF_ENABLE_ONEDNN_OPTS stays as it is.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_JAX_DEFAULT = "1"  # importing jax sets this value if the user has set none
_QUIET = "2"  # only errors
_GREETING = re.compile(
  rb"WARNING: All log messages before absl::InitializeLog"
  rb"|[IW]\d{4} \d\d"  # the format of absl
  rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] "  # the format of tensorflow before it used absl
  rb"|.*: E.* (cuFFT|cuDNN|cuBLAS|computation placer)"  # "already registered", in every build
  rb"|E\d{4} .*(cuFFT|cuDNN|cuBLAS|computation placer|failed call to cuInit)"
)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
  """Sets tensorflow's log level to errors, and hides its start-up messages within the block.

  Import tensorflow within the block. TensorFlow writes some messages before it reads its log level,
  so the block redirects stderr to a temporary file. At its end it writes to stderr the lines that
  are not start-up messages, or all lines if the block raised an exception.
  """
  if os.environ.get(LEVEL, _JAX_DEFAULT) != _JAX_DEFAULT:
    yield
    return
  os.environ[LEVEL] = _QUIET
  with tempfile.TemporaryFile() as held:
    try:
      stderr = os.dup(2)
    except OSError:  # the process has no stderr
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
