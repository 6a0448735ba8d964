"""Projections of a network's parameters after an update."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from vidgan_jax.layers.normalization import COLLECTION


def clip_singular_values(kernel: jax.Array, limit: float = 1.0) -> jax.Array:
  """Clips the singular values of `kernel` [*window, in, out] to at most `limit`.

  This is TGAN's singular value clipping (Saito et al. 2017, arXiv 1611.06624, 3.2) of the matrix
  [*window * in, out]. The eigenvectors of its smaller Gram matrix are its singular vectors. The
  excess of each singular value above the limit is subtracted along its vector; all else stays as it
  is. This happens twice: rounding errors of the first time grow with the square of the largest
  singular value, and the second time removes them.
  """
  matrix = kernel.reshape(-1, kernel.shape[-1])
  wide = jnp.promote_types(jnp.float32, matrix.dtype)
  tall = matrix.shape[0] >= matrix.shape[1]
  matrix = (matrix if tall else matrix.T).astype(wide)
  product = lambda a, b: jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)
  for _ in range(2):
    values, vectors = jnp.linalg.eigh(product(matrix.T, matrix))
    sigmas = jnp.sqrt(jnp.maximum(values, limit**2))
    along = product(matrix, vectors) * (1 - limit / sigmas)
    matrix = matrix - product(along, vectors.T)
  return (matrix if tall else matrix.T).reshape(kernel.shape).astype(kernel.dtype)


def singular_value_clipping(variables: Mapping[str, Any]) -> dict[str, Any]:
  """TGAN's constraint on a discriminator: makes convolutions and batch norms 1-Lipschitz.

  It clips the kernels of convolutions (`clip_singular_values`). As in TGAN's code, it clips the
  gain of each batch norm to [0.01 s, s], where s is the square root of the running variance. Biases
  stay as they are.

  Args:
    variables: {"params", "batch_stats"} of a network.

  Returns:
    The constrained parameters.
  """
  params = traverse_util.flatten_dict(variables["params"])
  moments = traverse_util.flatten_dict(variables.get(COLLECTION, {}))
  for path, value in params.items():
    if path[-1] == "kernel" and value.ndim >= 4:
      params[path] = clip_singular_values(value)
    elif path[-1] == "gain":
      deviation = jnp.sqrt(moments[(*path[:-1], "variance")]).astype(value.dtype)
      params[path] = jnp.clip(value, 0.01 * deviation, deviation)
  return traverse_util.unflatten_dict(params)
