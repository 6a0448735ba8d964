"""Compares optimizers with their published update rules."""

import jax
import numpy as np
import pytest

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers


def play(config, gradients, start):
  """Parameters after each step."""
  transform = optimizers.build(config, ["video"]).discriminators["video"]
  params, state, after = start, transform.init(start), []
  for gradient in gradients:
    updates, state = transform.update(gradient, state, params)
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
