"""Optimizers by config."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import optax

from vidgan_jax.objectives import penalties
from vidgan_jax.runtime.errors import UserError

KINDS = ("adam", "rmsprop")


@dataclasses.dataclass(frozen=True)
class Optimizers:
  """One Optax transformation for the generator, one for each discriminator by name."""

  generator: optax.GradientTransformation
  discriminators: Mapping[str, optax.GradientTransformation]


def orthogonal_penalty(weight: float) -> optax.GradientTransformation:
  """Adds the gradient of BigGAN's orthogonal penalty; see `objectives.penalties`."""

  def update(gradients, state, params=None):
    extra = penalties.orthogonal_gradient(params, weight)
    return jax.tree.map(lambda g, e: g + e, gradients, extra), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _descent(options, rate) -> optax.GradientTransformation:
  if options.kind == "adam":
    return optax.adam(rate, b1=options.beta1, b2=options.beta2, eps=options.eps)
  if options.kind == "rmsprop":
    # Chainer's form: eps outside the root, no centring, no momentum, squares that start at 0.
    return optax.rmsprop(
      rate, decay=options.rmsprop_decay, eps=options.eps, eps_in_sqrt=False, initial_scale=0.0
    )
  raise UserError(f"unknown optimizer {options.kind!r}; known: {', '.join(KINDS)}")


def build(config, discriminators: Iterable[str]) -> Optimizers:
  """One optimizer for each network, with separate rates for both sides.

  Args:
    config: `config.optimizer` holds kind ("adam" or "rmsprop"), generator_lr, discriminator_lr,
      beta1 and beta2 (Adam), rmsprop_decay, eps, weight_decay (L2: added to the gradient before the
      moments, as PyTorch's Adam does) and orthogonal_penalty (on the generator alone). Zero leaves
      the last two out.
    discriminators: their names.

  Raises:
    UserError: on an unknown kind.
  """
  options = config.optimizer

  def chain(rate, *before):
    decay = [optax.add_decayed_weights(options.weight_decay)] if options.weight_decay else []
    found = [*before, *decay, _descent(options, rate)]
    return optax.chain(*found) if len(found) > 1 else found[0]

  weight = options.orthogonal_penalty
  penalty = [orthogonal_penalty(weight)] if weight else []
  return Optimizers(
    chain(options.generator_lr, *penalty),
    {name: chain(options.discriminator_lr) for name in discriminators},
  )
