"""Decodes snappy's raw format (github.com/google/snappy/blob/main/format_description.txt)."""

from vidgan_jax.runtime.files import protobuf


def decompress(data: bytes, limit: int) -> bytes:
  """Decodes a snappy block.

  Args:
    data: the decoded length, then literals and copies of earlier output.
    limit: largest decoded length, bytes.

  Raises:
    ValueError: the block is damaged, or its decoded length exceeds the limit.
  """
  data = memoryview(data)
  length, position = protobuf.read_varint(data, 0)
  if length > limit:
    raise ValueError(f"a compressed block of {length} bytes exceeds the limit of {limit}")
  out = bytearray()
  while position < len(data):
    kind, upper = data[position] & 3, data[position] >> 2
    position += 1
    if kind == 0:
      size, position = _literal_size(data, upper, position)
      if size > len(data) - position or size > length - len(out):
        raise ValueError("a literal exceeds the end of a compressed block")
      out += data[position : position + size]
      position += size
    else:
      # Kind 1: 2 bits of kind, 3 of size, 3 of the offset, and one more byte of the offset. Kinds 2
      # and 3: 2 bits of kind, 6 of size, and an offset of 2 or 4 bytes.
      size, width = (4 + (upper & 7), 1) if kind == 1 else (1 + upper, 2 if kind == 2 else 4)
      if width > len(data) - position:
        raise ValueError("a compressed block is cut off")
      offset = int.from_bytes(data[position : position + width], "little")
      if kind == 1:
        offset |= (upper >> 3) << 8
      position += width
      if not 1 <= offset <= len(out) or size > length - len(out):
        raise ValueError("a copy refers to bytes outside of a compressed block")
      # A copy may overlap the bytes that it produces; then they repeat.
      pattern = bytes(out[len(out) - offset : len(out) - offset + size])
      out += (pattern * (size // len(pattern) + 1))[:size]
  if len(out) != length:
    raise ValueError(f"a compressed block has {len(out)} bytes instead of {length}")
  return bytes(out)


def _literal_size(data: memoryview, upper: int, position: int) -> tuple[int, int]:
  """Returns the size of a literal, and its first byte; `upper` is the upper six bits of its tag."""
  if upper < 60:
    return upper + 1, position
  width = upper - 59
  if width > len(data) - position:
    raise ValueError("a compressed block is cut off")
  return int.from_bytes(data[position : position + width], "little") + 1, position + width
