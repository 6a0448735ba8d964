"""Counts FLOPs and memory of the gradient of a function, from its trace; nothing runs.

Between forward and backward pass `jax.vjp` keeps arrays, the residuals. This module counts them in
two ways:

* traced: the size of all residuals that JAX lists, each array once. This is an upper bound: the
  list includes float32 copies of bfloat16 activations and the intermediate results of elementwise
  formulas.
* fused: the size that a compiler keeps if it recomputes elementwise operations where their result
  is read. It stores the results of convolutions, matrix products, reductions and loops, and their
  operands (except those of reductions). Any other residual can be recomputed from stored arrays,
  which then count in its place. It counts itself if it is smaller than the arrays that would be
  kept for it alone.

Neither count includes arrays that live only within the forward or the backward pass.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from vidgan_jax.ops import ordered
from vidgan_jax.runtime.hardware import flops

# The result uses the operand's memory.
SAME_STORAGE = frozenset(
  "reshape squeeze expand_dims name reduce_precision stop_gradient copy copy_p".split()
)
# The results are the operands.
IDENTITIES = frozenset(("optimization_barrier", ordered.PRIMITIVE))
# Elementwise operations and the like, which a compiler fuses into the operation that reads them.
FUSED = frozenset(
  """abs add add_any and atan2 broadcast_in_dim cbrt ceil clamp concatenate convert_element_type cos
  cosh div eq erf exp exp2 expm1 floor ge gt integer_pow iota is_finite le log log1p logistic lt max
  min mul ne neg not one_minus_square or pad pow rem rev round rsqrt select_n sign sin sinh slice
  split sqrt square sub tan tanh transpose""".split()
)
# The result is stored. The operand is not: the compiler computes it within the reduction.
REDUCTIONS = frozenset("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or".split())
# Wrappers around inner equations.
CALLS = frozenset(
  """jit pjit closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr remat
  remat2 checkpoint""".split()
)


@dataclasses.dataclass(eq=False)
class _Value:
  """An array of the trace.

  Attributes:
    bytes: its size.
    data: whether it is data or computed from data. Arrays computed from weights alone are not.
    operands: the arrays it can be recomputed from, if it need not be stored.
    stored: whether it must be stored.
  """

  bytes: int
  data: bool
  operands: tuple["_Value", ...] = ()
  stored: bool = True


def gradient_cost(
  function: Callable[..., jax.Array], weights: Any, data: Any, *constants: Any
) -> dict[str, int]:
  """Counts FLOPs and memory of the gradient of `function` with respect to `weights`; runs nothing.

  Args:
    function: a JAX function (weights, data, *constants) -> scalar.
    weights: pytree of arrays or `jax.ShapeDtypeStruct`.
    data: likewise. Only arrays computed from `data` count as memory: weights are in memory anyway.
    *constants: likewise; neither differentiated nor counted.

  Returns:
    {"flops": FLOPs of value and gradient as `runtime.hardware.flops` counts them, "traced": bytes,
    "fused": bytes}; see the module's docstring.
  """

  def gradient(weights, *others):
    value, pullback = jax.vjp(lambda w: function(w, *others), weights)
    # A pullback is a pytree whose leaves are the residuals.
    return value, pullback, pullback(jnp.ones_like(value))

  trace = jax.make_jaxpr(gradient, return_shape=True)
  closed, (_, pullback, _) = trace(weights, data, *constants)
  jaxpr = closed.jaxpr
  outputs = jaxpr.outvars[: 1 + len(jax.tree.leaves(pullback))]
  forward = dict.fromkeys(atom for atom in outputs if isinstance(atom, core.Var))
  defining = [i for i, e in enumerate(jaxpr.eqns) if not forward.keys().isdisjoint(e.outvars)]
  values = {v: _Value(_bytes(v), data=False) for v in [*jaxpr.invars, *jaxpr.constvars]}
  first = len(jax.tree.leaves(weights))
  for variable in jaxpr.invars[first : first + len(jax.tree.leaves(data))]:
    values[variable].data = True
  # The forward pass ends with the equation that defines the value or the last residual. The
  # equations after it are the backward pass, which only reads residuals.
  _record(jaxpr.eqns[: max(defining, default=-1) + 1], values)
  residuals = [v for v in forward if v in outputs[1:] and values[v].data]
  kept = _kept([values[residual] for residual in residuals])
  return {
    "flops": flops.count_jaxpr(jaxpr),
    "traced": sum(map(_bytes, residuals)),
    "fused": sum(value.bytes for value in kept if value.data),
  }


def _kept(residuals):
  """The values to keep so that every residual is kept or can be recomputed."""
  kept = {value for value in residuals if value.stored}
  for value in sorted(residuals, key=lambda value: -value.bytes):
    kept |= _sources(value, kept, {})
  return kept


def _sources(value, kept, cache):
  """Values to keep for `value`: itself, or the values it is recomputed from if those are smaller.

  Args:
    value: a value that the backward pass needs.
    kept: values that are kept already, and so cost nothing.
    cache: {value: result} of earlier calls with the same `kept`.
  """
  if value in kept or value.stored:
    return {value}
  if value not in cache:
    sources = set().union(*(_sources(operand, kept, cache) for operand in value.operands))
    cost = sum(source.bytes for source in sources - kept if source.data)
    # At equal size the sources are better: other values can be recomputed from them too.
    cache[value] = sources if cost <= value.bytes else {value}
  return cache[value]


def _bytes(variable) -> int:
  return variable.aval.size * getattr(variable.aval.dtype, "itemsize", 0)


def _record(equations, values):
  """Adds to `values`, {variable: value}, the variables that the equations define."""
  for equation in equations:
    operands = [_read(atom, values) for atom in equation.invars]
    values.update(zip(equation.outvars, _results(equation, operands), strict=True))


def _read(atom, values):
  """The `_Value` of a variable; for a literal, one of 0 bytes, because it needs no memory."""
  return values[atom] if isinstance(atom, core.Var) else _Value(0, data=False)


def _results(equation, operands):
  """The values that one equation computes from its operands."""
  name = equation.primitive.name
  if name in CALLS:
    (inner,) = flops.inner_jaxprs(equation)
    values = dict(zip(inner.invars, operands, strict=True))
    values |= {variable: _Value(_bytes(variable), data=False) for variable in inner.constvars}
    _record(inner.eqns, values)
    return [_read(atom, values) for atom in inner.outvars]
  if name in IDENTITIES:
    return operands
  if name in SAME_STORAGE:
    return operands[:1]
  data = any(operand.data for operand in operands)
  if name in FUSED:
    return [_Value(_bytes(v), data, tuple(operands), stored=False) for v in equation.outvars]
  if name not in REDUCTIONS:
    for operand in operands:
      operand.stored = True
  return [_Value(_bytes(variable), data) for variable in equation.outvars]
