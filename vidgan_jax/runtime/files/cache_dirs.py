"""Folders for what may be computed again: in the user's cache folder, or for this process alone."""

import atexit
import functools
import os
import shutil
import tempfile

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths


def usable(*names: str, lost: str, report) -> str | None:
  """A folder in the user's cache folder, made where it is missing.

  The cache folder is $XDG_CACHE_HOME/vidgan_jax, or ~/.cache/vidgan_jax where that variable is
  empty or no absolute path. A cache is a convenience: without one the caller goes on.

  Args:
    names: the path of the folder in the cache folder.
    lost: what the user goes without, for the message.
    report: called with one line where the folder cannot be written.

  Returns:
    its path, or None where this user has no home folder or may not write there.

  Raises:
    UserError: XDG_CACHE_HOME is an address.
  """
  path = paths.cache(*names)
  reason = "there is no home folder" if path is None else unwritable(path)
  if reason is None:
    return path
  report(f"WARNING: {lost}: {reason}; set XDG_CACHE_HOME to a folder that can be written")
  return None


def unwritable(path: str | os.PathLike) -> str | None:
  """Makes a folder where it is missing; returns why nothing can be written there, or None."""
  try:
    os.makedirs(path, exist_ok=True)
  except OSError as error:
    return f"{os.fspath(path)} cannot be made ({error.strerror or error})"
  if not os.access(path, os.W_OK | os.X_OK):
    return f"{os.fspath(path)} cannot be written"
  return None


@functools.cache
def temporary() -> str:
  """A folder of this process, empty at first and removed when Python ends.

  Raises:
    UserError: there is no folder for temporary files.
  """
  try:
    path = tempfile.mkdtemp(prefix="vidgan_jax_")
  except OSError as error:
    raise UserError(
      f"no folder for temporary files ({error.strerror or error}); set TMPDIR to one"
    ) from error
  atexit.register(shutil.rmtree, path, ignore_errors=True)
  return path
