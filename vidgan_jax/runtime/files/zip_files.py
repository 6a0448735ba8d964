"""Reads the members of zip files one by one, without unpacking them beside the file.

Files are not trusted. A zip with an absolute name, a name with "..", a link, or a name that occurs
twice is refused. zipfile compares the CRC of each member that is read.
"""

import contextlib
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import temporary
from vidgan_jax.runtime.files.atomic_files import open_regular
from vidgan_jax.runtime.text import printable

_DEFLATE_RATIO = 1032  # the largest compression ratio of the deflate format
_SLACK = 2**20  # bytes
_MAX_IN_MEMORY = 2**30  # bytes of a member that `read` returns


class ZipFolder:
  """A zip file, open for reading. Several threads may read at once.

  Args:
    path: the file.

  Attributes:
    path: the file.
    names: paths of its files with "/" between folders, in the order of the zip.

  Raises:
    UserError: the file is missing, is no zip file, is damaged, or is refused; see above.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = os.fspath(path)
    if not os.path.isfile(self.path):
      raise UserError(f"{self.path}: no such file")
    with _one_line(self.path):
      self._archive = zipfile.ZipFile(open_regular(self.path))
    self._members: dict[str, zipfile.ZipInfo] = {}
    for member in self._archive.infolist():
      name = member.filename
      shown = f"{self.path}: its member {printable(name)!r}"
      if name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{shown} has a path outside the zip file; such files are refused")
      if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{shown} is a link; zip files with links are refused")
      if member.is_dir():
        continue
      if name in self._members:
        raise UserError(f"{shown} occurs twice")
      self._members[name] = member
    self.names = tuple(self._members)

  def read(self, name: str) -> bytes:
    """Returns the content of a small file, such as a picture.

    Raises:
      UserError: it is damaged, encrypted, or larger than 1 GiB.
    """
    with _one_line(self.path, name), self._open(name) as stream:
      if self._members[name].file_size > _MAX_IN_MEMORY:
        raise ValueError(f"it has {self._members[name].file_size} bytes")
      return stream.read()

  @contextlib.contextmanager
  def copied(self, name: str) -> Iterator[str]:
    """Copies one file to a temporary folder, which the `with` statement removes; yields its path.

    Raises:
      UserError: it is damaged or encrypted, or the temporary folder has no space.
    """
    with temporary.folder("vidgan_jax_zip_") as folder:
      # Not the name in the zip, which may be too long for this system. Decoders use the ending.
      copy = os.path.join(folder, f"file{os.path.splitext(name)[1]}")
      with _one_line(self.path, name), self._open(name) as stream, open(copy, "wb") as file:
        shutil.copyfileobj(stream, file)
      yield copy

  def _open(self, name: str):
    member = self._members[name]
    if member.file_size > _DEFLATE_RATIO * member.compress_size + _SLACK:
      raise ValueError(
        f"its {member.compress_size} compressed bytes cannot hold the stated {member.file_size}"
      )
    return self._archive.open(member)


@contextlib.contextmanager
def _one_line(path: str, name: str | None = None) -> Iterator[None]:
  """Converts any error of reading into a UserError that names the file and the member."""
  where = path if name is None else f"{path}/{printable(name)}"
  try:
    yield
  except UserError:
    raise
  except Exception as error:  # a damaged file may raise almost any error in zipfile and zlib
    reason = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
    kind = "not a readable zip file" if name is None else "not readable"
    raise UserError(f"{where}: {kind} ({printable(reason)[:200]})") from error
