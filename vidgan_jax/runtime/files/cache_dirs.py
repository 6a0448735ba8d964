"""Folders in the user's cache folder, for data that can be recomputed."""

import os

from vidgan_jax.runtime.files import paths


def usable(*names: str, lost: str, report) -> str | None:
  """Returns a folder in the user's cache folder; creates it if it is missing.

  The cache folder is $XDG_CACHE_HOME/vidgan_jax, or ~/.cache/vidgan_jax if that variable is empty
  or not an absolute path. Callers must work without a cache too.

  Args:
    *names: the path of the folder within the cache folder.
    lost: what does not work without the folder, for the message.
    report: called with one line if the folder cannot be written.

  Returns:
    The path, or None if this user has no home folder or may not write there.

  Raises:
    UserError: XDG_CACHE_HOME is an address such as gs://bucket.
  """
  path = paths.cache(*names)
  reason = "there is no home folder" if path is None else unwritable(path)
  if reason is None:
    return path
  report(f"WARNING: {lost}: {reason}; set XDG_CACHE_HOME to a folder that can be written")
  return None


def unwritable(path: str | os.PathLike) -> str | None:
  """Creates a folder if it is missing; returns why it cannot be written, or None if it can."""
  try:
    os.makedirs(path, exist_ok=True)
  except OSError as error:
    return f"{os.fspath(path)} cannot be created ({error.strerror or error})"
  if not os.access(path, os.W_OK | os.X_OK):
    return f"{os.fspath(path)} cannot be written"
  return None
