"""A tree of folders, read once; what cannot be read in it is reported and left out."""

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

# What systems put beside the files of their users; names with a dot in front are hidden anyway.
_SYSTEM_FOLDERS = ("__macosx", "$recycle.bin", "system volume information", "@eadir", "#recycle")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")
_SHOWN = 5  # folders named in a line


@dataclasses.dataclass(frozen=True)
class Tree:
  """The folders below a folder.

  Attributes:
    folders: (path relative to the root, "" for the root itself; names of its files), in order.
    unreadable: (path, reason) of the folders that cannot be read.
    repeated: paths of links to folders that are in the tree by another path.
  """

  folders: tuple[tuple[str, tuple[str, ...]], ...]
  unreadable: tuple[tuple[str, str], ...] = ()
  repeated: tuple[str, ...] = ()

  def without(self, paths: Iterable[str]) -> list[str]:
    """The folders that hold none of these files, each without those inside it."""
    used = {""}
    for path in paths:
      folder = os.path.dirname(path)
      while folder not in used:
        used.add(folder)
        folder = os.path.dirname(folder)
    return [path for path, _ in self.folders if path not in used and os.path.dirname(path) in used]

  def remarks(self, paths: Iterable[str], what: str) -> list[str]:
    """Lines for the user about folders that give nothing.

    Args:
      paths: of the files in use, relative to the root.
      what: what a file in use is, such as "video".
    """
    lines = []
    if self.unreadable:
      named = shown([f"{path} ({reason})" for path, reason in self.unreadable])
      lines.append(f"WARNING: folders that cannot be read are left out: {named}")
    if self.repeated:
      lines.append(f"links to folders that are read already: {shown(self.repeated)}")
    empty = self.without(paths)
    if empty:
      lines.append(f"folders without a {what}: {shown(empty)}")
    return lines


def shown(names: Iterable[str], count: int = _SHOWN) -> str:
  """Names for a line, the first of them where they are many."""
  names = [printable(file_text(name)) for name in names]
  more = f" and {len(names) - count} more" if len(names) > count else ""
  return ", ".join(names[:count]) + more


def read_tree(directory: str | os.PathLike) -> Tree:
  """Reads all folders below a folder, in the order of their names.

  Hidden files and folders (a dot in front), and those that systems make for themselves, are left
  out. Links are followed, and each folder is read once.

  Raises:
    UserError: the folder itself is none, or cannot be read.
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
    inside[:] = [one for one in inside if _counts(one, _SYSTEM_FOLDERS)]
    # Links last: a folder beside a link to it is read by its own name.
    inside.sort(key=lambda one, at=folder: (os.path.islink(os.path.join(at, one)), file_text(one)))
    names = sorted((one for one in files if _counts(one, _SYSTEM_FILES)), key=file_text)
    folders.append(("" if path == "." else path, tuple(names)))
  folders.sort(key=lambda one: [file_text(part) for part in one[0].split(os.sep)])
  return Tree(tuple(folders), tuple(sorted(unreadable)), tuple(repeated))


def _counts(name: str, of_systems: tuple[str, ...]) -> bool:
  """Whether a file or folder of this name is the user's own."""
  return not name.startswith(".") and name.casefold() not in of_systems
