"""What the gradient of a function costs, in work and in memory, told from its trace alone.

Between forward and backward pass `jax.vjp` keeps arrays, its residuals. Two counts of them:

* traced: each array once, as JAX lists them. This is an upper bound: among them are float32 copies
  of bfloat16 activations and the intermediate steps of every elementwise formula.
* fused: what a compiler keeps that recomputes elementwise work inside the operations that read its
  result. It must store the results of convolutions, products, reductions and loops, and what is fed
  to them (but to reductions); any other residual counts as the arrays it can be recomputed from,
  unless it is smaller than those of them not kept anyway.

Neither contains what is alive only for a moment.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.extend import core

from vidgan_jax.runtime.hardware import flops

# The value stays in the memory where it is.
_SAME_STORAGE = frozenset(
  "reshape squeeze expand_dims name reduce_precision stop_gradient copy copy_p".split()
)
# Fused into whatever reads the result.
_FUSED = frozenset(
  """abs add add_any and atan2 broadcast_in_dim cbrt ceil clamp concatenate convert_element_type cos
  cosh div eq erf exp exp2 expm1 floor ge gt integer_pow iota is_finite le log log1p logistic lt max
  min mul ne neg not one_minus_square or pad pow rem rev round rsqrt select_n sign sin sinh slice
  split sqrt square sub tan tanh transpose""".split()
)
# Their result is stored, but their operand is computed while it is summed up.
_REDUCTIONS = frozenset("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or".split())
# Only a wrapping around the equations inside.
_CALLS = frozenset(
  """jit pjit closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr remat
  remat2 checkpoint""".split()
)


@dataclasses.dataclass(eq=False)
class _Value:
  """An array of the trace.

  Attributes:
    bytes: its size.
    data: whether it is data or made from data, in contrast to weights.
    operands: what it is recomputed from where it is not stored.
    stored: whether it must be stored.
  """

  bytes: int
  data: bool
  operands: tuple["_Value", ...] = ()
  stored: bool = True


def gradient_cost(function, weights, data, *constants) -> dict[str, int]:
  """Work and memory of the gradient of `function` with respect to `weights`; nothing is run.

  Args:
    function: a JAX function (weights, data, *constants) -> scalar.
    weights: pytree of arrays or `jax.ShapeDtypeStruct`.
    data: likewise; only what is made from it counts as memory, weights are there anyway.
    *constants: likewise, neither differentiated nor counted.

  Returns:
    {"flops": of value and gradient as `runtime.flops` counts them, "traced": bytes, "fused":
    bytes}, see the module.
  """

  def gradient(weights, *others):
    value, pullback = jax.vjp(lambda w: function(w, *others), weights)
    # The leaves of a pullback are the residuals.
    return value, pullback, pullback(jnp.ones_like(value))

  trace = jax.make_jaxpr(gradient, return_shape=True)
  closed, (_, pullback, _) = trace(weights, data, *constants)
  jaxpr = closed.jaxpr
  outputs = jaxpr.outvars[: 1 + len(jax.tree.leaves(pullback))]
  forward = dict.fromkeys(atom for atom in outputs if isinstance(atom, core.Var))
  made = [i for i, e in enumerate(jaxpr.eqns) if not forward.keys().isdisjoint(e.outvars)]
  known = {v: _Value(_bytes(v), data=False) for v in [*jaxpr.invars, *jaxpr.constvars]}
  first = len(jax.tree.leaves(weights))
  for variable in jaxpr.invars[first : first + len(jax.tree.leaves(data))]:
    known[variable].data = True
  # What follows the value and the last residual is the backward pass, which reads what is kept.
  _record(jaxpr.eqns[: max(made, default=-1) + 1], known)
  residuals = [v for v in forward if v in outputs[1:] and known[v].data]
  kept = _kept([known[residual] for residual in residuals])
  return {
    "flops": flops.count_jaxpr(jaxpr),
    "traced": sum(map(_bytes, residuals)),
    "fused": sum(value.bytes for value in kept if value.data),
  }


def _kept(found):
  """The values to keep so that all of `found` are kept or can be recomputed."""
  kept = {value for value in found if value.stored}
  for value in sorted(found, key=lambda value: -value.bytes):
    kept |= _sources(value, kept, {})
  return kept


def _sources(value, kept, known):
  """What to keep for `value`: it, or the values to recompute it from where those cost less."""
  if value in kept or value.stored:
    return {value}
  if value not in known:
    sources = set().union(*(_sources(operand, kept, known) for operand in value.operands))
    cost = sum(source.bytes for source in sources - kept if source.data)
    # Of equals the source: more can be recomputed from it.
    known[value] = sources if cost <= value.bytes else {value}
  return known[value]


def _bytes(variable) -> int:
  return variable.aval.size * getattr(variable.aval.dtype, "itemsize", 0)


def _record(equations, known):
  """Adds to `known` the values of all variables that the equations define."""
  for equation in equations:
    operands = [_read(atom, known) for atom in equation.invars]
    known.update(zip(equation.outvars, _results(equation, operands), strict=True))


def _read(atom, known):
  """The value of a variable; of a literal one that costs nothing."""
  return known[atom] if isinstance(atom, core.Var) else _Value(0, data=False)


def _results(equation, operands):
  """The values that one equation makes of its operands."""
  name = equation.primitive.name
  if name in _CALLS:
    (inner,) = flops.inner_jaxprs(equation)
    known = dict(zip(inner.invars, operands, strict=True))
    known |= {variable: _Value(_bytes(variable), data=False) for variable in inner.constvars}
    _record(inner.eqns, known)
    return [_read(atom, known) for atom in inner.outvars]
  if name in _SAME_STORAGE:
    return operands[:1]
  data = any(operand.data for operand in operands)
  if name in _FUSED:
    return [_Value(_bytes(v), data, tuple(operands), stored=False) for v in equation.outvars]
  if name not in _REDUCTIONS:
    for operand in operands:
      operand.stored = True
  return [_Value(_bytes(variable), data) for variable in equation.outvars]
