"""The recurrent unit's backward pass; tests/layers/test_recurrent.py tests its equations."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.ops import forms

BATCH, SIZE, CHANNELS, FEATURES = 2, (2, 3), 3, 2


@pytest.fixture
def unit(normal):
  """A function (frames, kind, constant) that draws weights, x and the first state."""

  def draw(frames, kind="multiplicative", constant=False):
    kernels = dict.fromkeys(("reset", "update", "candidate"), (3, 3, FEATURES + CHANNELS, FEATURES))
    if kind == "multiplicative":
      kernels["gate_state"] = (1, 1, FEATURES, FEATURES)
      kernels["gate_input"] = (1, 1, CHANNELS, FEATURES)
    weights = {
      name: (0.5 * normal(shape, seed), normal((FEATURES,), 10 + seed))
      for seed, (name, shape) in enumerate(kernels.items())
    }
    times = () if constant else (frames,)
    return weights, normal((BATCH, *times, *SIZE, CHANNELS), 20), normal((BATCH, *SIZE, FEATURES))

  return draw


def scalar(ops, frames, activation="relu", unroll=True):
  def run(weights, x, state):
    states = forms.get(ops).conv_gru(
      weights, x, state, frames=frames, activation=activation, unroll=unroll
    )
    assert states.shape == (BATCH, frames, *SIZE, FEATURES)
    return jnp.sum(jnp.sin(3 * states))

  return run


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("kind", "activation"), [("multiplicative", "relu"), ("standard", "tanh")])
@pytest.mark.parametrize("ops", ["folded", "cpu"])
def test_hoisting_is_exact(
  all_large, x64, unit, assert_close, ops, kind, activation, constant, unroll
):
  """Values, and gradients with respect to all weights, the input and the first state."""
  arguments = unit(3, kind, constant)
  results = [
    jax.jit(jax.value_and_grad(scalar(name, 3, activation, unroll), argnums=(0, 1, 2)))(*arguments)
    for name in (ops, "plain")
  ]
  assert_close(*results)


def test_each_kernel_has_one_gradient_over_all_steps(x64, unit, convolutions):
  """The loop of the backward pass computes no kernel gradients."""
  gradient = jax.grad(scalar("folded", 3, unroll=False), argnums=(0, 1, 2))
  scans = [
    equation.params["jaxpr"].jaxpr
    for equation in jax.make_jaxpr(gradient)(*unit(3)).jaxpr.eqns
    if equation.primitive.name == "scan"
  ]
  # Forward and backward: the kernels of the state, of both gates and of the candidate.
  assert [len(convolutions(body)) for body in scans] == [3, 3]
