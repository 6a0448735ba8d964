"""Norms of a discriminator's gradients, layer by layer, of real and of generated clips.

"Lower Dimensional Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020), Figure 1: a
discriminator that has won leaves no gradient in its first layers.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from vidgan_jax.analysis.curvature import hessian
from vidgan_jax.layers import normalization


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


def _layers(gan, name, held, params) -> list[str]:
  """Layers with parameters of their own, in the order in which they are called."""
  called = []

  def note(call, args, kwargs, context):
    called.append("/".join(context.module.path))
    return call(*args, **kwargs)

  def scores(params, view):
    with nn.intercept_methods(note):
      variables = {"params": params, normalization.COLLECTION: held.batch_stats[name]}
      return gan.discriminate(name, variables, view, jax.random.key(0))[0]

  jax.eval_shape(scores, params, held.real_views[name])
  known = {"/".join(path[:-1]) for path in traverse_util.flatten_dict(params)}
  ordered = [layer for layer in dict.fromkeys(called) if layer in known]
  return [*ordered, *sorted(known - {*ordered})]


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
    {layer: {"real": norm, "generated": norm}}, in the order in which layers are called.

  Raises:
    UserError: on an unknown name.
  """
  hessian.check_name(gan, name)
  held = hessian.hold(gan, seed, state, batch, frozen)
  params = state.discriminators[name].params
  found = jax.device_get(_norms(gan, name, seed, held, params))
  return {
    layer: {side: float(norm) for side, norm in found[layer].items()}
    for layer in _layers(gan, name, held, params)
  }
