"""PyTorch's files: the supported content, and everything that is refused."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.weights.readers import torch as torch_files

both = pytest.mark.parametrize("legacy", [False, True])


@both
def test_tensors_of_every_type_come_back(tmp_path, write_torch, legacy):
  generator = np.random.default_rng(0)
  types = ("f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "?")
  arrays = {f"layer.{t}": (50 * generator.standard_normal((3, 4))).astype(t) for t in types}
  arrays |= {"count": np.array(7), "empty": np.zeros((0, 3), np.float32)}
  tensors = {name: write_torch.Tensor.of(array) for name, array in arrays.items()}
  arrays_read = torch_files.read(write_torch(tmp_path / "a.pt", tensors, legacy=legacy))
  assert [*arrays_read] == [*arrays]
  for name, array in arrays.items():
    assert arrays_read[name].dtype == array.dtype
    np.testing.assert_array_equal(arrays_read[name], array)


@both
def test_windows_on_shared_numbers_are_arrays_of_their_own(tmp_path, write_torch, legacy):
  numbers = np.arange(40, dtype=np.float32)
  storage = write_torch.Storage(numbers.tobytes(), "FloatStorage", 40)
  tensors = {
    "turned": write_torch.Tensor(storage, (5, 6), (1, 6), 4),
    "wide": write_torch.Tensor(storage, (3, 2), (0, 3), 1, rebuild="_rebuild_tensor"),
    "last": write_torch.Tensor(storage, (2,), (1,), 38),
  }
  arrays_read = torch_files.read(write_torch(tmp_path / "a.pt", tensors, legacy=legacy))
  np.testing.assert_array_equal(arrays_read["turned"], 4 + np.arange(5)[:, None] + 6 * np.arange(6))
  np.testing.assert_array_equal(arrays_read["wide"], [[1, 4]] * 3)
  np.testing.assert_array_equal(arrays_read["last"], [38, 39])
  assert all(array.flags.writeable and array.flags.c_contiguous for array in arrays_read.values())
  arrays_read["last"][:] = 0
  assert arrays_read["turned"][-1, -1] == 4 + 4 + 30


def test_bfloat16_becomes_float32(tmp_path, write_torch):
  values = np.array([1.5, -2.0, 3.140625, 0.0], np.float32)
  upper = (values.view("<u4") >> 16).astype("<u2")
  storage = write_torch.Storage(upper.tobytes(), "BFloat16Storage", 4)
  tensors = {"a": write_torch.Tensor(storage, (2, 2), (2, 1))}
  arrays_read = torch_files.read(write_torch(tmp_path / "a.pt", tensors))
  np.testing.assert_array_equal(arrays_read["a"], values.reshape(2, 2))
  assert arrays_read["a"].dtype == np.float32


@both
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_a_checkpoint_s_state_dict_is_found(tmp_path, write_torch, legacy, key):
  other = write_torch.Tensor.of(np.ones(3))

  def wrap(state):
    return {"epoch": 3, key: state, "optimizer": {"momentum": [other, 0.5]}, "name": "x"}

  tensors = {"a": write_torch.Tensor.of(np.arange(4))}
  path = write_torch(tmp_path / "a.pt", tensors, legacy=legacy, wrap=wrap)
  arrays_read = torch_files.read(path)
  assert [*arrays_read] == ["a"]
  np.testing.assert_array_equal(arrays_read["a"], np.arange(4))


def test_files_of_torch_itself_are_read(tmp_path):
  torch = pytest.importorskip("torch")
  linear = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
  for legacy in (False, True):
    path = tmp_path / f"{legacy}.pt"
    torch.save(linear.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    arrays_read = torch_files.read(path)
    assert {*arrays_read} == {*linear.state_dict()}
    for name, tensor in linear.state_dict().items():
      np.testing.assert_array_equal(arrays_read[name], tensor.numpy())


# --- Untrusted files.


def zipped(path, content, **members):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", content)
    for name, data in members.items():
      archive.writestr(f"archive/{name}", data)
  return path


def global_call(module, name, argument, protocol=2):
  """A pickle that calls module.name(argument)."""
  if protocol == 2:
    return b"\x80\x02c%s\n%s\nU%c%s\x85R." % (module, name, len(argument), argument)
  text = lambda t: b"\x8c%c%s" % (len(t), t)
  return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
  "function", ["os.system", "builtins.eval", "torch.load", "numpy.load", "torch._utils.exec"]
)
def test_other_functions_are_refused_by_name_and_not_called(tmp_path, function, protocol):
  module, name = function.rsplit(".", 1)
  command = f"echo > {tmp_path}/called".encode()
  path = zipped(tmp_path / "a.pt", global_call(module.encode(), name.encode(), command, protocol))
  with pytest.raises(UserError, match=f"refers to {function}"):
    torch_files.read(path)
  assert not (tmp_path / "called").exists()
  (tmp_path / "b.pt").write_bytes(global_call(b"os", b"system", command))
  with pytest.raises(UserError, match=r"refers to os\.system"):
    torch_files.read(tmp_path / "b.pt")
  assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"\x80\x02(U\x01xios\nsystem\n.", "instruction INST"),
    (b"\x80\x02(ctorch\nFloatStorage\no.", "instruction OBJ"),
    (b"\x80\x02ctorch\nFloatStorage\n)\x81.", "instruction NEWOBJ"),
    (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage"),
    (b"\x80\x02ctorch._utils\n_rebuild_tensor\n}b.", "sets attributes"),
    (b"\x80\x02\x82\x01.", "instruction EXT1"),
    (b"\x80\x02K\x01)R.", "calls 1"),
    (b"\x80\x02]q\x00h\x00a.", "contains a list"),
    (b"\x80\x02}q\x00.", "no state dict"),
    (b"\x80\x02}(K\x01\x85K\x02u.", "has keys that are not names"),
    (b"\x80\x02}K\x01K\x02sU\x01x", "damaged"),
    (b"\x80\x02h\x07.", "damaged"),
  ],
)
def test_other_instructions_are_refused(tmp_path, content, message):
  with pytest.raises(UserError, match=message):
    torch_files.read(zipped(tmp_path / "a.pt", content))


@both
@pytest.mark.parametrize(
  ("shape", "strides", "offset", "message"),
  [
    ((4,), (1,), 1, "exceeds its numbers"),
    ((2, 2), (3, 1), 0, "exceeds its numbers"),
    ((2**20, 2**20), (0, 0), 0, "more than"),
    ((2,), (-1,), 1, "has invalid arguments"),
    ((2,), (1,), -1, "has invalid arguments"),
    ((2, 2), (1,), 0, "has invalid arguments"),
    ((1,) * 40, (1,) * 40, 0, "40 axes"),
  ],
)
def test_tensors_stay_within_their_numbers(
  tmp_path, write_torch, legacy, shape, strides, offset, message
):
  storage = write_torch.Storage(np.zeros(4, np.float32).tobytes(), "FloatStorage", 4)
  tensors = {"a": write_torch.Tensor(storage, shape, strides, offset)}
  with pytest.raises(UserError, match=message):
    torch_files.read(write_torch(tmp_path / "a.pt", tensors, legacy=legacy))


@both
def test_sizes_are_bounded(tmp_path, write_torch, legacy):
  tensors = {"a": write_torch.Tensor.of(np.zeros(1000))}
  path = write_torch(tmp_path / "a.pt", tensors, legacy=legacy)
  assert torch_files.read(path, max_bytes=10_000)["a"].size == 1000
  with pytest.raises(UserError, match="exceed the limit of 5000"):
    torch_files.read(path, max_bytes=5000)


def test_numbers_must_be_there(tmp_path, write_torch):
  storage = write_torch.Storage(bytes(12), "FloatStorage", 4)
  tensors = {"a": write_torch.Tensor(storage, (3,), (1,))}
  for legacy in (False, True):
    with pytest.raises(UserError, match="cut off"):
      torch_files.read(write_torch(tmp_path / "a.pt", tensors, legacy=legacy))


def test_the_tensors_of_torchscript_are_read_and_its_program_is_not(tmp_path, write_torch):
  generator = np.random.default_rng(0)
  kernel, bias, constant = (generator.standard_normal(4).astype(np.float32) for _ in range(3))
  tensor = write_torch.Tensor.of
  layer = write_torch.Script(weight=tensor(kernel), training=False, padding=[0, 0])
  program = write_torch.Script(layers=write_torch.Script(first=layer), lists=[tensor(bias)], k=3)
  path = write_torch.script(tmp_path / "net.pt", program, [tensor(constant)])
  assert torch_files.is_torchscript(path)
  read = torch_files.read(path)
  expected = {"layers.first.weight": kernel, "lists.0": bias, "constants.0": constant}
  assert read.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(read[name], array)


def test_a_state_dict_may_not_contain_what_a_program_may(tmp_path, write_torch):
  """Objects are made for TorchScript alone, and of its own classes alone."""
  program = write_torch.Script(weight=write_torch.Tensor.of(np.zeros(2)))
  path = write_torch.script(tmp_path / "net.pt", program)
  with zipfile.ZipFile(path) as archive:
    content = archive.read("net/data.pkl")
  with pytest.raises(UserError, match=r"refused: it refers to __torch__\.Net"):
    torch_files.read(zipped(tmp_path / "a.pt", content))
  assert not torch_files.is_torchscript(tmp_path / "a.pt")
  for other in (b"__torch_x__", b"ostensibly_"):
    assert len(other) >= len(b"__torch__")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
      archive.writestr("net/data.pkl", content.replace(b"c__torch__", b"c" + other))
      archive.writestr("net/code/a.py", "")
    with pytest.raises(UserError, match="refused: it refers to"):
      torch_files.read(tmp_path / "b.pt")
  twice = [write_torch.Tensor.of(np.zeros(2))]
  for _ in range(60):  # 2**60 paths lead to the same tensor
    twice = [twice, twice]
  read = torch_files.read(write_torch.script(tmp_path / "c.pt", write_torch.Script(a=twice)))
  assert list(read) == [f"a{60 * '.0'}.0"]
  empty = write_torch.script(tmp_path / "d.pt", write_torch.Script(k=1))
  with pytest.raises(UserError, match="contains no tensors"):
    torch_files.read(empty)


def test_other_archives_are_refused(tmp_path, write_torch):
  with pytest.raises(UserError, match=r"not one of torch\.save"):
    np.savez(tmp_path / "b.npz", a=np.zeros(2))
    torch_files.read(tmp_path / "b.npz")
  with pytest.raises(UserError, match="big-endian"):
    torch_files.read(zipped(tmp_path / "c.pt", b"\x80\x02}.", byteorder="big"))
  (tmp_path / "d.pt").write_bytes(pickle.dumps({"a": 1}))
  with pytest.raises(UserError, match=r"not a file of torch\.save"):
    torch_files.read(tmp_path / "d.pt")
  with pytest.raises(UserError, match="not readable"):
    torch_files.read(tmp_path / "missing.pt")


@both
def test_damage_anywhere_ends_in_a_line(tmp_path, write_torch, legacy):
  tensors = {f"a{i}": write_torch.Tensor.of(np.arange(i, dtype=np.float32)) for i in range(3)}
  whole = write_torch(tmp_path / "a.pt", tensors, legacy=legacy).read_bytes()
  generator, path = np.random.default_rng(0), tmp_path / "b.pt"
  damaged = [whole[:length] for length in range(0, len(whole), 7)]
  for _ in range(400):
    copy = bytearray(whole)
    for position in generator.integers(0, len(whole), generator.integers(1, 4)):
      copy[position] = generator.integers(256)
    damaged.append(bytes(copy))
  refused = 0
  for content in damaged:
    path.write_bytes(content)
    try:
      assert all(isinstance(a, np.ndarray) for a in torch_files.read(path).values())
    except UserError as error:
      refused += 1
      assert "\n" not in str(error)
  assert refused > len(damaged) // 2


def test_what_torch_pickles_is_what_these_tests_write(tmp_path, write_torch):
  """The files of these tests have the same opcodes as those of a pickler, with metadata."""
  path = write_torch(tmp_path / "a.pt", {"a": write_torch.Tensor.of(np.zeros(2, np.float32))})
  with zipfile.ZipFile(path) as archive:
    content = archive.read("archive/data.pkl")
  seen = []

  class Spy(pickle.Unpickler):
    def find_class(self, module, name):
      seen.append(f"{module}.{name}")
      return collections.OrderedDict if name == "OrderedDict" else lambda *a: a

    def persistent_load(self, identity):
      return identity[0]

  top = Spy(io.BytesIO(content)).load()
  assert top._metadata == {"": {"version": 1}}
  assert {*seen} == {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch.FloatStorage",
  }
  assert os.path.getsize(path) > len(content)


@both
def test_flipped_bits_and_cuts_are_one_line(tmp_path, write_torch, legacy):
  tensors = {"a.weight": write_torch.Tensor.of(np.arange(6, dtype=np.float32).reshape(2, 3))}
  path = write_torch(tmp_path / "a.pt", tensors, legacy=legacy)
  whole = path.read_bytes()
  generator = np.random.default_rng(0)
  contents = [whole[:cut] for cut in range(0, len(whole), 37)]
  for bit in generator.permutation(8 * len(whole))[:700].tolist():
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    contents.append(bytes(flipped))
  for content in contents:
    path.write_bytes(content)
    try:
      torch_files.read(path)
    except UserError as error:
      assert "\n" not in str(error)
