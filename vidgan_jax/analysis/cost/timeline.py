"""When each array of a traced program exists; `analysis.cost.liveness` has the rules."""

import bisect
import collections
import dataclasses
import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

from jax.extend import core

from vidgan_jax.analysis.cost import in_place, residuals
from vidgan_jax.analysis.cost.arrays import Kind, Value, stored_sources
from vidgan_jax.runtime.hardware import flops

_FUSED = residuals.FUSED | frozenset(
  """stack unstack clamp erf_inv nextafter population_count shift_left shift_right_logical square
  xor""".split()
)
_LOOPS = frozenset("scan while".split())
_NEAR = 12  # steps between two reads of a result that is not computed again between them
SMALL = 0.005  # part of the peak: smaller arrays, and smaller gains, are not looked for


@dataclasses.dataclass(frozen=True)
class Plan:
  """Which fused results, by their indices, are treated differently.

  Attributes:
    state: new state, which needs no memory.
    early: stored where they are computed.
    again: computed once more for each reader that comes much later than the one before.
  """

  state: frozenset[int] = frozenset()
  early: frozenset[int] = frozenset()
  again: frozenset[int] = frozenset()


class Timeline:
  """Follows a program once.

  Args:
    plan: the results to be treated differently.
    kind: of the device.
    carried: positions of arguments that the program may overwrite.
    peak_of: `liveness.peak_bytes`, for bodies of loops and branches.
  """

  def __init__(
    self,
    plan: Plan,
    kind: Kind,
    carried: Collection[int],
    peak_of: Callable[..., int],
  ):
    self._plan, self._kind, self._carried, self._peak_of = plan, kind, carried, peak_of
    self._time = 0
    self._latest: dict[int, Value] = {}  # {index: the copy that was computed last}
    self.values: list[Value] = []
    self._inside: dict[int, int] = {}  # {time: bytes within a loop or a condition}
    self._conditions: dict[int, tuple[Any, list[Value]]] = {}  # {time: (equation, operands)}
    self._copies: dict[Any, Value] = {}  # padded copies by (array, padding)
    # (result, arrays of which it may take the place of one)
    self._written: list[tuple[Value, list[Value]]] = []

  def whole(self, jaxpr: Any) -> list[Value]:
    """Follows the program from its arguments to its results, which are returned."""
    arguments = [*jaxpr.invars, *jaxpr.constvars]
    known = {
      variable: Value(-1, self._kind.size(variable), 0, carried=position in self._carried)
      for position, variable in enumerate(arguments)
    }
    self._follow(jaxpr.eqns, known)
    self._time += 1
    results = [_read(atom, known) for atom in jaxpr.outvars]
    for result in results:
      self._use(result)
    return results

  def peak(self) -> tuple[int, int]:
    """(bytes where the program needs most, that time)."""
    changes = collections.Counter()
    self._reuse()
    self._within_conditions()
    for value in self.values:
      if value.stored and not value.carried:
        changes[value.begin] += value.bytes
        changes[value.end + 1] -= value.bytes
    for time, inside in self._inside.items():
      changes[time] += inside
      changes[time + 1] -= inside
    most = now = at = 0
    for time in sorted(changes):
      now += changes[time]
      if now > most:
        most, at = now, time
    return most, at

  def _reuse(self) -> None:
    """Lets results begin one step later if they are written over an array that ends there."""
    taken = set()
    for value, sources in self._written:
      for source in sources:
        known = source.index >= 0 or source.carried
        ends = source.end == value.begin and source.bytes == value.bytes and known
        if ends and id(source) not in taken:
          taken.add(id(source))
          value.carried = source.carried
          value.begin += 1
          break
    self._written = []

  def _within_conditions(self) -> None:
    """Adds what the branches of conditions need, where they may write over dead operands."""
    for time, (equation, operands) in self._conditions.items():
      free = [
        position
        for position, operand in enumerate(operands[1:])  # after the number of the branch
        if operand.end == time
        and operand.index >= 0
        and sum(operand is other for other in operands) == 1
      ]
      self._inside[time] = max(
        self._peak_of(branch, self._kind, carried=free) for branch in flops.inner_jaxprs(equation)
      )
    self._conditions = {}

  def worth_storing(self, time: int, peak: int) -> frozenset[int]:
    """The index of the fused result that, stored early, frees most at a time; or none.

    Args:
      time: where the program needs most.
      peak: bytes at that time.
    """
    best, found = 0, set()
    for value in self.values:
      if value.stored or value.begin >= time or value.bytes < SMALL * peak:
        continue
      if value.last_read() < time:
        continue
      freed = sum(
        leaf.bytes
        for leaf in value.leaves()
        if leaf.index >= 0 and leaf.begin <= time <= leaf.end and leaf.last_read(value) < time
      )
      if freed - value.bytes > best:
        best, found = freed - value.bytes, {value.index}
    return frozenset(found)

  def worth_computing_again(self, time: int, peak: int) -> frozenset[int]:
    """The indices of stored fused results that need not exist at a time.

    They are read much later for the next time, and what they are computed from is smaller, or is
    in memory anyway.

    Args:
      time: where the program needs most.
      peak: bytes at that time.
    """
    found = set()
    for value in self.values:
      if not value.stored or value.carried or not value.sources or value.index in self._plan.again:
        continue
      if not value.begin < time < value.end or value.bytes < SMALL * peak:
        continue
      reads = sorted([value.begin, *value.reads()])
      following = bisect.bisect_left(reads, time)
      if following == len(reads) or reads[following] - reads[following - 1] <= _NEAR:
        continue
      kept = sum(
        leaf.bytes for leaf in stored_sources(value.sources) if leaf.index >= 0 and leaf.end < time
      )
      if reads[following] > time and value.bytes - kept > SMALL * peak:
        found.add(value.index)
    return frozenset(found)

  def _follow(self, equations: Any, known: dict[Any, Value]) -> None:
    for equation in equations:
      name = equation.primitive.name
      operands = [_read(atom, known) for atom in equation.invars]
      if name in residuals.CALLS:
        (inner,) = flops.inner_jaxprs(equation)
        inside = dict(zip(inner.invars, operands, strict=True))
        inside |= {variable: Value(-1, 0, self._time) for variable in inner.constvars}
        self._follow(inner.eqns, inside)
        results = [_read(atom, inside) for atom in inner.outvars]
      elif name in residuals.IDENTITIES:
        results = operands
      elif name in residuals.SAME_STORAGE:
        results = operands[:1]
        self._arrange(equation, *results)
      elif name in _FUSED:
        results = [self._fused(v, operands, name) for v in equation.outvars]
      else:
        results = self._stored(equation, operands)
      known.update(zip(equation.outvars, results, strict=True))

  def _new(self, bytes_: int, **attributes: Any) -> Value:
    value = Value(len(self.values), bytes_, self._time, **attributes)
    self.values.append(value)
    return value

  def _fused(self, variable: Any, operands: list[Value], name: str) -> Value:
    value = self._new(
      self._kind.size(variable), sources=tuple(operands), stored=False, reversed=name == "rev"
    )
    if value.index in self._plan.state:
      value.bytes = 0
    if value.index in self._plan.early or value.index in self._plan.state:
      self._store(value)
    return value

  def _stored(self, equation: Any, operands: list[Value]) -> list[Value]:
    """The results of an operation that no compiler fuses."""
    name = equation.primitive.name
    if name not in residuals.REDUCTIONS:
      for operand in operands:
        self._store(operand)
    self._time += 1
    if self._kind.cudnn and name == "conv_general_dilated":
      operands = [self._padded(equation, *operands), operands[1]]
    for operand in operands:
      self._use(operand)
    if name == "cond":
      self._conditions[self._time] = equation, operands
    elif name in _LOOPS:
      bodies = flops.inner_jaxprs(equation)
      copies, kind = 0, self._kind
      if not any(map(_multiplies, bodies)):
        copies, kind = self._reordered(equation), dataclasses.replace(kind, usual=True)
      peaks = [
        self._peak_of(body, kind, carried=in_place.carried(equation, body)) for body in bodies
      ]
      self._inside[self._time] = max(peaks, default=0) + copies
    results = [self._new(self._kind.size(variable)) for variable in equation.outvars]
    if name == "cond":
      for result in results:
        result.replaces = tuple(o for o in operands[1:] if o.bytes == result.bytes)
        if result.index in self._plan.state:
          result.bytes = 0
        else:  # within the condition, its branches count their results
          result.begin = result.end = self._time + 1
    for result, start in zip(results, in_place.starts(equation, operands), strict=False):
      if sum(operand is start for operand in operands) == 1:  # not a constant of the loop too
        self._written.append((result, [start]))
    return results

  def _reordered(self, equation: Any) -> int:
    """Bytes of the copies that a loop without products makes of its carry on a TPU.

    Convolutions and products determine how arrays lie in memory. A loop without any uses the usual
    order, with the last axis in the columns of the tiles, and copies a carry that lies otherwise.
    """
    carry = [v for v in in_place.starts(equation, equation.invars) if isinstance(v, core.Var)]
    sizes = ((self._kind.usual_size(v), self._kind.size(v)) for v in carry)
    return sum(copy for copy, size in sizes if self._kind.tiles and copy > size)

  def _padded(self, equation: Any, image: Value, kernel: Value) -> Value:
    """The image of a convolution, or the copy of it that cuDNN needs."""
    padding = tuple(equation.params["padding"])
    if all(low == high for low, high in padding) or kernel.reversed:
      return image
    key = id(image), padding
    if key not in self._copies:
      self._use(image)
      shape = equation.invars[0].aval.shape
      axes = equation.params["dimension_numbers"].lhs_spec[2:]
      sides = {axis: shape[axis] + sum(pads) for axis, pads in zip(axes, padding, strict=True)}
      larger = math.prod(side / shape[axis] for axis, side in sides.items())
      self._copies[key] = self._new(int(image.bytes * larger))
    return self._copies[key]

  def _arrange(self, equation: Any, value: Value) -> None:
    """Gives a matrix product the size of the shape that it is reshaped to.

    A product merges all leading axes into one long axis, which needs almost no padding. The reshape
    separates them, and short axes need more padding.
    """
    if self._kind.tiles and value.index >= 0 and value.bytes:
      before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
      if len(before) == 2 < len(after) and before[-1] == after[-1]:
        value.bytes = max(value.bytes, self._kind.size(equation.outvars[0]))

  def _store(self, value: Value) -> None:
    """Stores a fused result now, if it is not stored yet."""
    if not value.stored:
      self._time += 1
      self._use(value)
      self._written.append((value, value.leaves()))
      value.stored, value.begin, value.end = True, self._time, self._time

  def _use(self, value: Value) -> None:
    """Notes that a value is read now: itself, or the stored values it is computed from."""
    value.readers.append(self._time)
    self._keep([value])

  def _keep(self, values: Iterable[Value]) -> None:
    """Keeps what is stored of some values until now, or computes it again."""
    for leaf in stored_sources(values):
      latest = self._latest.get(leaf.index, leaf)
      if leaf.index not in self._plan.again or self._time <= latest.end + _NEAR:
        latest.end = self._time
      else:
        self._keep(leaf.sources)
        self._latest[leaf.index] = copy = Value(-1, leaf.bytes, self._time)
        self.values.append(copy)


def _read(atom: Any, known: dict[Any, Value]) -> Value:
  return known[atom] if isinstance(atom, core.Var) else Value(-1, 0, 0)


def _multiplies(jaxpr: Any) -> bool:
  """Whether a program has a convolution or a product."""
  return any(
    equation.primitive.name in ("conv_general_dilated", "dot_general")
    or any(map(_multiplies, flops.inner_jaxprs(equation)))
    for equation in jaxpr.eqns
  )
