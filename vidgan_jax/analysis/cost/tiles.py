"""The bytes that an array takes on a TPU, which stores arrays in tiles.

A tile has 128 columns and 8 rows; long axes of numbers of one byte lie in tiles of 32 rows, axes of
four or less in smaller tiles. An array fills up its tiles (https://openxla.org/xla/tiled_layout).
XLA chooses which axes lie in a tile. For activations, it mostly chooses the last two, in the order
that takes less memory: channels as columns where they are 128 or more, else the width.
"""

import math
from collections.abc import Sequence

_COLUMNS = 128
_ROWS = 8
_ROWS_OF_BYTES = 32
_COLOURS = 4  # as many channels as this, or fewer, are better left out of the tile


def array_bytes(shape: Sequence[int], itemsize: int) -> int:
  """Bytes of an array in the better order of its axes.

  Args:
    shape: of the array.
    itemsize: bytes of a number.
  """
  pairs = [(-2, -1), (-1, -2)]
  if len(shape) > 2 and shape[-1] <= _COLOURS:
    pairs += [(-3, -2), (-2, -3)]
  return min(_bytes(shape, itemsize, row, column) for row, column in pairs)


def ordered_bytes(shape: Sequence[int], itemsize: int) -> int:
  """Bytes of an array whose last axis lies in the columns."""
  return _bytes(shape, itemsize, -2, -1)


def _bytes(shape: Sequence[int], itemsize: int, row: int, column: int) -> int:
  """Bytes of an array with two of its axes in tiles."""
  numbers = math.prod(shape)
  if len(shape) < 2 or not numbers:  # an array of one axis is too small to matter
    return numbers * itemsize
  outside = numbers // (shape[row] * shape[column])
  return outside * _rows(shape[row], itemsize) * _up(shape[column]) * itemsize


def _up(size: int, unit: int = _COLUMNS) -> int:
  return -(-size // unit) * unit


def _rows(size: int, itemsize: int) -> int:
  """Rows that an axis fills. Numbers of less than four bytes share a row of a tile."""
  if size <= _ROWS // 2:
    return max(1 << (size - 1).bit_length(), 4 // itemsize)
  return _up(size, _ROWS_OF_BYTES if itemsize == 1 and size >= _ROWS_OF_BYTES else _ROWS)
