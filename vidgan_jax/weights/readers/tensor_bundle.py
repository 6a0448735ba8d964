"""Reads and writes TensorFlow checkpoints of version 2 without TensorFlow.

A checkpoint PREFIX consists of PREFIX.index, a table (`sstable`) with the location of each
variable, and data files PREFIX.data-00000-of-00001 with the bytes of the variables
(tensorflow/core/protobuf/tensor_bundle.proto). The files are not trusted: sizes in the index are
compared with the sizes of the files before memory is allocated, and the bytes of each variable with
its CRC32C.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO

import numpy as np

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import protobuf
from vidgan_jax.weights.readers import sstable

MAX_INDEX_BYTES = 2**26
MAX_SHARDS = 10_000

# tensorflow/core/framework/types.proto
_DTYPES: dict[int, np.dtype] = {
  1: np.dtype("<f4"),
  2: np.dtype("<f8"),
  3: np.dtype("<i4"),
  4: np.dtype("u1"),
  6: np.dtype("i1"),
  9: np.dtype("<i8"),
  10: np.dtype("?"),
  19: np.dtype("<f2"),
}
_MAX_RANK = 254  # TensorFlow's limit
_LITTLE_ENDIAN = 0
_HEADER = b""  # key of the header, the first key of a table


@dataclasses.dataclass(frozen=True)
class Entry:
  """Location of a variable.

  Attributes:
    dtype: TensorFlow's number of the type, 1 for float32.
    shape: shape of the variable.
    shard: number of the data file.
    offset: first byte in the data file.
    size: number of bytes.
    crc: masked CRC32C of these bytes.
    slices: whether the variable is stored in several pieces, which is not supported.
  """

  dtype: int = 0
  shape: tuple[int, ...] = ()
  shard: int = 0
  offset: int = 0
  size: int = 0
  crc: int = 0
  slices: bool = False


@dataclasses.dataclass(frozen=True)
class Index:
  """Content of an index file.

  Attributes:
    path: path of the file.
    shards: number of data files.
    entries: by the names of the variables, sorted.
  """

  path: pathlib.Path
  shards: int
  entries: Mapping[str, Entry]

  def shard_path(self, shard: int) -> pathlib.Path:
    """Path of a data file."""
    name = self.path.name.removesuffix(".index")
    return self.path.with_name(f"{name}.data-{shard:05d}-of-{self.shards:05d}")


def locate(path: str | os.PathLike) -> pathlib.Path:
  """Returns the index file of a checkpoint.

  Args:
    path: a checkpoint's prefix, one of its files, or a folder that contains one checkpoint,
      directly or in "variables" (a SavedModel, or a module of TF-Hub).

  Raises:
    UserError: there is none, or there are several.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    indices = sorted(path.glob("*.index")) or sorted(path.glob("variables/*.index"))
    if len(indices) != 1:
      names = ", ".join(p.name for p in indices[:4])
      content = f"several checkpoints ({names}): give one of them" if indices else "no *.index"
      raise UserError(f"{path} contains {content}")
    return indices[0]
  prefix = path.name.removesuffix(".index")
  if ".data-" in prefix:
    prefix = prefix[: prefix.rindex(".data-")]
  index = path.with_name(f"{prefix}.index")
  if not index.is_file():
    raise UserError(f"no TensorFlow checkpoint {path}: {index} is missing")
  return index


def read_index(path: str | os.PathLike) -> Index:
  """Reads the index of a checkpoint; its data files may be missing.

  Args:
    path: see `locate`.

  Raises:
    UserError: the file is missing or damaged.
  """
  path = locate(path)
  try:
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
      raise ValueError(f"{size} bytes exceed the limit of {MAX_INDEX_BYTES}")
    entries = sstable.read(path.read_bytes())
    if _HEADER not in entries:
      raise ValueError("it has no header")
    shards = _parse_header(entries.pop(_HEADER))
    parsed = {key.decode(): _parse_entry(value) for key, value in entries.items()}
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror})") from error
  except (ValueError, TypeError) as error:  # raised by the parser for a malformed message
    raise UserError(f"{path}: damaged, or not the index of a checkpoint: {error}") from error
  return Index(path, shards, parsed)


def _parse_header(message: bytes) -> int:
  """Parses a BundleHeaderProto; returns the number of data files."""
  shards = 0
  for field, content in protobuf.fields(memoryview(message)):
    if field == 1:
      shards = int(content)
    elif field == 2 and content != _LITTLE_ENDIAN:
      raise ValueError("written on a big-endian machine, which is not supported")
  if not 1 <= shards <= MAX_SHARDS:
    raise ValueError(f"{shards} data files; the number must be in 1..{MAX_SHARDS}")
  return shards


def _parse_entry(message: bytes) -> Entry:
  """Parses a BundleEntryProto."""
  values: dict[str, Any] = {}
  for field, content in protobuf.fields(memoryview(message)):
    if field == 2:
      values["shape"] = _parse_shape(content)
    elif field == 6:
      values["crc"] = int.from_bytes(content, "little")
    elif field == 7:
      values["slices"] = True
    elif field in (1, 3, 4, 5):
      values[("dtype", "", "shard", "offset", "size")[field - 1]] = int(content)
  return Entry(**values)


def _parse_shape(message: memoryview) -> tuple[int, ...]:
  """Parses a TensorShapeProto."""
  shape = []
  for field, dimension in protobuf.fields(message):
    if field == 2:
      sizes = [protobuf.signed(c) for f, c in protobuf.fields(dimension) if f == 1]
      shape.append(sizes[-1] if sizes else 0)
    elif field == 3 and dimension:
      raise ValueError("a variable has an unknown rank")
  if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
    raise ValueError(f"a variable has the shape {tuple(shape[:8])}")
  return tuple(shape)


def read(path: str | os.PathLike, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
  """Reads variables and checks their checksums.

  Args:
    path: see `locate`.
    names: names of the variables; None reads all.

  Returns:
    The variables by name, in the order of the index, with their stored types.

  Raises:
    UserError: a file is missing or damaged, or a variable has a type that is not supported.
  """
  index = read_index(path)
  missing = sorted(set(names or ()) - set(index.entries))
  if missing:
    raise UserError(f"{index.path} has no variable {missing[0]!r} ({len(missing)} missing)")
  wanted = {n: e for n, e in index.entries.items() if names is None or n in names}
  sizes = {}
  for shard in sorted({entry.shard for entry in wanted.values()}):
    file = index.shard_path(shard)
    if shard >= index.shards or not file.is_file():
      raise UserError(f"{index.path.name} refers to {file}, which is missing")
    sizes[shard] = file.stat().st_size
  for name, entry in wanted.items():
    _check(index, name, entry, sizes[entry.shard])
  # Variables may not overlap; otherwise small files could require a lot of memory.
  if sum(entry.size for entry in wanted.values()) > sum(sizes.values()):
    raise UserError(f"{index.path}: damaged, its variables overlap")
  arrays = {}
  for shard in sizes:
    path = index.shard_path(shard)
    try:
      with open(path, "rb") as file:
        for name, entry in wanted.items():
          if entry.shard == shard:
            arrays[name] = _read_variable(file, name, entry)
    except OSError as error:
      raise UserError(f"{path}: not readable ({error.strerror})") from error
  return {name: arrays[name] for name in wanted}


def _check(index: Index, name: str, entry: Entry, shard_bytes: int) -> None:
  """Raises UserError if a variable cannot be read; reads none of its bytes."""
  where = f"{index.path}, {name!r}"
  if entry.dtype not in _DTYPES:
    raise UserError(f"{where}: TensorFlow's type {entry.dtype} is not supported")
  if entry.slices:
    raise UserError(f"{where}: a partitioned variable, which is not supported")
  needed = math.prod(entry.shape) * _DTYPES[entry.dtype].itemsize
  if entry.size != needed:
    raise UserError(f"{where}: damaged, shape {entry.shape} in {entry.size} bytes")
  if entry.offset + entry.size > shard_bytes:
    raise UserError(
      f"{index.shard_path(entry.shard)}: cut off, {shard_bytes} bytes, {name!r} ends at "
      f"{entry.offset + entry.size}"
    )


def _read_variable(file: BinaryIO, name: str, entry: Entry) -> np.ndarray:
  """Reads one variable from its open data file and checks its checksum."""
  file.seek(entry.offset)
  data = file.read(entry.size)
  if masked_crc(data) != entry.crc:
    raise UserError(f"{file.name}, {name!r}: damaged (its checksum differs)")
  # A copy, because arrays over bytes are read-only and may be unaligned.
  return np.frombuffer(data, _DTYPES[entry.dtype]).reshape(entry.shape).copy()


def write(
  prefix: str | os.PathLike,
  variables: Mapping[str, np.ndarray],
  *,
  shards: int = 1,
  block_bytes: int = 4096,
  compress: Callable[[bytes], bytes] | None = None,
) -> pathlib.Path:
  """Writes a checkpoint that `read` and TensorFlow can read; returns its index file.

  Args:
    prefix: common prefix of the file paths; its folder is created.
    variables: arrays by name.
    shards: number of data files; variables are assigned to them in turn.
    block_bytes: see `sstable.write`.
    compress: see `sstable.write`.

  Raises:
    UserError: one of the files exists, or a variable has a type that is not supported.
  """
  prefix = pathlib.Path(prefix)
  index = Index(prefix.with_name(f"{prefix.name}.index"), shards, {})
  paths = [index.shard_path(shard) for shard in range(shards)]
  for path in (index.path, *paths):
    if path.exists():
      raise UserError(f"{path} exists; nothing is overwritten")
  numbers = {dtype: number for number, dtype in _DTYPES.items()}
  contents, entries = [bytearray() for _ in paths], {_HEADER: _encode_header(shards)}
  for number, name in enumerate(sorted(variables)):
    array = np.asarray(variables[name])
    dtype, shard = array.dtype.newbyteorder("<"), number % shards
    if dtype not in numbers:
      raise UserError(f"{name!r}: type {array.dtype} is not supported")
    data = array.astype(dtype).tobytes()
    entry = Entry(
      numbers[dtype], array.shape, shard, len(contents[shard]), len(data), masked_crc(data)
    )
    entries[name.encode()] = _encode_entry(entry)
    contents[shard] += data
  prefix.parent.mkdir(parents=True, exist_ok=True)
  for path, content in zip(paths, contents, strict=True):
    path.write_bytes(content)
  # The index is the last file, because it makes the checkpoint complete.
  index.path.write_bytes(sstable.write(entries, block_bytes, compress))
  return index.path


def _encode_header(shards: int) -> bytes:
  """Encodes a BundleHeaderProto of version 1, as TensorFlow writes it."""
  number = lambda field, value: protobuf.tag(field, protobuf.VARINT) + protobuf.varint(value)
  version = number(1, 1)
  return number(1, shards) + protobuf.prefix(3, len(version)) + version


def _encode_entry(entry: Entry) -> bytes:
  """Encodes a BundleEntryProto; like TensorFlow, it omits numbers that are zero."""

  def number(field, value):
    return protobuf.tag(field, protobuf.VARINT) + protobuf.varint(value) if value else b""

  dimensions = [number(1, size) for size in entry.shape]
  shape = b"".join(protobuf.prefix(2, len(d)) + d for d in dimensions)
  return (
    number(1, entry.dtype)
    + protobuf.prefix(2, len(shape))
    + shape
    + number(3, entry.shard)
    + number(4, entry.offset)
    + number(5, entry.size)
    + protobuf.tag(6, protobuf.FIXED32)
    + entry.crc.to_bytes(4, "little")
  )
