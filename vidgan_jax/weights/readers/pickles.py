"""Interprets the pickles in files of PyTorch without unpickling.

A pickle is a program that could run any code. This interpreter executes only the few instructions
that build dictionaries of tensors, calls only the functions listed below, and refuses everything
else, with its name in the message.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

_MAX_INSTRUCTIONS = 2_000_000
_MAX_RANK = 16

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


class Refused(Exception):
  """The file asks for something that is not supported, or is damaged; the message says what."""


@dataclasses.dataclass(frozen=True)
class _Global:
  """A reference in a pickle to a function or class."""

  module: str
  name: str

  def __str__(self):
    return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class Storage:
  """A block of numbers in the file: its key, the type of the numbers, and how many there are."""

  key: str
  dtype: np.dtype
  count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view of a storage; offset and strides count numbers, not bytes."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class Module(dict):
  """A module of a TorchScript program: its attributes by name. Its class is never used."""


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
  """Returns a tensor; the arguments are those of torch._utils._rebuild_tensor and its version 2."""
  numbers = (offset, *shape, *strides)
  valid = all(type(n) is int and 0 <= n < 2**48 for n in numbers)
  if not isinstance(storage, Storage) or not valid or len(shape) != len(strides):
    raise Refused("damaged, a tensor has invalid arguments")
  if len(shape) > _MAX_RANK:
    raise Refused(f"a tensor of {len(shape)} axes, more than {_MAX_RANK}")
  return Tensor(storage, offset, tuple(shape), tuple(strides))


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
# Those that the pickle of a TorchScript program may call too: they mark a list with its type.
_SCRIPT_CALLS: dict[tuple[str, str], Callable] = {
  ("torch.jit._pickle", name): lambda value, *_: value
  for name in (
    *("restore_type_tag", "build_intlist", "build_doublelist", "build_boollist"),
    "build_tensorlist",
  )
}
# The classes that a pickle may refer to, but not call.
_TYPES = {("torch", name) for name in _STORAGES}


def _global(module: str, name: str, *, script: bool) -> _Global:
  """Returns the reference to a function or class; raises Refused unless it is listed above.

  The classes of a TorchScript program are in modules that begin with "__torch__". They are never
  called: `run` makes an `Module` in their place.
  """
  own = (module, name) in _CALLS or (module, name) in _TYPES
  of_script = (module, name) in _SCRIPT_CALLS or module.split(".")[0] == "__torch__"
  if not own and not (script and of_script):
    raise Refused(f"refused: it refers to {module}.{name}, which no state dict needs")
  return _Global(module, name)


def _persistent(identity: Any, storages: dict[str, Storage]) -> Storage:
  """Returns the storage for a persistent id, ("storage", type, key, device, count, view)."""
  kind, storage, key, _, count, *view = identity
  known = isinstance(storage, _Global) and storage.name in _STORAGES
  if kind != "storage" or not known or type(key) is not str or type(count) is not int:
    raise Refused("damaged, numbers of an unknown type")
  if view not in ([], [None]) or not 0 <= count < 2**48:
    raise Refused(f"its numbers {key!r} are a view of others, which is not supported")
  described = Storage(key, np.dtype(_STORAGES[storage.name]), count)
  if storages.setdefault(key, described) != described:
    raise Refused(f"damaged, its numbers {key!r} have two descriptions")
  return described


def _call(function: Any, arguments: Any, script: bool) -> Any:
  """Calls a function that is listed above; raises Refused for any other."""
  calls = {**_CALLS, **_SCRIPT_CALLS} if script else _CALLS
  if not isinstance(function, _Global) or (function.module, function.name) not in calls:
    raise Refused(f"refused: it calls {function}, which no state dict needs")
  return calls[function.module, function.name](*arguments)


def _module(kind: Any, arguments: Any) -> Module:
  """A module of a program; its class must be one of the program's own, without arguments."""
  if not isinstance(kind, _Global) or kind.module.split(".")[0] != "__torch__" or arguments != ():
    raise Refused("refused: it makes an object that is no module of the program")
  return Module()


def _set_attributes(owner: Any, attributes: Any) -> None:
  """Sets those of a module. A dictionary's are versions of PyTorch's modules, and left out."""
  if isinstance(owner, Module) and isinstance(attributes, dict):
    owner.update(attributes)
  elif not isinstance(owner, dict):
    raise Refused("refused: it sets attributes of an object that is not a dictionary")


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
  *("BININT", "BININT1", "BININT2", "LONG1", "LONG", "INT", "BINFLOAT", "BINUNICODE"),
  *("SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES"),
  *("SHORT_BINBYTES", "UNICODE"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def run(file: Any, storages: dict[str, Storage] | None = None, *, script: bool = False) -> Any:
  """Interprets one pickle; the file is then positioned after it.

  It builds dictionaries, lists, tuples, numbers and texts itself. `_global`, `_call` and
  `_persistent` handle references, calls and storages.

  Args:
    file: file positioned at the beginning of the pickle.
    storages: the function adds the storages of the pickle to it, by key.
    script: whether the pickle is one of a TorchScript program, with modules as `Module`.

  Returns:
    The object that the pickle describes.

  Raises:
    Refused: the pickle contains an instruction, reference or call that is not allowed.
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
      raise Refused(f"more than {_MAX_INSTRUCTIONS} instructions")
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
      stack.append(_global(*str(argument).split(" ", 1), script=script))
    elif name == "STACK_GLOBAL":
      attribute = stack.pop()
      stack.append(_global(stack.pop(), attribute, script=script))
    elif name == "TUPLE":
      stack.append(tuple(pop_mark()))
    elif name in _TUPLES:
      items = stack[-_TUPLES[name] :]
      del stack[-_TUPLES[name] :]
      stack.append(tuple(items))
    elif name == "REDUCE":
      arguments = stack.pop()
      stack.append(_call(stack.pop(), arguments, script))
    elif name == "NEWOBJ" and script:
      stack[-2:] = [_module(*stack[-2:])]
    elif name == "BINPERSID":
      stack.append(_persistent(stack.pop(), storages))
    elif name in ("SETITEM", "SETITEMS"):
      items = pop_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
      if not all(isinstance(key, (str, int)) for key in items[::2]):
        raise Refused("damaged, a dictionary has keys that are not names")
      stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("APPEND", "APPENDS"):
      items = pop_mark() if name == "APPENDS" else [stack.pop()]
      stack[-1].extend(items)
    elif name == "BUILD":
      _set_attributes(stack[-2], stack.pop())
    else:
      raise Refused(f"refused: it has the instruction {name}, which no state dict needs")
  raise EOFError
