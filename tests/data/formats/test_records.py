import struct

import pytest

from vidgan_jax.data.formats import records
from vidgan_jax.runtime.errors import UserError

FEATURES = {
  "video": [b"\xff\xd8one", b"", b"x" * 300],
  "label": [3],
  "frame_rate": [29.5],
  "id": ["Archery/é".encode()],
}


def write(path, *payloads):
  path.write_bytes(b"".join(map(records.frame_record, payloads)))
  return path


def test_the_bytes_are_those_of_tensorflow():
  # What tf.io.TFRecordWriter writes for b"foo".
  assert records.frame_record(b"foo").hex() == "0300000000000000b099490e666f6f618abefe"


def test_records_come_back_with_their_offsets(tmp_path):
  path = write(tmp_path / "a", b"one", b"", b"x" * 1000)
  assert list(records.read_records(path)) == [(0, b"one"), (19, b""), (35, b"x" * 1000)]
  assert list(records.read_records(write(tmp_path / "empty"))) == []
  with open(path, "rb") as file:
    assert records.read_record(file, 19) == b"" and records.read_record(file, 0) == b"one"


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda b: b[:-1], "record 1: cut off, has 10 of 11 bytes"),
    (lambda b: b[:25], "record 1: cut off in the header of the record"),
    (lambda b: b[:20] + b"\x7f" + b[21:], "record 1: damaged, or not a TFRecord file"),
    (lambda b: b[:35] + b"X" + b[36:], "record 1: damaged"),
    (lambda b: b"<html>, not a TFRecord file", "record 0: damaged, or not a TFRecord file"),
  ],
)
def test_damage_is_refused_by_record(tmp_path, change, words):
  path = write(tmp_path / "shard", b"one", b"payload")
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(UserError, match=f"shard, {words}"):
    list(records.read_records(path))


def test_a_huge_length_takes_no_memory(tmp_path):
  length = struct.pack("<Q", 2**60)
  header = length + struct.pack("<I", records.masked_crc(length))
  (tmp_path / "a").write_bytes(header + bytes(100))
  with pytest.raises(UserError, match="cut off, has 100 of 1152921504606846980 bytes"):
    list(records.read_records(tmp_path / "a"))


def test_examples_come_back_and_offsets_point_at_the_values():
  payload, offsets = records.encode_example(FEATURES)
  assert records.parse_example(payload, "here") == FEATURES
  assert set(offsets) == {"video", "id"}
  for name in offsets:
    for position, value in zip(offsets[name], FEATURES[name], strict=True):
      assert payload[position : position + len(value)] == value
  assert records.encode_example(dict(reversed(FEATURES.items())))[0] == payload


def test_numbers_come_back_at_their_limits():
  features = {"a": [0, -1, 127, 128, 2**63 - 1, -(2**63)], "b": [0.0, -1.5, 2.0**100]}
  assert records.parse_example(records.encode_example(features)[0], "here") == features


def test_numbers_may_be_single_fields():
  """Older writers, such as BAIR's, do not pack numbers."""
  values = b"".join(b"\x0d" + struct.pack("<f", value) for value in (1.5, -2.0))
  integers = b"\x08\x05\x08" + b"\xff" * 9 + b"\x01"
  entries = b""
  for name, kind, content in ((b"f", 0x12, values), (b"i", 0x1A, integers)):
    feature = bytes([kind, len(content)]) + content
    entry = b"\x0a\x01" + name + bytes([0x12, len(feature)]) + feature
    entries += bytes([0x0A, len(entry)]) + entry
  payload = bytes([0x0A, len(entries)]) + entries
  assert records.parse_example(payload, "here") == {"f": [1.5, -2.0], "i": [5, -1]}


def test_the_same_message_as_protobuf_writes():
  tensorflow = pytest.importorskip("tensorflow", reason="needs requirements-data.txt")
  example = tensorflow.train.Example()
  for name, values in FEATURES.items():
    kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])]
    getattr(example.features.feature[name], kind).value.extend(values)
  assert example.SerializeToString(deterministic=True) == records.encode_example(FEATURES)[0]


def test_garbage_is_refused_and_never_crashes():
  payload, _ = records.encode_example(FEATURES)
  parsed = 0
  for position in range(len(payload)):
    for damaged in (
      payload[:position],
      payload[:position] + b"\xff" * 12 + payload[position + 12 :],
    ):
      try:
        records.parse_example(damaged, "file, record 7")
        parsed += 1
      except UserError as error:
        assert str(error).startswith("file, record 7: is not a tf.train.Example")
  assert parsed < 2 * len(payload)


@pytest.mark.parametrize("values", [[], ["text"], [1, 2.0], [None]])
def test_only_what_an_example_can_hold_is_encoded(values):
  with pytest.raises(ValueError, match="'a' must be a list of"):
    records.encode_example({"a": values})
