"""Builds the optimizers that a config describes."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from vidgan_jax.objectives import penalties
from vidgan_jax.runtime.errors import UserError

KINDS = ("adam", "rmsprop")


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """An Optax transformation with learning rate 1, and the learning rate by iteration.

  The rate is no Optax schedule: a schedule counts its own updates, and would begin again wherever
  the state of the optimizer is reset.

  Attributes:
    transform: returns updates for a learning rate of 1.
    rate: maps the number of iterations done to the learning rate.
  """

  transform: optax.GradientTransformation
  rate: Callable[[jax.Array | int], jax.Array | float]

  def init(self, params: Any) -> optax.OptState:
    """The state before the first update."""
    return self.transform.init(params)

  def update(
    self, gradients: Any, state: optax.OptState, params: Any, step: jax.Array | int
  ) -> tuple[Any, optax.OptState]:
    """Returns what to add to the parameters at iteration `step`, and the new state."""
    updates, state = self.transform.update(gradients, state, params)
    rate = self.rate(step)
    return jax.tree.map(lambda update: (rate * update).astype(update.dtype), updates), state


@dataclasses.dataclass(frozen=True)
class Optimizers:
  """One optimizer for the generator, one for each discriminator by name."""

  generator: Optimizer
  discriminators: Mapping[str, Optimizer]

  def scaled(self, factor: float) -> "Optimizers":
    """The same optimizers with all learning rates multiplied by `factor`."""
    if factor == 1:
      return self
    scale = lambda one: dataclasses.replace(one, rate=lambda step: factor * one.rate(step))
    discriminators = {name: scale(one) for name, one in self.discriminators.items()}
    return Optimizers(scale(self.generator), discriminators)


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


def _scale_by_chainers_adam(beta1: float, beta2: float, eps: float) -> optax.GradientTransformation:
  """Adam with `eps` added to the root of the uncorrected second moment ("eps hat" in its paper).

  Chainer's and TensorFlow 1's form: sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps). Optax
  and PyTorch add eps to the root of the corrected moment, v / (1 - beta2^t).
  """
  moments = optax.scale_by_adam(beta1, beta2, eps)

  def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, optax.OptState]:
    _, state = moments.update(gradients, state, params)
    count = state.count.astype(jnp.result_type(float))
    correction = jnp.sqrt(1 - beta2**count) / (1 - beta1**count)
    step = lambda m, v: (correction * m / (jnp.sqrt(v) + eps)).astype(m.dtype)
    return jax.tree.map(step, state.mu, state.nu), state

  return optax.GradientTransformation(moments.init, update)


def _descent(options: ConfigDict) -> optax.GradientTransformation:
  """The update rule with learning rate 1."""
  if options.kind == "adam":
    if options.eps_form == "uncorrected":
      rule = _scale_by_chainers_adam(options.beta1, options.beta2, options.eps)
      return optax.chain(rule, optax.scale_by_learning_rate(1.0))
    return optax.adam(1.0, b1=options.beta1, b2=options.beta2, eps=options.eps)
  if options.kind == "rmsprop":
    # As in Chainer: epsilon outside the root, no centring, no momentum, initial squares of 0.
    return optax.rmsprop(
      1.0, decay=options.rmsprop_decay, eps=options.eps, eps_in_sqrt=False, initial_scale=0.0
    )
  raise UserError(f"unknown optimizer {options.kind!r}; known: {', '.join(KINDS)}")


def _rate(options: ConfigDict, start: float) -> Callable[[Any], jax.Array | float]:
  """The learning rate by iteration: `start`, or falling from it to 0 in `decay_iterations`."""
  if options.schedule == "constant":
    return lambda step: start
  left = lambda step: 1 - jnp.asarray(step, jnp.result_type(float)) / options.decay_iterations
  return lambda step: start * jnp.maximum(left(step), 0)


def build(config: ConfigDict, discriminators: Iterable[str]) -> Optimizers:
  """Builds one optimizer for each network.

  Args:
    config: the whole config. `config.optimizer` holds kind ("adam" or "rmsprop"), generator_lr,
      discriminator_lr, schedule and decay_iterations (of both rates), beta1, beta2 and eps_form
      (Adam), rmsprop_decay, eps, weight_decay and orthogonal_penalty. Weight decay is an L2
      penalty: it is added to the gradient before the moments are updated, as in PyTorch's Adam. The
      orthogonal penalty acts on the generator alone. Zero leaves either out.
    discriminators: names of the discriminators.

  Raises:
    UserError: the kind is unknown.
  """
  options = config.optimizer

  def optimizer(rate: float, *before: optax.GradientTransformation) -> Optimizer:
    decay = [optax.add_decayed_weights(options.weight_decay)] if options.weight_decay else []
    parts = [*before, *decay, _descent(options)]
    return Optimizer(optax.chain(*parts) if len(parts) > 1 else parts[0], _rate(options, rate))

  weight = options.orthogonal_penalty
  penalty = [orthogonal_penalty(weight)] if weight else []
  return Optimizers(
    optimizer(options.generator_lr, *penalty),
    {name: optimizer(options.discriminator_lr) for name in discriminators},
  )
