"""Spectral normalisation of a whole network, once per update, outside its modules.

At initialisation, a normalised layer declares a vector in the collection "spectral" at the path of
its weight (`declare`). `normalize` computes the normalised weights from parameters and vectors. The
modules then apply these weights. One power iteration thus serves all passes of an update (real and
generated clips, all micro-batches). It runs in float32 or wider at the highest precision. The
vectors of a network change only in updates of this network.

Source: Miyato et al. 2018 (arXiv 1802.05957), algorithm 1; the flattening and the order of the two
half steps follow BigGAN (arXiv 1809.11096): a convolution kernel [*window, in, out] is the matrix
[in * window, out] with u over `out`; an embedding table [classes, features] has u over `classes`.

The axes of a kernel stay apart in all products. Flattened, a kernel whose input channels are split
over devices would have to be gathered first.
"""

import functools
import string
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from flax.core import unfreeze

COLLECTION = "spectral"
# Weights of equal shape with at most this many entries share one batched power iteration. Their
# cost, at run time and in compilation, is the number of small operations. The cost of larger
# weights is memory traffic, which copying them into a batch would double.
_BATCHED_UP_TO = 2**20


def declare(module: nn.Module, name: str, weight: jax.Array) -> None:
  """Declares the vector u ~ N(0, 1) of a weight while `module` is being initialised.

  Args:
    module: the module whose compact method is running.
    name: name of the weight, "kernel" or "embedding".
    weight: kernel [*window, in, out] or embedding table [classes, features].
  """
  if not module.is_initializing():
    return
  size = weight.shape[0] if name == "embedding" else weight.shape[-1]
  module.variable(
    COLLECTION,
    name,
    lambda: jax.random.normal(module.make_rng("params"), (size,), weight.dtype),
  )


def as_rows_and_columns(name: str, weight: jax.Array) -> jax.Array:
  """A weight with the axis of its vector u last: [*rows, columns]."""
  return weight.T if name == "embedding" else weight


def _unit(vectors: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
  norms = jnp.sqrt(jnp.sum(jnp.square(vectors), axis=axes, keepdims=True))
  return vectors / jnp.maximum(norms, eps)


def largest_singular_value(
  weights: jax.Array, u: jax.Array, *, eps: float = 1e-8, iterations: int = 1
) -> tuple[jax.Array, jax.Array]:
  """Estimates the largest singular value by power iteration.

  Args:
    weights: [*batch, *rows, columns]: matrices whose rows may have several axes.
    u: [*batch, columns], the initial vectors.
    eps: lower bound of the norms that vectors are divided by.
    iterations: number of power iterations.

  Returns:
    sigma [*batch], the estimate v^T weights u, and the new u [*batch, columns]. The gradient of
    sigma treats v and u as constants.
  """
  wide = jnp.promote_types(jnp.float32, weights.dtype)
  weights, u = weights.astype(wide), u.astype(wide)
  constant = jax.lax.stop_gradient(weights)
  batch = "".join(string.ascii_uppercase[: u.ndim - 1])
  rows = "".join(string.ascii_lowercase[: weights.ndim - u.ndim])
  row_axes = tuple(range(u.ndim - 1, weights.ndim - 1))
  product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
  by_columns = f"{batch}{rows}z,{batch}z->{batch}{rows}"
  by_rows = f"{batch}{rows},{batch}{rows}z->{batch}z"

  def advance(vectors: tuple[Any, jax.Array]) -> tuple[jax.Array, jax.Array]:
    v = _unit(product(by_columns, constant, vectors[1]), row_axes, eps)
    return v, _unit(product(by_rows, v, constant), (-1,), eps)

  v, u = advance((None, u))
  if iterations > 1:  # a loop, because 32 unrolled iterations would take long to compile
    v, u = jax.lax.fori_loop(1, iterations, lambda _, vectors: advance(vectors), (v, u))
  v, u = jax.lax.stop_gradient((v, u))
  both = f"{batch}{rows},{batch}{rows}->{batch}"
  return product(both, v, product(by_columns, weights, u)), u


def normalize(
  params: Mapping[str, Any], vectors: Mapping[str, Any], *, eps: float = 1e-8, iterations: int = 1
) -> tuple[dict, dict, dict[str, jax.Array]]:
  """Divides every weight that has a vector by its largest singular value.

  Args:
    params: nested dict of parameters.
    vectors: the network's "spectral" collection, a nested dict with a vector u at the path of every
      weight to normalise; {} normalises nothing.
    eps: lower bound of the norms that vectors are divided by (BigGAN's code: 1e-12 to 1e-6).
    iterations: number of power iterations, which begin at the stored vectors.

  Returns:
    The normalised weights (structure of `params`), the new vectors (structure of `vectors`), and
    the singular values {"path/of/weight": scalar}. The derivative of the weights with respect to
    `params` includes that of the singular values.
  """
  weights = traverse_util.flatten_dict(unfreeze(cast(dict, params)))
  vectors = traverse_util.flatten_dict(unfreeze(cast(dict, vectors)))
  matrices = {path: as_rows_and_columns(path[-1], weights[path]) for path in vectors}
  estimate = functools.partial(largest_singular_value, eps=eps, iterations=iterations)
  advanced, sigmas = {}, {}
  for paths in _batches(matrices):
    if len(paths) == 1:
      estimates = [estimate(matrices[paths[0]], vectors[paths[0]])]
    else:
      stacked = jnp.stack([matrices[path] for path in paths])
      estimates = zip(*estimate(stacked, jnp.stack([vectors[path] for path in paths])), strict=True)
    for path, (sigma, u) in zip(paths, estimates, strict=True):
      sigmas[path], advanced[path] = sigma, u.astype(vectors[path].dtype)
  for path, sigma in sigmas.items():
    weights[path] = (weights[path] / sigma).astype(weights[path].dtype)
  unflatten = traverse_util.unflatten_dict
  named = {"/".join(path): sigmas[path] for path in vectors}
  return unflatten(weights), unflatten({path: advanced[path] for path in vectors}), named


def _batches(matrices: dict[tuple[str, ...], jax.Array]) -> list[list]:
  """Groups the paths of small matrices by shape and type; each large matrix is a separate group."""
  batches = {}
  for path, matrix in matrices.items():
    key = (matrix.shape, matrix.dtype) if matrix.size <= _BATCHED_UP_TO else path
    batches.setdefault(key, []).append(path)
  return list(batches.values())
