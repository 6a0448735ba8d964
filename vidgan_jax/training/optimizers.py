"""Optimizers by config."""

import dataclasses

import jax
import optax

from vidgan_jax.objectives import penalties


@dataclasses.dataclass(frozen=True)
class Optimizers:
  """One Optax transformation for the generator, one applied to each discriminator."""

  generator: optax.GradientTransformation
  discriminator: optax.GradientTransformation


def orthogonal_penalty(weight: float) -> optax.GradientTransformation:
  """Adds the gradient of BigGAN's orthogonal penalty; see `objectives.penalties`."""

  def update(gradients, state, params=None):
    extra = penalties.orthogonal_gradient(params, weight)
    return jax.tree.map(lambda g, e: g + e, gradients, extra), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def build(config) -> Optimizers:
  """Adam for both, with separate rates (DVD-GAN A.3; betas 0 and 0.999 as BigGAN).

  Args:
    config: `config.optimizer` holds generator_lr, discriminator_lr, beta1, beta2, eps and
      orthogonal_penalty (on the generator alone; 0 leaves it out).
  """
  options = config.optimizer
  adam = lambda rate: optax.adam(rate, b1=options.beta1, b2=options.beta2, eps=options.eps)
  generator = adam(options.generator_lr)
  if options.orthogonal_penalty:
    generator = optax.chain(orthogonal_penalty(options.orthogonal_penalty), generator)
  return Optimizers(generator, adam(options.discriminator_lr))
