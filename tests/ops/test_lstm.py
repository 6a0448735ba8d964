"""The convolutional LSTM's own backward pass; tests/layers/test_recurrent.py has its equations."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.ops import forms, lstm

BATCH, SIZE, CHANNELS, FEATURES = 2, (2, 3), 3, 2


@pytest.fixture
def arguments(normal):
  """(kernel of the input, bias, kernel of the state, input of the first step)."""
  return (
    0.5 * normal((3, 3, CHANNELS, 4 * FEATURES)),
    normal((4 * FEATURES,), 1),
    0.5 * normal((3, 3, FEATURES, 4 * FEATURES), 2),
    normal((BATCH, *SIZE, CHANNELS), 3),
  )


def scalar(ops, frames, unroll=True):
  def run(on_input, bias, on_state, x):
    weights = lstm.Weights(on_input, bias, on_state)
    states = forms.get(ops).conv_lstm(weights, x, frames=frames, unroll=unroll)
    assert states.shape == (BATCH, frames, *SIZE, FEATURES)
    return jnp.sum(jnp.sin(3 * states))

  return run


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("ops", ["folded", "cpu"])
def test_hoisting_is_exact(all_large, x64, arguments, assert_close, ops, frames, unroll):
  """Values, and gradients by all weights and the input."""
  results = [
    jax.jit(jax.value_and_grad(scalar(name, frames, unroll), argnums=(0, 1, 2, 3)))(*arguments)
    for name in (ops, "plain")
  ]
  assert_close(*results)


def test_the_input_is_convolved_once_and_the_kernel_has_one_gradient(x64, arguments, convolutions):
  gradient = jax.make_jaxpr(jax.grad(scalar("folded", 4, False), argnums=(0, 1, 2, 3)))(*arguments)
  scans = [
    equation.params["jaxpr"].jaxpr
    for equation in gradient.jaxpr.eqns
    if equation.primitive.name == "scan"
  ]
  assert [len(convolutions(body)) for body in scans] == [1, 1]  # of the state alone
