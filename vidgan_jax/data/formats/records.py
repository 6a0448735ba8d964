"""TFRecord files and `tf.train.Example` messages without tensorflow.

A record is its length (uint64, little-endian), the masked CRC32C of these eight bytes, the payload,
the masked CRC32C of the payload (tensorflow/core/lib/io/record_writer.h). An Example is a protocol
buffer: a map from names to lists of bytes, of float32 or of int64. The writer puts the features in
the order of their names, so that the same features give the same bytes; the parser takes any valid
message and trusts no length in it.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import google_crc32c

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import protobuf

HEADER_BYTES = 12  # before a record's payload
FOOTER_BYTES = 4  # behind it
MAX_RECORD_BYTES = 2**31 - 1  # protocol buffers end there

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3

Values = Sequence[bytes] | Sequence[float] | Sequence[int]


def masked_crc(data: bytes) -> int:
  """CRC32C, rotated and shifted as TFRecord files store it, 0..2**32-1."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(payload: bytes) -> bytes:
  """Returns a payload as it lies in a TFRecord file, with its length and both checksums.

  Raises:
    ValueError: the payload is larger than MAX_RECORD_BYTES.
  """
  if len(payload) > MAX_RECORD_BYTES:
    raise ValueError(f"a record of {len(payload)} bytes; at most {MAX_RECORD_BYTES} are possible")
  length = _LENGTH.pack(len(payload))
  parts = (length, _CRC.pack(masked_crc(length)), payload, _CRC.pack(masked_crc(payload)))
  return b"".join(parts)


def _read_header(file: BinaryIO, offset: int, where: str) -> int:
  """Returns the length of the payload of the record at `offset`, which the file holds whole."""
  left = os.fstat(file.fileno()).st_size - offset
  file.seek(offset)
  header = file.read(HEADER_BYTES)
  if len(header) < HEADER_BYTES:
    raise UserError(f"{where}: cut off in the record's header")
  (length,), (crc,) = _LENGTH.unpack(header[:8]), _CRC.unpack(header[8:])
  if masked_crc(header[:8]) != crc:
    raise UserError(f"{where}: damaged, or no TFRecord file (the checksum of the length differs)")
  # The file's own size bounds what is read into memory.
  if length > MAX_RECORD_BYTES or HEADER_BYTES + length + FOOTER_BYTES > left:
    raise UserError(f"{where}: cut off, {length} bytes announced, {left - HEADER_BYTES} there")
  return length


def read_record(file: BinaryIO, offset: int, number: int | None = None) -> bytes:
  """Reads the record that begins at `offset` and compares both checksums.

  Args:
    file: a TFRecord file, open for reading; `file.name` is named where it is damaged.
    offset: where the record begins, bytes.
    number: the record's number in the file, for the message; None names the offset.

  Returns:
    The payload.

  Raises:
    UserError: the record is damaged or cut off.
    OSError: the file cannot be read.
  """
  where = f"{file.name}, record {number}" if number is not None else f"{file.name}, byte {offset}"
  length = _read_header(file, offset, where)
  payload, footer = file.read(length), file.read(FOOTER_BYTES)
  if len(payload) + len(footer) < length + FOOTER_BYTES:
    raise UserError(f"{where}: cut off while it was read")
  if masked_crc(payload) != _CRC.unpack(footer)[0]:
    raise UserError(f"{where}: damaged (its checksum differs)")
  return payload


def record_offsets(path: str | os.PathLike) -> Iterator[int]:
  """Yields where each record of a TFRecord file begins; their payloads are not read.

  Raises:
    UserError: the file cannot be read, or the length of a record is damaged or beyond its end; the
      message names file and record.
  """
  try:
    with open(path, "rb") as file:
      size = os.fstat(file.fileno()).st_size
      offset = number = 0
      while offset < size:
        length = _read_header(file, offset, f"{file.name}, record {number}")
        yield offset
        offset += HEADER_BYTES + length + FOOTER_BYTES
        number += 1
  except OSError as error:
    raise UserError(f"{os.fspath(path)}: not readable ({error.strerror})") from error


def read_records(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
  """Yields (offset, payload) of every record of a TFRecord file, checksums compared.

  Raises:
    UserError: the file cannot be read, or a record is damaged; the message names file and record.
  """
  try:
    with open(path, "rb") as file:
      for number, offset in enumerate(record_offsets(path)):
        yield offset, read_record(file, offset, number)
  except OSError as error:
    raise UserError(f"{os.fspath(path)}: not readable ({error.strerror})") from error


def encode_example(features: Mapping[str, Values]) -> tuple[bytes, dict[str, list[int]]]:
  """Encodes a `tf.train.Example`; the same features give the same bytes.

  Args:
    features: by name, a list of one kind and at least one element: bytes, float (stored as
      float32) or int (int64).

  Returns:
    The message, and for each feature of bytes where each value begins in the message.

  Raises:
    ValueError: a list is empty, or holds something else.
  """
  entries, offsets, size = [], {}, 0
  for name in sorted(features):
    field, parts = _encode_values(name, features[name])
    values_size = sum(map(len, parts))
    # Four messages within each other, each with its tag and size in front.
    kind = protobuf.prefix(field, values_size)
    feature = protobuf.prefix(2, len(kind) + values_size) + kind
    key = protobuf.prefix(1, len(name.encode())) + name.encode()
    head = protobuf.prefix(1, len(key) + len(feature) + values_size) + key + feature
    size += len(head)
    if field == _BYTES_LIST:
      offsets[name] = []
      for prefix, value in zip(parts[::2], parts[1::2], strict=True):
        offsets[name].append(size + len(prefix))
        size += len(prefix) + len(value)
    else:
      size += values_size
    entries += [head, *parts]
  head = protobuf.prefix(1, size)
  moved = {name: [len(head) + place for place in places] for name, places in offsets.items()}
  return b"".join([head, *entries]), moved


def _encode_values(name: str, values: Values) -> tuple[int, list[bytes]]:
  """Returns the field of a Feature and its content, for bytes as prefix, value, prefix, value."""
  kinds = {type(value) for value in values}
  if kinds == {bytes}:
    prefixes = (protobuf.prefix(1, len(value)) for value in values)
    return _BYTES_LIST, [part for pair in zip(prefixes, values, strict=True) for part in pair]
  if kinds == {float}:
    packed = struct.pack(f"<{len(values)}f", *values)
    field = _FLOAT_LIST
  elif kinds == {int}:
    packed = b"".join(protobuf.varint(value & (2**64 - 1)) for value in values)
    field = _INT64_LIST
  else:
    raise ValueError(f"feature '{name}' must be a list of bytes, of float or of int")
  return field, [protobuf.prefix(1, len(packed)) + packed]


def parse_example(payload: bytes, where: str) -> dict[str, list]:
  """Parses a `tf.train.Example`, whoever wrote it.

  Args:
    payload: the message.
    where: file and record, for the message of a refusal.

  Returns:
    By name a list of bytes, float or int.

  Raises:
    UserError: this is no Example.
  """
  try:
    features = {}
    for field, message in protobuf.fields(memoryview(payload)):
      if field == 1:
        for entry_field, entry in protobuf.fields(message):
          if entry_field == 1:
            name, values = _parse_entry(entry)
            features[name] = values
    return features
  except (ValueError, TypeError, struct.error) as error:
    raise UserError(f"{where}: is no tf.train.Example ({error})") from error


def _parse_entry(entry: memoryview) -> tuple[str, list]:
  """Parses one entry of the map: its name and its values."""
  name, values = "", []
  for field, content in protobuf.fields(entry):
    if field == 1:
      name = bytes(content).decode()
    elif field == 2:
      for kind, message in protobuf.fields(content):
        values = _parse_values(kind, message)
  return name, values


def _parse_values(kind: int, message: memoryview) -> list:
  """Parses a BytesList, FloatList or Int64List; numbers may be packed or single."""
  values = []
  for field, content in protobuf.fields(message):
    if field != 1:
      continue
    if kind == _BYTES_LIST:
      values.append(bytes(content))
    elif kind == _FLOAT_LIST:
      values += struct.unpack(f"<{len(content) // 4}f", content)
    elif kind == _INT64_LIST and isinstance(content, int):
      values.append(protobuf.signed(content))
    elif kind == _INT64_LIST:
      place = 0
      while place < len(content):
        value, place = protobuf.read_varint(content, place)
        values.append(protobuf.signed(value))
  return values
