"""Estimates the memory of a traced program: which arrays exist at the same time. Nothing runs.

The program is followed in the order of its trace. An array takes memory from where it is computed
until it is read for the last time. Not every array of a trace becomes one of the program:

* Compilers fuse elementwise operations into the operation that reads them. Such a result takes
  memory from when a convolution, a product or the like reads it. Before that, the arrays that it is
  computed from stay in memory. A reduction computes its operand itself.
* A fused result is stored earlier if that makes the peak smaller: this lets the arrays go that it
  is computed from, as when four partial gradients are added.
* A fused result is written over an array of its size that nothing reads afterwards. In the same
  way, a loop overwrites its initial carry, a condition an operand of its branches, and
  `dynamic_update_slice` the array that it updates.
* New state is written over the old state as soon as its gradient is known: it needs no memory.
* GPUs only: cuDNN pads both ends of an axis equally. A convolution with other padding reads a
  padded copy. The gradient with respect to the kernel reads the same copy, which is kept for it.

Not estimated: another order than that of the trace, workspaces, and how a TPU arranges arrays in
tiles.
"""

import collections
import dataclasses
import math
from collections.abc import Collection
from typing import Any

from jax.extend import core

from vidgan_jax.analysis.cost import in_place, residuals
from vidgan_jax.runtime.hardware import flops

_FUSED = residuals.FUSED | frozenset(
  """stack unstack clamp erf_inv nextafter population_count shift_left shift_right_logical square
  xor""".split()
)
_LOOPS = frozenset("scan while".split())
_PATIENCE = 4  # rounds without gain after which no more results are stored early
_SMALL = 0.005  # part of the peak: smaller arrays, and smaller gains, are not looked for


@dataclasses.dataclass(eq=False)
class _Value:
  """An array of the trace.

  Attributes:
    index: its number in the order of the trace, the same whenever the program is followed; -1 if
      it is an argument or a constant, which need no memory of their own here.
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
  sources: tuple["_Value", ...] = ()
  replaces: tuple["_Value", ...] = ()
  stored: bool = True
  end: int = 0
  readers: list[Any] = dataclasses.field(default_factory=list)
  reversed: bool = False
  carried: bool = False

  def __post_init__(self) -> None:
    self.end = self.begin
    for source in self.sources:
      source.readers.append(self)


def peak_bytes(jaxpr: Any, *, cudnn: bool = False, carried: Collection[int] = frozenset()) -> int:
  """Bytes that a traced function needs beside its arguments, where it needs most.

  Args:
    jaxpr: a `jax.extend.core.Jaxpr`.
    cudnn: whether convolutions are cuDNN's.
    carried: positions of arguments that the function may overwrite: the carry of a loop's body, or
      operands of a branch that nothing reads afterwards.
  """
  run = _Run(set(), set(), cudnn, carried)
  state = _new_state(run.whole(jaxpr))
  early: set[int] = set()
  best, since = math.inf, 0
  while since < _PATIENCE:
    run = _Run(early, state, cudnn, carried)
    run.whole(jaxpr)
    peak, time = run.peak()
    # After a gain, another moment is the fullest one, perhaps by little: that takes several rounds.
    since = 0 if peak < (1 - _SMALL) * best else since + 1
    best = min(best, peak)
    found = run.worth_storing(time, peak)
    if not found:
      break
    early |= found
  return int(best)


def _new_state(results: list["_Value"]) -> set[int]:
  """The indices of results that take the place of an argument, and of what they are fused from.

  Args:
    results: of the whole program. The moments of Adam after the first of two updates are among
      what the moments after the second one are fused from.
  """
  places: dict[int, frozenset[int]] = {}  # {identity of a value: sizes of its arguments}

  def before(value: _Value) -> tuple[_Value, ...]:
    # A condition's result begins one step after its operands are read.
    return value.sources + tuple(o for o in value.replaces if o.end + 1 == value.begin)

  def arguments(value: _Value) -> frozenset[int]:
    if id(value) not in places:
      places[id(value)] = frozenset()  # sources come before what is computed from them
      known = frozenset({value.bytes}) if value.index < 0 else frozenset()
      places[id(value)] = known.union(*map(arguments, before(value)))
    return places[id(value)]

  found, pending, seen = set(), list(results), set()
  while pending:
    value = pending.pop()
    if id(value) not in seen:
      seen.add(id(value))
      pending.extend(before(value))
      if before(value) and value.bytes in arguments(value):
        found.add(value.index)
  return found


class _Run:
  """Follows a program once.

  Args:
    early: indices of fused results to store where they are computed.
    state: indices of those that are new state.
    cudnn: see `peak_bytes`.
    carried: see `peak_bytes`.
  """

  def __init__(self, early: set[int], state: set[int], cudnn: bool, carried: Collection[int]):
    self._carried = carried
    self._early, self._state, self._cudnn = early, state, cudnn
    self._time = 0
    self.values: list[_Value] = []
    self._inside: dict[int, int] = {}  # {time: bytes within a loop or a condition}
    self._conditions: dict[int, tuple[Any, list[_Value]]] = {}  # {time: (equation, operands)}
    self._copies: dict[Any, _Value] = {}  # padded copies by (array, padding)
    # (result, arrays of which it may take the place of one)
    self._written: list[tuple[_Value, list[_Value]]] = []

  def whole(self, jaxpr: Any) -> list[_Value]:
    """Follows the program from its arguments to its results, which are returned."""
    arguments = [*jaxpr.invars, *jaxpr.constvars]
    known = {
      variable: _Value(-1, size(variable), 0, carried=position in self._carried)
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
        peak_bytes(branch, cudnn=self._cudnn, carried=free)
        for branch in flops.inner_jaxprs(equation)
      )
    self._conditions = {}

  def worth_storing(self, time: int, peak: int) -> set[int]:
    """The index of the fused result that, stored early, frees most at a time; or none.

    Args:
      time: where the program needs most.
      peak: bytes at that time.
    """
    best, found = 0, set()
    for value in self.values:
      if value.stored or value.begin >= time or value.bytes < _SMALL * peak:
        continue
      if _last_use(value, None, {}) < time:
        continue
      freed = sum(
        leaf.bytes
        for leaf in _leaves(value, {}).values()
        if leaf.index >= 0 and leaf.begin <= time <= leaf.end and _last_use(leaf, value, {}) < time
      )
      if freed - value.bytes > best:
        best, found = freed - value.bytes, {value.index}
    return found

  def _follow(self, equations: Any, known: dict[Any, _Value]) -> None:
    for equation in equations:
      name = equation.primitive.name
      operands = [_read(atom, known) for atom in equation.invars]
      if name in residuals.CALLS:
        (inner,) = flops.inner_jaxprs(equation)
        inside = dict(zip(inner.invars, operands, strict=True))
        inside |= {variable: _Value(-1, 0, self._time) for variable in inner.constvars}
        self._follow(inner.eqns, inside)
        results = [_read(atom, inside) for atom in inner.outvars]
      elif name in residuals.IDENTITIES:
        results = operands
      elif name in residuals.SAME_STORAGE:
        results = operands[:1]
      elif name in _FUSED:
        results = [self._fused(v, operands, name) for v in equation.outvars]
      else:
        results = self._stored(equation, operands)
      known.update(zip(equation.outvars, results, strict=True))

  def _new(self, bytes_: int, **attributes: Any) -> _Value:
    value = _Value(len(self.values), bytes_, self._time, **attributes)
    self.values.append(value)
    return value

  def _fused(self, variable: Any, operands: list[_Value], name: str) -> _Value:
    value = self._new(size(variable), sources=tuple(operands), stored=False, reversed=name == "rev")
    if value.index in self._state:
      value.bytes = 0
    if value.index in self._early or value.index in self._state:
      self._store(value)
    return value

  def _stored(self, equation: Any, operands: list[_Value]) -> list[_Value]:
    """The results of an operation that no compiler fuses."""
    name = equation.primitive.name
    if name not in residuals.REDUCTIONS:
      for operand in operands:
        self._store(operand)
    self._time += 1
    if self._cudnn and name == "conv_general_dilated":
      operands = [self._padded(equation, *operands), operands[1]]
    for operand in operands:
      self._use(operand)
    if name == "cond":
      self._conditions[self._time] = equation, operands
    elif name in _LOOPS:
      bodies = flops.inner_jaxprs(equation)
      peaks = [
        peak_bytes(b, cudnn=self._cudnn, carried=in_place.carried(equation, b)) for b in bodies
      ]
      self._inside[self._time] = max(peaks, default=0)
    results = [self._new(size(variable)) for variable in equation.outvars]
    if name == "cond":
      for result in results:
        result.replaces = tuple(o for o in operands[1:] if o.bytes == result.bytes)
        if result.index in self._state:
          result.bytes = 0
        else:  # within the condition, its branches count their results
          result.begin = result.end = self._time + 1
    for result, start in zip(results, in_place.starts(equation, operands), strict=False):
      if sum(operand is start for operand in operands) == 1:  # not a constant of the loop too
        self._written.append((result, [start]))
    return results

  def _padded(self, equation: Any, image: _Value, kernel: _Value) -> _Value:
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

  def _store(self, value: _Value) -> None:
    """Stores a fused result now, if it is not stored yet."""
    if not value.stored:
      self._time += 1
      self._use(value)
      self._written.append((value, list(_leaves(value, {}).values())))
      value.stored, value.begin, value.end = True, self._time, self._time

  def _use(self, value: _Value) -> None:
    """Notes that a value is read now: itself, or the stored values it is computed from."""
    value.readers.append(self._time)
    for leaf in _leaves(value, {}).values():
      leaf.end = self._time


def size(variable: Any) -> int:
  """Bytes of a variable of a trace; 0 for what is no array of numbers."""
  return getattr(variable.aval, "size", 0) * getattr(
    getattr(variable.aval, "dtype", None), "itemsize", 0
  )


def _read(atom: Any, known: dict[Any, _Value]) -> _Value:
  return known[atom] if isinstance(atom, core.Var) else _Value(-1, 0, 0)


def _leaves(value: _Value, found: dict[int, _Value]) -> dict[int, _Value]:
  """The stored values that a value is computed from, by their identity; itself if it is stored."""
  pending, seen = [value], set()
  while pending:
    one = pending.pop()
    if id(one) in seen:
      continue
    seen.add(id(one))
    if one.stored:
      found[id(one)] = one
    else:
      pending.extend(one.sources)
  return found


def _last_use(value: _Value, without: _Value | None, known: dict[int, int]) -> int:
  """The last time at which a value is read, not counting reads through the value `without`."""
  last, pending, seen = value.begin, [value], set()
  while pending:
    one = pending.pop()
    if id(one) in seen or one is without:
      continue
    seen.add(id(one))
    for reader in one.readers:
      if isinstance(reader, int):
        last = max(last, reader)
      elif reader is not without and reader.stored:
        last = max(last, reader.begin)
      elif reader is not without:
        pending.append(reader)
  return last
