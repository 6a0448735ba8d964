"""How much memory a backward pass needs its forward pass to keep, told from the trace alone.

`jax.vjp` lists the arrays it keeps, its residuals. Two counts of them:

* traced: each array once, as listed. This is an upper bound: among them are float32 copies of
  bfloat16 activations and intermediate steps of every elementwise formula.
* fused: what a compiler keeps that recomputes elementwise work inside the operations that read its
  result. It must store the results of convolutions, products, reductions and loops, and what is fed
  to them (but to reductions); any other residual counts as the arrays it can be recomputed from,
  unless it is smaller than those of them not kept anyway.

Neither contains what is alive only for a moment.
"""

import dataclasses

import jax
from jax.extend import core

# The value stays in the memory where it is.
_SAME_STORAGE = frozenset(
  "reshape squeeze expand_dims name reduce_precision stop_gradient copy copy_p".split()
)
# Fused into whatever reads the result.
_FUSED = frozenset(
  """abs add add_any and broadcast_in_dim clamp concatenate convert_element_type cos div eq exp exp2
  expm1 ge gt integer_pow iota le log log1p logistic lt max min mul ne neg not or pad pow rem rev
  rsqrt select_n sign sin slice split sqrt square sub tanh transpose""".split()
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
  """An array of the trace: its bytes, the operands it is fused from, whether it must be stored."""

  bytes: int
  operands: tuple["_Value", ...] = ()
  stored: bool = True


def gradient_cost(function, argument, *constants) -> dict[str, int]:
  """Work and memory of the gradient of `function` with respect to `argument`; nothing is run.

  Args:
    function: a JAX function (argument, *constants) -> scalar.
    argument: pytree of arrays or `jax.ShapeDtypeStruct`.
    *constants: further ones, not differentiated.

  Returns:
    {"flops": of value and gradient as `runtime.flops` counts, "traced": bytes, "fused": bytes}, see
    the module. Arguments that are kept count too: take the difference between two batch sizes to be
    rid of the parameters.
  """

  def gradient(argument, *constants):
    value, pullback = jax.vjp(lambda a: function(a, *constants), argument)
    return pullback, pullback(jnp.ones_like(value))

  trace = jax.make_jaxpr(gradient, return_shape=True)
  closed, (pullback, _) = trace(argument, *constants)
  jaxpr = closed.jaxpr
  # The leaves of a pullback are the residuals.
  number = len(jax.tree.leaves(pullback))
  listed = {v for v in jaxpr.outvars[:number] if isinstance(v, core.Var)}
  # The backward pass, which comes after, must not add to what is stored.
  ...
def _bytes(variable) -> int:
  aval = variable.aval
  return aval.size * getattr(aval.dtype, "itemsize", 0)


def _values(jaxpr, inputs):
  """The values of a jaxpr's results given those of its inputs; None stands for a literal."""
  known = dict(zip(jaxpr.invars, inputs, strict=True))
  known |= {variable: _Value(_bytes(variable)) for variable in jaxpr.constvars}
  read = lambda atom: known.get(atom) if isinstance(atom, core.Var) else None
  for equation in jaxpr.eqns:
    operands = [read(atom) for atom in equation.invars]
    known.update(zip(equation.outvars, _results(equation, operands), strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _results(equation, operands):
  """The values that one equation makes of its operands."""
  name = equation.primitive.name
  if name in _CALLS:
    (inner,) = core.jaxprs_in_params(equation.params)
    return _values(inner, operands)
  if name in _SAME_STORAGE and operands[0] is not None:
    return operands[:1]
  arrays = tuple(value for value in operands if value is not None)
  fused = name in _FUSED
  if not fused and name not in _REDUCTIONS:
    for value in arrays:
      value.stored = True
  return [_Value(_bytes(v), arrays if fused else (), not fused) for v in equation.outvars]


def _sources(value, kept, known):
  """What to keep for `value`: it, or the values to recompute it from where those cost less."""
  if value in kept or value.stored:
    return {value}
  if value not in known:
    sources = set().union(*(_sources(operand, kept, known) for operand in value.operands))
    cost = sum(source.bytes for source in sources - kept)
    known[value] = sources if cost < value.bytes else {value}
  return known[value]
