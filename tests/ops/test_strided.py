"""Compares strided and transposed convolutions with explicit sums."""

import itertools

import jax
import numpy as np
import pytest

from vidgan_jax.ops import forms


def written_out(x, kernel, strides, padding):
  """A strided convolution by its definition, tap by tap; x [N, *spatial, in]."""
  rank = kernel.ndim - 2
  x = np.pad(x, ((0, 0), *padding, (0, 0)))
  window = kernel.shape[:rank]
  sizes = [(n - w) // s + 1 for n, w, s in zip(x.shape[1:-1], window, strides, strict=True)]
  out = np.zeros((x.shape[0], *sizes, kernel.shape[-1]))
  for tap in itertools.product(*map(range, window)):
    seen = tuple(
      slice(t, t + s * (n - 1) + 1, s) for t, s, n in zip(tap, strides, sizes, strict=True)
    )
    out += x[(slice(None), *seen)] @ kernel[tap]
  return out


def transposed(x, kernel):
  """A transposed convolution with window 4, stride 2, padding 1, input by input."""
  rank = kernel.ndim - 2
  sizes = x.shape[1:-1]
  out = np.zeros((x.shape[0], *[2 * n + 2 for n in sizes], kernel.shape[-1]))
  for at in itertools.product(*map(range, sizes)):
    for tap in itertools.product(range(4), repeat=rank):
      position = tuple(2 * i + k for i, k in zip(at, tap, strict=True))
      out[(slice(None), *position)] += x[(slice(None), *at)] @ kernel[tap]
  return out[(slice(None), *[slice(1, -1)] * rank)]


@pytest.mark.parametrize("ops", ["plain", "folded"])
@pytest.mark.parametrize(
  ("size", "window", "strides", "padding"),
  [
    ((6, 8, 8), (4, 4, 4), (2, 2, 2), (1, 1, 1)),
    ((5, 7, 9), (4, 4, 4), (2, 2, 2), (1, 1, 1)),  # odd sizes
    ((6, 8, 8), (4, 4, 4), (1, 2, 2), (0, 1, 1)),  # MoCoGAN's
    ((3, 8, 8), (1, 4, 4), (1, 2, 2), (0, 1, 1)),
    ((8, 3, 3), (4, 1, 1), (2, 1, 1), (1, 0, 0)),
    ((8, 3, 3), (4, 1, 1), (1, 1, 1), (1, 0, 0)),
    ((8, 8), (8, 8), (2, 2), (3, 3)),
    ((8, 8), (2, 2), (2, 2), (0, 0)),
    ((4, 4), (4, 4), (1, 1), (0, 0)),
    ((9, 9), (3, 3), (2, 2), (1, 1)),  # a window that is not a multiple of the stride
  ],
)
def test_strided(x64, assert_gradient, ops, size, window, strides, padding):
  random = np.random.default_rng(0)
  x = random.normal(size=(2, *size, 3))
  kernel = random.normal(size=(*window, 3, 5))
  pads = [(p, p) for p in padding]
  call = jax.jit(lambda x, k: forms.get(ops).strided_convolution(x, k, strides, pads))
  expected = written_out(x, kernel, strides, pads)
  out = call(x, kernel)
  assert out.shape == expected.shape
  np.testing.assert_allclose(out, expected, atol=1e-11)
  weights = random.normal(size=expected.shape)
  assert_gradient(lambda x, k: (call(x, k) * weights).sum(), (x, kernel), directions=1)


@pytest.mark.parametrize("ops", ["plain", "folded"])
@pytest.mark.parametrize("size", [(3,), (4, 3), (2, 3, 4)])
def test_transposed(x64, assert_gradient, ops, size):
  random = np.random.default_rng(0)
  x = random.normal(size=(2, *size, 3))
  kernel = random.normal(size=(*[4] * len(size), 3, 5))
  call = jax.jit(forms.get(ops).transposed_convolution)
  np.testing.assert_allclose(call(x, kernel), transposed(x, kernel), atol=1e-11)
  weights = random.normal(size=call(x, kernel).shape)
  assert_gradient(lambda x, k: (call(x, k) * weights).sum(), (x, kernel), directions=1)


def test_axes_in_front_are_batch(x64):
  random = np.random.default_rng(0)
  x = random.normal(size=(2, 3, 8, 8, 3))
  kernel = random.normal(size=(4, 4, 3, 5))
  for form in forms.FORMS.values():
    out = form.strided_convolution(x, kernel, (2, 2), [(1, 1)] * 2)
    assert out.shape == (2, 3, 4, 4, 5)
    np.testing.assert_allclose(out[1], written_out(x[1], kernel, (2, 2), [(1, 1)] * 2), atol=1e-11)
    out = form.transposed_convolution(x, kernel)
    np.testing.assert_allclose(out[1], transposed(x[1], kernel), atol=1e-11)
