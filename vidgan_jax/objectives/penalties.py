"""Penalties on weights."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.core import unfreeze


def orthogonal_gradient(params: Any, weight: float) -> Any:
  """Gradient of BigGAN's orthogonal penalty, 2 beta ((W W^T) o (1 - I)) W, for each kernel.

  W is a parameter named "kernel", flattened to [out, in * window]. The gradient of all other
  parameters (embedding tables, gains, biases) is zero. BigGAN also leaves out the shared embedding.

  Args:
    params: nested dict of parameters.
    weight: beta, 1e-4 in BigGAN.

  Returns:
    The gradients, with the structure of `params`.
  """
  gradients = {}
  for path, leaf in traverse_util.flatten_dict(unfreeze(params)).items():
    if path[-1] != "kernel":
      gradients[path] = jnp.zeros_like(leaf)
      continue
    rows = leaf.reshape(-1, leaf.shape[-1]).T
    product = lambda a, b: jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)
    gram = product(rows, rows.T)
    off_diagonal = gram * (1 - jnp.eye(gram.shape[0], dtype=gram.dtype))
    gradients[path] = (2 * weight * product(off_diagonal, rows)).T.reshape(leaf.shape)
  return traverse_util.unflatten_dict(gradients)
