"""A writer of PyTorch's files without PyTorch, for tests of several rooms."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {
  "f4": "FloatStorage",
  "f8": "DoubleStorage",
  "f2": "HalfStorage",
  "i8": "LongStorage",
  "i4": "IntStorage",
  "i2": "ShortStorage",
  "i1": "CharStorage",
  "u1": "ByteStorage",
  "b1": "BoolStorage",
}


class Storage:
  """Numbers: bytes and the name of their type."""

  def __init__(self, data, kind, count):
    self.data, self.kind, self.count = data, kind, count


class Tensor:
  """A window on a storage, as torch pickles it; `rebuild` names the function that would make it."""

  def __init__(self, storage, shape, strides, offset=0, rebuild="_rebuild_tensor_v2"):
    self.storage, self.shape, self.strides, self.offset = storage, shape, strides, offset
    self.rebuild = rebuild

  @classmethod
  def of(cls, array, **options):
    """A tensor of its own storage."""
    array = np.ascontiguousarray(array)
    kind = TYPES[array.dtype.str[1:]]
    strides = tuple(s // array.itemsize for s in array.strides)
    return cls(Storage(array.tobytes(), kind, array.size), array.shape, strides, **options)


class _Pickler(pickle.Pickler):
  """Writes what torch.save would, with stand-ins for torch's modules."""

  def __init__(self, file, legacy):
    super().__init__(file, protocol=2)
    self.torch, self.legacy, self.keys = sys.modules["torch"], legacy, {}

  def persistent_id(self, obj):
    if not isinstance(obj, Storage):
      return None
    key = self.keys.setdefault(id(obj), (str(len(self.keys)), obj))[0]
    identity = ("storage", getattr(self.torch, obj.kind), key, "cpu", obj.count)
    return (*identity, None) if self.legacy else identity

  def reducer_override(self, obj):
    if not isinstance(obj, Tensor):
      return NotImplemented
    arguments = (obj.storage, obj.offset, tuple(obj.shape), tuple(obj.strides))
    if obj.rebuild == "_rebuild_tensor_v2":
      arguments += (False, collections.OrderedDict())
    return getattr(sys.modules["torch._utils"], obj.rebuild), arguments


def _stand_ins():
  torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
  for name in [*TYPES.values(), "BFloat16Storage"]:
    setattr(torch, name, type(name, (), {"__module__": "torch"}))
  for name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
    function = types.FunctionType((lambda *a: a).__code__, {}, name)
    function.__module__, function.__qualname__ = "torch._utils", name
    setattr(utils, name, function)
  return {"torch": torch, "torch._utils": utils}


class Script(dict):
  """A module of a TorchScript program: its attributes by name."""


def _script_objects(value, module):
  """Replaces each `Script` by an object that pickles like a module of TorchScript."""
  if not isinstance(value, Script):
    return value
  made = module.Net()
  made.__dict__.update({name: _script_objects(each, module) for name, each in value.items()})
  return made


def _write_torchscript(path, program, constants=()):
  """Writes an archive as torch.jit.save does; the constants have storages of their own."""
  script = types.ModuleType("__torch__")
  script.Net = type("Net", (), {"__module__": "__torch__"})
  stand_ins = {**_stand_ins(), "__torch__": script}
  kept = {name: sys.modules.get(name) for name in stand_ins}
  sys.modules.update(stand_ins)
  parts = {"data": _script_objects(program, script), "constants": tuple(constants)}
  try:
    with zipfile.ZipFile(path, "w") as archive:
      for part, content in parts.items():
        stream = io.BytesIO()
        pickler = _Pickler(stream, legacy=False)
        pickler.dump(content)
        archive.writestr(f"net/{part}.pkl", stream.getvalue())
        for key, storage in pickler.keys.values():
          archive.writestr(f"net/{part}/{key}", storage.data)
      archive.writestr("net/code/__torch__.py", "class Net(Module): ...")
      archive.writestr("net/byteorder", "little")
  finally:
    for name, module in kept.items():
      sys.modules.pop(name)
      if module is not None:
        sys.modules[name] = module
  return path


def _write_torch(path, tensors, *, legacy=False, wrap=lambda state: state):
  kept = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
  sys.modules.update(_stand_ins())
  try:
    state = collections.OrderedDict(tensors)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    stream = io.BytesIO()
    pickler = _Pickler(stream, legacy)
    pickler.dump(wrap(state))
  finally:
    for name, module in kept.items():
      sys.modules.pop(name)
      if module is not None:
        sys.modules[name] = module
  if legacy:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = [pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, system)]
    keys = [key for key, _ in pickler.keys.values()]
    parts = [*head, stream.getvalue(), pickle.dumps(keys, 2)]
    parts += [struct.pack("<q", s.count) + s.data for _, s in pickler.keys.values()]
    path.write_bytes(b"".join(parts))
    return path
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", stream.getvalue())
    archive.writestr("archive/byteorder", "little")
    for key, storage in pickler.keys.values():
      archive.writestr(f"archive/data/{key}", storage.data)
    archive.writestr("archive/version", "3\n")
  return path


@pytest.fixture(scope="session")
def write_torch():
  """A function (path, {name: `Tensor`}, legacy=, wrap=) that writes a file as torch.save does.

  Its attributes `Tensor` and `Storage` make what is written. `write_torch.script(path, program,
  constants=)` writes a TorchScript program of `Script` objects.
  """
  write = lambda *arguments, **options: _write_torch(*arguments, **options)
  write.Tensor, write.Storage = Tensor, Storage
  write.Script, write.script = Script, _write_torchscript
  return write
