"""Gradients by a block's weights come first, and nothing else changes."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from vidgan_jax.ops import ordered
from vidgan_jax.runtime import mesh as meshes


def block(ordered_first, x, weights):
  if ordered_first:
    x, weights = ordered.weights_first(x, weights)
  return jnp.tanh(x @ weights["kernel"] + weights["bias"])


def network(ordered_first, x, weights):
  for layer in weights:
    x = block(ordered_first, x, layer)
  return jnp.sum(jnp.sin(x))


@pytest.fixture
def arguments(normal):
  layers = [{"kernel": normal((3, 3), i), "bias": normal((3,), 7 + i)} for i in range(2)]
  return normal((4, 3), 5), layers


def penalty(ordered_first, x, weights):
  """A gradient penalty, whose gradient is a second derivative."""
  inner = jax.grad(lambda x: network(ordered_first, x, weights))
  return jnp.sum(inner(x) ** 2)


@pytest.mark.parametrize("function", [network, penalty])
def test_no_number_changes(x64, arguments, assert_close, function):
  plain, first = (
    jax.jit(jax.value_and_grad(lambda *a, flag=flag: function(flag, *a), argnums=(0, 1)))
    for flag in (False, True)
  )
  assert_close(first(*arguments), plain(*arguments))


def test_forward_mode_and_batches(x64, arguments, assert_close):
  x, weights = arguments
  for flag in (False, True):
    run = lambda x, w, flag=flag: network(flag, x, w)
    tangent = jax.jvp(run, arguments, arguments)[1]
    hessian = jax.jvp(jax.grad(run), arguments, arguments)[1]
    rows = jax.vmap(jax.grad(run), in_axes=(0, None))(x[:, None], weights)
    alone = jax.vmap(run, in_axes=(None, 0))(x, jax.tree.map(lambda w: jnp.stack([w, w]), weights))
    results = [tangent, hessian, rows, alone]
    if not flag:
      expected = results
  assert_close(results, expected)


def text(function, *arguments):
  return str(jax.make_jaxpr(function)(*arguments))


def test_the_gradient_by_the_input_waits_for_those_by_the_weights(arguments):
  x, weights = arguments
  both = text(jax.grad(lambda x, w: network(True, x, w), argnums=(0, 1)), x, weights)
  assert both.count("optimization_barrier") == 2
  # The input of the first block has no gradient here: there is nothing to wait.
  assert text(jax.grad(lambda w: network(True, x, w)), weights).count("optimization_barrier") == 1


@pytest.mark.parametrize("by", ["x", "weights"])
def test_gradients_that_nobody_asks_for_are_not_computed(arguments, by):
  """Each of the two layers has one product forwards, and one for each gradient."""
  x, weights = arguments
  products = []
  for flag in (False, True):
    if by == "x":
      gradient = text(jax.grad(lambda x, flag=flag: network(flag, x, weights)), x)
    else:
      gradient = text(jax.grad(lambda w, flag=flag: network(flag, x, w)), weights)
    products.append(gradient.count("dot_general"))
  assert products[0] == products[1] == (4 if by == "x" else 5)


def test_a_block_without_weights(arguments):
  x, _ = arguments
  result, nothing = jax.jit(ordered.weights_first)(x, {})
  assert (result == x).all() and nothing == {}


def test_weights_that_are_the_same_on_all_devices(x64, arguments, assert_close):
  """The clips are split over the devices, and the gradients of the weights are summed."""
  x, weights = arguments
  mesh = meshes.make_mesh(jax.devices()[:2])
  split, whole = PartitionSpec(mesh.axis_names[0]), PartitionSpec()

  def gradients(flag):
    run = lambda x, w: jax.grad(lambda *a: network(flag, *a), argnums=(0, 1))(x, w)
    return jax.jit(
      jax.shard_map(run, mesh=mesh, in_specs=(split, whole), out_specs=(split, whole))
    )(x, weights)

  assert_close(gradients(True), gradients(False))
