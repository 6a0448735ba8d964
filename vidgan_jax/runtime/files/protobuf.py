"""Protocol buffers' wire format: numbers, and the fields of a message from anywhere.

What reads a message trusts no length in it: every fault is a ValueError, for the caller to tell
with the file's name.
"""

from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types


def tag(field: int, wire_type: int) -> bytes:
  """What announces a field of 1..15."""
  return bytes([field << 3 | wire_type])


def varint(value: int) -> bytes:
  """A number of 0..2**64-1 in seven bits per byte, the lowest first."""
  encoded = bytearray()
  while value > 0x7F:
    encoded.append(value & 0x7F | 0x80)
    value >>= 7
  encoded.append(value)
  return bytes(encoded)


def announce(field: int, size: int) -> bytes:
  """What stands in front of a field's content of `size` bytes."""
  return tag(field, LENGTH_DELIMITED) + varint(size)


def signed(value: int) -> int:
  """The int64 that an unsigned number of 0..2**64-1 stands for."""
  return value - 2**64 if value >= 2**63 else value


def fields(message: memoryview) -> Iterator[tuple[int, Any]]:
  """Yields (field, content) of a message: an int for a varint, bytes for all else.

  Raises:
    ValueError: this is no message.
  """
  place = 0
  while place < len(message):
    announced, place = read_varint(message, place)
    field, wire_type = announced >> 3, announced & 7
    if wire_type == VARINT:
      content, place = read_varint(message, place)
    else:
      if wire_type == LENGTH_DELIMITED:
        size, place = read_varint(message, place)
      elif wire_type in (FIXED32, FIXED64):
        size = 4 if wire_type == FIXED32 else 8
      else:
        raise ValueError(f"wire type {wire_type} at byte {place}")
      if size > len(message) - place:
        raise ValueError(f"{size} bytes announced at byte {place}, {len(message) - place} there")
      content = message[place : place + size]
      place += size
    yield field, content


def read_varint(message: memoryview, place: int) -> tuple[int, int]:
  """Returns the number that begins at `place`, and where it ends.

  Raises:
    ValueError: the message ends within it, or it has more than ten bytes.
  """
  value = 0
  for shift in range(0, 70, 7):
    if place >= len(message):
      raise ValueError("cut off in a number")
    byte = message[place]
    place += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value & (2**64 - 1), place
  raise ValueError("a number of more than ten bytes")
