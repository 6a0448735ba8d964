"""The primitives that all forms share, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.ops import convolution


def test_average_pool_equals_numpy(x64, normal, reference, assert_close):
  for shape, pool in [
    ((2, 4, 6, 4, 3), (2, 2, 2)),
    ((2, 5, 7, 6, 3), (2, 2, 2)),
    ((2, 1, 5, 4, 3), (2, 2, 2)),
    ((2, 3, 8, 9, 3), (4, 4)),
    ((3, 7, 3), (3,)),
  ]:
    x = normal(shape)
    assert_close(convolution.average_pool(x, pool), reference.average(x, pool))


def test_average_pool_sums_narrow_numbers_in_float32():
  """In bfloat16, the sum of 256 ones and a half would be 256."""
  x = jnp.full((1, 16, 16, 1), 1.0, jnp.bfloat16).at[0, 0, 0, 0].set(129.0)
  pooled = convolution.average_pool(x, (16, 16))
  assert pooled.dtype == jnp.bfloat16 and pooled.item() == 1.5


def test_upsample_nearest_equals_numpy(normal, reference):
  x = normal((2, 3, 4, 5, 2)).astype(np.float32)
  np.testing.assert_array_equal(convolution.upsample_nearest(x), reference.repeat(x))


def test_space_to_depth_keeps_every_pixel_of_a_cell(normal):
  x = normal((2, 4, 6, 3))
  cells = np.asarray(convolution.space_to_depth(x, (2, 3), 1))
  assert cells.shape == (2, 2, 2, 18)
  for row, column in np.ndindex(2, 2):
    cell = x[:, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
    np.testing.assert_array_equal(cells[:, row, column], cell.reshape(2, 18).astype(cells.dtype))


@pytest.mark.parametrize("lead", [(4,), (2, 3)])
def test_a_product_has_one_axis_of_rows(x64, normal, assert_close, lead):
  x, matrix = normal((*lead, 5)), normal((5, 7), 1)
  assert_close(convolution.product(x, matrix), x @ matrix)
  (product,) = [
    equation
    for equation in jax.make_jaxpr(convolution.product)(x, matrix).jaxpr.eqns
    if equation.primitive.name == "dot_general"
  ]
  assert product.invars[0].aval.ndim == 2
