"""FLOP counts, compared with formulas and with XLA's counts."""

import math
import types

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.runtime.hardware import flops


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


def convolution(strides=(1, 1), padding="SAME", groups=1):
  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      strides,
      padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
    )

  return convolve


def total(function):
  return lambda *arguments: jnp.sum(jnp.sin(function(*arguments)))


@pytest.mark.parametrize(
  ("strides", "padding", "groups", "window", "outputs"),
  [
    ((1, 1), "SAME", 1, (3, 3), 8 * 10),
    ((1, 1), "VALID", 1, (3, 3), 6 * 8),
    ((1, 1), "SAME", 1, (1, 1), 8 * 10),
    ((2, 2), ((1, 1), (1, 1)), 1, (4, 4), 4 * 5),
    ((1, 1), "SAME", 3, (3, 3), 8 * 10),
  ],
)
def test_convolution_counts_every_tap(strides, padding, groups, window, outputs):
  """2 x output size x window x inputs per group x outputs, and as much for each gradient."""
  convolve = convolution(strides, padding, groups)
  arguments = shape(2, 8, 10, 6), shape(*window, 6 // groups, 12)
  expected = 2 * outputs * math.prod(window) * (6 // groups) * 12 * 2
  assert flops.count(convolve, *arguments) == expected
  if padding == "VALID":
    return  # its input gradient also counts taps on the padding that transposition adds
  for argument in (0, 1):
    gradient = jax.grad(total(convolve), argument)
    assert flops.count(gradient, *arguments) == 2 * expected
  both = jax.grad(total(convolve), (0, 1))
  assert flops.count(both, *arguments) == 3 * expected


@pytest.mark.parametrize("argument", [None, 0, 1])
@pytest.mark.parametrize(
  ("strides", "padding", "window"),
  [
    ((1, 1), "SAME", (3, 3)),
    ((2, 2), ((1, 1), (1, 0)), (4, 4)),
    ((1, 2), ((0, 2), (3, 1)), (2, 5)),
    ((1, 1), "VALID", (3, 3)),
  ],
)
def test_taps_on_padding_are_left_out_as_xla_does(strides, padding, window, argument):
  """In the forward pass, and in the gradient of the input or of the kernel."""
  convolve = convolution(strides, padding)
  arguments = shape(2, 8, 9, 6), shape(*window, 6, 12)
  function = convolve
  if argument is not None:
    out = jax.eval_shape(convolve, *arguments)
    arguments = (*arguments, out)

    def function(x, kernel, cotangent):
      alone = (lambda x: convolve(x, kernel)) if argument == 0 else (lambda k: convolve(x, k))
      return jax.vjp(alone, (x, kernel)[argument])[1](cotangent)

  expected = jax.jit(function).lower(*arguments).cost_analysis()["flops"]
  inside = flops.count(function, *arguments, padding=False)
  if argument is not None:  # the forward pass is in the trace as well, unused
    inside -= flops.count(convolve, *arguments[:2], padding=False)
  assert inside == pytest.approx(expected, rel=1e-3)


def test_convolution_in_three_dimensions():
  layout = ("NDHWC", "DHWIO", "NDHWC")
  convolve = lambda x, kernel: jax.lax.conv_general_dilated(
    x, kernel, (1, 1, 1), "SAME", dimension_numbers=layout
  )
  count = flops.count(convolve, shape(2, 4, 6, 8, 3), shape(3, 3, 3, 3, 5))
  assert count == 2 * (2 * 4 * 6 * 8) * 27 * 3 * 5


def test_dot_products_with_batch_axes():
  attention = lambda query, key: jnp.einsum("bqc,bkc->bqk", query, key)
  assert flops.count(attention, shape(3, 5, 7), shape(3, 11, 7)) == 2 * 3 * 5 * 11 * 7


def test_the_body_of_a_scan_counts_once_per_iteration():
  step = lambda state, _: (state @ state, None)
  for unroll in (1, 6):
    loop = lambda x, unroll=unroll: jax.lax.scan(step, x, None, length=6, unroll=unroll)
    assert flops.count(loop, shape(4, 4)) == 6 * 2 * 4**3
    assert flops.count(jax.grad(lambda x, f=loop: jnp.sum(f(x)[0])), shape(4, 4)) == 18 * 2 * 4**3


def test_cond_counts_its_most_expensive_branch():
  branches = lambda a: (lambda: a, lambda: a @ a, lambda: a @ a @ a)
  switch = lambda index, a: jax.lax.switch(index, branches(a))
  assert flops.count(switch, jax.ShapeDtypeStruct((), jnp.int32), shape(4, 4)) == 2 * 2 * 4**3


def test_a_while_loop_with_counted_work_is_refused():
  small = lambda a: jnp.sum(a) < 1
  with pytest.raises(ValueError, match="while"):
    flops.count(lambda a: jax.lax.while_loop(small, lambda a: a @ a, a), shape(4, 4))
  assert flops.count(lambda a: jax.lax.while_loop(small, lambda a: a + 1, a), shape(4, 4)) == 0


def test_primitives_with_hidden_work_are_refused():
  with pytest.raises(ValueError, match="custom_linear_solve"):
    flops.count(jnp.linalg.solve, shape(4, 4), shape(4, 4))


def test_recomputed_work_counts():
  def block(x, first, second):
    return jnp.tanh(jnp.tanh(x @ first) @ second)

  one = 2 * 8 * 4 * 4
  arguments = shape(8, 4), shape(4, 4), shape(4, 4)
  every = (0, 1, 2)
  assert flops.count(jax.grad(total(block), every), *arguments) == 6 * one
  assert flops.count(jax.grad(total(jax.checkpoint(block)), every), *arguments) == 8 * one


def test_functions_with_their_own_gradient():
  @jax.custom_vjp
  def square(a):
    return a @ a

  square.defvjp(lambda a: (a @ a, a), lambda a, g: (g @ a.T + a.T @ g,))
  assert flops.count(jax.jit(square), shape(4, 4)) == 2 * 4**3
  assert flops.count(jax.grad(lambda a: jnp.sum(square(a))), shape(4, 4)) == 3 * 2 * 4**3


@pytest.mark.parametrize(
  ("kind", "peak"),
  [
    ("NVIDIA H200", 790e12),
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA A100-SXM4-80GB", 312e12),
    ("Tesla V100-SXM2-16GB", 125e12),
    ("TPU v3", 61.5e12),  # one of a chip's two cores
    ("TPU v4", 275e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5e", 197e12),
    ("TPU v5", 459e12),
    ("TPU v5p", 459e12),
    ("TPU v6 lite", 918e12),
    ("TPU v6e", 918e12),
    ("TPU7x", 1153.5e12),  # one of a chip's two cores
    ("NVIDIA GeForce RTX 4090", 165e12),
    ("NVIDIA GeForce RTX 4090 D", None),
    ("TPU v4 lite", None),
    ("NVIDIA GH200 480GB", None),
    ("cpu", None),
  ],
)
def test_peak_by_device_kind(kind, peak):
  assert flops.peak_flops(types.SimpleNamespace(device_kind=kind)) == peak


def test_peak_of_the_first_device():
  assert flops.peak_flops() == flops.peak_flops(jax.devices()[0])
