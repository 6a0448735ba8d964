"""The folder of a prepared set while it is made: whose it is, and what is finished of it."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator

from vidgan_jax.data.formats import index
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks

_SETTINGS = "settings.json"
_MEANINGS = {
  "inputs": "the inputs are not those it was begun with (files came, went or changed, or other "
  "classes)",
  "versions": "the libraries it was begun with had other versions",
}


def check_output(output: str) -> None:
  """Raises UserError unless a set can be begun or continued in a folder, or is there already."""
  if os.path.exists(output) and not os.path.isdir(output):
    raise UserError(f"{output}: is no folder")
  try:
    names = set(os.listdir(output)) if os.path.isdir(output) else set()
  except OSError as error:
    raise UserError(f"{output}: not readable ({error.strerror})") from error
  if names and names != {index.UNFINISHED} and not is_finished(output):
    if not os.path.isfile(os.path.join(output, index.UNFINISHED, _SETTINGS)):
      raise UserError(f"{output}: is not empty, and no data set that is being prepared")


def is_finished(output: str) -> bool:
  """Whether a folder holds a finished set."""
  return os.path.isfile(os.path.join(output, index.FILE_NAME))


def check_settings(output: str, there: dict, wanted: dict) -> None:
  """Raises UserError where a set was made, or begun, with other settings."""
  for key in [*wanted, *(key for key in there if key not in wanted)]:
    if there.get(key) != wanted.get(key):
      what = f"{key} is {there.get(key)!r} there and {wanted.get(key)!r} here"
      raise UserError(
        f"{output}: holds a data set prepared in another way ({_MEANINGS.get(key, what)}); "
        f"another output folder is needed, or this one removed"
      )


@contextlib.contextmanager
def opened(output: str, settings: dict, report: Callable[[str], None] = print) -> Iterator[str]:
  """Gives the folder of unfinished work in `output`, for this process alone.

  Args:
    output: the set's folder; made if need be.
    settings: all that decides its bytes; a set that was begun otherwise is refused.
    report: receives a line where the file system has no locks.

  Another process may have finished the set before this one had the lock: the caller asks
  `is_finished` again.

  Raises:
    UserError: the folder is another's, is in use, or cannot be written.
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


def _locked(output: str, report: Callable[[str], None]):
  """Keeps other processes from the folder of unfinished work, which is made; see `locks.held`."""
  folder = os.path.join(output, index.UNFINISHED)
  return locks.held(folder, f"prepare {output}", report, name="lock")


def move_into_place(staging: str, output: str) -> None:
  """Moves files from a folder of the workspace into the set, the one that finishes it last.

  Each is on the disk before it is moved.

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
  """Removes all of a set that cannot be finished; for the process that has it `opened`.

  Args:
    output: the set's folder.
    files: what was moved into it, by name.
    existed: whether the folder was there before; an empty one is left then.
  """
  for name in files:
    with contextlib.suppress(OSError):
      os.remove(os.path.join(output, name))
  remove(output)
  if not existed:
    with contextlib.suppress(OSError):  # it holds what is not ours
      os.rmdir(output)


def remove_left_over(output: str) -> None:
  """Removes what a process left that was stopped behind its last file, unless one is at work."""
  if os.path.isdir(os.path.join(output, index.UNFINISHED)):
    with contextlib.suppress(UserError), _locked(output, lambda line: None):
      remove(output)


def remove(output: str) -> None:
  """Removes what was needed while the set was made; for the process that has it `opened`."""
  shutil.rmtree(os.path.join(output, index.UNFINISHED), ignore_errors=True)
