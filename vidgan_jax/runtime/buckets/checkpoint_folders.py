"""Folders of checkpoints: what Orbax calls them, which are complete, and how they are renamed.

`runtime.checkpoints` uses one of two classes with the same methods. In a local folder a checkpoint
has another name until it is complete. In a bucket, where nothing can be renamed at once, it is
complete when it contains the object `COMMITTED`, which Orbax writes last.
"""

import os
import pathlib
import re
import shutil
import weakref

from vidgan_jax.runtime.buckets import objects, staged
from vidgan_jax.runtime.errors import UserError

COMMITTED = "commit_success.txt"
# Orbax expands the first four as patterns of file names. TensorStore reads a backslash as a slash.
_SPECIAL_CHARACTERS = re.compile(r"[*?\[\]\\]")
_DESCRIPTORS = pathlib.Path("/proc/self/fd")
_STEP_NAME = re.compile(r"0|[1-9][0-9]*")


def open_folder(directory: str | os.PathLike) -> "LocalFolder | BucketFolder":
  """The folder of checkpoints at a local path, which may be the copy of one in a bucket."""
  path = pathlib.Path(directory).absolute()
  address = staged.address(path)
  return LocalFolder(path) if address is None else BucketFolder(path, address)


def copy(source: pathlib.Path, step: int, temporary: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a checkpoint for a new run whose folder is renamed when it is complete.

  Args:
    source: folder of checkpoints.
    step: which one.
    temporary: the new run's folder, before it is renamed.
    target: the new run's folder of checkpoints, after that. In a bucket, where nothing can be
      renamed, the checkpoint is written there at once.
  """
  old, new = staged.address(source), staged.address(target)
  if old is None or new is None:
    shutil.copytree(source / str(step), temporary / target.name / str(step))
    return
  (temporary / target.name).mkdir(parents=True)
  objects.copy_folder(f"{old}/{step}", f"{new}/{step}", last=COMMITTED)


def _same_for_orbax(path: str) -> bool:
  """Whether this path names the same file for Orbax and TensorStore as for Python.

  TensorStore encodes paths as UTF-8; Python encodes them as the locale says (such as ISO-8859-1).
  TensorStore accepts no path whose bytes are not valid text.
  """
  try:
    return not _SPECIAL_CHARACTERS.search(path) and os.fsencode(path) == path.encode("utf-8")
  except UnicodeEncodeError:
    return False


class LocalFolder:
  """A folder of checkpoints on a file system."""

  def __init__(self, directory: pathlib.Path):
    self._directory = directory
    self._descriptor: int | None = None  # see `for_orbax`

  def for_orbax(self, create: bool) -> pathlib.Path:
    """A path of the folder that Orbax and TensorStore can open."""
    if _same_for_orbax(str(self._directory)):
      return self._directory
    if self._descriptor is None:
      if not _DESCRIPTORS.is_dir():
        raise UserError(
          f"checkpoints cannot be stored in {str(self._directory)!r} on this system; choose a path "
          "without * ? [ ] and backslashes, and without accents if the locale is not UTF-8"
        )
      if create:
        self._directory.mkdir(parents=True, exist_ok=True)
      self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
      self._close_descriptor = weakref.finalize(self, os.close, self._descriptor)
    return _DESCRIPTORS / str(self._descriptor)

  def in_words(self, text: str) -> str:
    """An error's text with the folder's name in place of its descriptor."""
    return (
      text
      if self._descriptor is None
      else text.replace(str(self.for_orbax(False)), str(self._directory))
    )

  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    if not self._directory.is_dir():
      return []
    return sorted(int(p.name) for p in self._directory.iterdir() if _STEP_NAME.fullmatch(p.name))

  def remove_unfinished(self) -> None:
    """Removes what failed saves have left."""
    for leftover in self._directory.glob("*.orbax-checkpoint-tmp*"):
      shutil.rmtree(leftover, ignore_errors=True)

  def remove(self, step: int) -> None:
    """Removes a checkpoint."""
    shutil.rmtree(self._directory / str(step), ignore_errors=True)

  def set_aside(self, step: int) -> None:
    """Renames a checkpoint to STEP.damaged."""
    target = self._directory / f"{step}.damaged"
    shutil.rmtree(target, ignore_errors=True)
    (self._directory / str(step)).rename(target)


class BucketFolder:
  """A folder of checkpoints in a bucket.

  Args:
    directory: local copy of the folder, which stays empty and only says that there is one.
    address: of the folder.
  """

  def __init__(self, directory: pathlib.Path, address: str):
    self._directory, self._address = directory, address

  def for_orbax(self, create: bool) -> pathlib.Path:
    """The address of the folder, for Orbax and TensorStore."""
    from etils import epath  # comes with Orbax

    if create:
      self._directory.mkdir(parents=True, exist_ok=True)
    return epath.Path(self._address)

  def in_words(self, text: str) -> str:
    """An error's text, which has the address already."""
    return text

  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    names = [name for name in objects.folders(self._address) if _STEP_NAME.fullmatch(name)]
    complete = objects.in_parallel(
      lambda name: objects.exists(f"{self._address}/{name}/{COMMITTED}"), names
    )
    return sorted(int(name) for name, found in zip(names, complete, strict=True) if found)

  def remove_unfinished(self) -> None:
    """Does nothing: the next save of the same step replaces its objects."""

  def remove(self, step: int) -> None:
    """Deletes a checkpoint."""
    objects.delete_folder(f"{self._address}/{step}", first=COMMITTED)

  def set_aside(self, step: int) -> None:
    """Renames a checkpoint to STEP.damaged."""
    objects.delete_folder(f"{self._address}/{step}.damaged", first=COMMITTED)
    objects.copy_folder(
      f"{self._address}/{step}", f"{self._address}/{step}.damaged", last=COMMITTED
    )
    self.remove(step)
