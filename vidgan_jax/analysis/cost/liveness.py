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
* TPUs only: arrays are stored in tiles; see `analysis.cost.tiles`.

Where memory is short, compilers compute fused results again instead of keeping them, which takes
time and saves memory. `least_bytes` estimates how far that goes.

Not estimated: another order than that of the trace, and workspaces.
"""

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any

from vidgan_jax.analysis.cost.arrays import Kind, Value
from vidgan_jax.analysis.cost.timeline import SMALL, Plan, Timeline

KINDS = {"gpu": Kind(cudnn=True), "tpu": Kind(tiles=True)}
_PATIENCE = 4  # rounds without gain after which no more results are treated differently


def peak_bytes(jaxpr: Any, kind: Kind, *, carried: Collection[int] = frozenset()) -> int:
  """Bytes that a traced function needs beside its arguments, where it needs most.

  Args:
    jaxpr: a `jax.extend.core.Jaxpr`.
    kind: of the device.
    carried: positions of arguments that the function may overwrite: the carry of a loop's body, or
      operands of a branch that nothing reads afterwards.
  """
  return _searched(jaxpr, kind, carried)[0]


def least_bytes(jaxpr: Any, kind: Kind) -> tuple[int, int]:
  """The peak if fused results are computed again, and the peak without this.

  Convolutions, products, and results inside loops and conditions are never computed again. A
  compiler may do more, or less.

  Returns:
    (bytes with recomputation, bytes without it)
  """
  most, plan = _searched(jaxpr, kind, frozenset())

  def changed(run: Timeline, time: int, peak: int, plan: Plan) -> Plan:
    again = run.worth_computing_again(time, peak)
    if again:
      return dataclasses.replace(plan, again=plan.again | again)
    return dataclasses.replace(plan, early=plan.early | run.worth_storing(time, peak))

  least, _ = _improved(jaxpr, kind, frozenset(), plan, changed)
  return least, most


def _searched(jaxpr: Any, kind: Kind, carried: Collection[int]) -> tuple[int, Plan]:
  """`peak_bytes`, and the plan that reaches it."""
  state = _new_state(Timeline(Plan(), kind, carried, peak_bytes).whole(jaxpr))

  def changed(run: Timeline, time: int, peak: int, plan: Plan) -> Plan:
    return dataclasses.replace(plan, early=plan.early | run.worth_storing(time, peak))

  return _improved(jaxpr, kind, carried, Plan(state=state), changed)


def _improved(
  jaxpr: Any,
  kind: Kind,
  carried: Collection[int],
  plan: Plan,
  changed: Callable[[Timeline, int, int, Plan], Plan],
) -> tuple[int, Plan]:
  """Changes a plan round by round, until that gains nothing.

  Args:
    jaxpr: see `peak_bytes`.
    kind: see `peak_bytes`.
    carried: see `peak_bytes`.
    plan: the first.
    changed: returns the next plan, from (a run with this plan, the time at which it needs most,
      bytes at that time, this plan).

  Returns:
    (the least peak, its plan)
  """
  least, best, since = math.inf, plan, 0
  while since < _PATIENCE:
    run = Timeline(plan, kind, carried, peak_bytes)
    run.whole(jaxpr)
    peak, time = run.peak()
    # After a gain, another moment is the fullest one, perhaps by little: that takes several rounds.
    since = 0 if peak < (1 - SMALL) * least else since + 1
    if peak < least:
      least, best = peak, plan
    following = changed(run, time, peak, plan)
    if following == plan:
      break
    plan = following
  return int(least), best


def _new_state(results: list[Value]) -> frozenset[int]:
  """The indices of values that are written over an old state.

  A value counts as new state if it is fused from an argument of the same size. This includes what
  lies between, such as Adam's moments after the first of two updates.

  Args:
    results: of the whole program.
  """
  places: dict[int, frozenset[int]] = {}  # {identity of a value: sizes of its arguments}

  def before(value: Value) -> tuple[Value, ...]:
    # A condition's result begins one step after its operands are read.
    return value.sources + tuple(o for o in value.replaces if o.end + 1 == value.begin)

  def arguments(value: Value) -> frozenset[int]:
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
  return frozenset(found)
