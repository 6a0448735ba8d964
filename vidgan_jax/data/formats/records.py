"""Reads and writes TFRecord files and `tf.train.Example` messages without tensorflow.

A record consists of its length (uint64, little-endian), the masked CRC32C of these eight bytes, the
payload, and the masked CRC32C of the payload (tensorflow/core/lib/io/record_writer.h). An Example
is a protocol buffer: a map from names to lists of bytes, of float32 or of int64. The writer sorts
the features by name, so that equal features give equal bytes. The parser accepts any valid message
and trusts no length in it.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import google_crc32c

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import protobuf

HEADER_BYTES = 12  # before the payload of a record
FOOTER_BYTES = 4  # after the payload
MAX_RECORD_BYTES = 2**31 - 1  # limit of protocol buffers

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3

Values = Sequence[bytes] | Sequence[float] | Sequence[int]  # _encode_values checks the elements


def masked_crc(data: bytes) -> int:
  """CRC32C, rotated and offset as in TFRecord files, 0..2**32-1."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(payload: bytes) -> bytes:
  """Returns the bytes of a record in a TFRecord file: the payload with its length and checksums.

  Raises:
    ValueError: the payload is larger than MAX_RECORD_BYTES.
  """
  if len(payload) > MAX_RECORD_BYTES:
    raise ValueError(f"a record of {len(payload)} bytes exceeds the limit of {MAX_RECORD_BYTES}")
  length = _LENGTH.pack(len(payload))
  parts = (length, _CRC.pack(masked_crc(length)), payload, _CRC.pack(masked_crc(payload)))
  return b"".join(parts)


def _read_header(file: BinaryIO, offset: int, where: str) -> int:
  """Returns the payload length of the record at `offset`; UserError if the file ends within it."""
  left = os.fstat(file.fileno()).st_size - offset
  file.seek(offset)
  header = file.read(HEADER_BYTES)
  if len(header) < HEADER_BYTES:
    raise UserError(f"{where}: cut off in the header of the record")
  (length,), (crc,) = _LENGTH.unpack(header[:8]), _CRC.unpack(header[8:])
  if masked_crc(header[:8]) != crc:
    raise UserError(f"{where}: damaged, or not a TFRecord file (checksum of the length differs)")
  # Bounds the memory that is allocated by the size of the file.
  if length > MAX_RECORD_BYTES or HEADER_BYTES + length + FOOTER_BYTES > left:
    needed = length + FOOTER_BYTES
    raise UserError(f"{where}: cut off, has {left - HEADER_BYTES} of {needed} bytes")
  return length


def read_record(file: BinaryIO, offset: int, number: int | None = None) -> bytes:
  """Reads the record that begins at `offset` and checks both checksums.

  Args:
    file: a TFRecord file, open for reading; error messages contain `file.name`.
    offset: first byte of the record.
    number: number of the record in the file, for error messages; None gives the offset instead.

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
  """Yields the first byte of each record of a TFRecord file, without reading payloads.

  Raises:
    UserError: the file cannot be read, or the length of a record is damaged or exceeds the file;
      the message contains file and record.
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
  """Yields (offset, payload) of every record of a TFRecord file, and checks the checksums.

  Raises:
    UserError: the file cannot be read, or a record is damaged; the message contains file and
      record.
  """
  try:
    with open(path, "rb") as file:
      for number, offset in enumerate(record_offsets(path)):
        yield offset, read_record(file, offset, number)
  except OSError as error:
    raise UserError(f"{os.fspath(path)}: not readable ({error.strerror})") from error


def encode_example(features: Mapping[str, Values]) -> tuple[bytes, dict[str, list[int]]]:
  """Encodes a `tf.train.Example`; equal features give equal bytes.

  Args:
    features: by name, a list of at least one element, all bytes, float (stored as float32) or int
      (stored as int64).

  Returns:
    The message, and for each feature of bytes the position of each value in the message.

  Raises:
    ValueError: a list is empty or has elements of another type.
  """
  entries, offsets, size = [], {}, 0
  for name in sorted(features):
    field, parts = _encode_values(name, features[name])
    values_size = sum(map(len, parts))
    # Four nested messages, each preceded by its tag and size.
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
  absolute = {name: [len(head) + offset for offset in values] for name, values in offsets.items()}
  return b"".join([head, *entries]), absolute


def _encode_values(name: str, values: Sequence[Any]) -> tuple[int, list[bytes]]:
  """Returns the field of a Feature and its content; for bytes: prefix, value, prefix, value, ..."""
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
  """Parses a `tf.train.Example` from an untrusted file.

  Args:
    payload: the message.
    where: file and record, for error messages.

  Returns:
    By name, a list of bytes, float or int.

  Raises:
    UserError: the payload is not an Example.
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
    raise UserError(f"{where}: is not a tf.train.Example ({error})") from error


def _parse_entry(entry: memoryview) -> tuple[str, list]:
  """Parses one entry of the map; returns its name and its values."""
  name, values = "", []
  for field, content in protobuf.fields(entry):
    if field == 1:
      name = bytes(content).decode()
    elif field == 2:
      for kind, message in protobuf.fields(content):
        values = _parse_values(kind, message)
  return name, values


def _parse_values(kind: int, message: memoryview) -> list:
  """Parses a BytesList, FloatList or Int64List; its numbers may be packed or not."""
  values: list[Any] = []
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
      position = 0
      while position < len(content):
        value, position = protobuf.read_varint(content, position)
        values.append(protobuf.signed(value))
  return values
