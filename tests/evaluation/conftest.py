"""What the evaluation's tests share: PyTorch's files without PyTorch, a stand-in network, clips."""

import collections
import dataclasses
import io
import pickle
import struct
import sys
import types
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.data.sources.base import InMemorySource
from vidgan_jax.evaluation.features.extractor import Extractor, weights_hash
from vidgan_jax.evaluation.protocols.base import Measure, Protocol

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

  Its attributes `Tensor` and `Storage` make what is written.
  """
  write = lambda *arguments, **options: _write_torch(*arguments, **options)
  write.Tensor, write.Storage = Tensor, Storage
  return write


@pytest.fixture(scope="session")
def torchvision_shapes():
  """Names and shapes of torchvision's r2plus1d_18 but its counters, from the paper's rules."""
  found = {}

  def unit(kernel, norm, *shape):
    found[f"{kernel}.weight"] = shape
    kinds = ("weight", "bias", "running_mean", "running_var")
    found.update({f"{norm}.{kind}": shape[:1] for kind in kinds})

  unit("stem.0", "stem.1", 45, 3, 1, 7, 7)
  unit("stem.3", "stem.4", 64, 45, 3, 1, 1)
  inputs = 64
  for stage, features in enumerate((64, 128, 256, 512), 1):
    for place in range(2):
      # As many parameters as a convolution in three dimensions (Tran et al., 3.5).
      middle = 27 * inputs * features // (9 * inputs + 3 * features)
      block = f"layer{stage}.{place}"
      for number, ins in ((1, inputs), (2, features)):
        conv = f"{block}.conv{number}"
        unit(f"{conv}.0.0", f"{conv}.0.1", middle, ins, 1, 3, 3)
        unit(f"{conv}.0.3", f"{conv}.1", features, middle, 3, 1, 1)
      if inputs != features:
        unit(f"{block}.downsample.0", f"{block}.downsample.1", features, inputs, 1, 1, 1)
      inputs = features
  return found | {"fc.weight": (400, 512), "fc.bias": (400,)}


FRAMES, SIDE, CLASSES, WIDTH = 4, 8, 3, 10


def _apply(variables, clips):
  """Two products with a bend between, of clips of any size."""
  flat = clips.reshape(clips.shape[0], -1)
  hidden = jnp.tanh(jnp.matmul(flat, variables["in"][: flat.shape[1]], precision="highest"))
  logits = jnp.matmul(hidden, variables["out"], precision="highest")
  return {"features": hidden, "logits": logits}


@pytest.fixture(scope="session")
def stand_in():
  """A function (seed, **fields) that returns an `Extractor` with random weights."""

  def build(seed=0, **fields):
    generator = np.random.default_rng(seed)
    size = FRAMES * SIDE * SIDE * 3
    variables = {
      "in": generator.normal(size=(size, WIDTH)).astype(np.float32) / np.sqrt(size),
      "out": 3 * generator.normal(size=(WIDTH, CLASSES)).astype(np.float32),
    }
    extractor = Extractor(
      name="stand_in",
      weights_hash=weights_hash(variables),
      outputs={"features": WIDTH, "logits": CLASSES},
      min_frames=2,
      input_size=None,
      variables=variables,
      apply=_apply,
      constants={},
    )
    return dataclasses.replace(extractor, **fields)

  return build


SCALE = ("scale", 2 / 255, -1.0)


@pytest.fixture
def protocol():
  """Every metric by the stand-in; 60 real clips, 30 generated."""
  kinds = {"is": "logits", "fid": "features", "accuracy": "logits", "kvd": "features"}
  measures = [Measure(metric, "stand_in", output, (SCALE,)) for metric, output in kinds.items()]
  return Protocol(
    "tiny",
    "a test",
    (*measures, Measure("prdc", "stand_in", "features", (SCALE,))),
    real_count=60,
    generated_count=30,
    per_class=True,
    bootstrap=10,
  )


@pytest.fixture(scope="session")
def some_clips():
  """A function (count, seed, bias) that returns uint8 clips [N, 4, 8, 8, 3] and labels [N]."""

  def draw(count, seed=0, bias=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    base = generator.integers(0, 150, (CLASSES, FRAMES, SIDE, SIDE, 3))
    clips = base[labels] + generator.integers(0, 100, (count, FRAMES, SIDE, SIDE, 3))
    return np.clip(clips + bias, 0, 255).astype(np.uint8), labels.astype(np.int32)

  return draw


@pytest.fixture
def source(some_clips):
  """A source of 70 clips of three classes."""
  return InMemorySource(*some_clips(70), ("a", "b", "c"), FRAMES)
