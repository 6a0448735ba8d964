import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers.convolution import Conv, Dense, Embed, JoinedConv
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import TransposedConv
from vidgan_jax.runtime.errors import UserError


def applied(module, params, *arguments):
  return jax.jit(lambda p, *a: module.apply({"params": p}, *a))(params, *arguments)


@pytest.mark.parametrize("ops", ["plain", "folded"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_convolution_equals_numpy(x64, wide, draw, normal, reference, assert_close, use_bias, ops):
  x = normal((2, 3, 5, 4, 6))
  module = Conv(4, (3, 3), wide(ops=ops), use_bias=use_bias)
  params = draw(module, x)
  assert set(params) == ({"kernel", "bias"} if use_bias else {"kernel"})
  expected = reference.convolve(x, params["kernel"], params.get("bias", 0.0))
  assert_close(applied(module, params, x), expected)


@pytest.mark.parametrize("ops", ["plain", "folded"])
def test_upsampling_convolution_equals_numpy(x64, wide, draw, normal, reference, assert_close, ops):
  x = normal((2, 3, 4, 5, 3))
  module = Conv(4, (3, 3), wide(ops=ops), upsample=True)
  params = draw(module, x)
  expected = reference.convolve(reference.repeat(x), params["kernel"], params["bias"])
  assert_close(applied(module, params, x), expected)


@pytest.mark.parametrize("ops", ["plain", "folded"])
@pytest.mark.parametrize(("window", "pool"), [((3, 3), (2, 2)), ((3, 3, 3), (1, 2, 2))])
def test_pooling_convolution_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, window, pool, ops
):
  x = normal((2, 3, 4, 5, 3))
  module = Conv(4, window, wide(ops=ops), pool=pool)
  params = draw(module, x)
  expected = reference.average(reference.convolve(x, params["kernel"], params["bias"]), pool)
  assert_close(applied(module, params, x), expected)


@pytest.mark.parametrize(("ops", "convolutions"), [("plain", 1), ("folded", 4)])
def test_layers_compute_in_the_form_of_their_settings(draw, normal, ops, convolutions):
  """The layers double height and width, by one convolution or by one for each phase."""
  x = normal((2, 4, 4, 6)).astype(np.float32)
  for module in (
    Conv(4, (3, 3), LayerSettings(ops=ops), upsample=True),
    TransposedConv(4, 2, LayerSettings(ops=ops)),
  ):
    params = draw(module, x)
    program = jax.make_jaxpr(lambda p, m=module: m.apply({"params": p}, x))(params)
    assert str(program).count("conv_general_dilated[") == convolutions
  with pytest.raises(UserError, match="unknown ops 'fast'; known: plain, folded, cpu, cpu_forward"):
    Conv(4, (3, 3), LayerSettings(ops="fast")).init(jax.random.key(0), x)


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_equals_numpy(x64, wide, draw, normal, assert_close, use_bias):
  x = normal((2, 3, 5))
  module = Dense(4, wide(), use_bias=use_bias)
  params = draw(module, x)
  expected = np.einsum("bti,io->bto", x, params["kernel"]) + params.get("bias", 0.0)
  assert_close(applied(module, params, x), expected)


def test_integers_select_rows_of_the_table_and_weights_mix_them(
  x64, wide, draw, normal, assert_close
):
  labels = np.array([3, 0, 3, 6])
  module = Embed(7, 4, wide())
  params = draw(module, labels)
  table = params["embedding"]
  assert_close(applied(module, params, labels), np.stack([table[label] for label in labels]))
  assert_close(applied(module, params, np.eye(7)[labels]), table[labels])
  weights = normal((2, 7))
  expected = [sum(weight[row] * table[row] for row in range(7)) for weight in weights]
  assert_close(applied(module, params, weights), np.stack(expected))


def test_narrow_activations_meet_float32_parameters(normal):
  settings = LayerSettings(dtype=jnp.bfloat16)
  x, labels = normal((1, 2, 4, 4, 3)).astype(np.float32), np.array([1])
  for module, argument in [
    (Conv(4, (3, 3), settings), x),
    (Conv(4, (3, 3), settings, upsample=True), x),
    (Conv(4, (3, 3, 3), settings, pool=(2, 2, 2)), x),
    (Dense(4, settings), x),
    (Embed(3, 4, settings), labels),
  ]:
    out, variables = jax.eval_shape(
      lambda m=module, a=argument: m.init_with_output(jax.random.key(0), a)
    )
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_kernels_start_orthogonal_and_biases_at_zero():
  x = jnp.zeros((1, 2, 2, 3))
  params = Conv(8, (3, 3), LayerSettings()).init(jax.random.key(0), x)["params"]
  matrix = np.asarray(params["kernel"]).reshape(-1, 8)
  np.testing.assert_allclose(matrix.T @ matrix, np.eye(8), atol=1e-5)
  assert not np.any(params["bias"])
  settings = LayerSettings(initializer="normal02")
  params = Dense(64, settings).init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
  assert abs(np.std(params["kernel"]) - 0.02) < 0.001
  with pytest.raises(
    UserError, match=r"unknown initializer 'glorot'; known: .*normal02, orthogonal"
  ):
    Dense(4, LayerSettings(initializer="glorot")).init(jax.random.key(0), jnp.zeros((1, 4)))


@pytest.mark.parametrize("ops", ["plain", "folded", "cpu"])
def test_a_joined_convolution_equals_numpy_and_its_gradient_differences(
  x64, wide, draw, normal, reference, assert_close, assert_gradient, ops
):
  joined_convolution = JoinedConv(3, wide(ops=ops))
  x, shared = normal((2, 3, 4, 4, 2)), normal((2, 4, 4, 5), seed=1)
  params = draw(joined_convolution, x, shared)
  joined = np.concatenate([x, np.repeat(shared[:, None], 3, axis=1)], axis=-1)
  expected = reference.convolve(joined, params["kernel"], params["bias"])
  assert_close(joined_convolution.apply({"params": params}, x, shared), expected)
  weights = normal(expected.shape, seed=2)
  value = lambda *a: jnp.sum(weights * joined_convolution.apply({"params": a[0]}, *a[1:]) ** 2)
  assert_gradient(value, (params, x, shared))
