"""Norms of a discriminator's gradients, layer by layer, of real and of generated clips.

"Lower Dimensional Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020), Figure 1: a
discriminator that has won leaves no gradient in its first layers.
"""

import functools

import jax
import jax.numpy as jnp
from flax import traverse_util

from vidgan_jax.analysis import hessian


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _norms(gan, name, seed, held, params):
  loss = lambda params, others: hessian.discriminator_loss(gan, name, seed, held, params, others)
  sides = jax.grad(loss, argnums=(0, 1))(params, params)
  found = {}
  for side, gradients in zip(("real", "generated"), sides, strict=True):
    squares = {}
    for path, gradient in traverse_util.flatten_dict(gradients).items():
      layer = "/".join(path[:-1])
      squares[layer] = squares.get(layer, 0) + jnp.sum(jnp.square(gradient))
    for layer, square in squares.items():
      found.setdefault(layer, {})[side] = jnp.sqrt(square)
  return found


def norms(gan, state, batch, name: str, *, seed: int = 0, frozen=None) -> dict:
  """Norms of the gradient of the discriminators' loss by the parameters of each layer.

  The loss depends on the parameters through the scores of real clips and through those of generated
  clips; the two parts of the gradient are told apart. Penalties are with the real part.

  Args:
    gan: from `hessian.for_analysis`.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    name: of the discriminator.
    seed: of what is random.
    frozen: see `contract.Context`.

  Returns:
    {layer: {"real": norm, "generated": norm}}, by layers' names.

  Raises:
    UserError: on an unknown name.
  """
  hessian.check_name(gan, name)
  held = hessian.hold(gan, seed, state, batch, frozen)
  found = jax.device_get(_norms(gan, name, seed, held, state.discriminators[name].params))
  return jax.tree.map(float, found)
