"""The arrays of a trace, as `analysis.cost.liveness` follows them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from vidgan_jax.analysis.cost import tiles


@dataclasses.dataclass(frozen=True)
class Kind:
  """What matters about a kind of device.

  Attributes:
    cudnn: whether convolutions are cuDNN's.
    tiles: whether arrays are stored in tiles.
    usual: whether their last axis lies in the columns of the tiles; see `tiles.ordered_bytes`.
  """

  cudnn: bool = False
  tiles: bool = False
  usual: bool = False

  def size(self, variable: Any) -> int:
    """Bytes of a variable of a trace; 0 for what is no array of numbers."""
    shape, itemsize = _form(variable)
    if self.tiles:
      in_tiles = tiles.ordered_bytes if self.usual else tiles.array_bytes
      return in_tiles(shape, itemsize)
    return math.prod(shape) * itemsize

  def usual_size(self, variable: Any) -> int:
    """Bytes of a variable with its last two axes in tiles, in their order."""
    return tiles.ordered_bytes(*_form(variable))


def _form(variable: Any) -> tuple[Sequence[int], int]:
  """Shape and bytes of a number; 0 bytes for what is no array of numbers."""
  itemsize = getattr(getattr(variable.aval, "dtype", None), "itemsize", 0)
  return getattr(variable.aval, "shape", ()), itemsize


@dataclasses.dataclass(eq=False)
class Value:
  """An array of the trace.

  Attributes:
    index: its number in the order of the trace, the same whenever the program is followed. It is
      -1 for an argument or a constant, whose memory is not counted here, and for a copy that is
      computed again, whose memory is counted.
    bytes: its size.
    begin: the time at which it could be computed, or from which it is stored.
    sources: what a fused result is computed from.
    replaces: operands of a condition that have the size of the result.
    stored: whether it takes memory.
    end: the time at which it is read for the last time, if it is stored.
    readers: fused results that are computed from it, and times at which it is read.
    reversed: whether the trace reverses it, as kernels in gradients with respect to inputs.
    carried: whether it lies in memory that the caller counts: a loop's carry, or an operand that a
      branch may overwrite.
  """

  index: int
  bytes: int
  begin: int
  sources: tuple["Value", ...] = ()
  replaces: tuple["Value", ...] = ()
  stored: bool = True
  end: int = 0
  readers: list[Any] = dataclasses.field(default_factory=list)
  reversed: bool = False
  carried: bool = False

  def __post_init__(self) -> None:
    self.end = self.begin
    for source in self.sources:
      source.readers.append(self)

  def leaves(self) -> list["Value"]:
    """The stored values that it is computed from; itself if it is stored."""
    return stored_sources([self])

  def reads(self, without: "Value | None" = None) -> list[int]:
    """The times at which it is read, not counting reads through the value `without`."""
    times, pending, seen = [], [self], set()
    while pending:
      one = pending.pop()
      if id(one) in seen or one is without:
        continue
      seen.add(id(one))
      for reader in one.readers:
        if isinstance(reader, int):
          times.append(reader)
        elif reader is not without and reader.stored:
          times.append(reader.begin)
        elif reader is not without:
          pending.append(reader)
    return times

  def last_read(self, without: "Value | None" = None) -> int:
    """The last of `reads`; `begin` if there is none."""
    return max(self.reads(without), default=self.begin)


def stored_sources(values: Any) -> list[Value]:
  """The stored values among some values, or that they are computed from; each once."""
  found, pending, seen = [], list(values), set()
  while pending:
    one = pending.pop()
    if id(one) in seen:
      continue
    seen.add(id(one))
    if one.stored:
      found.append(one)
    else:
      pending.extend(one.sources)
  return found
