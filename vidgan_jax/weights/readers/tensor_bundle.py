"""TensorFlow's checkpoints of version 2, read and written without TensorFlow.

A checkpoint PREFIX is PREFIX.index, a table (`table.py`) of where each variable lies, and files
PREFIX.data-00000-of-00001 of the variables' bytes (tensorflow/core/protobuf/tensor_bundle.proto).
Files are not trusted: what the index says is compared with the files' sizes before memory is taken,
and each variable's bytes with their CRC32C.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Collection, Mapping

import numpy as np

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import protobuf
from vidgan_jax.weights.readers import sstable

MAX_INDEX_BYTES = 2**26
MAX_SHARDS = 10_000

# tensorflow/core/framework/types.proto
_DTYPES = {
  1: np.dtype("<f4"),
  2: np.dtype("<f8"),
  3: np.dtype("<i4"),
  4: np.dtype("u1"),
  6: np.dtype("i1"),
  9: np.dtype("<i8"),
  10: np.dtype("?"),
  19: np.dtype("<f2"),
}
_MAX_RANK = 254  # TensorFlow's own
_LITTLE_ENDIAN = 0
_HEADER = b""  # its key is the first of all


@dataclasses.dataclass(frozen=True)
class Entry:
  """Where a variable lies.

  Attributes:
    dtype: TensorFlow's number of its type, 1 for float32.
    shape: of the variable.
    shard: number of the file of data.
    offset: in it, bytes.
    size: bytes.
    crc: masked CRC32C of these bytes.
    slices: whether it is in several pieces, which nothing here reads.
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
  """What an index file says.

  Attributes:
    path: of the file.
    shards: number of files of data.
    entries: by the variables' names, in order.
  """

  path: pathlib.Path
  shards: int
  entries: Mapping[str, Entry]

  def shard_path(self, shard: int) -> pathlib.Path:
    """The file of data of this number."""
    name = self.path.name.removesuffix(".index")
    return self.path.with_name(f"{name}.data-{shard:05d}-of-{self.shards:05d}")


def locate(path: str | os.PathLike) -> pathlib.Path:
  """Returns the index file that a user means.

  Args:
    path: a checkpoint's prefix, one of its files, or a folder that holds one checkpoint, in itself
      or, like a SavedModel or a module of TF-Hub, in "variables".

  Raises:
    UserError: there is none, or several.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    found = sorted(path.glob("*.index")) or sorted(path.glob("variables/*.index"))
    if len(found) != 1:
      names = ", ".join(p.name for p in found[:4])
      raise UserError(
        f"{path} holds {f'several checkpoints ({names}): name one' if found else 'no *.index'}"
      )
    return found[0]
  prefix = path.name.removesuffix(".index")
  if ".data-" in prefix:
    prefix = prefix[: prefix.rindex(".data-")]
  index = path.with_name(f"{prefix}.index")
  if not index.is_file():
    raise UserError(f"no TensorFlow checkpoint {path}: {index} is missing")
  return index


def read_index(path: str | os.PathLike) -> Index:
  """Reads where the variables of a checkpoint lie; its files of data may be missing.

  Args:
    path: see `locate`.

  Raises:
    UserError: there is no such file, or it is damaged.
  """
  path = locate(path)
  try:
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
      raise ValueError(f"{size} bytes; at most {MAX_INDEX_BYTES} are read")
    entries = sstable.read(path.read_bytes())
    if _HEADER not in entries:
      raise ValueError("no checkpoint's header")
    shards = _parse_header(entries.pop(_HEADER))
    parsed = {key.decode(): _parse_entry(value) for key, value in entries.items()}
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror})") from error
  except (ValueError, TypeError) as error:  # what a message's parser meets in a wrong message
    raise UserError(f"{path}: damaged, or no checkpoint's index: {error}") from error
  return Index(path, shards, parsed)


def _parse_header(message: bytes) -> int:
  """The number of shards in a BundleHeaderProto."""
  shards = 0
  for field, content in protobuf.fields(memoryview(message)):
    if field == 1:
      shards = int(content)
    elif field == 2 and content != _LITTLE_ENDIAN:
      raise ValueError("written on a big-endian machine, which is not read")
  if not 1 <= shards <= MAX_SHARDS:
    raise ValueError(f"{shards} files of data; 1 to {MAX_SHARDS} are read")
  return shards


def _parse_entry(message: bytes) -> Entry:
  """Parses a BundleEntryProto."""
  found = {}
  for field, content in protobuf.fields(memoryview(message)):
    if field == 2:
      found["shape"] = _parse_shape(content)
    elif field == 6:
      found["crc"] = int.from_bytes(content, "little")
    elif field == 7:
      found["slices"] = True
    elif field in (1, 3, 4, 5):
      found[("dtype", "", "shard", "offset", "size")[field - 1]] = int(content)
  return Entry(**found)


def _parse_shape(message: memoryview) -> tuple[int, ...]:
  """Parses a TensorShapeProto."""
  shape = []
  for field, dimension in protobuf.fields(message):
    if field == 2:
      sizes = [protobuf.signed(c) for f, c in protobuf.fields(dimension) if f == 1]
      shape.append(sizes[-1] if sizes else 0)
    elif field == 3 and dimension:
      raise ValueError("a variable of unknown rank")
  if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
    raise ValueError(f"a variable of shape {tuple(shape[:8])}")
  return tuple(shape)


def read(path: str | os.PathLike, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
  """Reads variables, each one's checksum compared.

  Args:
    path: see `locate`.
    names: of the variables; None reads all.

  Returns:
    by name, in the order of the index, the variables in their own types.

  Raises:
    UserError: a file is missing or damaged, or a variable is of a type that is not read.
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
      raise UserError(f"{index.path.name} asks for {file}, which is missing")
    sizes[shard] = file.stat().st_size
  for name, entry in wanted.items():
    _check(index, name, entry, sizes[entry.shard])
  # Variables do not share bytes, so that files cannot ask for more memory than they have bytes.
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
  """Raises a UserError where a variable cannot be read; nothing of it is read yet."""
  where = f"{index.path}, {name!r}"
  if entry.dtype not in _DTYPES:
    raise UserError(f"{where}: TensorFlow's type {entry.dtype} is not read")
  if entry.slices:
    raise UserError(f"{where}: a partitioned variable, which is not read")
  needed = math.prod(entry.shape) * _DTYPES[entry.dtype].itemsize
  if entry.size != needed:
    raise UserError(f"{where}: damaged, shape {entry.shape} in {entry.size} bytes")
  if entry.offset + entry.size > shard_bytes:
    raise UserError(
      f"{index.shard_path(entry.shard)}: cut off, {shard_bytes} bytes, {name!r} ends at "
      f"{entry.offset + entry.size}"
    )


def _read_variable(file, name: str, entry: Entry) -> np.ndarray:
  """Reads one variable from its open file and compares its checksum."""
  file.seek(entry.offset)
  data = file.read(entry.size)
  if masked_crc(data) != entry.crc:
    raise UserError(f"{file.name}, {name!r}: damaged (its checksum differs)")
  # A copy, for arrays in bytes are read-only and may begin anywhere.
  return np.frombuffer(data, _DTYPES[entry.dtype]).reshape(entry.shape).copy()


def write(
  prefix: str | os.PathLike,
  variables: Mapping[str, np.ndarray],
  *,
  shards: int = 1,
  block_bytes: int = 4096,
  compress=None,
) -> pathlib.Path:
  """Writes a checkpoint that `read` and TensorFlow read; returns its index file.

  Args:
    prefix: path that the files' names begin with; its folder is made.
    variables: by name.
    shards: files of data; variables go to them in turn.
    block_bytes: see `table.write`.
    compress: see `table.write`.

  Raises:
    UserError: one of the files exists, or a variable's type is not written.
  """
  prefix = pathlib.Path(prefix)
  index = Index(prefix.with_name(f"{prefix.name}.index"), shards, {})
  paths = [index.shard_path(shard) for shard in range(shards)]
  for path in (index.path, *paths):
    if path.exists():
      raise UserError(f"{path} exists; nothing is overwritten")
  numbers = {dtype: number for number, dtype in _DTYPES.items()}
  contents, entries = [bytearray() for _ in paths], {_HEADER: _encode_header(shards)}
  for place, name in enumerate(sorted(variables)):
    array = np.asarray(variables[name])
    dtype, shard = array.dtype.newbyteorder("<"), place % shards
    if dtype not in numbers:
      raise UserError(f"{name!r}: type {array.dtype} is not written")
    data = array.astype(dtype).tobytes()
    entry = Entry(
      numbers[dtype], array.shape, shard, len(contents[shard]), len(data), masked_crc(data)
    )
    entries[name.encode()] = _encode_entry(entry)
    contents[shard] += data
  prefix.parent.mkdir(parents=True, exist_ok=True)
  for path, content in zip(paths, contents, strict=True):
    path.write_bytes(content)
  index.path.write_bytes(
    sstable.write(entries, block_bytes, compress)
  )  # last: it makes the rest one
  return index.path


def _encode_header(shards: int) -> bytes:
  """A BundleHeaderProto, of version 1 as TensorFlow writes it."""
  number = lambda field, value: protobuf.tag(field, protobuf.VARINT) + protobuf.varint(value)
  version = number(1, 1)
  return number(1, shards) + protobuf.prefix(3, len(version)) + version


def _encode_entry(entry: Entry) -> bytes:
  """A BundleEntryProto; like TensorFlow it leaves out what is zero."""

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
