"""Optimizers by config."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import optax

from vidgan_jax.objectives import penalties


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


def build(config, discriminators: Iterable[str]) -> Optimizers:
  """Adam for all, with separate rates (DVD-GAN A.3; betas 0 and 0.999 as BigGAN).

  Args:
    config: `config.optimizer` holds generator_lr, discriminator_lr, beta1, beta2, eps and
      orthogonal_penalty (on the generator alone; 0 leaves it out).
    discriminators: their names.
  """
  options = config.optimizer
  adam = lambda rate: optax.adam(rate, b1=options.beta1, b2=options.beta2, eps=options.eps)
  generator = adam(options.generator_lr)
  if options.orthogonal_penalty:
    generator = optax.chain(orthogonal_penalty(options.orthogonal_penalty), generator)
  return Optimizers(generator, {name: adam(options.discriminator_lr) for name in discriminators})
