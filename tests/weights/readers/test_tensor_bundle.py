import os
import pathlib
import re

import numpy as np
import pytest

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.weights.readers import sstable, tensor_bundle

GOLDEN = pathlib.Path(__file__).resolve().parents[4] / "shared" / "golden" / "i3d"
golden = pytest.mark.skipif(
  not GOLDEN.is_dir(), reason="needs the indexes in ../shared/golden/i3d, which are not distributed"
)
LINE = re.compile(
  r"^ +(\S+) \(([\d, ]*)\) dtype (\d+) off (\d+) size (\d+) crc32c\(masked\) (\w+)$"
)


def listed(path):
  """{name: Entry} of a list of variables."""
  entries = {}
  for line in path.read_text().splitlines()[1:]:
    name, shape, dtype, offset, size, crc = LINE.match(line).groups()
    sizes = tuple(int(n) for n in shape.split(",") if n.strip())
    entries[name] = tensor_bundle.Entry(int(dtype), sizes, 0, int(offset), int(size), int(crc, 16))
  return entries


@golden
@pytest.mark.parametrize(
  "name, count, data_bytes",
  [
    ("rgb_imagenet", 230, 50_818_176),
    ("rgb_scratch", 230, 50_818_176),
    ("rgb_scratch_kin600", 346, 103_218_112),
  ],
)
def test_the_published_indexes_are_read(name, count, data_bytes):
  index = tensor_bundle.read_index(GOLDEN / "checkpoints" / name)
  assert index.shards == 1 and len(index.entries) == count
  assert dict(index.entries) == listed(GOLDEN / f"{name}.vars.txt")
  assert max(e.offset + e.size for e in index.entries.values()) == data_bytes
  assert index.shard_path(0).name == "model.ckpt.data-00000-of-00001"
  with pytest.raises(UserError, match=r"model.ckpt.data-00000-of-00001, which is missing"):
    tensor_bundle.read(index.path)


@golden
@pytest.mark.parametrize("name", ["rgb_imagenet", "rgb_scratch_kin600"])
def test_messages_are_those_that_tensorflow_writes(name):
  index = tensor_bundle.read_index(GOLDEN / "checkpoints" / name)
  messages = sstable.read(index.path.read_bytes())
  assert messages.pop(b"") == tensor_bundle._encode_header(1)
  for key, message in messages.items():
    assert tensor_bundle._encode_entry(index.entries[key.decode()]) == message


@pytest.fixture
def variables():
  random = np.random.default_rng()
  return {
    "Conv/w": random.standard_normal((3, 1, 2, 5), np.float32),
    "Conv/beta": random.standard_normal((1, 1, 1, 1, 5), np.float32),
    "Conv/double": random.standard_normal(7),
    "Conv/half": random.standard_normal(7).astype(np.float16),
    "global_step": np.int64(random.integers(-(2**62), 2**62)),
    "flags": random.integers(0, 2, 9).astype(bool),
    "empty": np.zeros((0, 3), np.int32),
    "é/bytes": random.integers(0, 256, 300).astype(np.uint8),
    "big_endian": np.arange(3, dtype=">i4"),
  }


@pytest.mark.parametrize("shards, small", [(1, False), (3, True), (20, False)])
def test_variables_come_back(tmp_path, variables, compressed, shards, small):
  index = tensor_bundle.write(
    tmp_path / "new" / "model.ckpt-12",
    variables,
    shards=shards,
    block_bytes=64,
    compress=compressed if small else None,
  )
  assert index.name == "model.ckpt-12.index"
  arrays = tensor_bundle.read(index)
  assert list(arrays) == sorted(variables)
  for name, value in variables.items():
    assert arrays[name].dtype == value.dtype.newbyteorder("<") and arrays[name].flags.writeable
    np.testing.assert_array_equal(arrays[name], value, strict=name != "big_endian")
  some = tensor_bundle.read(index, ["flags", "Conv/w"])
  assert list(some) == ["Conv/w", "flags"]
  assert {p.name for p in index.parent.iterdir()} == {index.name} | {
    f"model.ckpt-12.data-{n:05d}-of-{shards:05d}" for n in range(shards)
  }
  with pytest.raises(UserError, match="exists; nothing is overwritten"):
    tensor_bundle.write(tmp_path / "new" / "model.ckpt-12", variables, shards=shards)


def test_a_checkpoint_is_found_however_it_is_named(tmp_path, variables):
  index = tensor_bundle.write(tmp_path / "hub" / "variables" / "variables", variables)
  for name in ("hub", "hub/variables", "hub/variables/variables", "hub/variables/variables.index"):
    assert tensor_bundle.locate(tmp_path / name) == index
  assert tensor_bundle.locate(tensor_bundle.read_index(index).shard_path(0)) == index
  with pytest.raises(UserError, match="no TensorFlow checkpoint"):
    tensor_bundle.locate(tmp_path / "hub" / "other")
  with pytest.raises(UserError, match=r"contains no \*.index"):
    tensor_bundle.locate(tmp_path)
  tensor_bundle.write(tmp_path / "hub" / "variables" / "more", variables)
  with pytest.raises(UserError, match=r"several checkpoints \(more.index, variables.index\)"):
    tensor_bundle.locate(tmp_path / "hub")


def rewrite(index, change):
  """Changes an index's Entry objects by `change(entries)`, checksums in order."""
  entries = dict(tensor_bundle.read_index(index).entries)
  change(entries)
  messages = {n.encode(): tensor_bundle._encode_entry(e) for n, e in entries.items()}
  messages[b""] = sstable.read(index.read_bytes())[b""]
  index.write_bytes(sstable.write(messages))


def replaced(name, **changes):
  def change(entries):
    entries[name] = tensor_bundle.Entry(**{**vars(entries[name]), **changes})

  return change


@pytest.mark.parametrize(
  "change, says",
  [
    (replaced("Conv/w", offset=1), r"Conv/w': damaged \(its checksum differs\)"),
    (replaced("Conv/w", crc=0), r"Conv/w': damaged \(its checksum differs\)"),
    (replaced("Conv/w", offset=2**40), "cut off"),
    (replaced("Conv/w", shape=(2**31, 2**31, 2**31), size=2**63), "damaged, shape"),
    (replaced("Conv/w", shape=(2**38,), size=2**40), "cut off"),
    (replaced("Conv/w", shape=(3, 1, 2, 4)), "damaged, shape"),
    (replaced("Conv/w", shape=(-1, 30)), "a variable has the shape"),
    (replaced("Conv/w", dtype=7), "type 7 is not supported"),
    (replaced("Conv/w", shard=1), "data-00001-of-00001, which is missing"),
    (replaced("Conv/w", shard=2**40), "which is missing"),
    (replaced("é/bytes", shape=(1,) * 300), "a variable has the shape"),
  ],
)
def test_an_index_that_lies_is_refused(tmp_path, variables, change, says, monkeypatch):
  index = tensor_bundle.write(tmp_path / "model.ckpt", variables)
  # The writer never writes negative numbers.
  monkeypatch.setattr(tensor_bundle.protobuf, "varint", _varint)
  rewrite(index, change)
  with pytest.raises(UserError, match=says) as caught:
    tensor_bundle.read(index)
  assert "\n" not in str(caught.value)


def _varint(value):
  value, out = value % 2**64, bytearray()
  while value > 127:
    out.append(value % 128 + 128)
    value //= 128
  return bytes([*out, value])


def test_variables_that_share_bytes_are_refused(tmp_path):
  index = tensor_bundle.write(tmp_path / "model.ckpt", {"a": np.zeros(100), "b": np.zeros(1)})

  def overlap(entries):
    entries |= {f"c{n}": entries["a"] for n in range(3)}

  rewrite(index, overlap)
  with pytest.raises(UserError, match="overlap"):
    tensor_bundle.read(index)
  assert list(tensor_bundle.read(index, ["a"])) == ["a"]


def test_damage_in_any_file_is_told_in_one_line(tmp_path, variables):
  index = tensor_bundle.write(tmp_path / "model.ckpt", variables)
  data = tensor_bundle.read_index(index).shard_path(0)
  whole = {index: index.read_bytes(), data: data.read_bytes()}
  for path, content in whole.items():
    cuts = [content[:0], content[: len(content) // 2], content[:-1]]
    flips = [bytearray(content) for _ in range(40)]
    for number, flipped in enumerate(flips):
      flipped[number * len(content) // 80] ^= 0x10  # followed by unused bytes
    for damaged in cuts + flips:
      path.write_bytes(damaged)
      with pytest.raises(UserError) as caught:
        tensor_bundle.read(index)
      assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    path.write_bytes(content)
  assert len(tensor_bundle.read(index)) == len(variables)


def test_messages_of_other_kinds_are_refused(tmp_path, variables):
  index = tensor_bundle.write(tmp_path / "model.ckpt", variables)
  messages = sstable.read(index.read_bytes())
  header, name = messages[b""], b"Conv/w"
  for key, message, says in [
    (b"", header + b"\x10\x01", "big-endian"),
    (b"", b"", "0 data files"),
    (b"", b"\x08" + _varint(10**6), "1000000 data files"),
    (name, b"\x0a\x01", "states 1 bytes"),
    (name, b"\x0f", "wire type 7"),
    (name, b"\x10\x01", "damaged"),
    (name, b"\x12\x02\x10\x01", "damaged"),
    (name, b"\x12\x02\x18\x01", "unknown rank"),
    (name, messages[name] + b"\x3a\x00", "a partitioned variable"),
    (b"\xff", messages[name], "damaged"),
  ]:
    index.write_bytes(sstable.write({**messages, key: message}))
    with pytest.raises(UserError, match=says) as caught:
      tensor_bundle.read(index)
    assert "\n" not in str(caught.value)
  index.write_bytes(sstable.write({k: v for k, v in messages.items() if k}))
  with pytest.raises(UserError, match="it has no header"):
    tensor_bundle.read(index)


def test_what_is_not_there_is_named(tmp_path, variables):
  index = tensor_bundle.write(tmp_path / "model.ckpt", variables)
  with pytest.raises(UserError, match=r"no variable 'Conv/v' \(2 missing\)"):
    tensor_bundle.read(index, ["Conv/w", "Conv/v", "Dense/w"])
  with pytest.raises(UserError, match="'text': type <U1 is not supported"):
    tensor_bundle.write(tmp_path / "other", {"text": np.array(["a"])})
  assert not (tmp_path / "other.index").exists()


def test_a_huge_index_is_not_read(tmp_path):
  path = tmp_path / "model.ckpt.index"
  path.touch()
  os.truncate(path, tensor_bundle.MAX_INDEX_BYTES + 1)
  with pytest.raises(UserError, match="bytes exceed the limit"):
    tensor_bundle.read_index(path)
