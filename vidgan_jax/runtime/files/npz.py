"""Reads and writes .npz and .npy files without pickle.

Files are not trusted. Before memory is allocated for an array, its name, type and shape are
checked, and its size is compared with the size of the file. Arrays of Python objects are refused.
The CRC of every array in an .npz file is verified. Any fault of a file becomes one `UserError` that
names the file and the array.
"""

import contextlib
import dataclasses
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.atomic_files import atomic_file, open_regular
from vidgan_jax.runtime.hardware import cores
from vidgan_jax.runtime.text import printable

MAX_BYTES = 2**31
MAX_ARRAYS = 10_000
_MAX_HEADER = 2**14  # bytes; NumPy writes 128
_MAX_AXES = 32
_PIECE = 2**20  # bytes to read at a time
_DEFLATE_RATIO = 1032  # the largest compression ratio of the deflate format
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the ones that NumPy writes

# The header of a .npy file is a Python dictionary of three entries. It is matched, not evaluated.
_STRING = r"(?:'[^'\\\n]*'|\"[^\"\\\n]*\")"
_SHAPE = r"\((?:\s*\d{1,19}L?\s*,)*(?:\s*\d{1,19}L?\s*)?\)"
_FIELD = rf"\(\s*({_STRING})\s*,\s*({_STRING})\s*,?\s*\)"
_FIELDS = rf"\[\s*{_FIELD}(?:\s*,\s*{_FIELD})*\s*,?\s*\]"
_ENTRY = rf"({_STRING})\s*:\s*({_STRING}|True|False|{_SHAPE}|{_FIELDS})"
_DICTIONARY = re.compile(rf"\{{\s*{_ENTRY}(?:\s*,\s*{_ENTRY})*\s*,?\s*\}}\s*", re.ASCII)
_TYPE = re.compile(r"[<>|=]?[?bBiufcSUVOMm]\d{0,9}(?:\[\w{1,20}\])?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Header:
  """The header of a .npy file.

  Attributes:
    shape: of the array.
    dtype: of its items.
    fortran: whether the items are stored in Fortran order, with the first axis varying fastest.
    offset: byte at which the items begin.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  fortran: bool
  offset: int

  @property
  def nbytes(self) -> int:
    """Bytes of all items, a Python integer, so that a forged shape cannot overflow it."""
    return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream) -> Header:
  """Reads the header of a .npy file. The stream is then at the first item.

  Args:
    stream: a binary file at its beginning.

  Raises:
    ValueError: it is not a header of format version 1, 2 or 3, or it is longer than 16 KiB.
  """
  magic = stream.read(8)
  if len(magic) < 8 or magic[:6] != b"\x93NUMPY":
    raise ValueError("it does not begin like a .npy file")
  version = (magic[6], magic[7])
  if version not in ((1, 0), (2, 0), (3, 0)):
    raise ValueError(f"its .npy version is {version[0]}.{version[1]}; known: 1.0, 2.0, 3.0")
  size = stream.read(2 if version == (1, 0) else 4)
  length = int.from_bytes(size, "little")
  if length > _MAX_HEADER:
    raise ValueError(f"its header has {length} bytes, the limit is {_MAX_HEADER}")
  content = stream.read(length)
  if len(size) < 2 or len(content) < length:
    raise ValueError("its header is cut off")
  text = content.decode("utf-8" if version == (3, 0) else "latin-1")
  return Header(*_parsed(text), offset=8 + len(size) + length)


def _parsed(text: str) -> tuple[tuple[int, ...], np.dtype, bool]:
  """Parses a header's dictionary; returns (shape, type, Fortran order), or raises ValueError."""
  if not _DICTIONARY.fullmatch(text):
    raise ValueError("its header does not describe an array")
  entries = {}
  for match in re.finditer(_ENTRY, text, re.ASCII):
    if match[1][1:-1] in entries:
      raise ValueError("its header has an entry twice")
    entries[match[1][1:-1]] = match[2]
  if set(entries) != {"descr", "fortran_order", "shape"}:
    raise ValueError("its header does not describe an array")
  if entries["fortran_order"] not in ("True", "False"):
    raise ValueError("its header does not state the order of the items")
  numbers = entries["shape"]
  if not numbers.startswith("("):
    raise ValueError("its header has no shape")
  shape = tuple(map(int, re.findall(r"[0-9]+", numbers)))
  if len(shape) == 1 and "," not in numbers:
    raise ValueError("its header has no shape")
  dtype = _dtype(entries["descr"])
  # An axis of length 0 counts as 1 here, because NumPy refuses large other axes even then.
  size = math.prod(max(1, length) for length in shape) * max(1, dtype.itemsize)
  if len(shape) > _MAX_AXES or size >= 2**63:
    raise ValueError(f"its shape {list(shape)} is impossible")
  return shape, dtype, entries["fortran_order"] == "True"


def _dtype(text: str) -> np.dtype:
  """The type that a header names; raises ValueError if there is no such type."""
  if text.startswith("["):
    fields = [(name[1:-1], _dtype(kind)) for name, kind in re.findall(_FIELD, text, re.ASCII)]
    if len({name for name, _ in fields} - {""}) < len(fields):
      raise ValueError("its fields have missing or equal names")
    return np.dtype(fields)
  if not _TYPE.fullmatch(text[1:-1]):
    raise ValueError("its header names an unknown type")
  try:
    return np.dtype(text[1:-1])
  except (TypeError, ValueError) as error:
    raise ValueError("its header names an unknown type") from error


class Archive:
  """An .npz file, open for reading; see `open_npz`.

  Attributes:
    path: of the file.
    names: of its arrays, in the order of the file.
    others: number of members of the archive that are not arrays.
  """

  def __init__(self, path: str, archive: zipfile.ZipFile, max_bytes: int):
    self.path, self._archive = path, archive
    self._max_bytes = min(max_bytes, cores.usable_memory() or max_bytes)
    self._members = {}
    assert archive.fp is not None  # it is open
    size = os.fstat(archive.fp.fileno()).st_size
    infos = archive.infolist()
    if len(infos) > MAX_ARRAYS:
      raise ValueError(f"it has {len(infos)} members, the limit is {MAX_ARRAYS}")
    for info in infos:
      name = info.filename.removesuffix(".npy")
      if name == info.filename:
        continue  # not an array
      if name in self._members:
        raise ValueError(f"{name!r} occurs twice")
      if info.compress_size > size:
        raise ValueError(f"{name!r} extends beyond the end of the file")
      self._members[name] = info
    self.names = tuple(self._members)
    self.others = len(infos) - len(self._members)

  def __contains__(self, name: str) -> bool:
    return name in self._members

  def header(self, name: str, structured: bool = False) -> Header:
    """Reads the header of an array, and compares its size with the archive's.

    Args:
      name: of the array.
      structured: whether it may have named fields.

    Raises:
      UserError: there is no such array, its header is damaged, its items are not numbers, or its
        size is wrong or too large.
    """
    if name not in self._members:
      raise UserError(f"{self.path}: has no array {printable(name)!r}")
    with _one_line(self.path, name), self._open(name) as stream:
      return self._checked(name, stream, structured)

  def read(self, name: str, structured: bool = False) -> np.ndarray:
    """Reads an array and converts it to this machine's byte order; see `header`.

    Raises:
      UserError: as in `header`, or the array's items are damaged.
    """
    if name not in self._members:
      raise UserError(f"{self.path}: has no array {printable(name)!r}")
    with _one_line(self.path, name), self._open(name) as stream:
      header = self._checked(name, stream, structured)
      return _native(_read_items(stream, header), header)

  def _open(self, name: str):
    info = self._members[name]
    if info.compress_type not in _METHODS:
      raise ValueError(f"its compression method {info.compress_type} is not supported")
    if info.file_size > _DEFLATE_RATIO * info.compress_size + _PIECE or (
      info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size
    ):
      raise ValueError(
        f"its {info.compress_size} compressed bytes cannot hold the stated {info.file_size} bytes"
      )
    return self._archive.open(info)

  def _checked(self, name: str, stream, structured: bool) -> Header:
    header = read_header(stream)
    check_numbers(header.dtype, structured)
    if header.nbytes > self._max_bytes:
      raise ValueError(f"it needs {header.nbytes} bytes of memory, the limit is {self._max_bytes}")
    stored = self._members[name].file_size - header.offset
    if stored != header.nbytes:
      raise ValueError(
        f"its shape {list(header.shape)} needs {header.nbytes} bytes, the file stores {stored}"
      )
    return header


def check_numbers(dtype: np.dtype, structured: bool = False) -> None:
  """Raises ValueError unless the items of a type are numbers or booleans.

  Args:
    dtype: the type.
    structured: whether it may have named fields of such types.
  """
  if dtype.hasobject:
    raise ValueError("it holds pickled objects, which are never loaded")
  parts = [dtype]
  if structured and dtype.names:
    parts = [dtype[name] for name in dtype.names]
  if any(part.kind not in "biuf" or part.itemsize > 8 for part in parts):
    raise ValueError(f"its items are {dtype}, which is not supported")


def _read_items(stream, header: Header) -> np.ndarray:
  """Reads the items of an array as a flat array. The caller has checked its size."""
  flat = np.empty(math.prod(header.shape), header.dtype)
  view, filled = flat.view(np.uint8).data, 0
  while filled < len(view):
    count = stream.readinto(view[filled : filled + _PIECE])
    if not count:
      raise EOFError("it is cut off")
    filled += count
  stream.read(1)  # zipfile compares the checksum at the end of the file
  return flat


def _native(flat: np.ndarray, header: Header) -> np.ndarray:
  """Reshapes flat items and converts them to this machine's byte order."""
  if not flat.dtype.isnative:
    flat = flat.astype(flat.dtype.newbyteorder("="))
  shape = header.shape
  return flat.reshape(shape[::-1]).T if header.fortran else flat.reshape(shape)


@contextlib.contextmanager
def _one_line(path, name: str | None = None) -> Iterator[None]:
  """Converts any error of reading into a UserError that names the file and the array."""
  where = f"{path}: array {printable(name)!r}" if name is not None else f"{path}"
  kind = "not a readable .npy file" if str(path).endswith(".npy") else "not a readable .npz file"
  try:
    yield
  except UserError:
    raise
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error
  except MemoryError as error:
    raise UserError(f"{where}: not enough memory") from error
  except Exception as error:  # a damaged file may raise almost any error in zipfile, zlib and NumPy
    reason = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
    raise UserError(f"{where}: {kind} ({printable(reason)[:200]})") from error


@contextlib.contextmanager
def open_npz(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> Iterator[Archive]:
  """Opens an .npz file in a `with` statement, as an `Archive`.

  Args:
    path: the file.
    max_bytes: largest size of an array. Arrays larger than the memory are refused too.

  Raises:
    UserError: the file is missing, damaged or not an .npz file.
  """
  path = os.fspath(path)
  with contextlib.ExitStack() as stack:
    with _one_line(path):
      archive = Archive(
        path,
        stack.enter_context(zipfile.ZipFile(stack.enter_context(open_regular(path)))),
        max_bytes,
      )
    yield archive


def read(
  path: str | os.PathLike,
  expected: Mapping[str, tuple[int, ...] | None] | None = None,
  max_bytes: int = MAX_BYTES,
  only: str | None = None,
) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz file.

  Args:
    path: the file.
    expected: {name: shape}. An array with another name or shape is refused before it is read;
      arrays may be missing. The shape None allows any shape. None instead of a dictionary allows
      all arrays.
    max_bytes: largest size of all arrays together.
    only: name of the only array to read; None reads all.

  Returns:
    {name: array}. The types are those in the file.

  Raises:
    UserError: the file is missing, damaged, too large, not an .npz file, or not as expected.
  """
  with open_npz(path, max_bytes) as archive:
    if only is None and archive.others:
      raise UserError(f"{archive.path}: not a readable .npz file (a member is not an array)")
    names = [name for name in archive.names if only in (None, name)]
    headers = {}
    for name in names:
      headers[name] = archive.header(name)
      if expected is None:
        continue
      where = f"{archive.path}: array {printable(name)!r}"
      if name not in expected:
        raise UserError(f"{where} is not expected")
      shape, wanted = headers[name].shape, expected[name]
      if wanted is not None and tuple(wanted) != shape:
        raise UserError(f"{where} has shape {list(shape)}, expected {list(wanted)}")
    total = sum(header.nbytes for header in headers.values())
    if total > max_bytes:
      raise UserError(
        f"{archive.path}: {len(names)} arrays need {total} bytes, the limit is {max_bytes}"
      )
    return {name: archive.read(name) for name in names}


def open_npy(path: str | os.PathLike, structured: bool = False) -> tuple[Header, int]:
  """Reads the header of a .npy file.

  Args:
    path: the file.
    structured: whether the array may have named fields.

  Returns:
    (the header, number of bytes in the file after the array).

  Raises:
    UserError: the file is missing, damaged or cut off, or its items are not numbers.
  """
  with _one_line(path), open_regular(path) as file:
    header = read_header(file)
    check_numbers(header.dtype, structured)
    rest = os.fstat(file.fileno()).st_size - header.offset - header.nbytes
    if rest < 0:
      raise ValueError(f"its shape {list(header.shape)} needs {-rest} bytes more than the file has")
    return header, rest


def map_npy(path: str | os.PathLike, structured: bool = False) -> np.ndarray:
  """Opens the array of a .npy file as a read-only memory map.

  Args:
    path: the file.
    structured: whether the array may have named fields.

  Raises:
    UserError: see `open_npy`, or the file has more bytes after the array.
  """
  header, rest = open_npy(path, structured)
  with _one_line(path):
    if rest:
      raise ValueError(f"{rest} bytes follow its array of shape {list(header.shape)}")
    if not header.nbytes:
      return np.empty(header.shape, header.dtype)
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.memmap(
      path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape, order=order
    )


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes an .npz file atomically. Equal arrays give equal bytes.

  Raises:
    UserError: the file cannot be written.
  """
  with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
    for name in sorted(arrays):
      # Not numpy.savez, which may write the current time.
      with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
        array = np.ascontiguousarray(arrays[name])
        np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
