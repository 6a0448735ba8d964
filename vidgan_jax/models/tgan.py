"""TGAN (Saito, Matsumoto, Saito 2017, arXiv 1611.06624).

Details that the paper leaves out follow the authors' code, pfnet-research/tgan. `models/ldvd.py`
has TGAN-F and TGAN-TSM, which replace the discriminator. They come from LDVD, "Lower Dimensional
Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020). LDVD's Table 9 also enlarges the
generator at 128x128.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers import noise
from vidgan_jax.layers.convolution import Conv, Dense
from vidgan_jax.layers.normalization import BatchNorm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import StridedConv, TransposedConv
from vidgan_jax.models import contract
from vidgan_jax.models.contract import Arrays, Context, Losses, Side, Variables
from vidgan_jax.objectives import constraints, losses
from vidgan_jax.runtime.errors import UserError

EPSILON = 2e-5  # of batch norm, Chainer's default
SLOPE = 0.2  # of leaky ReLU, Chainer's default
_DOUBLINGS = 4  # how often time is doubled: 16 frames


class TemporalGenerator(nn.Module):
  """Computes a latent for each frame from the latent of a clip, by transposed 1-D convolutions.

  Attributes:
    channels: output channels of all layers but the last. The layers after the first double time.
    latent_dim: size of a frame's latent.
    settings: see `LayerSettings`.
  """

  channels: tuple[int, ...]
  latent_dim: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, z: jax.Array, train: bool) -> jax.Array:
    """Maps z [B, Z] to [B, 16, latent_dim] in [-1, 1]."""
    settings = self.settings
    x = Dense(self.channels[0], settings, transposed=True, name="layer0")(z[:, None])
    x = self._activated(x, 0, train)
    for index, width in enumerate(self.channels[1:], start=1):
      x = TransposedConv(width, 1, settings, name=f"layer{index}")(x)
      x = self._activated(x, index, train)
    x = TransposedConv(self.latent_dim, 1, settings, name=f"layer{len(self.channels)}")(x)
    return jnp.tanh(x)

  def _activated(self, x: jax.Array, index: int, train: bool) -> jax.Array:
    norm = BatchNorm(self.settings, "shared", EPSILON, use_bias=False, name=f"norm{index}")
    return jax.nn.relu(norm(x[:, :, None, None], train)[:, :, 0, 0])


class Generator(nn.Module):
  """A temporal generator, followed by an image generator that generates every frame.

  Attributes:
    temporal_channels: see `TemporalGenerator`.
    image_channels: channels of the first map. Half of them come from the clip's latent, the other
      half from the frame's latent.
    resolution: height and width of a frame, 4 times a power of two.
    latent_dim: size of a clip's latent and of a frame's latent.
    settings: settings of the image generator.
    temporal_settings: settings of the temporal generator.
  """

  temporal_channels: tuple[int, ...]
  image_channels: int
  resolution: int
  latent_dim: int
  settings: LayerSettings
  temporal_settings: LayerSettings

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Generates {"clip": [B, T, H, W, 3] in [-1, 1]} from {"z": [B, Z]}."""
    del inputs
    if frames != 2**_DOUBLINGS:
      raise UserError(f"TGAN generates {2**_DOUBLINGS} frames, not {frames}")
    settings, z = self.settings, latents["z"]
    temporal = TemporalGenerator(
      self.temporal_channels, self.latent_dim, self.temporal_settings, name="temporal"
    )
    steps = temporal(z, train)
    # The half from the clip's latent is the same in all frames: it is computed and normalised once.
    still = self._first_half(z[:, None], "clip", train)
    moving = self._first_half(steps, "frame", train)
    x = jnp.concatenate([jnp.broadcast_to(still, moving.shape), moving], axis=-1)
    width = self.image_channels
    for index in range(int(math.log2(self.resolution // 4))):
      width //= 2
      x = TransposedConv(width, 2, settings, use_bias=False, name=f"layer{index}")(x)
      x = jax.nn.relu(BatchNorm(settings, "shared", EPSILON, name=f"norm{index}")(x, train))
    x = Conv(3, (3, 3), settings, name="rgb")(x)
    return {"clip": jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))}

  def _first_half(self, z: jax.Array, name: str, train: bool) -> jax.Array:
    """Half of the first map's channels: latents [B, T, Z] to [B, T, 4, 4, image_channels // 2].

    Batch norm treats the linear layer's output as a vector, before it becomes a 4x4 map.
    """
    width = self.image_channels // 2
    x = Dense(16 * width, self.settings, use_bias=False, name=f"{name}_linear")(z)
    norm = BatchNorm(self.settings, "shared", EPSILON, name=f"{name}_norm")
    x = jax.nn.relu(norm(x[:, :, None, None], train))
    return x.reshape(*z.shape[:2], 4, 4, width)


def convolution(
  x: jax.Array, width: int, window: tuple[int, int, int], settings: LayerSettings, name: str
) -> jax.Array:
  """A convolution of [B, T, H, W, C] that halves each axis on which its window is larger than 1."""
  strides = tuple(2 if size > 1 else 1 for size in window)
  padding = tuple(1 if size > 1 else 0 for size in window)
  return StridedConv(width, window, strides, padding, settings, name=name)(x)


def normalization(x: jax.Array, settings: LayerSettings, name: str, train: bool) -> jax.Array:
  """Batch normalisation over frames and positions, with a gain and no bias."""
  return BatchNorm(settings, "shared", EPSILON, use_bias=False, name=name)(x, train)


def activation(
  x: jax.Array, noise_keys: jax.Array | None, number: int, deviation: float
) -> jax.Array:
  """Leaky ReLU of the input plus noise.

  Args:
    x: [B, T, H, W, C].
    noise_keys: one random key per clip, or None.
    number: number of the activation in the network. Different numbers draw different noise.
    deviation: standard deviation of the noise; 0 adds none.
  """
  return jax.nn.leaky_relu(noise.add(x, noise_keys, number, deviation), SLOPE)


def score(x: jax.Array, pooling: str, settings: LayerSettings, name: str) -> jax.Array:
  """The last layer: pools over time, and maps the 4x4 map of each clip to one score.

  Args:
    x: [B, T, 4, 4, C].
    pooling: pooling over time, "mean", "sum" or "max" (LDVD Figure 5a).
    settings: see `LayerSettings`.
    name: name of the layer.

  Returns:
    Scores [B] in float32 or wider.
  """
  wide = x.astype(jnp.promote_types(jnp.float32, x.dtype))
  pools: dict[str, Callable] = {"mean": jnp.mean, "sum": jnp.sum, "max": jnp.max}
  pooled = pools[pooling](wide, axis=1)
  settings = dataclasses.replace(settings, dtype=wide.dtype)
  return StridedConv(1, (4, 4), (1, 1), (0, 0), settings, name=name)(pooled)[:, 0, 0, 0]


class Discriminator(nn.Module):
  """TGAN's discriminator: 3-D convolutions and a linear layer (LDVD Table 3b).

  Attributes:
    channels: output channels of the first layer; each further layer doubles them.
    layers: number of layers. Each halves height and width. The first four are 3-D and also halve
      time; the others are 2-D.
    settings: see `LayerSettings`.
    pooling: pooling over time before the last layer, see `score`.
    noise: standard deviation of the noise before every activation; 0.3 in TGAN's vanilla variant.
  """

  channels: int
  layers: int
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
      window = (4, 4, 4) if index < _DOUBLINGS else (1, 4, 4)
      x = convolution(x, self.channels * 2**index, window, settings, f"c{index}")
      if index:
        x = normalization(x, settings, f"norm{index}", train)
      x = activation(x, noise_keys, 2 * index, self.noise)
    return score(x, self.pooling, settings, f"c{self.layers}")


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class Tgan(contract.VideoGan):
  """TGAN as a `VideoGan`: the generator is updated before the discriminator.

  Attributes:
    latent_dim: size of z.
    loss: "wasserstein" or "vanilla" (cross entropy with generated clips as class 1).
  """

  latent_dim: int = 100
  loss: str = "wasserstein"

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """{"z": [B, latent_dim]} from U(-scale, scale)."""
    del frames
    shape = (batch_size, self.latent_dim)
    return {"z": scale * jax.random.uniform(key, shape, jnp.float32, -1, 1)}

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """The whole clip, and a random key per clip if the discriminator adds noise."""
    del inputs, context
    view = {"clip": samples["clip"]}
    if self.discriminators["video"].noise:
      view["noise_keys"] = noise.keys(key, samples["clip"].shape[0])
    return {"video": view}

  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """WGAN's critic loss, or cross entropy with real clips as class 0 and generated as class 1."""
    del context
    real, generated = real.scores["video"], generated.scores["video"]
    if self.loss == "wasserstein":
      return losses.wasserstein_discriminator(real, generated)
    return {"real": losses.logistic(real, 0), "generated": losses.logistic(generated, 1)}

  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """WGAN's generator loss, or the non-saturating form of the vanilla loss."""
    del real, context
    scores = generated.scores["video"]
    if self.loss == "wasserstein":
      return {"video": losses.wasserstein_generator(scores)}
    return {"video": losses.logistic(scores, 0)}

  def constrain(self, name: str, variables: Variables) -> Variables:
    """Singular value clipping, see `objectives.constraints`."""
    del name
    return constraints.singular_value_clipping(variables)


def halvings(resolution: int) -> int:
  """Returns how often 4x4 is doubled to reach `resolution`; UserError if that is impossible."""
  count = int(math.log2(max(resolution, 4) // 4))
  if resolution < 8 or 4 * 2**count != resolution:
    raise UserError(f"resolution {resolution} must be 4 times a power of two, and at least 8")
  return count


def discriminator(options: ConfigDict, resolution: int, settings: LayerSettings) -> Discriminator:
  """Builds TGAN's original discriminator.

  Args:
    options: `config.model.discriminator`, of which channels, pooling and noise are read.
    resolution: height of the clips.
    settings: see `LayerSettings`.
  """
  return Discriminator(
    options.channels,
    halvings(resolution),
    settings,
    pooling=options.pooling,
    noise=options.noise,
  )


def build(config: ConfigDict, settings: LayerSettings, discriminator: Callable) -> Tgan:
  """Builds the system of `config` (see `configs/tgan.py`).

  Args:
    config: the whole config; only `config.model` is read.
    settings: settings of all layers, see `contract.layer_settings`.
    discriminator: builds the discriminator from (options, resolution, settings).

  Raises:
    UserError: sizes do not fit each other, or the config has classes.
  """
  model = config.model
  if model.num_classes:
    raise UserError(f"{model.name} has no classes; num_classes must be 0")
  if model.frames != 2**_DOUBLINGS:
    raise UserError(f"TGAN generates {2**_DOUBLINGS} frames, not {model.frames}")
  make = lambda initializer: dataclasses.replace(settings, spectral=False, initializer=initializer)
  widths = tuple(model.generator.temporal_channels)
  if len(widths) != _DOUBLINGS:
    raise UserError(
      f"generator.temporal_channels {widths}: {model.frames} frames need {_DOUBLINGS} widths"
    )
  count = halvings(model.resolution)
  if model.generator.image_channels % 2 ** max(1, count):
    raise UserError(
      f"generator.image_channels {model.generator.image_channels} cannot be halved {count} times"
    )
  return Tgan(
    name=model.name,
    generator=Generator(
      widths,
      model.generator.image_channels,
      model.resolution,
      model.latent_dim,
      make(model.generator.image_initializer),
      make(model.generator.temporal_initializer),
    ),
    discriminators={
      "video": discriminator(
        model.discriminator, model.resolution, make(model.discriminator.initializer)
      )
    },
    frames=model.frames,
    resolution=model.resolution,
    num_classes=0,
    schedule=contract.Schedule(generator_first=True, shared_fakes=model.shared_fakes),
    joint_scores=False,
    constraint_period=model.clipping_period,
    latent_dim=model.latent_dim,
    loss=model.loss,
  )
