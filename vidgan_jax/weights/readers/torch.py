"""Reads PyTorch's files of weights (.pt, .pth) without PyTorch and without unpickling.

Two formats are supported: the zip archives of torch.save since version 1.6, and the older files,
which contain several pickles followed by the numbers. A pickle is a program that could run any
code. So a small interpreter executes only the few instructions that build dictionaries of tensors,
calls only the functions listed below, and refuses everything else, with its name in the message.
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
from collections.abc import Callable
from typing import Any, BinaryIO

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
  "BFloat16Storage": "V2",  # NumPy has no bfloat16
  "LongStorage": "<i8",
  "IntStorage": "<i4",
  "ShortStorage": "<i2",
  "CharStorage": "i1",
  "ByteStorage": "u1",
  "BoolStorage": "?",
}


class _Refused(Exception):
  """The file asks for something that is not supported, or is damaged; the message says what."""


@dataclasses.dataclass(frozen=True)
class _Global:
  """A reference in a pickle to a function or class."""

  module: str
  name: str

  def __str__(self):
    return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class _Storage:
  """A block of numbers in the file: its key, the type of the numbers, and how many there are."""

  key: str
  dtype: np.dtype
  count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A view of a storage; offset and strides count numbers, not bytes."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def read(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
  """Reads the tensors of a state dict, or of a checkpoint with a "state_dict" in it.

  Args:
    path: the file.
    max_bytes: largest size of the file, and of all tensors together, in bytes.

  Returns:
    Arrays by name ("layer1.0.weight") with the types of the tensors (bfloat16 as float32). Values
    that are not tensors are omitted.

  Raises:
    UserError: the file is missing, damaged, too large, TorchScript, or refers to anything other
      than tensors.
  """
  path = pathlib.Path(path)
  try:
    if path.stat().st_size > max_bytes:
      raise _Refused(f"{path.stat().st_size} bytes exceed the limit of {max_bytes}")
    if zipfile.is_zipfile(path):
      return _read_zip(path, max_bytes)
    with open(path, "rb") as file:
      return _read_legacy(file, max_bytes)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror or error})") from error
  except _Refused as error:
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
    pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1 or len(members) > _MAX_STORAGES:
      raise _Refused("a zip archive, but not one of torch.save")
    folder = pickles[0].split("/")[0]
    if f"{folder}/constants.pkl" in members or any("/code/" in name for name in members):
      raise _Refused("a TorchScript program; only state dicts are supported")
    if f"{folder}/byteorder" in members and archive.read(f"{folder}/byteorder") != b"little":
      raise _Refused("written on a big-endian machine, which is not supported")
    if members[pickles[0]].file_size > _MAX_PICKLE_BYTES:
      raise _Refused(f"its pickle has more than {_MAX_PICKLE_BYTES} bytes")
    tensors = _tensors(_run(io.BytesIO(archive.read(pickles[0]))))
    _check(tensors, max_bytes)

    def read_storage(storage: _Storage) -> np.ndarray:
      member = members.get(f"{folder}/data/{storage.key}")
      if member is None or member.file_size != storage.count * storage.dtype.itemsize:
        raise _Refused(f"damaged, its numbers {storage.key!r} are missing or cut off")
      return _numbers(archive.read(member), storage)

    return _arrays(tensors, read_storage)


class _Bounded:
  """A file whose reads are limited to its size, so that a false length allocates no memory."""

  def __init__(self, file: BinaryIO):
    self._file, self._size, self.tell = file, os.fstat(file.fileno()).st_size, file.tell

  def read(self, count: int) -> bytes:
    return self._file.read(min(count, self._size - self.tell(), _MAX_PICKLE_BYTES))

  def readline(self) -> bytes:
    return self._file.readline(_MAX_PICKLE_BYTES)


def _read_legacy(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
  pickles = _Bounded(file)
  if _run(pickles) != _LEGACY_MAGIC or _run(pickles) != _LEGACY_PROTOCOL:
    raise _Refused("not a file of torch.save")
  if _run(pickles).get("little_endian") is not True:
    raise _Refused("written on a big-endian machine, which is not supported")
  storages: dict[str, _Storage] = {}
  tensors = _tensors(_run(pickles, storages))
  _check(tensors, max_bytes)
  size, numbers = os.fstat(file.fileno()).st_size, {}
  keys = _run(pickles)
  if len(keys) > _MAX_STORAGES:
    raise _Refused(f"{len(keys)} storages, more than {_MAX_STORAGES}")
  missing = sorted(set(storages) - set(keys))
  if missing:
    raise _Refused(f"damaged, its numbers {missing[0]!r} are missing")
  for key in keys:
    (count,) = struct.unpack("<q", file.read(8))
    storage = storages.get(key)
    if storage is None:
      raise _Refused(f"damaged, no tensor uses its numbers {key!r}")
    length = count * storage.dtype.itemsize
    if count != storage.count or file.tell() + length > size or key in numbers:
      raise _Refused(f"damaged, its numbers {key!r} are cut off")
    numbers[key] = _numbers(file.read(length), storage)
  return _arrays(tensors, lambda storage: numbers[storage.key])


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
  """Returns the numbers of a storage; numpy.frombuffer refuses empty data."""
  return np.frombuffer(data, storage.dtype) if data else np.empty(0, storage.dtype)


def _tensors(content: Any) -> dict[str, _Tensor]:
  """Returns the tensors by name in the content of a pickle."""
  if not isinstance(content, dict):
    kind = type(content).__name__.strip("_")
    raise _Refused(f"contains a {kind} instead of a dictionary of tensors")
  for name in ("state_dict", "model_state_dict"):
    if isinstance(content.get(name), dict):
      content = content[name]
  tensors = {name: value for name, value in content.items() if isinstance(value, _Tensor)}
  if not tensors or not all(isinstance(name, str) for name in tensors):
    raise _Refused("contains no state dict")
  return tensors


def _check(tensors: dict[str, _Tensor], max_bytes: int) -> None:
  """Raises _Refused if tensors exceed their storages or need too much memory; reads no numbers."""
  total, storages = 0, {tensor.storage for tensor in tensors.values()}
  for name, tensor in tensors.items():
    storage = tensor.storage
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and tensor.offset + reach >= storage.count:
      raise _Refused(f"damaged, {name!r} exceeds its numbers")
    total += math.prod(tensor.shape) * storage.dtype.itemsize
  total += sum(s.count * s.dtype.itemsize for s in storages)
  if total > 2 * max_bytes:
    raise _Refused(f"its tensors need more than {max_bytes} bytes")


def _arrays(
  tensors: dict[str, _Tensor], read_storage: Callable[[_Storage], np.ndarray]
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


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
  """Returns a tensor; the arguments are those of torch._utils._rebuild_tensor and its version 2."""
  numbers = (offset, *shape, *strides)
  valid = all(type(n) is int and 0 <= n < 2**48 for n in numbers)
  if not isinstance(storage, _Storage) or not valid or len(shape) != len(strides):
    raise _Refused("damaged, a tensor has invalid arguments")
  if len(shape) > _MAX_RANK:
    raise _Refused(f"a tensor of {len(shape)} axes, more than {_MAX_RANK}")
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
  return tensor


# The functions that a pickle may call.
_CALLS: dict[tuple[str, str], Callable] = {
  ("collections", "OrderedDict"): lambda *pairs: dict(*pairs),
  ("torch", "Size"): tuple,
  ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
  ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
  ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
# The classes that a pickle may refer to, but not call.
_TYPES = {("torch", name) for name in _STORAGES}


def _global(module: str, name: str) -> _Global:
  """Returns the reference to a function or class; raises _Refused unless it is listed above."""
  if (module, name) not in _CALLS and (module, name) not in _TYPES:
    raise _Refused(f"refused: it refers to {module}.{name}, which no state dict needs")
  return _Global(module, name)


def _persistent(identity: Any, storages: dict[str, _Storage]) -> _Storage:
  """Returns the storage for a persistent id, ("storage", type, key, device, count, view)."""
  kind, storage, key, _, count, *view = identity
  known = isinstance(storage, _Global) and storage.name in _STORAGES
  if kind != "storage" or not known or type(key) is not str or type(count) is not int:
    raise _Refused("damaged, numbers of an unknown type")
  if view not in ([], [None]) or not 0 <= count < 2**48:
    raise _Refused(f"its numbers {key!r} are a view of others, which is not supported")
  described = _Storage(key, np.dtype(_STORAGES[storage.name]), count)
  if storages.setdefault(key, described) != described:
    raise _Refused(f"damaged, its numbers {key!r} have two descriptions")
  return described


def _call(function: Any, arguments: Any) -> Any:
  """Calls a function that is listed above; raises _Refused for any other."""
  if not isinstance(function, _Global) or (function.module, function.name) not in _CALLS:
    raise _Refused(f"refused: it calls {function}, which no state dict needs")
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


def _run(file: Any, storages: dict[str, _Storage] | None = None) -> Any:
  """Interprets one pickle; the file is then positioned after it.

  It builds dictionaries, lists, tuples, numbers and texts itself. `_global`, `_call` and
  `_persistent` handle references, calls and storages.

  Args:
    file: file positioned at the beginning of the pickle.
    storages: the function adds the storages of the pickle to it, by key.

  Returns:
    The object that the pickle describes.

  Raises:
    _Refused: the pickle contains an instruction, reference or call that is not allowed.
  """
  stack: list[Any] = []
  memo: dict[Any, Any] = {}
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
      stack.append(_global(*str(argument).split(" ", 1)))
    elif name == "STACK_GLOBAL":
      attribute = stack.pop()
      stack.append(_global(stack.pop(), attribute))
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
        raise _Refused("damaged, a dictionary has keys that are not names")
      stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("APPEND", "APPENDS"):
      items = pop_mark() if name == "APPENDS" else [stack.pop()]
      stack[-1].extend(items)
    elif name == "BUILD":
      stack.pop()  # attributes of a dictionary: versions of PyTorch's modules
      if not isinstance(stack[-1], dict):
        raise _Refused("refused: it sets attributes of an object that is not a dictionary")
    else:
      raise _Refused(f"refused: it has the instruction {name}, which no state dict needs")
  raise EOFError
