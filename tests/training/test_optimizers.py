"""Compares optimizers with their published update rules."""

import jax
import numpy as np
import pytest

from vidgan_jax.models import switches
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers


def play(config, gradients, start):
  """Parameters after each step."""
  transform = optimizers.build(config, ["video"]).discriminators["video"]
  params, state, after = start, transform.init(start), []
  for step, gradient in enumerate(gradients):
    updates, state = transform.update(gradient, state, params, step)
    params = jax.tree.map(lambda p, u: p + u, params, updates)
    after.append(params)
  return np.array(after)


@pytest.fixture
def numbers():
  random = np.random.default_rng(0)
  return random.normal(size=(5, 7)), random.normal(size=7)


def test_rmsprop_is_chainers(x64, tiny_config, numbers):
  """Chainer's form: initial squares of 0, no centring, epsilon outside the root."""
  gradients, weight = numbers
  config = tiny_config(
    **{
      "optimizer.kind": "rmsprop",
      "optimizer.discriminator_lr": 5e-2,
      "optimizer.eps": 0.3,
    }
  )
  actual = play(config, gradients, weight)
  square = np.zeros(7)
  for gradient, after in zip(gradients, actual, strict=True):
    square = 0.99 * square + 0.01 * gradient**2
    weight = weight - 5e-2 * gradient / (np.sqrt(square) + 0.3)
    np.testing.assert_allclose(after, weight, rtol=1e-12)


def test_weight_decay_enters_the_moments(x64, tiny_config, numbers):
  """As in PyTorch's Adam, not AdamW."""
  gradients, weight = numbers
  config = tiny_config(
    **{
      "optimizer.discriminator_lr": 1e-2,
      "optimizer.beta1": 0.5,
      "optimizer.weight_decay": 0.1,
    }
  )
  actual = play(config, gradients, weight)
  first = second = np.zeros(7)
  for t, (gradient, after) in enumerate(zip(gradients, actual, strict=True), start=1):
    gradient = gradient + 0.1 * weight
    first = 0.5 * first + 0.5 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    moved = first / (1 - 0.5**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    weight = weight - 1e-2 * moved
    np.testing.assert_allclose(after, weight, rtol=1e-12)


def test_unknown_kinds_are_refused(tiny_config):
  with pytest.raises(UserError, match="unknown optimizer 'sgd'; known: adam, rmsprop"):
    optimizers.build(tiny_config(**{"optimizer.kind": "sgd"}), ["video"])


def test_chainers_adam_adds_eps_before_the_correction(x64, tiny_config, numbers):
  """chainer/optimizers/adam.py, with an eps that is large enough to matter."""
  gradients, weight = numbers
  config = tiny_config(
    **{
      "optimizer.discriminator_lr": 1e-2,
      "optimizer.beta1": 0.5,
      "optimizer.beta2": 0.9,
      "optimizer.eps": 0.3,
      "optimizer.eps_form": "uncorrected",
    }
  )
  result = play(config, gradients, weight)
  first = second = np.zeros(7)
  for t, (gradient, after) in enumerate(zip(gradients, result, strict=True), start=1):
    first = 0.5 * first + 0.5 * gradient
    second = 0.9 * second + 0.1 * gradient**2
    rate = 1e-2 * np.sqrt(1 - 0.9**t) / (1 - 0.5**t)
    weight = weight - rate * first / (np.sqrt(second) + 0.3)
    np.testing.assert_allclose(after, weight, rtol=1e-12)


def test_chainers_eps_is_optax_eps_divided_by_the_correction(x64, tiny_config, numbers):
  """Both forms agree where Optax gets eps / sqrt(1 - beta2^t): at the first step, t = 1."""
  gradients, weight = numbers
  of = lambda eps, form: tiny_config(
    **{"optimizer.beta2": 0.9, "optimizer.eps": eps, "optimizer.eps_form": form}
  )
  chainer = play(of(0.1, "uncorrected"), gradients[:1], weight)
  corrected = play(of(0.1 / np.sqrt(1 - 0.9), "corrected"), gradients[:1], weight)
  np.testing.assert_allclose(chainer, corrected, rtol=1e-12)


def linear(tiny_config, **changes):
  return tiny_config(
    **{
      "optimizer.schedule": "linear",
      "optimizer.decay_iterations": 4,
      "optimizer.generator_lr": 1e-3,
      "optimizer.discriminator_lr": 2e-3,
      **changes,
    }
  )


def test_linear_rates_fall_from_the_first_update_to_zero(x64, tiny_config):
  built = optimizers.build(linear(tiny_config), ["video"])
  for optimizer, start in ((built.generator, 1e-3), (built.discriminators["video"], 2e-3)):
    rates = [float(optimizer.rate(step)) for step in (0, 1, 2, 3, 4, 9)]
    np.testing.assert_allclose(rates, start * np.array([1, 0.75, 0.5, 0.25, 0, 0]), rtol=1e-12)


def test_a_reset_of_the_optimizer_does_not_restart_its_schedule(x64, tiny_config, numbers):
  """The rate follows the iteration, not the updates that the optimizer's state has counted."""
  gradients, weight = numbers
  optimizer = optimizers.build(linear(tiny_config), ["video"]).generator
  fresh = optimizer.init(weight)
  first, _ = optimizer.update(gradients[0], fresh, weight, 0)
  later, _ = optimizer.update(gradients[0], fresh, weight, 3)
  np.testing.assert_allclose(later, 0.25 * first, rtol=1e-12)


def test_a_decay_of_no_length_and_one_that_ends_too_early_are_refused(tiny_config):
  with pytest.raises(UserError, match=r"decay_iterations is 0, must be an integer from 1 to"):
    switches.check(linear(tiny_config, **{"optimizer.decay_iterations": 0}))
  with pytest.raises(UserError, match=r"num_iterations is 5, must be at most .*, 4: there the"):
    switches.check(linear(tiny_config, num_iterations=5))
  switches.check(linear(tiny_config, num_iterations=4))
