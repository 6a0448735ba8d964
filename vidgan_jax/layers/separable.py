"""Separable 3-D convolutions: over time, then over space (SSW-GAN B.2)."""

import functools

import jax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers import chunked
from vidgan_jax.layers.convolution import Conv, add_bias, declare
from vidgan_jax.layers.normalization import ConditionalBatchNorm, ConditionalCoefficients
from vidgan_jax.layers.settings import LayerSettings, rematerialised
from vidgan_jax.ops import forms


class TemporalConv(nn.Module):
  """A convolution over three consecutive frames, with zeros before the first and after the last.

  Attributes:
    features: output channels.
    settings: see `LayerSettings`.
  """

  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] to [B, T, H, W, features]."""
    settings = self.settings
    shape = (3, 1, 1, x.shape[-1], self.features)
    kernel, bias = declare(self, shape, settings, use_bias=True)
    form = forms.get(settings.ops)
    out = form.convolve(x.astype(settings.dtype), kernel, precision=settings.precision)
    return checkpoint_name(add_bias(out, bias), "conv_output")


class SeparableConv(nn.Module):
  """A `TemporalConv`, then a 3x3 convolution of each frame; both with bias and of equal width.

  Attributes:
    features: output channels of both.
    settings: see `LayerSettings`.
  """

  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] to [B, T, H, W, features]."""
    x = TemporalConv(self.features, self.settings, name="time")(x)
    return Conv(self.features, (3, 3), self.settings, name="space")(x)


class SeparableBlock(nn.Module):
  """norm - ReLU - separable - norm - ReLU - separable, plus the input; keeps size and width.

  This is SSW-GAN's 3-D residual block (Figure 1).

  Attributes:
    settings: see `LayerSettings`.
    statistics: see `ConditionalBatchNorm`.
  """

  settings: LayerSettings
  statistics: str = "per_step"

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
    """Maps [B, T, H, W, C] to the same shape; see `ConditionalBatchNorm` for the arguments."""
    parts = chunked.count(self, self.settings, x, train)
    if parts > 1:
      return self._in_chunks(x, condition, train, parts)
    out, width = x, x.shape[-1]
    for number in (1, 2):
      norm = ConditionalBatchNorm(self.settings, self.statistics, name=f"norm{number}")
      out = jax.nn.relu(norm(out, condition, train))
      out = SeparableConv(width, self.settings, name=f"conv{number}")(out)
    return out + x

  @nn.nowrap
  def _in_chunks(
    self, x: jax.Array, condition: jax.Array | None, train: bool, number: int
  ) -> jax.Array:
    """The block in `number` chunks."""
    settings, width = self.settings, x.shape[-1]
    norm = functools.partial(ConditionalCoefficients, settings, self.statistics)
    conv = functools.partial(SeparableConv, width, settings, parent=None)
    step = functools.partial(chunked.normalized_convolution, self)
    x, means = chunked.with_means(x, self.statistics, number)
    coefficients = norm(name="norm1")(x, condition, train, means)
    first = step(conv(name="conv1"), x, coefficients, statistics=self.statistics)
    out, means = chunked.computed(first, number)
    coefficients = norm(name="norm2")(out, condition, train, means)
    second = step(conv(name="conv2"), out, coefficients, skip=x)
    return chunked.computed(second, number, first)[0]


def separable_block(settings: LayerSettings) -> type[nn.Module]:
  """Returns the class `SeparableBlock` with the settings' rematerialisation policy."""
  return rematerialised(SeparableBlock, settings, static_argnums=(3,))
