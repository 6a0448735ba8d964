"""All operations in all forms: compares `plain` with NumPy, the others with `plain`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.ops import convolution, forms
from vidgan_jax.ops.folded import _patches
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import flops

PLAIN = forms.get("plain")
OTHERS = [name for name in forms.FORMS if name != "plain"]
SAME = [
  # window, [..., *spatial, in]
  ((3, 3), (2, 3, 5, 4, 6)),
  ((3, 3), (2, 3, 5, 4, 3)),
  ((1, 1), (2, 4, 5, 3)),
  ((3, 3, 3), (2, 4, 5, 3, 6)),
  ((3, 3, 3), (2, 4, 1, 3, 3)),
]
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


def test_the_form_follows_the_platform_and_the_savings():
  assert forms.choose("cpu") == "cpu"
  assert forms.choose("gpu") == forms.choose("tpu") == "folded"
  assert forms.choose("cpu", forward_mode=True) == "cpu_forward"
  assert forms.choose("gpu", forward_mode=True) == "folded"
  for platform in ("cpu", "gpu", "tpu"):
    assert forms.choose(platform, savings=False) == "plain"
    assert forms.choose(platform, savings=False, forward_mode=True) == "plain"


def test_unknown_forms_are_refused():
  with pytest.raises(UserError, match="unknown ops 'fast'; known: plain, folded, cpu, cpu_forward"):
    forms.get("fast")


@pytest.mark.parametrize(("window", "shape"), SAME)
def test_plain_convolution_equals_numpy(x64, normal, reference, assert_close, window, shape):
  x, kernel = normal(shape), normal((*window, shape[-1], 4), 1)
  assert_close(jax.jit(PLAIN.same_convolution)(x, kernel), reference.convolve(x, kernel))


@pytest.mark.parametrize("window", [(3, 3), (1, 1)])
def test_plain_upsampling_equals_numpy(x64, normal, reference, assert_close, window):
  x, kernel = normal((2, 3, 4, 5, 3)), normal((*window, 3, 4), 1)
  expected = reference.convolve(reference.repeat(x), kernel)
  assert_close(jax.jit(PLAIN.upsampled_convolution)(x, kernel), expected)


@pytest.mark.parametrize(("window", "pool", "shape"), POOLINGS)
def test_plain_pooling_equals_numpy(x64, normal, reference, assert_close, window, pool, shape):
  x, kernel = normal(shape), normal((*window, shape[-1], 4), 1)
  expected = reference.average(reference.convolve(x, kernel), pool)
  assert_close(jax.jit(lambda *a: PLAIN.pooled_convolution(*a, pool))(x, kernel), expected)


@pytest.mark.parametrize(
  ("strides", "padding", "out"), [(2, ((1, 1),) * 3, (2, 3, 2)), ((1, 2, 2), "VALID", (2, 2, 1))]
)
@pytest.mark.parametrize("ops", forms.FORMS)
def test_strides_skip_outputs(
  all_large, x64, normal, reference, assert_close, ops, strides, padding, out
):
  x, kernel = normal((2, 4, 5, 4, 3)), normal((3, 3, 3, 3, 4), 1)
  dense = reference.convolve(x, kernel)
  if padding == "VALID":
    dense = dense[:, 1:-1, 1:-1, 1:-1]
  step = (strides,) * 3 if isinstance(strides, int) else strides
  expected = dense[:, :: step[0], :: step[1], :: step[2]]
  assert expected.shape == (2, *out, 4)
  assert_close(forms.get(ops).convolve(x, kernel, strides=strides, padding=padding), expected)


@pytest.fixture
def compare(all_large, x64, normal, assert_close):
  """Returns a function (ops, call, window, shape) that compares a form with the plain one.

  It compares the result of `call(form, x, kernel)`, and its gradients for x and kernel.
  """

  def check(ops, call, window, shape):
    x, kernel = normal(shape), normal((*window, shape[-1], 5), 1)
    factors = normal(jax.eval_shape(lambda: call(PLAIN, x, kernel)).shape, 7)

    def everything(form):
      def scalar(x, kernel):
        out = call(form, x, kernel)
        return jnp.sum(out * factors), out

      return jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(x, kernel)

    assert_close(everything(forms.get(ops)), everything(PLAIN))

  return check


@pytest.mark.parametrize("ops", OTHERS)
@pytest.mark.parametrize(("window", "shape"), SAME)
def test_convolutions_are_exact(compare, ops, window, shape):
  compare(ops, lambda form, x, kernel: form.same_convolution(x, kernel), window, shape)


@pytest.mark.parametrize("ops", OTHERS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 3), (2, 1, 1, 3, 3)])
@pytest.mark.parametrize("window", [(3, 3), (1, 1)])
def test_upsampling_is_exact(compare, ops, window, shape):
  compare(ops, lambda form, x, kernel: form.upsampled_convolution(x, kernel), window, shape)


@pytest.mark.parametrize("ops", OTHERS)
@pytest.mark.parametrize(("window", "pool", "shape"), POOLINGS)
def test_pooling_is_exact(compare, ops, window, pool, shape):
  compare(ops, lambda form, x, kernel: form.pooled_convolution(x, kernel, pool), window, shape)


@pytest.mark.parametrize("ops", OTHERS)
def test_folded_forms_multiply_less_and_never_dilate(ops, normal, convolutions):
  """Upsampling: 16 instead of 36 products per input pixel; pooling: 16 instead of 36, 64 of 216."""
  x = normal((2, 8, 8, 8, 5)).astype(np.float32)
  flat, deep = normal((3, 3, 5, 4)).astype(np.float32), normal((3, 3, 3, 5, 4)).astype(np.float32)
  pixels, widths = 2 * 8**3, 5 * 4
  for call, kernel, plain, folded in [
    (lambda form, k: form.upsampled_convolution(x, k), flat, 36 * pixels, 16 * pixels),
    (lambda form, k: form.pooled_convolution(x, k, (2, 2)), flat, 9 * pixels, 4 * pixels),
    (lambda form, k: form.pooled_convolution(x, k, (2, 2, 2)), deep, 27 * pixels, 8 * pixels),
  ]:
    for name, expected in (("plain", plain), (ops, folded)):
      apply = lambda k, call=call, name=name: call(forms.get(name), k)
      assert flops.count(apply, kernel) == 2 * expected * widths
      program = jax.make_jaxpr(apply)(kernel).jaxpr
      assert all(set(parameters["lhs_dilation"]) == {1} for parameters in convolutions(program))


def test_few_channels_are_gathered_into_one_product(convolutions):
  """Taps are gathered only in folded forms, and only for at most four channels."""
  for channels, ops, expected in [(3, "folded", 0), (3, "plain", 1), (5, "folded", 1)]:
    x, kernel = jnp.zeros((1, 4, 4, channels)), jnp.zeros((3, 3, channels, 4))
    program = jax.make_jaxpr(forms.get(ops).same_convolution)(x, kernel).jaxpr
    assert len(convolutions(program)) == expected


@pytest.mark.parametrize("window", [(3, 3), (3, 3, 3), (1, 3)])
def test_taps_are_gathered_one_axis_after_the_other(normal, window):
  """The inputs of all taps in the kernel's order, from 3 shifted copies per axis, not 9 or 27."""
  x = normal((2, *range(3, 3 + len(window)), 3))
  patches = _patches(x, window)
  taps = convolution.inputs_of_taps(x, window, [(size // 2, size // 2) for size in window])
  np.testing.assert_array_equal(patches, jnp.concatenate(taps, axis=-1))
  program = jax.make_jaxpr(lambda x: _patches(x, window))(x).jaxpr
  assert [str(e.primitive) for e in program.eqns].count("slice") == sum(window)


@pytest.mark.parametrize("ops", ["plain", "folded", "cpu_forward"])
@pytest.mark.parametrize(
  ("call", "window", "shape"),
  [
    (lambda form, x, k: form.convolve(x, k), (3, 3), (2, 5, 4, 3)),
    (lambda form, x, k: form.convolve(x, k), (3, 3), (2, 2, 2, 3)),
    (lambda form, x, k: form.pooled_convolution(x, k, (2, 2)), (3, 3), (2, 8, 6, 3)),
    (lambda form, x, k: form.pooled_convolution(x, k, (2, 2, 2)), (3, 3, 3), (1, 4, 6, 4, 3)),
  ],
)
def test_forward_over_reverse(all_large, x64, normal, assert_close, ops, call, window, shape):
  """Products with the Hessian need a forward mode, which the form `cpu` does not have."""
  arguments = normal(shape), normal((*window, shape[-1], 4), 1)
  ways = normal(shape, 2), normal((*window, shape[-1], 4), 3)

  def hessian_product(name):
    scalar = lambda x, kernel: jnp.sum(jnp.sin(call(forms.get(name), x, kernel)))
    # Passed as arguments, because XLA of jaxlib 0.7.2 folds constants into wrong gradients here.
    run = lambda at, along: jax.jvp(jax.grad(scalar, argnums=(0, 1)), at, along)
    return jax.jit(run)(arguments, ways)

  assert_close(hessian_product(ops), hessian_product("plain"))
  with pytest.raises(TypeError, match="forward-mode"):
    hessian_product("cpu")
