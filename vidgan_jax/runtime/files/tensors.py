"""Reads and writes .safetensors files, and the SHA-256 of files.

Files are not trusted. Before memory is taken, the size of a file is compared with the stated one
and with what the expected arrays need. The bytes that are hashed are the bytes that are parsed. The
format holds arrays of numbers only, so that nothing in it is executed. Any fault of a file becomes
one `UserError` that names the file.
"""

import hashlib
import math
import os
from collections.abc import Mapping

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.atomic_files import atomic_file, open_regular
from vidgan_jax.runtime.text import printable

_PIECE = 2**20  # bytes to hash at a time
# Bounds of the header, a JSON object with one entry per array.
_HEADER, _ENTRY = 4096, 512

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype]]


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays to a .safetensors file, atomically. Equal arrays give equal bytes.

  Raises:
    UserError: the file cannot be written.
  """
  from safetensors import numpy as safetensors  # imported here: few commands need it

  content = safetensors.save({name: np.asarray(a, order="C") for name, a in arrays.items()})
  with atomic_file(path) as temporary, open(temporary, "wb") as file:
    file.write(content)


def fingerprint(path: str | os.PathLike, size: int | None = None) -> tuple[str, int]:
  """The SHA-256 of a file, hexadecimal, and its size in bytes.

  Args:
    path: the file.
    size: the size that it must have; another one is refused before the file is read.

  Raises:
    UserError: the file is missing, cannot be read, or has another size.
  """
  try:
    with open_regular(path) as file:
      _check_size(path, os.fstat(file.fileno()).st_size, size)
      digest, count = hashlib.sha256(), 0
      while piece := file.read(_PIECE):
        digest.update(piece)
        count += len(piece)
      return digest.hexdigest(), count
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error


def read(
  path: str | os.PathLike, sha256: str, size: int, expected: Shapes, *, any_length: bool = False
) -> dict[str, np.ndarray]:
  """Reads the arrays of a .safetensors file.

  Args:
    path: the file.
    sha256: its SHA-256, hexadecimal.
    size: its size in bytes.
    expected: {name: (shape, type)} of all arrays.
    any_length: whether the first axes may have other lengths, as batch statistics per time step
      have. Only the last axis and the number of axes are then compared, and the arrays may take 64
      times the expected memory.

  Raises:
    UserError: the file is missing, was changed, is damaged, or does not hold the expected arrays.
  """
  wanted = sum(math.prod(shape) * kind.itemsize for shape, kind in expected.values())
  limit = wanted * (64 if any_length else 1) + _HEADER + _ENTRY * len(expected)
  if size > limit:
    raise UserError(f"{path}: {size} bytes are stated, but its arrays need at most {limit}")
  try:
    with open_regular(path) as file:
      _check_size(path, os.fstat(file.fileno()).st_size, size)
      content = file.read(size)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error
  except MemoryError as error:
    raise UserError(f"{path}: not enough memory for its {size} bytes") from error
  check_digest(path, hashlib.sha256(content).hexdigest(), sha256)
  return _parsed(path, content, expected, any_length)


def check_digest(path: str | os.PathLike, found: str, stated: str) -> None:
  """UserError if the SHA-256 of a file is not the stated one."""
  if found != stated:
    raise UserError(
      f"{path}: was changed or damaged (SHA-256 {found[:12]}..., expected {stated[:12]}...)"
    )


def _check_size(path: str | os.PathLike, found: int, stated: int | None) -> None:
  if stated not in (None, found):
    raise UserError(f"{path}: was changed or damaged: it has {found} bytes, expected {stated}")


def _parsed(
  path: str | os.PathLike, content: bytes, expected: Shapes, any_length: bool
) -> dict[str, np.ndarray]:
  """Parses the bytes of a file and compares names, shapes and types."""
  from safetensors import numpy as safetensors

  try:
    arrays = safetensors.load(content)
  except Exception as error:  # a damaged file may raise almost any error
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise UserError(
      f"{path}: not a readable .safetensors file ({printable(reason)[:200]})"
    ) from error
  for name in sorted({*arrays, *expected}):
    there = (arrays[name].shape, arrays[name].dtype) if name in arrays else None
    here = (tuple(expected[name][0]), expected[name][1]) if name in expected else None
    if there == here or (any_length and _similar(there, here)):
      continue
    describe = lambda entry: "absent" if entry is None else f"{entry[1]} {list(entry[0])}"
    raise UserError(
      f"{path}: belongs to another model: {printable(name)} is {describe(there)} there and "
      f"{describe(here)} here"
    )
  return arrays


def _similar(there: tuple | None, here: tuple | None) -> bool:
  """Whether two (shape, type) differ only in the lengths of the first axes."""
  if there is None or here is None:
    return False
  same_axes = len(there[0]) == len(here[0]) and there[0][-1:] == here[0][-1:]
  return there[1] == here[1] and same_axes
