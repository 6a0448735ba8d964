"""Lower Dimensional Video Discriminators (Kahembwe & Ramamoorthy 2020).

The paper replaces the 3-D discriminators of TGAN and MoCoGAN with 2-D and 1-D kernels: by
factorised convolutions (its section 4.1: TGAN-F, MoCoGAN-F) or by 2-D convolutions with temporal
shifts (4.2: TGAN-TSM, MoCoGAN-TSM). MoCoGAN's generator is also trained against TGAN's
discriminators (Table 8). Generators, losses and schedules remain those of TGAN and MoCoGAN.

In the paper's names, "c0-c1" changes the first two layers: `level` is 2 here. All other layers are
2-D.
"""

from flax import linen as nn

from vidgan_jax.layers import noise
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import StridedConv
from vidgan_jax.layers.temporal import shift
from vidgan_jax.models import mocogan, tgan
from vidgan_jax.runtime.errors import UserError

_DEPTH = 4  # of the kernels in time

# 4.1 Factorized convolutions. A convolution over space, an activation, and a convolution over time.
# "The intermediate activation layer ... is crucial", and there is no batch norm before or after it.


class FactorisedTgan(nn.Module):
  """TGAN-F's discriminator (Table 4b): both convolutions of a layer halve their axes.

  Attributes:
    channels: of the first layer; each further one doubles them.
    layers: each halves height and width.
    level: how many of the first layers are factorised, and halve time.
    settings: see `LayerSettings`.
    pooling: over time before the last layer, see `tgan.score`.
    noise: standard deviation of noise before every activation.
  """

  channels: int
  layers: int
  level: int
  settings: LayerSettings
  pooling: str = "mean"
  noise: float = 0.0

  @nn.compact
  def __call__(self, clip, noise_keys=None, train: bool = True):
    """Scores [B, T, H, W, 3] as [B]."""
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
  """MoCoGAN-F's discriminator (Table 4a): a factorised layer takes one frame away.

  Table 4a gives the spatial half of the fourth layer 256 channels. The number of parameters in
  Table 5b says 1, which is used here.

  Attributes:
    channels: of the first layer; the second and third double them, the fourth has one.
    level: how many of the first layers are factorised.
    settings: see `LayerSettings`.
    window: of the kernels in height and width.
    noise: standard deviation of noise in front of the first three layers.
  """

  channels: int
  level: int
  settings: LayerSettings
  window: int = 4
  noise: float = 0.0

  @nn.compact
  def __call__(self, clip, noise_keys=None, train: bool = True):
    """Scores [B, T, H, W, 3] as patches [B, T - level, H', W']."""
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


def _over_time(x, width: int, settings: LayerSettings, name: str):
  """MoCoGAN-F's convolution over time: T frames become T - 1."""
  return StridedConv(
    width, (_DEPTH, 1, 1), (1, 1, 1), (1, 0, 0), settings, use_bias=False, name=name
  )(x)


# 4.2 Temporal shift module. 2-D convolutions alone; after a layer, a quarter of its channels moves
# one frame forward and a quarter one frame back.


class ShiftedTgan(nn.Module):
  """TGAN-TSM's discriminator: TGAN's with 2-D convolutions, and shifts after the first layers.

  Attributes:
    channels: of the first layer; each further one doubles them.
    layers: each halves height and width.
    level: how many of the first layers are followed by a shift.
    settings: see `LayerSettings`.
    pooling: over time before the last layer, see `tgan.score`.
    noise: standard deviation of noise before every activation.
  """

  channels: int
  layers: int
  level: int
  settings: LayerSettings
  pooling: str = "mean"
  noise: float = 0.0

  @nn.compact
  def __call__(self, clip, noise_keys=None, train: bool = True):
    """Scores [B, T, H, W, 3] as [B]."""
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
    channels: of the first layer; the second and third double them, the fourth has one.
    level: how many of the first layers are followed by a shift; the last is not.
    settings: see `LayerSettings`.
    window: of the kernels in height and width.
    noise: standard deviation of noise in front of the first three layers.
  """

  channels: int
  level: int
  settings: LayerSettings
  window: int = 4
  noise: float = 0.0

  @nn.compact
  def __call__(self, clip, noise_keys=None, train: bool = True):
    """Scores [B, T, H, W, 3] as patches [B, T, H', W']."""
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


# 5 Experiments: which discriminator plays against which generator.


def _tgan_discriminator(options, resolution: int, settings: LayerSettings) -> nn.Module:
  """TGAN's own discriminator (kind "3d"), or TGAN-F's or TGAN-TSM's; see `tgan.discriminator`."""
  layers = tgan.halvings(resolution)
  if options.level > min(layers, 4):
    raise UserError(f"discriminator.level is {options.level}, must be 0 to {min(layers, 4)}")
  if options.kind == "3d":
    return tgan.discriminator(options, resolution, settings)
  kind = {"factorised": FactorisedTgan, "tsm": ShiftedTgan}[options.kind]
  return kind(options.channels, layers, options.level, settings, options.pooling, options.noise)


def _mocogan_discriminator(model, settings: LayerSettings) -> nn.Module:
  """A discriminator of clips by `discriminator.video`; see `mocogan.video_discriminator`."""
  options = model.discriminator
  if options.video == "tgan":
    # TGAN's 3-D layers and those that are factorised halve time.
    halved = {"3d": 4, "factorised": options.tgan.level}.get(options.tgan.kind, 0)
    mocogan.check_frames("tgan", model.frames, 2**halved)
    return _tgan_discriminator(options.tgan, model.resolution, settings)
  if options.video == "factorised":
    mocogan.check_frames("factorised", model.frames, options.level + 1)
  kind = {"factorised": FactorisedMocoGan, "tsm": ShiftedMocoGan}.get(options.video)
  if kind is None:
    return mocogan.video_discriminator(model, settings)
  return kind(options.channels, options.level, settings, options.video_window, options.noise)


def build_tgan(config, settings: LayerSettings) -> tgan.Tgan:
  """TGAN with its own or a lower-dimensional discriminator; see `tgan.build`."""
  return tgan.build(config, settings, _tgan_discriminator)


def build_mocogan(config, settings: LayerSettings) -> mocogan.MocoGan:
  """MoCoGAN with its own or a lower-dimensional discriminator; see `mocogan.build`."""
  return mocogan.build(config, settings, _mocogan_discriminator)
