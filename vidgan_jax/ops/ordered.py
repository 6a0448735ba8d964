"""The order of gradients: those of a block's weights before those of the preceding blocks.

A compiler is free to compute the gradient of a kernel last, when the optimiser reads it. Until then
it keeps the activations that the gradient is computed from. The compilers for GPUs and TPUs do so
above all where the state is split over devices, and then keep what the backward pass has recomputed
in many blocks. `weights_first` gives the backward pass of a block an order. Two things stay without
one: a block whose input needs no gradient, such as the first of a discriminator that is trained,
and the products that a second derivative adds to the gradient of a weight.
"""

from typing import Any

import jax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from vidgan_jax.runtime import mesh as meshes

# The identity. A primitive, because the gradients of arrays that nobody differentiates stay
# symbolic zeros: with `jax.custom_vjp`, a gradient with respect to `x` alone would compute those of
# the weights too.
PRIMITIVE = "weights_first"
_identity = core.Primitive(PRIMITIVE)
_identity.multiple_results = True


def weights_first(x: jax.Array, weights: Any) -> tuple[jax.Array, Any]:
  """Returns `x` and `weights`, whose gradients are computed together.

  Nothing reads the gradient with respect to `x` before those with respect to `weights` are known.
  This restricts the compiler, and changes no numbers.

  Args:
    x: the input of a block.
    weights: pytree of the arrays that the block applies to `x`.
  """
  # Inside `shard_map`, a barrier takes only arrays that vary over the same axes of the mesh.
  x, weights = meshes.alike((x, weights))
  leaves, structure = jax.tree.flatten(weights)
  x, *leaves = _identity.bind(x, *leaves)
  return x, jax.tree.unflatten(structure, leaves)


def _apart(values: Any, together: Any) -> list:
  """Applies `together` to all values that are not symbolic zeros.

  Returns the values unchanged if the first one, that of `x`, is a symbolic zero, or if no other
  value remains.
  """
  there = [i for i, value in enumerate(values) if type(value) is not ad.Zero]
  results = list(values)
  if len(there) > 1 and there[0] == 0:
    for i, result in zip(there, together([values[i] for i in there]), strict=True):
      results[i] = result
  return results


def _jvp(primals: Any, tangents: Any) -> tuple[list, list]:
  return _identity.bind(*primals), _apart(tangents, lambda given: _identity.bind(*given))


def _transpose(gradients: Any, *operands: Any) -> list:
  del operands  # the function is linear
  return _apart(gradients, lambda given: jax.lax.optimization_barrier(tuple(given)))


_identity.def_impl(lambda *operands: list(operands))
_identity.def_abstract_eval(lambda *operands: list(operands))
mlir.register_lowering(_identity, lambda context, *operands: operands)
ad.primitive_jvps[_identity] = _jvp
ad.primitive_transposes[_identity] = _transpose
batching.primitive_batchers[_identity] = lambda operands, axes: (_identity.bind(*operands), axes)
