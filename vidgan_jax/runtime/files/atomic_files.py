"""Writes files that are complete or absent, and opens only regular files."""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO

from vidgan_jax.runtime.errors import UserError


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[str]:
  """A context manager for writing a file: the file appears as `path` only when it is complete.

  Yields a temporary path in the same folder, to write to. At the end of the block the temporary
  file is renamed to `path`. If the block raises, the temporary file is removed and `path` stays as
  it was. The folder is created if it is missing.

  Raises:
    UserError: the folder or the file cannot be written.
  """
  path = os.path.abspath(os.fspath(path))
  folder, name = os.path.split(path)
  temporary = os.path.join(folder, f".{name}.{os.getpid()}.{threading.get_ident()}.tmp")
  try:
    os.makedirs(folder, exist_ok=True)
    yield temporary
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"{path}: cannot be written ({_reason(error)})") from error
  finally:
    with contextlib.suppress(OSError):
      os.remove(temporary)


def open_regular(path: str | os.PathLike) -> BinaryIO:
  """Opens a regular file for reading. Refuses named pipes, whose opening would wait for a writer.

  Raises:
    OSError: the file cannot be opened, or it is a folder, a pipe or a device.
  """
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  mode = os.fstat(descriptor).st_mode
  if not stat.S_ISREG(mode):
    os.close(descriptor)
    if stat.S_ISDIR(mode):
      raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "not a regular file", path)
  return os.fdopen(descriptor, "rb")


def _reason(error: OSError) -> str:
  """The system's message without the path, or the type of the error if there is no message."""
  return (error.strerror or str(error) or type(error).__name__).splitlines()[0]
