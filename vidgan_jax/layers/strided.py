"""Strided and transposed convolutions of any window, with the exact forms that are fast.

Channels last, as in `layers.convolution`: axes in front of the window are batch.

A convolution with stride 2 and an even window is one without strides on cells of 2 (2x2, 2x2x2)
pixels as channels, whose gradients are fast everywhere; a transposed one with stride 2 is, for each
of its output phases, a convolution with half the window. Neither form needs dilated operands, which
are slow in XLA (jax issues 8537 and 23783, openxla issue 34273).
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers import convolution
from vidgan_jax.layers.convolution import convolve
from vidgan_jax.layers.settings import LayerSettings


def strided_convolution(x, kernel, strides, padding, *, savings: bool, precision=None):
  """Convolves [..., *spatial, in] with `kernel` [*window, in, out] and strides.

  Args:
    x: activations; axes in front of the window's are batch.
    kernel: cast to the type of `x`.
    strides: one per window axis.
    padding: explicit (low, high), one per window axis.
    savings: take cells of `strides` as channels where every window is a multiple of its stride.
    precision: see `jax.lax.Precision`.

  Returns:
    [..., *spatial', out], spatial' = (spatial + low + high - window) // stride + 1.
  """
  strides, padding = tuple(strides), tuple(map(tuple, padding))
  while kernel.ndim > 3 and (kernel.shape[0], strides[0], padding[0]) == (1, 1, (0, 0)):
    kernel, strides, padding = kernel[0], strides[1:], padding[1:]  # one more axis of batch
  rank = kernel.ndim - 2
  window = kernel.shape[:rank]
  divides = all(size % stride == 0 for size, stride in zip(window, strides, strict=True))
  if not savings or set(strides) == {1} or not divides:
    return convolve(
      x, kernel, strides=strides, padding=padding, savings=savings, precision=precision
    )
  # What the last window does not reach is cut off, so that cells fill the map.
  widths, cut = [(0, 0)] * (x.ndim - rank - 1), []
  for size, (low, high), length, stride in zip(
    x.shape[-rank - 1 : -1], padding, window, strides, strict=True
  ):
    out = (size + low + high - length) // stride + 1
    reach = (out - 1) * stride + length
    widths.append((low, max(0, reach - low - size)))
    cut.append(slice(0, reach))
  padded = jnp.pad(x, (*widths, (0, 0)))[(..., *cut, slice(None))]
  lead = padded.shape[: x.ndim - rank - 1]
  folded = padded.reshape(math.prod(lead), *padded.shape[len(lead) :])
  cells = convolution.space_to_depth(folded, strides, 1)
  kernel = convolution.space_to_depth(kernel[None], strides, 1, merge=2)[0]
  out = convolve(cells, kernel, padding="VALID", savings=True, precision=precision)
  return out.reshape(*lead, *out.shape[1:])


def transposed_convolution(x, kernel, *, savings: bool, precision=None):
  """The transpose of a convolution with window 4, stride 2 and padding 1: doubles every axis.

  As PyTorch's and Chainer's (ConvTranspose(4, 2, 1)): output o gathers input i with the tap
  o + 1 - 2 i of `kernel` [4, ..., 4, in, out].

  Args:
    x: [..., *spatial, in].
    kernel: cast to the type of `x`.
    savings: one convolution with half the window for each of the output's phases; off dilates the
      input, as the transpose is defined.
    precision: see `jax.lax.Precision`.

  Returns:
    [..., *(2 * spatial), out].
  """
  rank = kernel.ndim - 2
  if not savings:
    return _dilated(x, kernel, precision)
  phases = []
  for phase in itertools.product((0, 1), repeat=rank):
    # Output 2m sees inputs m - 1 (tap 3) and m (tap 1); 2m + 1 sees m (tap 2) and m + 1 (tap 0).
    taps = kernel
    for axis, odd in enumerate(phase):
      taps = jnp.take(taps, jnp.array([2, 0] if odd else [3, 1]), axis=axis)
    padding = tuple((0, 1) if odd else (1, 0) for odd in phase)
    phases.append(convolve(x, taps, padding=padding, savings=True, precision=precision))
  *lead, _ = phases[0].shape
  lead, spatial = lead[: len(lead) - rank], lead[len(lead) - rank :]
  features = kernel.shape[-1]
  out = jnp.stack(phases, axis=-2).reshape(*lead, *spatial, *[2] * rank, features)
  first = len(lead)
  order = [axis for i in range(rank) for axis in (first + i, first + rank + i)]
  out = out.transpose(*range(first), *order, first + 2 * rank)
  return out.reshape(*lead, *[2 * size for size in spatial], features)


def _dilated(x, kernel, precision):
  rank = kernel.ndim - 2
  lead = x.shape[: x.ndim - rank - 1]
  folded = x.reshape(math.prod(lead), *x.shape[len(lead) :])
  axes = "DHW"[-rank:]
  out = jax.lax.conv_general_dilated(
    folded,
    jnp.flip(kernel, tuple(range(rank))).astype(x.dtype),
    (1,) * rank,
    [(2, 2)] * rank,
    lhs_dilation=(2,) * rank,
    dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    precision=precision,
  )
  return out.reshape(*lead, *out.shape[1:])


class StridedConv(nn.Module):
  """Convolution with strides and explicit padding.

  Attributes:
    features: output channels.
    kernel_size: window, e.g. (4, 4, 4).
    strides: one per window axis.
    padding: zeros at both ends, one number per window axis.
    settings: see `LayerSettings`.
    use_bias: add a bias.
  """

  features: int
  kernel_size: Sequence[int]
  strides: Sequence[int]
  padding: Sequence[int]
  settings: LayerSettings
  use_bias: bool = True

  @nn.compact
  def __call__(self, x):
    """Maps [..., *spatial, in] to [..., *spatial', features]."""
    settings = self.settings
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel, bias = convolution.declare(self, shape, settings, self.use_bias)
    out = strided_convolution(
      x.astype(settings.dtype),
      kernel,
      self.strides,
      [(pad, pad) for pad in self.padding],
      savings=settings.savings,
      precision=settings.precision,
    )
    out = out if bias is None else out + bias.astype(out.dtype)
    return checkpoint_name(out, "conv_output")


class TransposedConv(nn.Module):
  """Transposed convolution with window 4, stride 2 and padding 1 on the last `rank` axes."""

  features: int
  rank: int
  settings: LayerSettings
  use_bias: bool = True

  @nn.compact
  def __call__(self, x):
    """Maps [..., *spatial, in] to [..., *(2 * spatial), features]."""
    settings = self.settings
    shape = (*[4] * self.rank, x.shape[-1], self.features)
    kernel, bias = convolution.declare(self, shape, settings, self.use_bias, transposed=True)
    out = transposed_convolution(
      x.astype(settings.dtype), kernel, savings=settings.savings, precision=settings.precision
    )
    out = out if bias is None else out + bias.astype(out.dtype)
    return checkpoint_name(out, "conv_output")
