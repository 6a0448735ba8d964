"""A compressor and a writer of PyTorch's files, without PyTorch, for tests."""

import numpy as np
import pytest

from tests.torch_files import write_torch  # noqa: F401
from vidgan_jax.runtime.files.protobuf import varint


def _compressed(data: bytes, seed: int = 0) -> bytes:
  """`data` in snappy's format: literals, and copies of every kind wherever possible."""
  random, out, position = np.random.default_rng(seed), bytearray(varint(len(data))), 0

  def literal(size):
    nonlocal out
    widths = [w for w in range(5) if (w == 0 and size <= 60) or (w and size <= 256**w)]
    width = int(random.choice(widths))
    if width == 0:
      out.append(size - 1 << 2)
    else:
      out += bytes([59 + width << 2]) + (size - 1).to_bytes(width, "little")
    out += data[position : position + size]

  while position < len(data):
    # The longest of some earlier positions, which may reach beyond `position` itself.
    best, offset = 0, 0
    for start in random.integers(0, position, 30) if position else ():
      size = 0
      while (
        size < 64 and position + size < len(data) and data[start + size] == data[position + size]
      ):
        size += 1
      if size > best:
        best, offset = size, position - int(start)
    kinds = [1] * (4 <= best <= 11 and offset < 2048) + [2] * (offset < 65536) + [3]
    kind = int(random.choice(kinds)) if best else 0
    if kind == 0:
      best = min(int(random.integers(1, 400)), len(data) - position)
      literal(best)
    elif kind == 1:
      out += bytes([offset >> 8 << 5 | best - 4 << 2 | 1, offset & 255])
    else:
      out += bytes([best - 1 << 2 | kind]) + offset.to_bytes(2 if kind == 2 else 4, "little")
    position += best
  return bytes(out)


@pytest.fixture(scope="session")
def compressed():
  """A function (data, seed) that compresses bytes to snappy's format."""
  return _compressed
