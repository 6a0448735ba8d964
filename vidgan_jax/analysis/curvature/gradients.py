"""Norms of a discriminator's gradients by layer, for real and for generated clips.

"Lower Dimensional Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020), Figure 1: once a
discriminator separates real from generated clips, the gradients of its first layers vanish.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from vidgan_jax.analysis.curvature import hessian
from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import Arrays, VideoGan
from vidgan_jax.training.state import TrainState


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _norms(gan, name, seed, fixed, params):
  loss = lambda real, generated: hessian.discriminator_loss(gan, name, seed, fixed, real, generated)
  sides = jax.grad(loss, argnums=(0, 1))(params, params)
  norms = {}
  for side, gradients in zip(("real", "generated"), sides, strict=True):
    squares = {}
    for path, gradient in traverse_util.flatten_dict(gradients).items():
      layer = "/".join(path[:-1])
      squares[layer] = squares.get(layer, 0) + jnp.sum(jnp.square(gradient))
    for layer, square in squares.items():
      norms.setdefault(layer, {})[side] = jnp.sqrt(square)
  return norms


def _layers(gan, name, fixed, params) -> list[str]:
  """Layers that have parameters, in the order in which the discriminator calls them."""
  called = []

  def record(call, args, kwargs, context):
    called.append("/".join(context.module.path))
    return call(*args, **kwargs)

  def scores(params, view):
    with nn.intercept_methods(record):
      variables = {"params": params, normalization.COLLECTION: fixed.batch_stats[name]}
      return gan.discriminate(name, variables, view, jax.random.key(0))[0]

  jax.eval_shape(scores, params, fixed.real_views[name])
  layers = {"/".join(path[:-1]) for path in traverse_util.flatten_dict(params)}
  ordered = [layer for layer in dict.fromkeys(called) if layer in layers]
  return [*ordered, *sorted(layers - {*ordered})]


def norms(
  gan: VideoGan,
  state: TrainState,
  batch: Arrays,
  name: str,
  *,
  seed: int = 0,
  frozen: Any = None,
) -> dict[str, dict[str, float]]:
  """Norms of the gradient of the discriminators' loss with respect to each layer's parameters.

  The gradient is the sum of two parts, one through the scores of real clips and one through the
  scores of generated clips. Each part has its own norm. The gradient of penalties belongs to the
  real part.

  Args:
    gan: from `hessian.for_analysis`.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    name: of the discriminator.
    seed: of latents, views and noise.
    frozen: see `contract.Context`.

  Returns:
    {layer: {"real": norm, "generated": norm}}, in the order in which layers are called.

  Raises:
    UserError: on an unknown name.
  """
  hessian.check_name(gan, name)
  fixed = hessian.fix_inputs(gan, seed, state, batch, frozen)
  params = state.discriminators[name].params
  values = jax.device_get(_norms(gan, name, seed, fixed, params))
  return {
    layer: {side: float(norm) for side, norm in values[layer].items()}
    for layer in _layers(gan, name, fixed, params)
  }
