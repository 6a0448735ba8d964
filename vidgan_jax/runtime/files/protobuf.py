"""Reads and writes the wire format of protocol buffers: numbers, and the fields of a message.

Messages are not trusted: every length is checked. Each fault raises ValueError, to which the caller
adds the name of the file.
"""

from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types


def tag(field: int, wire_type: int) -> bytes:
  """The tag of a field with a number in 1..15: one byte of number and wire type."""
  return bytes([field << 3 | wire_type])


def varint(value: int) -> bytes:
  """Encodes a number in 0..2**64-1 with seven bits per byte, lowest bits first."""
  encoded = bytearray()
  while value > 0x7F:
    encoded.append(value & 0x7F | 0x80)
    value >>= 7
  encoded.append(value)
  return bytes(encoded)


def prefix(field: int, size: int) -> bytes:
  """The bytes before the content of a field of `size` bytes: its tag and length."""
  return tag(field, LENGTH_DELIMITED) + varint(size)


def signed(value: int) -> int:
  """Converts an unsigned number in 0..2**64-1 to the int64 with the same bits."""
  return value - 2**64 if value >= 2**63 else value


def fields(message: memoryview) -> Iterator[tuple[int, Any]]:
  """Yields (field number, content) of a message: an int for a varint, bytes for other types.

  Raises:
    ValueError: this is not a message.
  """
  position = 0
  while position < len(message):
    head, position = read_varint(message, position)
    field, wire_type = head >> 3, head & 7
    if wire_type == VARINT:
      content, position = read_varint(message, position)
    else:
      if wire_type == LENGTH_DELIMITED:
        size, position = read_varint(message, position)
      elif wire_type in (FIXED32, FIXED64):
        size = 4 if wire_type == FIXED32 else 8
      else:
        raise ValueError(f"unknown wire type {wire_type} at byte {position}")
      left = len(message) - position
      if size > left:
        raise ValueError(f"a field at byte {position} states {size} bytes, but {left} are left")
      content = message[position : position + size]
      position += size
    yield field, content


def read_varint(message: memoryview, position: int) -> tuple[int, int]:
  """Reads the number that begins at a byte of a message.

  Returns:
    (the number, position of the byte after it).

  Raises:
    ValueError: the message ends within the number, or the number has more than ten bytes.
  """
  value = 0
  for shift in range(0, 70, 7):
    if position >= len(message):
      raise ValueError("cut off within a number")
    byte = message[position]
    position += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value & (2**64 - 1), position
  raise ValueError("a number of more than ten bytes")
