"""Lower Dimensional Video Discriminators (Kahembwe & Ramamoorthy 2020).

The paper replaces the 3-D discriminators of TGAN and MoCoGAN with 2-D and 1-D kernels: by
factorised convolutions (its section 4.1: TGAN-F, MoCoGAN-F) or by 2-D convolutions with temporal
shifts (4.2: TGAN-TSM, MoCoGAN-TSM). MoCoGAN's generator is also trained against TGAN's
discriminators (Table 8). Generators, losses and schedules remain those of TGAN and MoCoGAN.

The paper writes "c0-c1" if the first two layers are changed; here this is `level` 2. All other
layers are 2-D.
"""

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers import noise
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import StridedConv
from vidgan_jax.layers.temporal import shift
from vidgan_jax.models import mocogan, tgan
from vidgan_jax.runtime.errors import UserError

_DEPTH = 4  # size of the temporal kernels

# Section 4.1, factorized convolutions: a convolution over space, an activation, and a convolution
# over time. "The intermediate activation layer ... is crucial"; no batch norm precedes or follows
# it.


class FactorisedTgan(nn.Module):
  """TGAN-F's discriminator (Table 4b): both convolutions of a factorised layer halve their axes.

  Attributes:
    channels: output channels of the first layer; each further layer doubles them.
    layers: number of layers; each halves height and width.
    level: number of layers at the start that are factorised and also halve time.
    settings: see `LayerSettings`.
    pooling: pooling over time before the last layer, see `tgan.score`.
    noise: standard deviation of the noise before every activation.
  """

  channels: int
  layers: int
  level: int
  settings: LayerSettings
  pooling: str = "mean"
  noise: float = 0.0

  @nn.compact
  def __call__(
    self, clip: jax.Array, noise_keys: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to scores [B]."""
    settings = self.settings
    x = clip.astype(settings.dtype)
    for index in range(self.layers):
      width = self.channels * 2**index
      x = tgan.convolution(x, width, (1, 4, 4), settings, f"c{index}")
      if index < self.level:
        x = tgan.activation(x, noise_keys, 2 * index + 1, self.noise)
        x = tgan.convolution(x, width, (_DEPTH, 1, 1), settings, f"c{index}_time")
      if index:
        x = tgan.normalization(x, settings, f"norm{index}", train)
      x = tgan.activation(x, noise_keys, 2 * index, self.noise)
    return tgan.score(x, self.pooling, settings, f"c{self.layers}")


class FactorisedMocoGan(nn.Module):
  """MoCoGAN-F's discriminator (Table 4a): each factorised layer shortens the clip by one frame.

  In Table 4a the spatial convolution of the fourth layer has 256 channels. The number of parameters
  in Table 5b implies 1 channel, which is used here.

  Attributes:
    channels: output channels of the first layer; the second and third double them, the fourth has
      one.
    level: number of layers at the start that are factorised.
    settings: see `LayerSettings`.
    window: height and width of the kernels.
    noise: standard deviation of the noise in front of the first three layers.
  """

  channels: int
  level: int
  settings: LayerSettings
  window: int = 4
  noise: float = 0.0

  @nn.compact
  def __call__(
    self, clip: jax.Array, noise_keys: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to scores of patches [B, T - level, H', W']."""
    settings, window = self.settings, (1, self.window, self.window)
    x = clip.astype(settings.dtype)
    for index in range(mocogan.LAYERS):
      last = index == mocogan.LAYERS - 1
      width = 1 if last else self.channels * 2**index
      if not last:
        x = noise.add(x, noise_keys, 2 * index, self.noise)
      x = mocogan.convolution(x, width, window, settings, f"c{index}")
      if index < self.level:
        x = nn.leaky_relu(x, mocogan.SLOPE)
        x = _over_time(x, width, settings, f"c{index}_time")
      if not last:
        x = mocogan.activation(x, index, settings, train)
    return mocogan.patch_scores(x)


def _over_time(x: jax.Array, width: int, settings: LayerSettings, name: str) -> jax.Array:
  """MoCoGAN-F's convolution over time, which turns T frames into T - 1."""
  return StridedConv(
    width, (_DEPTH, 1, 1), (1, 1, 1), (1, 0, 0), settings, use_bias=False, name=name
  )(x)


# Section 4.2, temporal shift module: all convolutions are 2-D. After a layer, a quarter of its
# channels moves forward by one frame and another quarter moves back by one frame.


class ShiftedTgan(nn.Module):
  """TGAN-TSM's discriminator: TGAN's with 2-D convolutions, and shifts after the first layers.

  Attributes:
    channels: output channels of the first layer; each further layer doubles them.
    layers: number of layers; each halves height and width.
    level: number of layers at the start that are followed by a shift.
    settings: see `LayerSettings`.
    pooling: pooling over time before the last layer, see `tgan.score`.
    noise: standard deviation of the noise before every activation.
  """

  channels: int
  layers: int
  level: int
  settings: LayerSettings
  pooling: str = "mean"
  noise: float = 0.0

  @nn.compact
  def __call__(
    self, clip: jax.Array, noise_keys: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to scores [B]."""
    settings = self.settings
    x = clip.astype(settings.dtype)
    for index in range(self.layers):
      x = tgan.convolution(x, self.channels * 2**index, (1, 4, 4), settings, f"c{index}")
      if index:
        x = tgan.normalization(x, settings, f"norm{index}", train)
      x = tgan.activation(x, noise_keys, 2 * index, self.noise)
      if index < self.level:
        x = shift(x)
    return tgan.score(x, self.pooling, settings, f"c{self.layers}")


class ShiftedMocoGan(nn.Module):
  """MoCoGAN-TSM's discriminator: MoCoGAN's image discriminator on all frames, with shifts.

  Attributes:
    channels: output channels of the first layer; the second and third double them, the fourth has
      one.
    level: number of layers at the start that are followed by a shift. No shift follows the fourth.
    settings: see `LayerSettings`.
    window: height and width of the kernels.
    noise: standard deviation of the noise in front of the first three layers.
  """

  channels: int
  level: int
  settings: LayerSettings
  window: int = 4
  noise: float = 0.0

  @nn.compact
  def __call__(
    self, clip: jax.Array, noise_keys: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to scores of patches [B, T, H', W']."""
    settings, window = self.settings, (1, self.window, self.window)
    x = clip.astype(settings.dtype)
    for index in range(mocogan.LAYERS - 1):
      x = noise.add(x, noise_keys, 2 * index, self.noise)
      x = mocogan.convolution(x, self.channels * 2**index, window, settings, f"c{index}")
      x = mocogan.activation(x, index, settings, train)
      if index < self.level:
        x = shift(x)
    return mocogan.patch_scores(
      mocogan.convolution(x, 1, window, settings, f"c{mocogan.LAYERS - 1}")
    )


# Section 5, experiments: which discriminator is trained with which generator.


def _tgan_discriminator(options: ConfigDict, resolution: int, settings: LayerSettings) -> nn.Module:
  """Builds the discriminator of TGAN ("3d"), TGAN-F or TGAN-TSM; see `tgan.discriminator`."""
  layers = tgan.halvings(resolution)
  if options.level > min(layers, 4):
    raise UserError(f"discriminator.level is {options.level}, must be 0 to {min(layers, 4)}")
  if options.kind == "3d":
    return tgan.discriminator(options, resolution, settings)
  kind = {"factorised": FactorisedTgan, "tsm": ShiftedTgan}[options.kind]
  return kind(options.channels, layers, options.level, settings, options.pooling, options.noise)


def _mocogan_discriminator(model: ConfigDict, settings: LayerSettings) -> nn.Module:
  """Builds the clip discriminator `discriminator.video`; see `mocogan.video_discriminator`."""
  options = model.discriminator
  if options.video == "tgan":
    # 3-D and factorised layers of TGAN halve time.
    halved = {"3d": 4, "factorised": options.tgan.level}.get(options.tgan.kind, 0)
    mocogan.check_frames("tgan", model.frames, 2**halved)
    return _tgan_discriminator(options.tgan, model.resolution, settings)
  if options.video == "factorised":
    mocogan.check_frames("factorised", model.frames, options.level + 1)
  kind = {"factorised": FactorisedMocoGan, "tsm": ShiftedMocoGan}.get(options.video)
  if kind is None:
    return mocogan.video_discriminator(model, settings)
  return kind(options.channels, options.level, settings, options.video_window, options.noise)


def build_tgan(config: ConfigDict, settings: LayerSettings) -> tgan.Tgan:
  """Builds TGAN with its original or a lower-dimensional discriminator; see `tgan.build`."""
  return tgan.build(config, settings, _tgan_discriminator)


def build_mocogan(config: ConfigDict, settings: LayerSettings) -> mocogan.MocoGan:
  """Builds MoCoGAN with its original or a lower-dimensional discriminator; see `mocogan.build`."""
  return mocogan.build(config, settings, _mocogan_discriminator)
