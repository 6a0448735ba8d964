"""Local copies of the folders in a bucket that a command works in.

An object in a bucket cannot be appended to, renamed or mapped into memory. So a command that
works in gs://bucket/run works in a temporary folder of its own instead:

  open    copies the objects of the folder there;
  push    copies new and changed files back, and deletes objects whose copies were removed.

Each copy back names the generation that it replaces. A file that another process has changed in
the meantime is refused, never overwritten. Two kinds of folders are not copied: checkpoints, which
all processes write into the bucket themselves (`runtime.checkpoints`), and signs of life. Previews
and TensorBoard files are written and never read, so they are copied in one direction only.

`address` and `named` translate local paths to addresses.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

from vidgan_jax.runtime.buckets import objects
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.files import temporary

_NEVER = ("checkpoints", "alive")  # folders at any depth, see above
_ONE_WAY = ("samples", "tensorboard")
_PARTIAL = ".partial"  # ends the names of folders of unfinished results
_CONFIG = "config.json"  # every run has one
LOCK = ".lock"  # name of lock files, which only mean something where they are


@dataclasses.dataclass
class _Copy:
  """What is known of an object and its local file.

  Attributes:
    generation: of the object.
    status: (size, time of modification) of the file when both were the same; None if there was no
      file.
  """

  generation: int
  status: tuple[int, int] | None


@dataclasses.dataclass
class _Folder:
  """The temporary folder of this process; see `_root`."""

  path: str | None = None
  process: int = 0
  copies: dict[str, _Copy] = dataclasses.field(default_factory=dict)  # by address


_folder = _Folder()


def _root() -> str:
  """The temporary folder of this process. It holds gs://bucket/name as bucket/name."""
  if _folder.path is None:
    _folder.path = temporary.make("vidgan_jax_gs_")
    _folder.process = os.getpid()
  return _folder.path


def address(path: str | os.PathLike) -> str | None:
  """The address of a path in the temporary folder; None for other paths."""
  if _folder.path is None:
    return None
  inside = os.path.relpath(os.path.abspath(path), _folder.path)
  return None if inside.split(os.sep)[0] in ("..", ".") else f"gs://{inside}"


def local(where: str) -> str:
  """The path in the temporary folder that stands for an address in normal form."""
  return os.path.join(_root(), where.removeprefix("gs://"))


def path_of(text: str) -> str:
  """The local path that stands for an address that this process works in; other text unchanged."""
  inside = _folder.path is not None and text.startswith("gs://")
  return local(text) if inside else text


def named(text: str) -> str:
  """The text with addresses in place of paths in the temporary folder, for users."""
  return text if _folder.path is None else text.replace(f"{_folder.path}/", "gs://")


def open_folder(where: str, what: str) -> str:
  """Copies a folder of a bucket to this machine; returns the local path. See the module.

  The path does not exist if there is no such folder. A second call copies what has changed. If the
  folder is a part of a run, its best state or a branch, the run's other files are copied too.

  Raises:
    UserError: see `objects.normal`, or the bucket cannot be read.
  """
  where = objects.normal(where, what)
  parts = re.fullmatch("(gs://[^/]+/.+?)/(best|branches/[0-9]+)", where)
  run = parts[1] if parts and objects.exists(f"{parts[1]}/{_CONFIG}") else where
  pull(local(run))
  return local(where)


def pull(path: str | os.PathLike) -> None:
  """Copies the objects of a folder that have changed since the last call to their local files."""
  where = address(path)
  assert where is not None
  found = {f"{where}/{name}" if name else where: each for name, each in listing_of(where).items()}
  for known in [each for each in _folder.copies if _within(each, where) and each not in found]:
    del _folder.copies[known]  # another process has deleted the object
    with contextlib.suppress(OSError):
      os.remove(local(known))

  def copy(name: str) -> None:
    parts = name[len(where) :].split("/")[:-1]
    before = _folder.copies.get(name)
    if before and before.generation == found[name].generation:
      return
    if set(parts).isdisjoint(_ONE_WAY):
      objects.download(name, found[name], local(name))
      _folder.copies[name] = _Copy(found[name].generation, _status(local(name)))
    else:
      _folder.copies[name] = _Copy(found[name].generation, None)

  objects.in_parallel(copy, found)


def listing_of(where: str) -> dict[str, objects.Found]:
  """The objects of a folder without those that are never copied.

  Creates the local folders of the latter, empty, so that they exist here as they do there.
  """
  kept = {}
  for name, found in objects.listing(where).items():
    folders = name.split("/")[:-1]
    if name.split("/")[-1] == LOCK:
      continue
    if set(folders).isdisjoint(_NEVER):
      kept[name] = found
    elif "checkpoints" in folders:
      depth = folders.index("checkpoints") + 1
      os.makedirs(os.path.join(local(where), *folders[:depth]), exist_ok=True)
  return kept


def push() -> None:
  """Copies all new and changed files of the temporary folder into their buckets.

  Raises:
    UserError: a file cannot be written, or another process has changed it. The message names the
      local file, which then stays.
  """
  if _folder.path is None or _folder.process != os.getpid():
    return
  files = {}
  for folder, inner, names in os.walk(_folder.path):
    inner[:] = [each for each in inner if each not in _NEVER and not each.endswith(_PARTIAL)]
    for name in names:
      if name != LOCK and not name.endswith(".tmp"):
        path = os.path.join(folder, name)
        files[f"gs://{os.path.relpath(path, _folder.path)}"] = path
  changed = [name for name, path in files.items() if not _is_known(name, path)]
  changed.sort(key=lambda name: os.stat(files[name]).st_mtime_ns)
  gone = [name for name, copy in _folder.copies.items() if copy.status and name not in files]
  try:
    objects.in_parallel(lambda name: _upload(name, files[name]), changed[:-1])
    for name in changed[-1:]:  # the newest file last: it may refer to the others
      _upload(name, files[name])
    for name in gone:
      _forget(name)
  except UserError as error:
    temporary.keep(_folder.path)
    raise type(error)(f"{error}; the files of this command are kept in {_folder.path}") from error


def writing_back(command: Callable[[Any], Any]) -> Callable[[Any], Any]:
  """Wraps a command so that it calls `push` at its end, also after `UserError` and `Stopped`.

  Of several processes that train together, process 0 alone writes.
  """

  def run(argument: Any) -> Any:
    try:
      result = command(argument)
    except (UserError, Stopped):
      with contextlib.suppress(UserError):  # the first error matters more
        _push_in_first()
      raise
    _push_in_first()
    return result

  return run


def _push_in_first() -> None:
  jax = sys.modules.get("jax")
  if jax is None or not jax.distributed.is_initialized() or jax.process_index() == 0:
    push()


def _is_known(name: str, path: str) -> bool:
  copy = _folder.copies.get(name)
  return copy is not None and copy.status == _status(path)


def _upload(name: str, path: str) -> None:
  status, before = _status(path), _folder.copies.get(name)
  try:
    generation = objects.upload(path, name, before.generation if before else 0)
  except objects.Changed as error:
    raise UserError(
      f"{name} was written by another process since this one read it, and is left as it is"
    ) from error
  _folder.copies[name] = _Copy(generation, status)


def _forget(name: str) -> None:
  """Deletes the object of a removed file, unless another process has changed it."""
  with contextlib.suppress(objects.Changed):
    objects.delete(name, _folder.copies[name].generation)
  del _folder.copies[name]


def _within(name: str, where: str) -> bool:
  return name == where or name.startswith(f"{where}/")


def _status(path: str | os.PathLike) -> tuple[int, int]:
  status = pathlib.Path(path).stat()
  return status.st_size, status.st_mtime_ns
