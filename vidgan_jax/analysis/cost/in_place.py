"""Which operands the operations of a trace write their results over."""

from collections.abc import Collection
from typing import Any

from vidgan_jax.runtime.hardware import flops


def starts(equation: Any, operands: list[Any]) -> list[Any]:
  """The operands that an equation may overwrite.

  Its result number i takes the memory of operand number i of the list, if nothing reads that
  operand afterwards.
  """
  name, params = equation.primitive.name, equation.params
  if name == "dynamic_update_slice":
    return operands[:1]
  if name == "scan":
    return [operands[i] for i in _scan_carry(equation, flops.inner_jaxprs(equation)[0])]
  if name == "while":
    return operands[params["cond_nconsts"] + params["body_nconsts"] :]
  return []


def carried(equation: Any, body: Any) -> Collection[int]:
  """The positions of the carry among the arguments of a loop's body."""
  name, params = equation.primitive.name, equation.params
  if name == "scan":
    return _scan_carry(equation, body)
  if name == "while":  # its condition has other constants, and writes nothing
    return range(params["body_nconsts"], len(body.invars))
  return ()


def _scan_carry(equation: Any, body: Any) -> range:
  """The positions of the carry among a scan's operands: constants, carry, inputs of the steps.

  JAX 0.12 has renamed the parameters `num_consts` and `num_carry`. In all versions, an array that
  is split into steps, or made of their results, has one axis more outside than in the body.
  """

  def same_rank(outside: Any, inside: Any) -> int:
    pairs = zip(outside, inside, strict=True)
    return sum(len(a.aval.shape) == len(b.aval.shape) for a, b in pairs)

  whole = same_rank(equation.invars, body.invars)  # constants and carry
  return range(whole - same_rank(equation.outvars, body.outvars), whole)
