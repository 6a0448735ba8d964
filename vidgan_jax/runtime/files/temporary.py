"""Temporary folders, which no end of the process leaves behind, except one by SIGKILL."""

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import NoReturn

from vidgan_jax.runtime.errors import UserError

_made: dict[str, int] = {}  # by path: the process that made the folder


def make(prefix: str) -> str:
  """Creates a temporary folder and returns its path.

  It is removed when Python exits, or when `exit_at_once` ends the process.

  Raises:
    UserError: there is no folder for temporary files.
  """
  try:
    path = os.path.realpath(tempfile.mkdtemp(prefix=prefix))
  except OSError as error:
    raise UserError(
      f"no folder for temporary files ({error.strerror or error}); set TMPDIR to one"
    ) from error
  _made[path] = os.getpid()
  return path


@contextlib.contextmanager
def folder(prefix: str) -> Iterator[str]:
  """Creates a temporary folder, which the `with` statement removes; yields its path.

  Raises:
    UserError: there is no folder for temporary files.
  """
  path = make(prefix)
  try:
    yield path
  finally:
    remove(path)


def remove(path: str) -> None:
  """Removes a folder of `make`."""
  shutil.rmtree(path, ignore_errors=True)
  _made.pop(path, None)


def keep(path: str) -> None:
  """Makes a folder of `make` stay when the process ends."""
  _made.pop(path, None)


@functools.cache
def of_process() -> str:
  """A temporary folder, the same for the whole process; see `make`."""
  return make("vidgan_jax_")


def exit_at_once(code: int) -> NoReturn:
  """Removes all temporary folders and ends the process, without Python's shutdown.

  Signal handlers call this.
  """
  _remove_all()
  os._exit(code)


@atexit.register
def _remove_all() -> None:
  for path, process in list(_made.items()):
    if process == os.getpid():  # a forked process inherits the names
      remove(path)
