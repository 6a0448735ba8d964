"""Communication between devices: the collectives of a compiled program, with their sizes."""

import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8}  # the names of other types contain theirs
_ARRAY = re.compile(r"([a-z]+\d+[a-z0-9]*|pred)\[([\d,]*)\]")
_LINE = re.compile(
  r"=\s*(?P<type>\([^=]*?\)|\S+)\s+(?P<kind>" + "|".join(KINDS) + r")(?P<start>-start)?\("
)
# Devices of a group: the list of the first group, [groups, devices] and how they are numbered, or
# the axes of a mesh and the names of those that a group has.
_GROUP = re.compile(
  r"replica_groups=(?:\{\{(?P<list>[\d,]+)\}|\[\d+,(?P<number>\d+)\]<=|"
  r"mesh\[(?P<mesh>[^\]]*)\]\s*\{(?P<axes>[^}]*)\})"
)
_AXIS = re.compile(r"'([^']+)'=(\d+)")
_DEVICES = re.compile(r"\b(?:num_partitions|replica_count)=(\d+)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{")
# The TPU compiler runs an all-reduce whose result is sliced as one operation, a reduce-scatter.
_SCATTER = "all-reduce-scatter"


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation.

  Attributes:
    kind: one of KINDS.
    arrays: (type, shape) of each array that one device receives.
    bytes: total size of these arrays.
    source: name that JAX gives to the operation it comes from.
    group: number of devices that exchange numbers with each other.
  """

  kind: str
  arrays: tuple[tuple[str, tuple[int, ...]], ...]
  bytes: int
  source: str
  group: int

  @property
  def sent_bytes(self) -> int:
    """What one device sends at least: the numbers that others need of it, once."""
    others, group = self.group - 1, self.group
    if self.kind == "reduce-scatter":  # `bytes` is one part
      return others * self.bytes
    if self.kind == "collective-permute":
      return self.bytes
    return (2 if self.kind == "all-reduce" else 1) * self.bytes * others // group


def collectives(compiled) -> list[Collective]:
  """Lists the collectives of a compiled program (the result of `jax.jit(f).lower(...).compile()`).

  A collective inside a loop is listed once, not once per iteration. To count it per iteration,
  compile the loop unrolled.
  """
  return collectives_of_text(compiled.as_text())


def collectives_of_text(text: str) -> list[Collective]:
  """As `collectives`, from the text of an optimised HLO module.

  An asynchronous collective is listed once. The TPU compiler repeats it in several fused
  computations: one that starts it, one that finishes it, and one for each operation that runs
  meanwhile. Only the first counts.
  """
  devices = max((int(n) for n in _DEVICES.findall(text.partition("\n")[0])), default=1)
  fused = set(re.findall(r" fusion\(.*?calls=%?([\w.\-]+)", text))
  result = []
  for name, lines in _computations(text):
    scatters = name.startswith(_SCATTER)
    starts = any("AsyncCollectiveStart" in line for line in lines)
    if name in fused and not (scatters or starts):
      continue
    for line in lines:
      line = re.sub(r"/\*.*?\*/", "", line)
      match = _LINE.search(line)
      if match is None:
        continue
      if scatters and match["kind"] == "all-reduce":
        kind, received = "reduce-scatter", lines[0].rpartition("->")[2]
      else:
        kind, received = match["kind"], match["type"]
      if match["start"] and kind != "all-reduce":
        received = (_parts(received) + [received])[1]  # of (operands, results, ...)
      result.append(_collective(kind, received, line, devices))
  return result


def array_bytes(kind: str, shape: tuple[int, ...]) -> int:
  """Bytes of an array without padding; `kind` is HLO's name of the type, such as "bf16"."""
  bits = _BITS[kind] if kind in _BITS else int(re.sub(r"^[a-z]+(\d*).*", r"\1", kind) or 8)
  return -(-math.prod(shape) * bits // 8)


def arrays_of(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
  """The arrays (type, shape) of a type in HLO's text form, also of a tuple."""
  return tuple(
    (kind, tuple(int(n) for n in shape.split(",") if n)) for kind, shape in _ARRAY.findall(text)
  )


def _collective(kind: str, received: str, line: str, devices: int) -> Collective:
  arrays = arrays_of(received)
  source = re.search(r'op_name="([^"]*)"', line)
  size = sum(array_bytes(*array) for array in arrays)
  return Collective(kind, arrays, size, source[1] if source else "", _group(line, devices))


def _group(line: str, devices: int) -> int:
  """Number of devices of a collective's group; `devices` if its line names no groups."""
  found = _GROUP.search(line)
  if found is None:
    return devices
  if found["list"]:
    return found["list"].count(",") + 1
  if found["number"]:
    return int(found["number"])
  sizes = {name: int(size) for name, size in _AXIS.findall(found["mesh"])}
  # Part of an axis is 'name':(before it, size).
  axes = re.findall(r"'([^']+)'(?::\(\d+\)?,?(\d+)\)?)?", found["axes"])
  return math.prod(int(part) if part else sizes[name] for name, part in axes)


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
  """(name, its lines) of each computation; the first line has the parameters and the result."""
  name, lines = "", []
  for line in text.splitlines():
    match = _COMPUTATION.match(line)
    if match:
      yield name, lines
      name, lines = match["name"], []
    lines.append(line)
  yield name, lines


def _parts(text: str) -> list[str]:
  """The members of a tuple type, "(a, (b, c))" -> ["a", "(b, c)"]."""
  parts, depth = [""], 0
  for letter in text.strip()[1:-1]:
    depth += (letter in "([{") - (letter in ")]}")
    if letter == "," and not depth:
      parts.append("")
    else:
      parts[-1] += letter
  return parts
