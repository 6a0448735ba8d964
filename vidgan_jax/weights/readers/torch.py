"""Reads PyTorch's files of weights (.pt, .pth) without PyTorch and without unpickling.

Three formats are supported: the zip archives of torch.save since version 1.6; the older files,
which contain several pickles followed by the numbers; and TorchScript, of which only the tensors
are read and never the program. `pickles` interprets the pickles in them.
"""

import collections
import io
import math
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable
from vidgan_jax.weights.readers import pickles

MAX_BYTES = 2**31
_MAX_PICKLE_BYTES = 2**26
_MAX_STORAGES = 100_000
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def is_torchscript(path: str | os.PathLike) -> bool:
  """Whether a file is a TorchScript program."""
  if not zipfile.is_zipfile(path):
    return False
  with zipfile.ZipFile(path) as archive:
    return _is_script([member.filename for member in archive.infolist()])


def _is_script(members: list[str]) -> bool:
  """Whether these are the files in an archive of a TorchScript program."""
  return any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in members)


def read(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
  """Reads the tensors of a state dict, of a checkpoint with a "state_dict", or of TorchScript.

  Args:
    path: the file.
    max_bytes: largest size of the file, and of all tensors together, in bytes.

  Returns:
    Arrays by name ("layer1.0.weight") with the types of the tensors (bfloat16 as float32). Values
    that are not tensors are omitted. The tensors of TorchScript have the names of its attributes;
    constants of its program are "constants.0", "constants.1", ...

  Raises:
    UserError: the file is missing, damaged, too large, or refers to anything other than tensors.
  """
  path = pathlib.Path(path)
  try:
    if path.stat().st_size > max_bytes:
      raise pickles.Refused(f"{path.stat().st_size} bytes exceed the limit of {max_bytes}")
    if zipfile.is_zipfile(path):
      return _read_zip(path, max_bytes)
    with open(path, "rb") as file:
      return _read_legacy(file, max_bytes)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error
  except pickles.Refused as error:
    raise UserError(f"{path}: {printable(str(error)[:300])}") from error
  except (  # damage, in the form in which the libraries report it
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise UserError(
      f"{path}: damaged, or not a file of PyTorch ({type(error).__name__})"
    ) from error


def _read_zip(path: pathlib.Path, max_bytes: int) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(path) as archive:
    members = {member.filename: member for member in archive.infolist()}
    names = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(names) != 1 or len(members) > _MAX_STORAGES:
      raise pickles.Refused("a zip archive, but not one of torch.save")
    folder = names[0].split("/")[0]
    order = members.get(f"{folder}/byteorder")
    if order and (order.file_size > 16 or archive.read(order) != b"little"):
      raise pickles.Refused("written on a big-endian machine, which is not supported")
    script = _is_script(list(members))
    run_pickle = lambda name: _run_member(archive, members[name], script)
    content = run_pickle(names[0])
    tensors = dict(_attributes(content)) if script else _tensors(content)
    _check(tensors, max_bytes)
    found = _arrays(
      tensors, lambda storage: _read_storage(archive, members, f"{folder}/data", storage)
    )
    constants = f"{folder}/constants.pkl"
    if script and constants in members:
      tensors = dict(_attributes(run_pickle(constants), "constants"))
      _check(tensors, max_bytes)
      found |= _arrays(tensors, lambda s: _read_storage(archive, members, f"{folder}/constants", s))
    if not found:
      raise pickles.Refused("contains no tensors")
    return found


def _run_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, script: bool) -> Any:
  """Interprets a pickle in an archive; see `_run`."""
  if member.file_size > _MAX_PICKLE_BYTES:
    raise pickles.Refused(f"its pickle has more than {_MAX_PICKLE_BYTES} bytes")
  return pickles.run(io.BytesIO(archive.read(member)), script=script)


def _read_storage(
  archive: zipfile.ZipFile,
  members: Mapping[str, zipfile.ZipInfo],
  folder: str,
  storage: pickles.Storage,
) -> np.ndarray:
  """Reads the numbers of a storage, a file of its own in a folder of the archive."""
  name = f"{folder}/{storage.key}"
  if name not in members or members[name].file_size != storage.count * storage.dtype.itemsize:
    raise pickles.Refused(f"damaged, its numbers {storage.key!r} are missing or cut off")
  return _numbers(archive.read(name), storage)


def _attributes(value: Any, prefix: str = "") -> Iterator[tuple[str, pickles.Tensor]]:
  """Yields the tensors in modules, lists, tuples and dictionaries, with their paths.

  What stands in several places has the path of the first: a small file could name it so often that
  all paths would never be listed.
  """
  waiting, seen = [(prefix, value)], set()
  while waiting:
    path, value = waiting.pop()
    if isinstance(value, pickles.Tensor):
      yield path, value
    if not isinstance(value, dict | list | tuple) or id(value) in seen:
      continue
    seen.add(id(value))
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    each = [(f"{path}.{name}" if path else str(name), item) for name, item in pairs]
    waiting += reversed(each)


class _Bounded:
  """A file whose reads are limited to its size, so that a false length allocates no memory."""

  def __init__(self, file: BinaryIO):
    self._file, self._size, self.tell = file, os.fstat(file.fileno()).st_size, file.tell

  def read(self, count: int) -> bytes:
    return self._file.read(min(count, self._size - self.tell(), _MAX_PICKLE_BYTES))

  def readline(self) -> bytes:
    return self._file.readline(_MAX_PICKLE_BYTES)


def _read_legacy(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
  bounded = _Bounded(file)
  if pickles.run(bounded) != _LEGACY_MAGIC or pickles.run(bounded) != _LEGACY_PROTOCOL:
    raise pickles.Refused("not a file of torch.save")
  if pickles.run(bounded).get("little_endian") is not True:
    raise pickles.Refused("written on a big-endian machine, which is not supported")
  storages: dict[str, pickles.Storage] = {}
  tensors = _tensors(pickles.run(bounded, storages))
  _check(tensors, max_bytes)
  size, numbers = os.fstat(file.fileno()).st_size, {}
  keys = pickles.run(bounded)
  if len(keys) > _MAX_STORAGES:
    raise pickles.Refused(f"{len(keys)} storages, more than {_MAX_STORAGES}")
  missing = sorted(set(storages) - set(keys))
  if missing:
    raise pickles.Refused(f"damaged, its numbers {missing[0]!r} are missing")
  for key in keys:
    (count,) = struct.unpack("<q", file.read(8))
    storage = storages.get(key)
    if storage is None:
      raise pickles.Refused(f"damaged, no tensor uses its numbers {key!r}")
    length = count * storage.dtype.itemsize
    if count != storage.count or file.tell() + length > size or key in numbers:
      raise pickles.Refused(f"damaged, its numbers {key!r} are cut off")
    numbers[key] = _numbers(file.read(length), storage)
  return _arrays(tensors, lambda storage: numbers[storage.key])


def _numbers(data: bytes, storage: pickles.Storage) -> np.ndarray:
  """Returns the numbers of a storage; numpy.frombuffer refuses empty data."""
  return np.frombuffer(data, storage.dtype) if data else np.empty(0, storage.dtype)


def _tensors(content: Any) -> dict[str, pickles.Tensor]:
  """Returns the tensors by name in the content of a pickle."""
  if not isinstance(content, dict):
    kind = type(content).__name__.strip("_")
    raise pickles.Refused(f"contains a {kind} instead of a dictionary of tensors")
  for name in ("state_dict", "model_state_dict"):
    if isinstance(content.get(name), dict):
      content = content[name]
  tensors = {name: value for name, value in content.items() if isinstance(value, pickles.Tensor)}
  if not tensors or not all(isinstance(name, str) for name in tensors):
    raise pickles.Refused("contains no state dict")
  return tensors


def _check(tensors: dict[str, pickles.Tensor], max_bytes: int) -> None:
  """Raises Refused if tensors exceed their storages or need too much memory; reads no numbers."""
  total, storages = 0, {tensor.storage for tensor in tensors.values()}
  for name, tensor in tensors.items():
    storage = tensor.storage
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and tensor.offset + reach >= storage.count:
      raise pickles.Refused(f"damaged, {name!r} exceeds its numbers")
    total += math.prod(tensor.shape) * storage.dtype.itemsize
  total += sum(s.count * s.dtype.itemsize for s in storages)
  if total > 2 * max_bytes:
    raise pickles.Refused(f"its tensors need more than {max_bytes} bytes")


def _arrays(
  tensors: dict[str, pickles.Tensor], read_storage: Callable[[pickles.Storage], np.ndarray]
) -> dict[str, np.ndarray]:
  """Copies tensors to arrays, one storage after the other."""
  groups = collections.defaultdict(list)
  for name, tensor in tensors.items():
    groups[tensor.storage].append(name)
  arrays = {}
  for storage, names in groups.items():
    numbers = read_storage(storage)
    for name in names:
      tensor = tensors[name]
      strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
      start = numbers[tensor.offset :]
      view = np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False)
      array = np.array(view, order="C")
      if storage.dtype.kind == "V":  # the upper half of a float32
        array = (array.view("<u2").astype("<u4") << 16).view("<f4")
      arrays[name] = array
  return {name: arrays[name] for name in tensors}
