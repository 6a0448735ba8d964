"""The output folder during a preparation: its lock, its settings, and its unfinished files."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vidgan_jax.data.formats import index
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks, paths

_SETTINGS = "settings.json"
_MEANINGS = {
  "inputs": "the inputs differ from those at the beginning: files were added, removed or changed, "
  "or the classes differ",
  "versions": "it was begun with other versions of the libraries",
}


def check_output(output: str) -> None:
  """Raises UserError unless a folder is missing, empty, being prepared, or a finished set.

  A folder that is no finished set must be writable.
  """
  if os.path.exists(output) and not os.path.isdir(output):
    raise UserError(f"{output}: is not a folder")
  try:
    names = set(os.listdir(output)) if os.path.isdir(output) else set()
  except OSError as error:
    raise UserError(f"{output}: not readable ({error.strerror})") from error
  if names and names != {index.UNFINISHED} and not is_finished(output):
    if not os.path.isfile(os.path.join(output, index.UNFINISHED, _SETTINGS)):
      raise UserError(f"{output}: is not empty, and not a data set that is being prepared")
  if not is_finished(output):
    paths.check_writable(output)


def is_finished(output: str) -> bool:
  """Whether a folder contains a finished set."""
  return os.path.isfile(os.path.join(output, index.FILE_NAME))


def check_settings(output: str, stored: dict[str, Any], requested: dict[str, Any]) -> None:
  """Raises UserError if a set was prepared, or begun, with other settings than requested."""
  for key in [*requested, *(key for key in stored if key not in requested)]:
    if stored.get(key) != requested.get(key):
      difference = f"{key} is {stored.get(key)!r} there, but {requested.get(key)!r} was requested"
      raise UserError(
        f"{output}: contains a data set with other settings ({_MEANINGS.get(key, difference)}); "
        "use another output folder, or remove this one"
      )


@contextlib.contextmanager
def opened(output: str, settings: dict, report: Callable[[str], None] = print) -> Iterator[str]:
  """Locks the folder of unfinished files in `output` for this process, and yields its path.

  Another process may have finished the set before this one got the lock, so call `is_finished`
  again.

  Args:
    output: the set's folder; created if necessary.
    settings: all settings that determine the bytes of the set. A preparation that began with other
      settings cannot be continued.
    report: called with a line of text if the file system has no locks.

  Raises:
    UserError: the folder contains something else, is in use, or cannot be written.
  """
  check_output(output)
  with _locked(output, report):
    folder = os.path.join(output, index.UNFINISHED)
    path = os.path.join(folder, _SETTINGS)
    if os.path.isfile(path):
      check_settings(output, index.read_json(path, dict), settings)
    elif not is_finished(output):
      index.write_json(path, settings)
    yield folder


def _locked(output: str, report: Callable[[str], None]) -> contextlib.AbstractContextManager[Any]:
  """Creates the folder of unfinished files and locks it; see `locks.held`."""
  folder = os.path.join(output, index.UNFINISHED)
  return locks.held(folder, f"prepare {output}", report, name="lock")


def move_into_place(staging: str, output: str) -> None:
  """Moves the files of a set from the workspace into the set; `prepared.json` is the last.

  Each file is flushed to the disk before it is moved.

  Raises:
    UserError: a file cannot be moved.
  """
  paths = [
    os.path.relpath(os.path.join(folder, name), staging)
    for folder, _, names in os.walk(staging)
    for name in names
  ]
  try:
    for path in sorted(paths, key=lambda path: (path == index.FILE_NAME, path)):
      os.makedirs(os.path.dirname(os.path.join(output, path)), exist_ok=True)
      with open(os.path.join(staging, path), "rb") as file:
        os.fsync(file.fileno())
      os.replace(os.path.join(staging, path), os.path.join(output, path))
  except OSError as error:
    raise UserError(f"{output}: cannot be written ({error.strerror})") from error


def discard(output: str, files: Iterable[str], existed: bool) -> None:
  """Removes a set that cannot be finished; call it within `opened`.

  Args:
    output: the set's folder.
    files: names of the files in it.
    existed: whether the folder existed before; if so, it stays, empty.
  """
  for name in files:
    with contextlib.suppress(OSError):
      os.remove(os.path.join(output, name))
  remove_workspace(output)
  if not existed:
    with contextlib.suppress(OSError):  # the folder contains other files
      os.rmdir(output)


def remove_left_over(output: str) -> None:
  """Removes the folder of unfinished files of a finished set, unless another process uses it."""
  if os.path.isdir(os.path.join(output, index.UNFINISHED)):
    with contextlib.suppress(UserError), _locked(output, lambda line: None):
      remove_workspace(output)


def remove_workspace(output: str) -> None:
  """Removes the folder of unfinished files; call it within `opened`."""
  shutil.rmtree(os.path.join(output, index.UNFINISHED), ignore_errors=True)
