"""The bytes that an array takes on a TPU, which stores arrays in tiles.

A tile has 128 columns and 8 rows, or 32 rows of numbers of one byte, and an array fills up its
tiles (https://openxla.org/xla/tiled_layout). XLA chooses which axes lie in a tile. For activations,
it mostly chooses the last two, in the order that takes less memory: channels as columns where they
are 128 or more, else the width.
"""

import math
from collections.abc import Sequence

_COLUMNS = 128
_ROWS = {1: 32}  # by bytes of a number
_USUAL_ROWS = 8
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
  """Rows that an axis fills: tiles of 1, 2 and 4 rows exist too."""
  if size <= 4:
    return 1 << (size - 1).bit_length()
  return _up(size, _ROWS.get(itemsize, _USUAL_ROWS))
