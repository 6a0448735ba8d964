"""Projections of a network's parameters after an update."""

import jax
import jax.numpy as jnp
from flax import traverse_util

from vidgan_jax.layers.normalization import COLLECTION


def clip_singular_values(kernel, limit: float = 1.0):
  """Sets the singular values of `kernel` [*window, in, out] above `limit` to it.

  TGAN's singular value clipping (Saito et al. 2017, arXiv 1611.06624, 3.2) on the matrix with one
  row per output, by the eigenvectors of its smaller Gram matrix: what is above the limit is
  subtracted along them, the rest is not touched. A second round takes what the first, whose
  rounding grows with the square of the largest value, has left.
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


def singular_value_clipping(variables):
  """TGAN's constraint on a discriminator: kernels and batch norms become 1-Lipschitz.

  Kernels of convolutions are clipped (`clip_singular_values`); the gain of each batch norm is
  clipped to [0.01 s, s] with s the root of its running variance, as TGAN's code does; biases are
  left alone.

  Args:
    variables: {"params", "batch_stats"} of a network.

  Returns:
    its parameters, constrained.
  """
  params = traverse_util.flatten_dict(variables["params"])
  moments = traverse_util.flatten_dict(variables.get(COLLECTION, {}))
  for path, value in params.items():
    if path[-1] == "kernel" and value.ndim >= 4:
      params[path] = clip_singular_values(value)
    elif path[-1] == "gain":
      spread = jnp.sqrt(moments[(*path[:-1], "variance")]).astype(value.dtype)
      params[path] = jnp.clip(value, 0.01 * spread, spread)
  return traverse_util.unflatten_dict(params)
