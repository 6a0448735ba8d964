"""Communication between devices: the collectives of a compiled program, with their sizes."""

import dataclasses
import math
import re

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_ARRAY = re.compile(r"([a-z]+\d+)\[([\d,]*)\]")
_LINE = re.compile(
  r"=\s*(?P<type>\([^=]*?\)|\S+)\s+(?P<kind>" + "|".join(KINDS) + r")(-start)?\((?P<rest>.*)"
)


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation.

  Attributes:
    kind: one of KINDS.
    arrays: (type, shape) of each array that one device receives.
    bytes: total size of these arrays.
    source: name that JAX gives to the operation it comes from.
  """

  kind: str
  arrays: tuple[tuple[str, tuple[int, ...]], ...]
  bytes: int
  source: str


def collectives(compiled) -> list[Collective]:
  """Lists the collectives of a compiled program (the result of `jax.jit(f).lower(...).compile()`).

  A collective inside a loop is listed once, not once per iteration. To count it per iteration,
  compile the loop unrolled.
  """
  result = []
  for line in compiled.as_text().splitlines():
    match = _LINE.search(re.sub(r"/\*.*?\*/", "", line))
    if match is None:
      continue
    arrays = [
      (kind, tuple(int(n) for n in shape.split(",") if n))
      for kind, shape in _ARRAY.findall(match["type"])
    ]
    source = re.search(r'op_name="([^"]*)"', line)
    size = sum(
      math.prod(shape) * _BYTES.get(kind, int(re.sub(r"\D", "", kind) or 8) // 8)
      for kind, shape in arrays
    )
    result.append(Collective(match["kind"], tuple(arrays), size, source[1] if source else ""))
  return result
