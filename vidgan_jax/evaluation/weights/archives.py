"""Files of arrays, .npz, read and written without pickle.

Files are not trusted: names, shapes and types are looked at, and sizes bounded, before memory is
taken for an array; an array of Python objects is refused.
"""

import math
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable
from vidgan_jax.runtime.video_files import atomic_file

MAX_BYTES = 2**31
MAX_ARRAYS = 10_000
_PIECE = 2**20
# What zipfile and numpy raise on files that are damaged, encrypted or compressed in unknown ways.
_DAMAGE = (
  ValueError,
  EOFError,
  KeyError,
  NotImplementedError,
  RuntimeError,
  struct.error,
  zipfile.BadZipFile,
  zlib.error,
)


def read(
  path: str | os.PathLike,
  expected: Mapping[str, tuple[int, ...] | None] | None = None,
  max_bytes: int = MAX_BYTES,
  only: str | None = None,
) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz.

  Args:
    path: the file.
    expected: shapes by name; an array that is not among them, or of another shape, is refused
      before it is read. A shape of None may be any, and without `expected` so may all. Arrays may
      be missing.
    max_bytes: of all arrays that are read, together.
    only: name of the one array to read; None reads all.

  Returns:
    by name, arrays of numbers in the types that they have.

  Raises:
    UserError: the file is missing, damaged, too large, no .npz or not what was expected.
  """
  path = pathlib.Path(path)
  try:
    with zipfile.ZipFile(path) as archive:
      members = [m for m in archive.infolist() if only in (None, m.filename.removesuffix(".npy"))]
      total = sum(member.file_size for member in members)
      if total > max_bytes or len(members) > MAX_ARRAYS:
        raise ValueError(
          f"{len(members)} arrays in {total} bytes; at most {MAX_ARRAYS} in {max_bytes} are read"
        )
      arrays = {}
      for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in arrays:
          raise ValueError(f"{name!r} is there twice or no array")
        with archive.open(member) as stream:
          arrays[name] = _read_array(stream, member.file_size, name, expected)
      return arrays
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error
  except _DAMAGE as error:
    raise UserError(f"{path}: no readable .npz ({printable(str(error))})") from error


def _read_array(stream, size: int, name: str, expected) -> np.ndarray:
  """Reads one .npy of `size` bytes; ValueError where it is none or not expected."""
  version = np.lib.format.read_magic(stream)
  if version not in ((1, 0), (2, 0)):
    raise ValueError(f"{name!r} is of version {version} of .npy")
  header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
  shape, fortran, dtype = header(stream)
  if dtype.hasobject or dtype.kind not in "biuf":
    raise ValueError(f"{name!r} holds {dtype}, which is not read")
  if expected is not None:
    if name not in expected:
      raise ValueError(f"{name!r} is none of the arrays wanted")
    if expected[name] not in (None, shape):
      raise ValueError(f"{name!r} is {list(shape)}, wanted {list(expected[name])}")
  if stream.tell() + math.prod(shape) * dtype.itemsize != size:
    raise ValueError(f"{name!r}: {size} bytes for {dtype} {list(shape)}")
  flat = np.empty(math.prod(shape), dtype)
  view, place = memoryview(flat.view(np.uint8)), 0
  while place < len(view):
    got = stream.readinto(view[place : place + _PIECE])
    if not got:
      raise EOFError(f"{name!r} is cut off")
    place += got
  return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes an .npz under a temporary name; equal arrays give equal files.

  Raises:
    UserError: the file cannot be written.
  """
  with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
    for name in sorted(arrays):
      # Not numpy.savez, which may write the time of day.
      with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
        array = np.ascontiguousarray(arrays[name])
        np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
