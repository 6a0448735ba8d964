"""Reads a tree of folders once; folders that cannot be read are reported and left out."""

import dataclasses
import os
from collections.abc import Iterable

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import file_text, printable

VIDEO_ENDINGS = (
  ".3gp",
  ".avi",
  ".flv",
  ".gif",
  ".m4v",
  ".mkv",
  ".mov",
  ".mp4",
  ".mpeg",
  ".mpg",
  ".ogv",
  ".ts",
  ".webm",
  ".wmv",
)
PICTURE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Files and folders that operating systems create; names that begin with a dot are hidden anyway.
_SYSTEM_FOLDERS = ("__macosx", "$recycle.bin", "system volume information", "@eadir", "#recycle")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")
_LISTED = 5  # names in a message


@dataclasses.dataclass(frozen=True)
class Tree:
  """A folder and all folders below it.

  Attributes:
    folders: (path relative to the root, names of its files), sorted; "" is the root itself.
    unreadable: (path, reason) of the folders that cannot be read.
    repeated: paths of links to folders that are in the tree under another path.
  """

  folders: tuple[tuple[str, tuple[str, ...]], ...]
  unreadable: tuple[tuple[str, str], ...] = ()
  repeated: tuple[str, ...] = ()

  def without(self, paths: Iterable[str]) -> list[str]:
    """The topmost folders that contain none of these files, not even in their subfolders."""
    used = {""}
    for path in paths:
      folder = os.path.dirname(path)
      while folder not in used:
        used.add(folder)
        folder = os.path.dirname(folder)
    return [path for path, _ in self.folders if path not in used and os.path.dirname(path) in used]

  def remarks(self, paths: Iterable[str], what: str) -> list[str]:
    """Lines of text for the user about folders that are unreadable, repeated or without files.

    Args:
      paths: files in use, relative to the root.
      what: the kind of file in use, such as "video".
    """
    lines = []
    if self.unreadable:
      named = abbreviated([f"{path} ({reason})" for path, reason in self.unreadable])
      lines.append(f"WARNING: folders that cannot be read are left out: {named}")
    if self.repeated:
      lines.append(
        f"links to folders that are read under another path: {abbreviated(self.repeated)}"
      )
    empty = self.without(paths)
    if empty:
      lines.append(f"folders without a {what}: {abbreviated(empty)}")
    return lines


def abbreviated(names: Iterable[str], count: int = _LISTED) -> str:
  """The first `count` names, and the number of the others, as text for a message."""
  names = [printable(file_text(name)) for name in names]
  more = f" and {len(names) - count} more" if len(names) > count else ""
  return ", ".join(names[:count]) + more


def read_tree(directory: str | os.PathLike) -> Tree:
  """Reads all folders below a folder, in the order of their names.

  Hidden files and folders (whose names begin with a dot) and those that operating systems create
  are left out. Links are followed, and each folder is read once.

  Raises:
    UserError: the folder does not exist or cannot be read.
  """
  directory = os.fspath(directory)
  unreadable, folders, repeated, seen = [], [], [], set()

  def skip(error):
    path = os.path.relpath(error.filename, directory)
    if path == ".":
      raise UserError(f"{directory}: not readable ({error.strerror})") from error
    unreadable.append((path, error.strerror or type(error).__name__))

  if not os.path.isdir(directory):
    raise UserError(f"{directory}: no such folder")
  for folder, inside, files in os.walk(directory, followlinks=True, onerror=skip):
    path = os.path.relpath(folder, directory)
    real = os.path.realpath(folder)
    if real in seen:
      repeated.append(path)
      inside.clear()
      continue
    seen.add(real)
    inside[:] = [name for name in inside if _is_user_file(name, _SYSTEM_FOLDERS)]
    # Links last: if a folder and a link to it are side by side, the folder's name is used.
    links = {name: os.path.islink(os.path.join(folder, name)) for name in inside}
    inside.sort(key=lambda name: (links[name], file_text(name)))
    names = sorted((name for name in files if _is_user_file(name, _SYSTEM_FILES)), key=file_text)
    folders.append(("" if path == "." else path, tuple(names)))
  folders.sort(key=lambda entry: [file_text(part) for part in entry[0].split(os.sep)])
  return Tree(tuple(folders), tuple(sorted(unreadable)), tuple(repeated))


def _is_user_file(name: str, system_names: tuple[str, ...]) -> bool:
  """Whether a file or folder is neither hidden nor created by an operating system."""
  return not name.startswith(".") and name.casefold() not in system_names


def is_of_user(path: str) -> bool:
  """Whether no part of a path, with "/" between folders, is hidden or of an operating system."""
  *folders, name = path.split("/")
  in_user_folders = all(_is_user_file(folder, _SYSTEM_FOLDERS) for folder in folders)
  return in_user_folders and _is_user_file(name, _SYSTEM_FILES)
