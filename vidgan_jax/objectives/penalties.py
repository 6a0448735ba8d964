"""Penalties on weights and on gradients."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.core import unfreeze


@dataclasses.dataclass(frozen=True)
class R1:
  """Mescheder et al.'s penalty on the gradients of discriminators at real clips (1801.04406).

  For one discriminator D with n real views x_i the penalty is

    weight * reference_count * sum_i |grad D(x_i)|^2 / n.

  TGANv2 (equation 10) sums over the clips of one device instead of averaging. A mean does not
  depend on the number of devices and micro-batches; `reference_count` is the number of clips that
  the sum is taken over there.

  Attributes:
    weight: lambda; 0 is no penalty.
    reference_count: see above; 1 is the usual mean.
  """

  weight: float = 0.0
  reference_count: int = 1


def squared_gradient_norms(
  score: Callable[[Mapping[str, jax.Array]], jax.Array], view: Mapping[str, jax.Array]
) -> jax.Array:
  """The squared norms [N] of the gradients of N scores by the arrays of `view`.

  Args:
    score: maps a view to scores [N]; score i depends on example i of the view.
    view: arrays [N, ...]; only those of floating-point numbers are differentiated by.
  """
  clips = {n: a for n, a in view.items() if jnp.issubdtype(a.dtype, jnp.floating)}
  gradients = jax.grad(lambda clips: jnp.sum(score({**view, **clips})))(clips)
  wide = lambda a: a.astype(jnp.promote_types(jnp.float32, a.dtype))
  norm = lambda a: jnp.sum(jnp.square(wide(a)), axis=tuple(range(1, a.ndim)))
  return sum(map(norm, gradients.values()))  # type: ignore[return-value]  # of at least one array


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
