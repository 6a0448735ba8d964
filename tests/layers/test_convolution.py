import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers import cpu_convolution
from vidgan_jax.layers.convolution import (
  Conv,
  Dense,
  Embed,
  average_pool,
  convolve,
  pooled_convolution,
  same_convolution,
  upsample_nearest,
  upsampled_convolution,
)
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime import flops, sharding
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError

ALWAYS = {"few pixels": 0, "many pixels": 0}


@pytest.fixture(params=["cpu", "gpu"])
def device(request, monkeypatch):
  """The forms that are chosen on a CPU, and those for GPU and TPU."""
  monkeypatch.setattr(cpu_convolution, "_WORTH_IT", ALWAYS)
  with cpu_convolution.traced_for(request.param):
    yield request.param


def applied(module, params, *arguments):
  return jax.jit(lambda p, *a: module.apply({"params": p}, *a))(params, *arguments)


@pytest.mark.parametrize(
  ("window", "shape"),
  [
    ((3, 3), (2, 3, 5, 4, 6)),
    ((3, 3), (2, 3, 5, 4, 3)),
    ((1, 1), (2, 4, 5, 3)),
    ((3, 3, 3), (2, 4, 5, 3, 6)),
    ((3, 3, 3), (2, 4, 1, 3, 3)),
  ],
)
@pytest.mark.parametrize("savings", [True, False])
def test_convolution_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, window, shape, savings
):
  x = normal(shape)
  for use_bias in (True, False):
    module = Conv(4, window, wide(savings=savings), use_bias=use_bias)
    params = draw(module, x)
    assert set(params) == ({"kernel", "bias"} if use_bias else {"kernel"})
    expected = reference.convolve(x, params["kernel"], params.get("bias", 0.0))
    assert_close(applied(module, params, x), expected)


@pytest.mark.parametrize("savings", [True, False])
@pytest.mark.parametrize("window", [(3, 3), (1, 1)])
def test_upsampling_convolution_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, window, savings
):
  x = normal((2, 3, 4, 5, 3))
  module = Conv(4, window, wide(savings=savings), upsample=True)
  params = draw(module, x)
  expected = reference.convolve(reference.repeat(x), params["kernel"], params["bias"])
  assert_close(applied(module, params, x), expected)


POOLINGS = [
  # window, pooling, [B, T, H, W, C]
  ((3, 3), (2, 2), (2, 2, 4, 6, 3)),
  ((3, 3), (2, 2), (2, 2, 5, 7, 3)),
  ((3, 3), (2, 2), (2, 2, 1, 4, 3)),
  ((1, 1), (2, 2), (2, 2, 5, 4, 3)),
  ((3, 3), (4, 4), (2, 2, 9, 8, 3)),
  ((1, 1), (4, 4), (2, 2, 9, 8, 3)),
  ((3, 3, 3), (2, 2, 2), (2, 4, 4, 6, 3)),
  ((3, 3, 3), (2, 2, 2), (2, 3, 5, 4, 3)),
  ((3, 3, 3), (2, 2, 2), (2, 1, 4, 4, 3)),
  ((3, 3, 3), (1, 2, 2), (2, 3, 4, 5, 3)),
  ((1, 1, 1), (2, 2, 2), (2, 3, 5, 4, 3)),
  ((1, 1, 1), (1, 2, 2), (2, 3, 4, 4, 3)),
]


@pytest.mark.parametrize("savings", [True, False])
@pytest.mark.parametrize(("window", "pool", "shape"), POOLINGS)
def test_pooling_convolution_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, window, pool, shape, savings
):
  x = normal(shape)
  module = Conv(4, window, wide(savings=savings), pool=pool)
  params = draw(module, x)
  expected = reference.average(reference.convolve(x, params["kernel"], params["bias"]), pool)
  assert_close(applied(module, params, x), expected)


def gradients_with_and_without_savings(form, x, kernel, normal):
  """Outputs and gradients by input and kernel of a random linear function of the outputs."""
  factors = normal(jax.eval_shape(lambda: form(x, kernel, savings=False)).shape, 7)

  def run(savings):
    def scalar(x, kernel):
      out = form(x, kernel, savings=savings)
      return jnp.sum(out * factors), out

    return jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(x, kernel)

  return run(True), run(False)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 3), (2, 1, 1, 3, 3)])
@pytest.mark.parametrize("window", [(3, 3), (1, 1)])
def test_upsampling_savings_are_exact(device, x64, normal, assert_close, window, shape):
  x, kernel = normal(shape), normal((*window, shape[-1], 4), 1)
  assert_close(*gradients_with_and_without_savings(upsampled_convolution, x, kernel, normal))


@pytest.mark.parametrize(
  ("window", "shape"), [((3, 3), (2, 3, 4, 5, 3)), ((3, 3, 3), (2, 1, 4, 5, 4))]
)
def test_savings_on_few_channels_are_exact(device, x64, normal, assert_close, window, shape):
  x, kernel = normal(shape), normal((*window, shape[-1], 5), 1)
  assert_close(*gradients_with_and_without_savings(same_convolution, x, kernel, normal))


@pytest.mark.parametrize(("window", "pool", "shape"), POOLINGS)
def test_pooling_savings_are_exact(device, x64, normal, assert_close, window, pool, shape):
  x, kernel = normal(shape), normal((*window, shape[-1], 4), 1)
  form = lambda x, kernel, savings: pooled_convolution(x, kernel, pool, savings=savings)
  assert_close(*gradients_with_and_without_savings(form, x, kernel, normal))


@pytest.mark.parametrize(
  ("window", "shape", "features", "padding"),
  [
    ((3, 3), (2, 3, 5, 4, 3), 4, "SAME"),
    ((3, 3), (2, 3, 5, 4, 5), 2, "SAME"),  # narrower behind than before
    ((2, 2), (3, 5, 4, 3), 3, ((1, 0), (0, 1))),
    ((2, 2), (3, 5, 4, 6), 2, ((1, 0), (0, 1))),
    ((2, 2), (3, 5, 6, 2), 4, "VALID"),
    ((3, 3), (2, 2, 2, 5), 4, "SAME"),  # few pixels
    ((3, 3), (2, 1, 1, 2), 4, "SAME"),
    ((1, 1), (2, 5, 6, 4), 3, "SAME"),
    ((3, 3, 3), (2, 3, 5, 4, 3), 4, "SAME"),
    ((2, 2, 2), (2, 3, 5, 4, 4), 3, "VALID"),
    ((2, 2, 2), (1, 3, 3, 3, 4), 4, "VALID"),
  ],
)
@pytest.mark.parametrize("few_channels", [64, 0])
def test_forms_for_cpu_are_the_convolution(
  x64, normal, assert_close, monkeypatch, window, shape, features, padding, few_channels
):
  """With its gradient, and the gradient of a gradient's norm (as R1 takes it)."""
  monkeypatch.setattr(cpu_convolution, "_WORTH_IT", ALWAYS)
  for limit in ("_NARROW", "_SHALLOW"):
    monkeypatch.setattr(cpu_convolution, limit, few_channels)
  x, kernel = normal(shape), normal((*window, shape[-1], features), 1)

  def everything(savings):
    def scalar(x, kernel):
      out = convolve(x, kernel, padding=padding, savings=savings)
      return jnp.sum(out * factors.reshape(out.shape)), out

    def penalty(x, kernel):
      squared = lambda x, kernel: jnp.sum(
        jnp.sin(convolve(x, kernel, padding=padding, savings=savings))
      )
      by_x, by_kernel = jax.grad(squared, argnums=(0, 1))(x, kernel)
      return jnp.sum(by_x**2) + jnp.sum(by_kernel**2)

    size = jax.eval_shape(functools.partial(convolve, padding=padding), x, kernel).size
    factors = normal((size,), 2)
    first = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(x, kernel)
    return first, jax.jit(jax.grad(penalty, argnums=(0, 1)))(x, kernel)

  assert_close(everything(True), everything(False))


@pytest.mark.parametrize(
  ("form", "window", "shape"),
  [
    (functools.partial(convolve, padding="SAME"), (3, 3), (2, 5, 4, 3)),
    (functools.partial(convolve, padding="SAME"), (3, 3), (2, 2, 2, 3)),
    (functools.partial(pooled_convolution, pool=(2, 2)), (3, 3), (2, 8, 6, 3)),
    (functools.partial(pooled_convolution, pool=(2, 2, 2)), (3, 3, 3), (1, 4, 6, 4, 3)),
  ],
)
def test_forward_over_reverse(x64, normal, assert_close, monkeypatch, form, window, shape):
  """Of products too, which outside `forward_mode` have reverse mode alone."""
  monkeypatch.setattr(cpu_convolution, "_WORTH_IT", ALWAYS)
  arguments = normal(shape), normal((*window, shape[-1], 4), 1)
  ways = normal(shape, 2), normal((*window, shape[-1], 4), 3)

  def product(savings):
    scalar = lambda x, kernel: jnp.sum(jnp.sin(form(x, kernel, savings=savings)))
    # As arguments: XLA of jaxlib 0.7.2 folds constants into wrong gradients by the kernel here.
    run = lambda at, along: jax.jvp(jax.grad(scalar, argnums=(0, 1)), at, along)
    return jax.jit(run)(arguments, ways)

  with cpu_convolution.forward_mode():
    assert_close(product(True), product(False))
  with pytest.raises(TypeError, match="forward-mode"):
    product(True)


def convolutions(program):
  """The parameters of every convolution in a program and in the functions inside it."""
  found = []
  for equation in program.eqns:
    if equation.primitive.name == "conv_general_dilated":
      found.append(equation.params)
    for inner in flops.inner_jaxprs(equation):
      found += convolutions(inner)
  return found


def test_savings_multiply_less_and_never_dilate(device, normal):
  """Upsampled 36 -> 16 products per input pixel, pooled 36 -> 16 and 216 -> 64 per output."""
  x = normal((2, 8, 8, 8, 5)).astype(np.float32)
  flat, deep = normal((3, 3, 5, 4)).astype(np.float32), normal((3, 3, 3, 5, 4)).astype(np.float32)
  pixels, widths = 2 * 8**3, 5 * 4
  for form, kernel, plain, saved in [
    (lambda k, s: upsampled_convolution(x, k, savings=s), flat, 36 * pixels, 16 * pixels),
    (lambda k, s: pooled_convolution(x, k, (2, 2), savings=s), flat, 9 * pixels, 4 * pixels),
    (lambda k, s: pooled_convolution(x, k, (2, 2, 2), savings=s), deep, 27 * pixels, 8 * pixels),
  ]:
    for savings, expected in ((False, plain), (True, saved)):
      apply = lambda k, form=form, s=savings: form(k, s)
      assert flops.count(apply, kernel) == 2 * expected * widths
      program = jax.make_jaxpr(apply)(kernel).jaxpr
      assert all(set(found["lhs_dilation"]) == {1} for found in convolutions(program))


def test_products_on_several_devices(x64, normal, assert_close, monkeypatch):
  monkeypatch.setattr(cpu_convolution, "_WORTH_IT", ALWAYS)
  mesh = meshes.make_mesh()
  kernels = {name: normal((3, 3, 3, 3), seed) for seed, name in enumerate(("wide", "pooled", "up"))}
  kernels["deep"] = normal((3, 3, 3, 3, 4), 7)
  place, x = sharding.shardings(kernels, mesh, "replicated"), normal((8, 4, 4, 6, 3), 9)

  def network(kernels, x, _, savings=True):
    x = convolve(x, kernels["wide"], savings=savings)
    x = pooled_convolution(x, kernels["pooled"], (2, 2), savings=savings)
    x = upsampled_convolution(x, kernels["up"], savings=savings)
    return pooled_convolution(x, kernels["deep"], (2, 2, 2), savings=savings), None

  def split(kernels, x):
    out, _ = meshes.on_each_device(network, mesh)(meshes.spread(kernels, place), x, None)
    return jnp.sum(jnp.sin(out))

  plain = lambda kernels, x: jnp.sum(jnp.sin(network(kernels, x, None, savings=False)[0]))
  gradients = [jax.jit(jax.grad(f, argnums=(0, 1)))(kernels, x) for f in (split, plain)]
  assert_close(*gradients)


def test_products_where_they_are_worth_it():
  """Large convolutions on a CPU, and small ones on few pixels."""
  products = lambda x, kernel: any(
    "custom_vjp" in equation.primitive.name
    for equation in jax.make_jaxpr(functools.partial(convolve, savings=True))(x, kernel).jaxpr.eqns
  )
  shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
  assert products(shape(24, 16, 16, 128), shape(3, 3, 128, 128))
  assert not products(shape(24, 16, 16, 16), shape(3, 3, 16, 16))
  assert products(shape(24, 4, 4, 128), shape(3, 3, 128, 128))
  assert not products(shape(24, 4, 4, 16), shape(3, 3, 16, 16))


def test_few_channels_are_gathered_into_one_product():
  """Only with savings, and only for a video's channels or a few more."""
  for channels, savings, expected in [(3, True, 0), (3, False, 1), (5, True, 1)]:
    x, kernel = jnp.zeros((1, 4, 4, channels)), jnp.zeros((3, 3, channels, 4))
    form = functools.partial(same_convolution, savings=savings)
    assert len(convolutions(jax.make_jaxpr(form)(x, kernel).jaxpr)) == expected


def test_average_pool_equals_numpy(x64, normal, reference, assert_close):
  for shape, pool in [
    ((2, 4, 6, 4, 3), (2, 2, 2)),
    ((2, 5, 7, 6, 3), (2, 2, 2)),
    ((2, 1, 5, 4, 3), (2, 2, 2)),
    ((2, 3, 8, 9, 3), (4, 4)),
    ((3, 7, 3), (3,)),
  ]:
    x = normal(shape)
    assert_close(average_pool(x, pool), reference.average(x, pool))


def test_average_pool_sums_narrow_numbers_in_float32():
  """Added up in bfloat16, 256 ones and a half would stay at 256 ones."""
  x = jnp.full((1, 16, 16, 1), 1.0, jnp.bfloat16).at[0, 0, 0, 0].set(129.0)
  pooled = average_pool(x, (16, 16))
  assert pooled.dtype == jnp.bfloat16 and pooled.item() == 1.5


def test_upsample_nearest_equals_numpy(normal, reference):
  x = normal((2, 3, 4, 5, 2)).astype(np.float32)
  np.testing.assert_array_equal(upsample_nearest(x), reference.repeat(x))


@pytest.mark.parametrize(
  ("strides", "padding", "out"), [(2, ((1, 1),) * 3, (2, 3, 2)), ((1, 2, 2), "VALID", (2, 2, 1))]
)
def test_strided_convolution_equals_numpy(
  x64, normal, reference, assert_close, strides, padding, out
):
  x, kernel = normal((2, 4, 5, 4, 3)), normal((3, 3, 3, 3, 4), 1)
  dense = reference.convolve(x, kernel)
  if padding == "VALID":
    dense = dense[:, 1:-1, 1:-1, 1:-1]
  step = (strides,) * 3 if isinstance(strides, int) else strides
  expected = dense[:, :: step[0], :: step[1], :: step[2]]
  assert expected.shape == (2, *out, 4)
  assert_close(convolve(x, kernel, strides=strides, padding=padding), expected)


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_equals_numpy(x64, wide, draw, normal, assert_close, use_bias):
  x = normal((2, 3, 5))
  module = Dense(4, wide(), use_bias=use_bias)
  params = draw(module, x)
  expected = np.einsum("bti,io->bto", x, params["kernel"]) + params.get("bias", 0.0)
  assert_close(applied(module, params, x), expected)


def test_table_is_looked_up_by_integers_and_mixed_by_weights(x64, wide, draw, normal, assert_close):
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
