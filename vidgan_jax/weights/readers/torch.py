"""PyTorch's files of weights (.pt, .pth), read without PyTorch and without unpickling.

Two forms are read: the zip archives of torch.save since 1.6, and the older files of pickles one
after the other with the numbers behind them. A pickle is a program that could do anything; here a
small interpreter knows the few instructions that dictionaries of tensors are made of, calls nothing
but what is listed below, and names whatever else is asked for.
"""

import collections
import dataclasses
import io
import math
import os
import pathlib
import pickletools
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

MAX_BYTES = 2**31
_MAX_PICKLE_BYTES = 2**26
_MAX_INSTRUCTIONS = 2_000_000
_MAX_STORAGES = 100_000
_MAX_RANK = 16
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

_STORAGES = {
  "FloatStorage": "<f4",
  "DoubleStorage": "<f8",
  "HalfStorage": "<f2",
  "BFloat16Storage": "V2",  # which NumPy has no type for
  "LongStorage": "<i8",
  "IntStorage": "<i4",
  "ShortStorage": "<i2",
  "CharStorage": "i1",
  "ByteStorage": "u1",
  "BoolStorage": "?",
}


class _Refused(Exception):
  """What a file asks for, or how it is damaged."""


@dataclasses.dataclass(frozen=True)
class _Global:
  """A name that a pickle asks for."""

  module: str
  name: str

  def __str__(self):
    return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class _Storage:
  """Numbers in the file: a key, their type and how many there are."""

  key: str
  dtype: np.dtype
  count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A window on a storage, in numbers."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def read(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
  """Reads the tensors of a state dict, or of a checkpoint that holds one as "state_dict".

  Args:
    path: the file.
    max_bytes: of all tensors together, and of the file.

  Returns:
    by name ("layer1.0.weight"), arrays of the tensors' types (bfloat16 as float32); what is no
    tensor is left out.

  Raises:
    UserError: the file is missing, damaged, too large, TorchScript, or asks for more than tensors.
  """
  path = pathlib.Path(path)
  try:
    if path.stat().st_size > max_bytes:
      raise _Refused(f"{path.stat().st_size} bytes; at most {max_bytes} are read")
    if zipfile.is_zipfile(path):
      return _read_zip(path, max_bytes)
    with open(path, "rb") as file:
      return _read_legacy(file, max_bytes)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error
  except _Refused as error:
    raise UserError(f"{path}: {printable(str(error)[:300])}") from error
  except (  # damage, as the modules below tell it
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
    raise UserError(f"{path}: damaged, or no file of PyTorch ({type(error).__name__})") from error


def _read_zip(path, max_bytes) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(path) as archive:
    members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1 or len(members) > _MAX_STORAGES:
      raise _Refused("a zip archive, but none of torch.save")
    folder = pickles[0].split("/")[0]
    if f"{folder}/constants.pkl" in members or any("/code/" in name for name in members):
      raise _Refused("TorchScript, a program; what is read are state dicts")
    if f"{folder}/byteorder" in members and archive.read(f"{folder}/byteorder") != b"little":
      raise _Refused("written on a big-endian machine, which is not read")
    if members[pickles[0]].file_size > _MAX_PICKLE_BYTES:
      raise _Refused(f"its pickle has more than {_MAX_PICKLE_BYTES} bytes")
    tensors = _tensors(_run(io.BytesIO(archive.read(pickles[0]))))
    _check(tensors, max_bytes)

    def storage(wanted: _Storage) -> np.ndarray:
      member = members.get(f"{folder}/data/{wanted.key}")
      if member is None or member.file_size != wanted.count * wanted.dtype.itemsize:
        raise _Refused(f"damaged, its numbers {wanted.key!r} are missing or cut off")
      return _numbers(archive.read(member), wanted)

    return _arrays(tensors, storage)


class _Bounded:
  """A file that takes no memory for more bytes than it has, as open files do when asked."""

  def __init__(self, file):
    self._file, self._size, self.tell = file, os.fstat(file.fileno()).st_size, file.tell

  def read(self, count):
    return self._file.read(min(count, self._size - self.tell(), _MAX_PICKLE_BYTES))

  def readline(self):
    return self._file.readline(_MAX_PICKLE_BYTES)


def _read_legacy(file, max_bytes) -> dict[str, np.ndarray]:
  pickles = _Bounded(file)
  if _run(pickles) != _LEGACY_MAGIC or _run(pickles) != _LEGACY_PROTOCOL:
    raise _Refused("no file of torch.save")
  if _run(pickles).get("little_endian") is not True:
    raise _Refused("written on a big-endian machine, which is not read")
  wanted = {}
  tensors = _tensors(_run(pickles, wanted))
  _check(tensors, max_bytes)
  size, found = os.fstat(file.fileno()).st_size, {}
  keys = _run(pickles)
  if len(keys) > _MAX_STORAGES:
    raise _Refused(f"{len(keys)} storages")
  missing = sorted(set(wanted) - set(keys))
  if missing:
    raise _Refused(f"damaged, its numbers {missing[0]!r} are missing")
  for key in keys:
    (count,) = struct.unpack("<q", file.read(8))
    storage = wanted.get(key)
    if storage is None:
      raise _Refused(f"damaged, numbers {key!r} that nothing is made of")
    length = count * storage.dtype.itemsize
    if count != storage.count or file.tell() + length > size or key in found:
      raise _Refused(f"damaged, its numbers {key!r} are cut off")
    found[key] = _numbers(file.read(length), storage)
  return _arrays(tensors, lambda storage: found[storage.key])


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
  """The numbers of a storage; NumPy makes none of no bytes."""
  return np.frombuffer(data, storage.dtype) if data else np.empty(0, storage.dtype)


def _tensors(top) -> dict[str, _Tensor]:
  """The tensors of what a pickle made, by name."""
  if not isinstance(top, dict):
    raise _Refused(f"holds a {type(top).__name__.strip('_')}, no dictionary of tensors")
  for name in ("state_dict", "model_state_dict"):
    if isinstance(top.get(name), dict):
      top = top[name]
  tensors = {name: value for name, value in top.items() if isinstance(value, _Tensor)}
  if not tensors or not all(isinstance(name, str) for name in tensors):
    raise _Refused("holds no state dict")
  return tensors


def _check(tensors, max_bytes) -> None:
  """Raises where tensors reach beyond their storages, or take too much memory; none is read yet."""
  total, storages = 0, {tensor.storage for tensor in tensors.values()}
  for name, tensor in tensors.items():
    storage = tensor.storage
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and tensor.offset + reach >= storage.count:
      raise _Refused(f"damaged, {name!r} reaches beyond its numbers")
    total += math.prod(tensor.shape) * storage.dtype.itemsize
  total += sum(s.count * s.dtype.itemsize for s in storages)
  if total > 2 * max_bytes:
    raise _Refused(f"its tensors take more than {max_bytes} bytes")


def _arrays(tensors, storage) -> dict[str, np.ndarray]:
  """Arrays of their own of tensors, storage by storage; `storage` gives one's numbers."""
  groups = collections.defaultdict(list)
  for name, tensor in tensors.items():
    groups[tensor.storage].append(name)
  arrays = {}
  for wanted, names in groups.items():
    numbers = storage(wanted)
    for name in names:
      tensor = tensors[name]
      strides = [stride * wanted.dtype.itemsize for stride in tensor.strides]
      start = numbers[tensor.offset :]
      view = np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False)
      array = np.array(view, order="C")
      if wanted.dtype.kind == "V":  # the upper half of a float32
        array = (array.view("<u2").astype("<u4") << 16).view("<f4")
      arrays[name] = array
  return {name: arrays[name] for name in tensors}


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
  """A tensor of the arguments of torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
  numbers = (offset, *shape, *strides)
  whole = all(type(n) is int and 0 <= n < 2**48 for n in numbers)
  if not isinstance(storage, _Storage) or not whole or len(shape) != len(strides):
    raise _Refused("damaged, a tensor that is none")
  if len(shape) > _MAX_RANK:
    raise _Refused(f"a tensor of {len(shape)} axes")
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_):
  return tensor


# All that a pickle may call.
_CALLS = {
  ("collections", "OrderedDict"): lambda *pairs: dict(*pairs),
  ("torch", "Size"): tuple,
  ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
  ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
  ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
# All that it may name besides, and not call.
_TYPES = {("torch", name) for name in _STORAGES}


def _find(module, name) -> _Global:
  if (module, name) not in _CALLS and (module, name) not in _TYPES:
    raise _Refused(f"asks for {module}.{name}, which no state dict needs: refused")
  return _Global(module, name)


def _persistent(identity, storages) -> _Storage:
  """What a pickle means by the identity of a storage, ("storage", type, key, place, count)."""
  kind, storage, key, _, count, *view = identity
  known = isinstance(storage, _Global) and storage.name in _STORAGES
  if kind != "storage" or not known or type(key) is not str or type(count) is not int:
    raise _Refused("damaged, numbers of an unknown kind")
  if view not in ([], [None]) or not 0 <= count < 2**48:
    raise _Refused(f"numbers {key!r} that are a part of others, which is not read")
  found = _Storage(key, np.dtype(_STORAGES[storage.name]), count)
  if storages.setdefault(key, found) != found:
    raise _Refused(f"damaged, its numbers {key!r} are described twice")
  return found


def _call(function, arguments):
  if not isinstance(function, _Global) or (function.module, function.name) not in _CALLS:
    raise _Refused(f"calls {function}, which no state dict needs: refused")
  return _CALLS[function.module, function.name](*arguments)


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
  *("BININT", "BININT1", "BININT2", "LONG1", "LONG", "INT", "BINFLOAT", "BINUNICODE"),
  *("SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES"),
  *("SHORT_BINBYTES", "UNICODE"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _run(file, storages: dict | None = None) -> Any:
  """Interprets one pickle and leaves the file behind it.

  Dictionaries, lists, tuples, numbers and texts are made; all else goes through `_find`, `_call`
  and `_persistent`.

  Args:
    file: at the pickle's beginning.
    storages: is filled with the storages that the pickle speaks of, by key.
  """
  stack, memo = [], {}
  storages = {} if storages is None else storages

  def pop_mark():
    items = []
    while (item := stack.pop()) is not _MARK:
      items.append(item)
    return items[::-1]

  for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
    name = opcode.name
    if count > _MAX_INSTRUCTIONS:
      raise _Refused(f"more than {_MAX_INSTRUCTIONS} instructions")
    if name in ("PROTO", "FRAME"):
      continue
    if name == "STOP":
      return stack.pop()
    if name in _LITERALS:
      stack.append(argument)
    elif name in _CONSTANTS:
      stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
      stack.append(_EMPTY[name]())
    elif name == "MARK":
      stack.append(_MARK)
    elif name in ("BINPUT", "LONG_BINPUT"):
      memo[argument] = stack[-1]
    elif name == "MEMOIZE":
      memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif name == "GLOBAL":
      stack.append(_find(*argument.split(" ", 1)))
    elif name == "STACK_GLOBAL":
      attribute = stack.pop()
      stack.append(_find(stack.pop(), attribute))
    elif name == "TUPLE":
      stack.append(tuple(pop_mark()))
    elif name in _TUPLES:
      items = stack[-_TUPLES[name] :]
      del stack[-_TUPLES[name] :]
      stack.append(tuple(items))
    elif name == "REDUCE":
      arguments = stack.pop()
      stack.append(_call(stack.pop(), arguments))
    elif name == "BINPERSID":
      stack.append(_persistent(stack.pop(), storages))
    elif name in ("SETITEM", "SETITEMS"):
      items = pop_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
      if not all(isinstance(key, (str, int)) for key in items[::2]):
        raise _Refused("damaged, a dictionary whose keys are no names")
      stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("APPEND", "APPENDS"):
      items = pop_mark() if name == "APPENDS" else [stack.pop()]
      stack[-1].extend(items)
    elif name == "BUILD":
      stack.pop()  # attributes of a dictionary: PyTorch's versions of its modules
      if not isinstance(stack[-1], dict):
        raise _Refused("sets attributes of what is no dictionary: refused")
    else:
      raise _Refused(f"has the instruction {name}, which no state dict needs: refused")
  raise EOFError
