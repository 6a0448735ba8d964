import jax
import jax.numpy as jnp
import numpy as np

from vidgan_jax.objectives.penalties import orthogonal_gradient

SHAPES = {
  "conv": {"kernel": (3, 3, 2, 5), "bias": (5,)},
  "linear": {"kernel": (4, 6)},
  "norm": {"gain": {"kernel": (7, 3)}},
  "embed": {"embedding": (4, 6)},
  "attention": {"gamma": ()},
}
BETA = 0.3


def draw():
  generator = np.random.default_rng(0)
  is_shape = lambda node: isinstance(node, tuple)
  return jax.tree.map(lambda shape: generator.normal(size=shape), SHAPES, is_leaf=is_shape)


def penalty(params):
  """beta / 2 * sum of |(W W^T) o (1 - I)|^2 over kernels as W [out, in * window]."""
  kernels = [params["conv"]["kernel"], params["linear"]["kernel"], params["norm"]["gain"]["kernel"]]
  total = 0.0
  for kernel in kernels:
    rows = jnp.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
    gram = jnp.einsum("oi,pi->op", rows, rows)
    total += jnp.sum(jnp.square(gram - jnp.diag(jnp.diag(gram))))
  return 0.5 * BETA * total


def test_gradient_of_the_squared_products_of_rows(x64, assert_close, assert_gradient):
  params = draw()
  gradient = orthogonal_gradient(params, BETA)
  assert_close(gradient, jax.grad(penalty)(params))
  assert_gradient(penalty, (params,), (gradient,), tolerance=1e-7)


def test_tables_gains_and_biases_get_zeros(x64):
  gradient = orthogonal_gradient(draw(), BETA)
  for leaf in (
    gradient["conv"]["bias"],
    gradient["embed"]["embedding"],
    gradient["attention"]["gamma"],
  ):
    assert not np.any(leaf)
  assert np.any(gradient["norm"]["gain"]["kernel"])


def test_orthogonal_rows_are_left_alone_whatever_their_length(x64):
  rows = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0] * [1.0, 2.0, 0.5]
  gradient = orthogonal_gradient({"linear": {"kernel": rows}}, BETA)
  assert np.max(np.abs(gradient["linear"]["kernel"])) < 1e-14
