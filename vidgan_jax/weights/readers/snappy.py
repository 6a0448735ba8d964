"""Snappy's raw format, decoded (github.com/google/snappy/blob/main/format_description.txt)."""

from vidgan_jax.runtime.files import protobuf


def decompress(data: bytes, limit: int) -> bytes:
  """Decodes a snappy block.

  Args:
    data: the length of what it decodes to, then literals and copies of what came before.
    limit: refuse a block that says it is larger, in bytes.

  Raises:
    ValueError: it is larger, or damaged.
  """
  data = memoryview(data)
  length, place = protobuf.read_varint(data, 0)
  if length > limit:
    raise ValueError(f"a compressed block of {length} bytes; at most {limit} are read")
  out = bytearray()
  while place < len(data):
    kind, upper = data[place] & 3, data[place] >> 2
    place += 1
    if kind == 0:
      size, place = _literal_size(data, upper, place)
      if size > len(data) - place or size > length - len(out):
        raise ValueError("a literal beyond the end of a compressed block")
      out += data[place : place + size]
      place += size
    else:
      # One byte more behind 2 + 3 + 3 bits, or an offset of two or of four bytes.
      size, width = (4 + (upper & 7), 1) if kind == 1 else (1 + upper, 2 if kind == 2 else 4)
      if width > len(data) - place:
        raise ValueError("a compressed block is cut off")
      offset = int.from_bytes(data[place : place + width], "little")
      if kind == 1:
        offset |= (upper >> 3) << 8
      place += width
      if not 1 <= offset <= len(out) or size > length - len(out):
        raise ValueError("a copy beyond the ends of a compressed block")
      # A copy may reach into what it makes itself: it then repeats.
      pattern = bytes(out[len(out) - offset : len(out) - offset + size])
      out += (pattern * (size // len(pattern) + 1))[:size]
  if len(out) != length:
    raise ValueError(f"a compressed block of {len(out)} bytes announces {length}")
  return bytes(out)


def _literal_size(data: memoryview, upper: int, place: int) -> tuple[int, int]:
  """Bytes of a literal whose tag's upper six bits are given, and where it begins."""
  if upper < 60:
    return upper + 1, place
  width = upper - 59
  if width > len(data) - place:
    raise ValueError("a compressed block is cut off")
  return int.from_bytes(data[place : place + width], "little") + 1, place + width
