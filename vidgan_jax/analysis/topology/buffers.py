"""Memory of a compiled program, from the files in which XLA describes its buffers.

With `--xla_dump_to` the compilers for CPU, GPU and TPU all write, once buffers are assigned and
before they emit code, the same files. Two of them are read here: "buffer-assignment", with each
allocation and the values in it, and "live-range", with the instructions between which each value is
needed.
"""

import collections
import dataclasses
import re
from collections.abc import Iterator

from vidgan_jax.analysis.cost.collectives import array_bytes, arrays_of

_ALLOCATION = re.compile(r"allocation \d+: size (\d+), (.*):$")
_VALUE = re.compile(r" value: <\d+ (\S+)(?: \(phi\))? @\d+> \(size=(\d+),offset=(\d+)\): (.*)$")
_RANGE = re.compile(r"    (\S+):(\d+)-(\d+)$")
_COLOR = re.compile(r"color (\d+)")
_HOST = 5  # the number ("color") of the host's memory


@dataclasses.dataclass(frozen=True)
class Buffer:
  """An array in a device's memory.

  Attributes:
    instruction: that computes it.
    use: "argument", "output" or "temporary".
    size: bytes that it takes.
    content: bytes of its numbers, without padding.
    shape: in HLO's form, such as "bf16[8,12,64,64,96]".
  """

  instruction: str
  use: str
  size: int
  content: int
  shape: str


@dataclasses.dataclass(frozen=True)
class Memory:
  """What one device holds while a program runs, in bytes.

  Attributes:
    arguments: the program's inputs; outputs that replace them take no more.
    outputs: the others.
    temporaries: one block that holds all values in between.
    constants: in the program.
    buffers: arrays that exist when temporaries fill the most, the largest first.
  """

  arguments: int
  outputs: int
  temporaries: int
  constants: int
  buffers: tuple[Buffer, ...]

  @property
  def peak(self) -> int:
    """All of it: the block of temporaries is taken as a whole."""
    return self.arguments + self.outputs + self.temporaries + self.constants


@dataclasses.dataclass(frozen=True)
class _Value:
  name: str  # with the index of a tuple's member, as "fusion.3{1}"
  size: int
  offset: int
  shape: str


def read(assignment: str, ranges: str, platform: str) -> Memory:
  """Reads the texts of the two files.

  Args:
    assignment: of the file "...-buffer-assignment.txt".
    ranges: of the file "...-live-range.txt".
    platform: "tpu", whose other memories than HBM are left out, or another one.
  """
  totals, buffers, values = collections.Counter(), [], []
  for size, kind, members in _allocations(assignment):
    use = _use(kind, platform)
    if use is None:
      continue
    totals[use] += size
    if use == "temporary":
      values += members
    elif use in ("argument", "output") and members:
      # An argument may be replaced by an output, and an output may begin as another value.
      buffers.append(_buffer(members[0 if use == "argument" else -1], use, size))
  buffers += [_buffer(v, "temporary", v.size) for v in _largest_moment(values, _live(ranges))]
  buffers.sort(key=lambda buffer: -buffer.size)
  return Memory(
    totals["argument"],
    totals["output"],
    totals["temporary"],
    totals["constant"],
    tuple(buffers),
  )


def _allocations(text: str) -> Iterator[tuple[int, str, list[_Value]]]:
  """(size, description, values) of each allocation."""
  size, kind, members = 0, "", []
  for line in text.splitlines():
    if match := _VALUE.match(line):
      name = match[1] if match[1].endswith("}") else match[1] + "{}"
      members.append(_Value(name, int(match[2]), int(match[3]), match[4]))
    elif match := _ALLOCATION.match(line):
      yield size, kind, members
      size, kind, members = int(match[1]), match[2], []
  yield size, kind, members


def _use(kind: str, platform: str) -> str | None:
  """What an allocation with this description is for; None if it is not in the device's memory."""
  color = int((_COLOR.search(kind) or [0, 0])[1])
  if color == _HOST or (platform == "tpu" and color):
    return None
  if re.search(r"\bparameter \d+", kind):
    return "argument"
  if "preallocated-temp" in kind:
    return "temporary"
  if "constant" in kind:
    return "constant"
  if "maybe-live-out" in kind or "output shape" in kind:
    return "output"
  return None  # "thread-local": inside one instruction


def _live(text: str) -> dict[str, tuple[int, int]]:
  """{value: (first, last instruction)} of the file "live-range"."""
  matches = (_RANGE.match(line) for line in text.splitlines())
  return {match[1]: (int(match[2]), int(match[3])) for match in matches if match}


def _largest_moment(values: list[_Value], live: dict[str, tuple[int, int]]) -> list[_Value]:
  """The values that exist at the instruction where they take the most memory together."""
  values = [value for value in values if value.name in live]
  events = collections.defaultdict(lambda: ([], []))
  for value in values:
    begin, end = live[value.name]
    events[begin][0].append(value)
    events[end + 1][1].append(value)
  users, total, most, moment = collections.Counter(), 0, -1, 0
  for time in sorted(events):
    begun, ended = events[time]
    for value, change in [(v, -1) for v in ended] + [(v, 1) for v in begun]:
      # Several values may share a place: parts of a loop's state, results computed in place.
      place = (value.offset, value.size)
      before = users[place]
      users[place] += change
      total += value.size * (bool(users[place]) - bool(before))
    if total > most:
      most, moment = total, time
  present = {}
  for value in sorted(values, key=lambda value: live[value.name][0]):
    begin, end = live[value.name]
    if begin <= moment <= end:
      present[value.offset] = value
  return list(present.values())


def _buffer(value: _Value, use: str, size: int) -> Buffer:
  shape = re.sub(r"/\*.*?\*/", "", value.shape)
  content = sum(array_bytes(*array) for array in arrays_of(shape))
  text = shape if shape.startswith("(") else shape.partition("{")[0]
  return Buffer(value.name.partition("{")[0], use, size, min(content, size), text)
