"""Builds the optimizers that a config describes."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from vidgan_jax.objectives import penalties
from vidgan_jax.runtime.errors import UserError

KINDS = ("adam", "rmsprop")


@dataclasses.dataclass(frozen=True)
class Optimizers:
  """One Optax optimizer for the generator, and one for each discriminator by name."""

  generator: optax.GradientTransformation
  discriminators: Mapping[str, optax.GradientTransformation]


def orthogonal_penalty(weight: float) -> optax.GradientTransformation:
  """An Optax transformation that adds the gradient of BigGAN's orthogonal penalty.

  See `objectives.penalties`.
  """

  def update(
    gradients: Any, state: optax.OptState, params: Any = None
  ) -> tuple[Any, optax.OptState]:
    extra = penalties.orthogonal_gradient(params, weight)
    return jax.tree.map(lambda g, e: g + e, gradients, extra), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _descent(options: ConfigDict, rate: float) -> optax.GradientTransformation:
  if options.kind == "adam":
    return optax.adam(rate, b1=options.beta1, b2=options.beta2, eps=options.eps)
  if options.kind == "rmsprop":
    # As in Chainer: epsilon outside the root, no centring, no momentum, initial squares of 0.
    return optax.rmsprop(
      rate, decay=options.rmsprop_decay, eps=options.eps, eps_in_sqrt=False, initial_scale=0.0
    )
  raise UserError(f"unknown optimizer {options.kind!r}; known: {', '.join(KINDS)}")


def build(config: ConfigDict, discriminators: Iterable[str]) -> Optimizers:
  """Builds one optimizer for each network.

  Args:
    config: the whole config. `config.optimizer` holds kind ("adam" or "rmsprop"), generator_lr,
      discriminator_lr, beta1 and beta2 (Adam), rmsprop_decay, eps, weight_decay and
      orthogonal_penalty. Weight decay is an L2 penalty: it is added to the gradient before the
      moments are updated, as in PyTorch's Adam. The orthogonal penalty acts on the generator alone.
      Zero leaves either out.
    discriminators: names of the discriminators.

  Raises:
    UserError: the kind is unknown.
  """
  options = config.optimizer

  def chain(rate: float, *before: optax.GradientTransformation) -> optax.GradientTransformation:
    decay = [optax.add_decayed_weights(options.weight_decay)] if options.weight_decay else []
    transforms = [*before, *decay, _descent(options, rate)]
    return optax.chain(*transforms) if len(transforms) > 1 else transforms[0]

  weight = options.orthogonal_penalty
  penalty = [orthogonal_penalty(weight)] if weight else []
  return Optimizers(
    chain(options.generator_lr, *penalty),
    {name: chain(options.discriminator_lr) for name in discriminators},
  )
