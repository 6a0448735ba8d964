"""Strided and transposed convolutions of TGAN, VGAN and MoCoGAN.

Channels last; axes in front of the window are batch, as in `layers.convolution`.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers import convolution
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.ops import forms


class StridedConv(nn.Module):
  """Convolution with strides and explicit padding.

  Attributes:
    features: output channels.
    kernel_size: window, e.g. (4, 4, 4).
    strides: one per window axis.
    padding: number of zeros added at both ends, one number per window axis.
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
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., *spatial, in] to [..., *spatial', features] in the settings' dtype."""
    settings = self.settings
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel, bias = convolution.declare(self, shape, settings, self.use_bias)
    out = forms.get(settings.ops).strided_convolution(
      x.astype(settings.dtype),
      kernel,
      self.strides,
      [(pad, pad) for pad in self.padding],
      precision=settings.precision,
    )
    return checkpoint_name(convolution.add_bias(out, bias), "conv_output")


class TransposedConv(nn.Module):
  """Transposed convolution with window 4, stride 2 and padding 1 on the last `rank` axes.

  Attributes:
    features: output channels.
    rank: number of spatial axes; the layer doubles each.
    settings: see `LayerSettings`.
    use_bias: add a bias.
  """

  features: int
  rank: int
  settings: LayerSettings
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., *spatial, in] to [..., *(2 * spatial), features] in the settings' dtype."""
    settings = self.settings
    shape = (*[4] * self.rank, x.shape[-1], self.features)
    kernel, bias = convolution.declare(self, shape, settings, self.use_bias, transposed=True)
    out = forms.get(settings.ops).transposed_convolution(
      x.astype(settings.dtype), kernel, precision=settings.precision
    )
    return checkpoint_name(convolution.add_bias(out, bias), "conv_output")
