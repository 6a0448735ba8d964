"""Memory that is kept for the backward pass, compared with counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.analysis.cost.residuals import gradient_cost

ROWS, WIDTH = 32, 8
CELLS = ROWS * WIDTH


def shape(*sizes, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(sizes, dtype)


def cost(function, rows=ROWS, dtype=jnp.float32):
  return gradient_cost(function, shape(WIDTH, WIDTH, dtype=dtype), shape(rows, WIDTH, dtype=dtype))


def test_product_keeps_its_input():
  result = cost(lambda w, x: jnp.sum(x @ w))
  # Forward product, and one product for the gradient with respect to the weights.
  assert result == {"flops": 2 * 2 * CELLS * WIDTH, "traced": 4 * CELLS, "fused": 4 * CELLS}


def test_weights_do_not_count():
  result = gradient_cost(
    lambda w, x, v: jnp.sum((x @ w) @ v),
    shape(WIDTH, WIDTH),
    shape(ROWS, WIDTH),
    shape(WIDTH, 512),
  )
  assert result["traced"] == result["fused"] == 4 * CELLS


def test_weights_as_sources_of_recomputation_do_not_count():
  scaled = lambda w, x: jnp.sum(jnp.exp(x * w))
  result = gradient_cost(scaled, shape(ROWS, WIDTH), shape(ROWS, WIDTH))
  assert (result["traced"], result["fused"]) == (2 * 4 * CELLS, 4 * CELLS)


def test_copies_in_float32_are_fused():
  """(x @ w)^2 in float32 keeps x and the product, both in bfloat16."""
  square = lambda w, x: jnp.sum(jnp.square((x @ w).astype(jnp.float32)))
  result = cost(square, dtype=jnp.bfloat16)
  assert result["fused"] == 2 * CELLS + 2 * CELLS
  assert result["traced"] == 2 * CELLS + 4 * CELLS


def test_elementwise_chains_are_recomputed_from_the_product():
  chain = lambda w, x: jnp.sum(jnp.sin(jnp.exp(jnp.cos(x @ w))))
  result = cost(chain)
  assert result["fused"] == 4 * (CELLS + CELLS)
  assert result["traced"] == 4 * (CELLS + 3 * CELLS)


def test_operands_of_products_are_stored():
  """The ReLU's result is the next product's operand; its mask takes one byte per number."""
  two = lambda w, x: jnp.sum(jax.nn.relu(x @ w) @ w)
  assert cost(two)["fused"] == (4 + 4 + 1) * CELLS


def test_reshaping_takes_no_memory():
  folded = lambda w, x: jnp.sum(jnp.tanh(x @ w).reshape(2, -1, WIDTH) @ w)
  assert cost(folded)["fused"] == (4 + 4) * CELLS


def test_a_mask_is_recomputed_from_a_stored_operand():
  """The product's result is kept anyway, and the ReLU's mask is recomputed from it."""
  masked = lambda w, x: jnp.sum(jax.nn.relu(y := x @ w) * jnp.sin(y))
  assert cost(masked)["fused"] == (4 + 4) * CELLS


def test_sums_do_not_store_their_operands():
  """Centring in float32 stores the mean, which is one row, and not the differences."""

  def centre(w, x):
    product = x @ w
    return jnp.sum(jnp.square(product - jnp.mean(product.astype(jnp.float32), axis=0)))

  assert cost(centre, dtype=jnp.bfloat16)["fused"] == 2 * (CELLS + CELLS) + 4 * WIDTH
  power = lambda w, x: jnp.sum(jnp.exp((x @ w).astype(jnp.float32)))
  assert cost(power, dtype=jnp.bfloat16)["fused"] == 2 * (CELLS + CELLS)


def test_wrappers_and_literals_change_nothing():
  def scaled(y):
    return jnp.sin(3.0 * y.astype(jnp.float32))

  for wrapped in (scaled, jax.jit(scaled), jax.checkpoint(scaled)):
    result = cost(lambda w, x, f=wrapped: jnp.sum(f(x @ w)), dtype=jnp.bfloat16)
    assert result["fused"] == 2 * (CELLS + CELLS)


@pytest.mark.parametrize(("checkpointed", "cells", "products"), [(False, 6, 14), (True, 4, 18)])
def test_rematerialisation_keeps_inputs_and_repeats_products(checkpointed, cells, products):
  def block(x, w):
    return jnp.tanh(jnp.tanh(x @ w) @ w)

  block = jax.checkpoint(block) if checkpointed else block
  # Kept: x, four results of tanh and the last product; with rematerialisation x, the results of
  # both blocks and the last product. Products: five forward; backward five for gradients of weights
  # and four for gradients of inputs (none for x); with rematerialisation the blocks' four again.
  result = cost(lambda w, x: jnp.sum(jnp.sin(block(block(x, w), w) @ w)))
  one = 2 * CELLS * WIDTH
  assert result["fused"] == 4 * cells * CELLS
  assert result["flops"] == one * products


def test_loops_keep_the_residuals_of_each_step():
  def loop(w, x):
    step = lambda state, _: (jnp.tanh(state @ w), None)
    return jnp.sum(jax.lax.scan(step, x, None, length=5)[0])

  result = cost(loop)
  assert result["flops"] == 5 * 3 * 2 * CELLS * WIDTH
  assert result["fused"] >= 5 * 4 * CELLS


def test_cost_is_proportional_to_the_batch_size():
  function = lambda w, x: jnp.sum(jnp.tanh(jnp.tanh(x @ w) @ w))
  one, two = cost(function), cost(function, rows=2 * ROWS)
  assert all(two[kind] == 2 * one[kind] for kind in one)
