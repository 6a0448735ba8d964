"""Spectral normalisation of a whole network, once per update, outside its modules.

A layer that is to be normalised declares, when it is initialised, a vector in the collection
"spectral" at the path of its weight (`declare`). The modules themselves apply whatever weights
they are given; `normalize` makes the normalised weights from parameters and vectors. So one power
iteration serves all passes of an update (real and generated, every discriminator step), runs in
float32 or wider at the highest precision, and the vectors advance only when their own network is
updated.

Source: Miyato et al. 2018 (arXiv 1802.05957), algorithm 1; the flattening and the order of the two
half steps follow BigGAN (arXiv 1809.11096): a convolution kernel [*window, in, out] is the matrix
[in * window, out] with u over `out`; an embedding table [classes, features] has u over `classes`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.core import unfreeze

COLLECTION = "spectral"
# Matrices of equal shape up to this many numbers go through the power iteration together: for them
# the count of small operations is what costs (and what is compiled), for larger ones the reading,
# which a copy into a batch would double.
_BATCHED_UP_TO = 2**20


def declare(module, name: str, weight: jax.Array) -> None:
  """Declares the vector u ~ N(0, 1) of `weight` while `module` is being initialised."""
  if not module.is_initializing():
    return
  size = weight.shape[0] if name == "embedding" else weight.shape[-1]
  module.variable(
    COLLECTION,
    name,
    lambda: jax.random.normal(module.make_rng("params"), (size,), weight.dtype),
  )


def as_matrix(name: str, weight: jax.Array) -> jax.Array:
  """Flattens a weight to [rows, columns] with the axis of its vector u as columns."""
  return weight.T if name == "embedding" else weight.reshape(-1, weight.shape[-1])


def _unit(vectors, eps):
  norms = jnp.sqrt(jnp.sum(jnp.square(vectors), axis=-1, keepdims=True))
  return vectors / jnp.maximum(norms, eps)


def largest_singular_value(matrix, u, *, eps: float = 1e-8, iterations: int = 1):
  """Power iteration on `matrix` [..., rows, columns] from `u` [..., columns].

  Returns:
    sigma [...], the estimate v^T matrix u with v and u held constant under differentiation, and the
    advanced u [..., columns].
  """
  wide = jnp.promote_types(jnp.float32, matrix.dtype)
  matrix, u = matrix.astype(wide), u.astype(wide)
  constant = jax.lax.stop_gradient(matrix)
  product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

  def advance(vectors):
    v = _unit(product("...rc,...c->...r", constant, vectors[1]), eps)
    return v, _unit(product("...r,...rc->...c", v, constant), eps)

  v, u = advance((None, u))
  if iterations > 1:  # a loop: 32 of them written out would compile for long
    v, u = jax.lax.fori_loop(1, iterations, lambda _, vectors: advance(vectors), (v, u))
  v, u = jax.lax.stop_gradient((v, u))
  return product("...r,...r->...", v, product("...rc,...c->...r", matrix, u)), u


def normalize(params, vectors, *, eps: float = 1e-8, iterations: int = 1):
  """Divides every weight that has a vector by its largest singular value.

  Args:
    params: nested dict of parameters.
    vectors: the network's "spectral" collection: a nested dict whose leaves u stand at the paths of
      the weights to be normalised; {} normalises nothing.
    eps: lower bound of the norms divided by (BigGAN's code 1e-12 to 1e-6).
    iterations: power iterations from the stored vectors.

  Returns:
    weights (structure of `params`), the advanced vectors (structure of `vectors`), and sigmas
    {"path/of/weight": scalar}. The gradient of weights with respect to params flows through sigma.
  """
  weights = traverse_util.flatten_dict(unfreeze(params))
  vectors = traverse_util.flatten_dict(unfreeze(vectors))
  matrices = {path: as_matrix(path[-1], weights[path]) for path in vectors}
  estimate = functools.partial(largest_singular_value, eps=eps, iterations=iterations)
  advanced, sigmas = {}, {}
  for paths in _batches(matrices):
    if len(paths) == 1:
      found = [estimate(matrices[paths[0]], vectors[paths[0]])]
    else:
      stacked = jnp.stack([matrices[path] for path in paths])
      found = zip(*estimate(stacked, jnp.stack([vectors[path] for path in paths])), strict=True)
    for path, (sigma, u) in zip(paths, found, strict=True):
      sigmas[path], advanced[path] = sigma, u.astype(vectors[path].dtype)
  for path, sigma in sigmas.items():
    weights[path] = (weights[path] / sigma).astype(weights[path].dtype)
  unflatten = traverse_util.unflatten_dict
  named = {"/".join(path): sigmas[path] for path in vectors}
  return unflatten(weights), unflatten({path: advanced[path] for path in vectors}), named


def _batches(matrices) -> list[list]:
  """The paths of `matrices` in lists that share a shape and type, large ones each by itself."""
  batches = {}
  for path, matrix in matrices.items():
    key = (matrix.shape, matrix.dtype) if matrix.size <= _BATCHED_UP_TO else path
    batches.setdefault(key, []).append(path)
  return list(batches.values())
