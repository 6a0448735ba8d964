"""Residual blocks of BigGAN, applied to frames and to clips as in DVD-GAN."""

import dataclasses
import functools

import jax
from flax import linen as nn

from vidgan_jax.layers import chunked
from vidgan_jax.layers.convolution import Conv, Weights
from vidgan_jax.layers.normalization import (
  EPSILON,
  BatchNorm,
  BatchNormCoefficients,
  ConditionalBatchNorm,
  ConditionalCoefficients,
)
from vidgan_jax.layers.settings import LayerSettings, rematerialised
from vidgan_jax.ops import convolution, forms


class GeneratorBlock(nn.Module):
  """norm - ReLU - (up) - conv3x3 - norm - ReLU - conv3x3, plus a shortcut (BigGAN's wide block).

  If the number of channels or the size changes, the shortcut is upsampled and passes through a 1x1
  convolution.

  Attributes:
    features: output channels of both convolutions.
    settings: see `LayerSettings`.
    upsample: double height and width by nearest-neighbour upsampling.
    statistics, epsilon, num_classes: see `ConditionalBatchNorm`.
    shortcut_initializer: of the shortcut's kernel; "" is `settings.initializer`.
    bare_upsampling: where the width stays, upsample the shortcut without a convolution.
  """

  features: int
  settings: LayerSettings
  upsample: bool = False
  statistics: str = "per_step"
  epsilon: float = EPSILON
  num_classes: int = 0
  shortcut_initializer: str = ""
  bare_upsampling: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
    """Maps [B, T, H, W, C] to [B, T, H', W', features]; see `ConditionalBatchNorm`."""
    settings = self.settings
    number = chunked.count(self, settings, x, train)
    if number > 1:
      return self._in_chunks(x, condition, train, number)
    norm = lambda name: ConditionalBatchNorm(
      settings, self.statistics, self.epsilon, self.num_classes, name=name
    )
    window = (3, 3)
    out = jax.nn.relu(norm("norm1")(x, condition, train))
    out = Conv(self.features, window, settings, upsample=self.upsample, name="conv1")(out)
    out = jax.nn.relu(norm("norm2")(out, condition, train))
    out = Conv(self.features, window, settings, name="conv2")(out)
    same_width = x.shape[-1] == self.features
    if self.upsample and same_width and self.bare_upsampling:
      x = convolution.upsample_nearest(x)
    elif self.upsample or not same_width:
      point = _of_shortcut(settings, self.shortcut_initializer)
      x = Conv(self.features, (1, 1), point, upsample=self.upsample, name="shortcut")(x)
    return out + x

  @nn.nowrap
  def _in_chunks(
    self, x: jax.Array, condition: jax.Array | None, train: bool, number: int
  ) -> jax.Array:
    """The block in `number` chunks. The shortcut is convolved before it is upsampled."""
    settings = self.settings
    norm = lambda name: ConditionalCoefficients(
      settings, self.statistics, self.epsilon, self.num_classes, name=name
    )
    conv = lambda name, upsample=False: Conv(
      self.features, (3, 3), settings, upsample=upsample, name=name, parent=None
    )
    step = functools.partial(chunked.normalized_convolution, self, epsilon=self.epsilon)
    x, means = chunked.with_means(x, self.statistics, number)
    coefficients = norm("norm1")(x, condition, train, means)
    first = step(conv("conv1", self.upsample), x, coefficients, statistics=self.statistics)
    out, means = chunked.computed(first, number)
    coefficients = norm("norm2")(out, condition, train, means)
    same_width = x.shape[-1] == self.features
    if not (same_width and (not self.upsample or self.bare_upsampling)):
      point = _of_shortcut(settings, self.shortcut_initializer)
      x = Conv(self.features, (1, 1), point, name="shortcut")(x)
    second = step(conv("conv2"), out, coefficients, skip=x)
    return chunked.computed(second, number, first)[0]


def _of_shortcut(settings: LayerSettings, initializer: str) -> LayerSettings:
  """The settings of a shortcut whose kernel has its own initializer, or ""."""
  return dataclasses.replace(settings, initializer=initializer) if initializer else settings


class DiscriminatorBlock(nn.Module):
  """(ReLU) - conv - ReLU - conv - (average pool), plus a shortcut; 2-D on each frame or 3-D.

  There is no normalisation. The first block of a network has no ReLU on its input: pixels are in
  [-1, 1], and ReLU would lose half of the information (ajbrock/BigGAN-PyTorch PR 81). ReLU acts on
  the residual branch only. If the number of channels or the size changes, the shortcut is a 1x1
  convolution, otherwise the identity.

  Attributes:
    features: output channels.
    settings: see `LayerSettings`.
    pool: average-pooling factors, one per window axis; () keeps the size.
    preactivation: begin the residual branch with a ReLU.
    dimensions: 2 for 3x3 windows on each frame, 3 for 3x3x3 windows.
    hidden: channels between the two convolutions; 0 is `features`.
    pool_odd: see `Conv`.
    shortcut_initializer: see `GeneratorBlock`.
  """

  features: int
  settings: LayerSettings
  pool: tuple[int, ...] = ()
  preactivation: bool = True
  dimensions: int = 2
  hidden: int = 0
  pool_odd: str = "drop"
  shortcut_initializer: str = ""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] to [B, T', H', W', features]."""
    settings, window = self.settings, (3,) * self.dimensions
    out = jax.nn.relu(x) if self.preactivation else x
    out = Conv(self.hidden or self.features, window, settings, name="conv1")(out)
    out = jax.nn.relu(out)
    pooled = functools.partial(Conv, pool=self.pool, pool_odd=self.pool_odd)
    out = pooled(self.features, window, settings, name="conv2")(out)
    if self.pool or x.shape[-1] != self.features:
      point, settings = (1,) * self.dimensions, _of_shortcut(settings, self.shortcut_initializer)
      x = pooled(self.features, point, settings, name="shortcut")(x)
    return out + x


class PlainBlock3D(nn.Module):
  """A 3x3x3 convolution with stride 2 and padding 1, then ReLU; no shortcut, no spectral norm.

  The thesis' final script trains this block instead of 3-D residual blocks (flag `--Dv_no_res`).

  Attributes:
    features: output channels.
    settings: see `LayerSettings`.
  """

  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] to [B, ceil(T/2), ceil(H/2), ceil(W/2), features]."""
    settings = dataclasses.replace(self.settings, spectral=False)
    kernel, bias = Weights((3, 3, 3, x.shape[-1], self.features), settings, name="conv")()
    assert bias is not None
    out = forms.get(settings.ops).convolve(
      x.astype(settings.dtype),
      kernel,
      strides=2,
      padding=((1, 1),) * 3,
      precision=settings.precision,
    )
    return jax.nn.relu(out + bias.astype(out.dtype))


def to_rgb(
  parent: nn.Module, settings: LayerSettings, statistics: str, x: jax.Array, train: bool
) -> jax.Array:
  """norm - ReLU - conv3x3 to three channels: the end of BigGAN's generator, before tanh.

  Args:
    parent: the generator, whose compact method is running; it gets the layers "norm" and "to_rgb".
    settings, statistics: see `BatchNorm`.
    x: [B, T, H, W, C].
    train: normalise with the statistics of this batch.

  Returns:
    [B, T, H, W, 3].
  """
  number = chunked.count(parent, settings, x, train)
  if number == 1:
    x = jax.nn.relu(BatchNorm(settings, statistics, name="norm")(x, train))
    return Conv(3, (3, 3), settings, name="to_rgb")(x)
  x, means = chunked.with_means(x, statistics, number)
  coefficients = BatchNormCoefficients(settings, statistics, name="norm")(x, train, means)
  layer = Conv(3, (3, 3), settings, name="to_rgb", parent=None)
  step = chunked.normalized_convolution(parent, layer, x, coefficients)
  return chunked.computed(step, number)[0]


def generator_block(settings: LayerSettings) -> type[nn.Module]:
  """Returns the class `GeneratorBlock` with the settings' rematerialisation policy."""
  return rematerialised(GeneratorBlock, settings, static_argnums=(3,))


def discriminator_block(settings: LayerSettings) -> type[nn.Module]:
  """Returns the class `DiscriminatorBlock` with the settings' rematerialisation policy."""
  return rematerialised(DiscriminatorBlock, settings)
