"""VGAN (Vondrick, Pirsiavash, Torralba 2016, arXiv 1609.02612), as in its authors' code.

The generator mixes a moving foreground and a still background by a mask. One 3-D discriminator
scores clips.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers import noise
from vidgan_jax.layers.convolution import Dense
from vidgan_jax.layers.normalization import BatchNorm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import StridedConv, TransposedConv
from vidgan_jax.models import contract
from vidgan_jax.models.contract import Arrays, Context, Losses, Side
from vidgan_jax.objectives import losses
from vidgan_jax.runtime.errors import UserError

SLOPE = 0.2  # of leaky ReLU
GAIN_SPREAD = 0.02  # standard deviation of the initial gains of batch norm
EPSILON = 1e-3  # of the discriminator's batch norm; the generator's has the default
FRAMES = (16, 32)
_DOUBLINGS = 4  # how often height, width and time are doubled


class Generator(nn.Module):
  """Generates a foreground clip, a background image and a mask from one latent, and mixes them.

  Attributes:
    channels: channels of the first maps, which are 4x4.
    frames: 16 or 32 frames, four doublings of 1 or 2.
    settings: see `LayerSettings`.
  """

  channels: int
  frames: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Generates clips from {"z": [B, Z]}.

    Returns:
      {"clip": [B, T, H, W, 3], "mask": [B, T, H, W, 1] in [0, 1], "foreground": [B, T, H, W, 3],
      "background": [B, 1, H, W, 3]}; pixels are in [-1, 1].
    """
    del inputs
    if frames != self.frames:
      raise UserError(f"this VGAN generates {self.frames} frames, not {frames}")
    settings, z = self.settings, latents["z"][:, None]
    still = self._first(z, (1, 4, 4), "background", train)
    moving = self._first(z, (frames // 16, 4, 4), "foreground", train)
    width = self.channels
    for index in range(1, _DOUBLINGS):
      width //= 2
      still = TransposedConv(width, 2, settings, name=f"background{index}")(still)
      still = self._activated(still, f"background_norm{index}", train)
      moving = TransposedConv(width, 3, settings, name=f"foreground{index}")(moving)
      moving = self._activated(moving, f"foreground_norm{index}", train)
    wide = lambda x: x.astype(jnp.promote_types(jnp.float32, x.dtype))
    background = jnp.tanh(wide(TransposedConv(3, 2, settings, name="background_rgb")(still)))
    foreground = jnp.tanh(wide(TransposedConv(3, 3, settings, name="foreground_rgb")(moving)))
    mask = jax.nn.sigmoid(wide(TransposedConv(1, 3, settings, name="mask")(moving)))
    return {
      "clip": mask * foreground + (1 - mask) * background,
      "mask": mask,
      "foreground": foreground,
      "background": background,
    }

  def _first(self, z: jax.Array, size: tuple[int, int, int], name: str, train: bool) -> jax.Array:
    """The first layer: z [B, 1, Z] to activations [B, *size, channels]."""
    # A transposed convolution of a single pixel is a linear map with one bias per channel.
    steps, height, width = size
    x = Dense(
      steps * height * width * self.channels, self.settings, use_bias=False, name=f"{name}0"
    )(z)
    bias = self.param(
      f"{name}0_bias", nn.initializers.zeros, (self.channels,), self.settings.param_dtype
    )
    x = x.reshape(z.shape[0], *size, self.channels) + bias.astype(x.dtype)
    return self._activated(x, f"{name}_norm0", train)

  def _activated(self, x: jax.Array, name: str, train: bool) -> jax.Array:
    return jax.nn.relu(
      BatchNorm(self.settings, "shared", gain_spread=GAIN_SPREAD, name=name)(x, train)
    )


class Discriminator(nn.Module):
  """Four strided 3-D convolutions, and a fifth that maps to two logits: generated and real.

  Attributes:
    channels: output channels of the first layer; the next three layers double them.
    settings: see `LayerSettings`.
  """

  channels: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, clip: jax.Array, train: bool = True) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to logits [B, 2]."""
    settings = self.settings
    x = clip.astype(settings.dtype)
    for index in range(_DOUBLINGS):
      width = self.channels * 2**index
      x = StridedConv(width, (4,) * 3, (2,) * 3, (1,) * 3, settings, name=f"c{index}")(x)
      if index:
        norm = BatchNorm(settings, "shared", EPSILON, gain_spread=GAIN_SPREAD, name=f"norm{index}")
        x = norm(x, train)
      x = jax.nn.leaky_relu(x, SLOPE)
    settings = dataclasses.replace(settings, dtype=jnp.promote_types(jnp.float32, x.dtype))
    last = StridedConv(2, (x.shape[1], 4, 4), (1, 1, 1), (0, 0, 0), settings, name="last")
    return last(x)[:, 0, 0, 0]


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class Vgan(contract.VideoGan):
  """VGAN as a `VideoGan`: the discriminator is updated first, then the generator.

  Attributes:
    latent_dim: size of z.
    mask_weight: weight of the mean of the mask in the generator's loss.
  """

  latent_dim: int = 100
  mask_weight: float = 0.1

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """{"z": [B, latent_dim]} from N(0, scale^2 I)."""
    del frames
    return {"z": scale * noise.normal(key, (batch_size, self.latent_dim))}

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """The whole clip."""
    del key, inputs, context
    return {"video": {"clip": samples["clip"]}}

  def clip_scores(self, name: str, output: jax.Array) -> jax.Array:
    """The logit of "real" relative to that of "generated"."""
    del name
    return output[:, 1] - output[:, 0]

  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Cross entropy of the classes 1 (real) and 0 (generated)."""
    del context
    return {
      "real": self._towards(real.scores["video"], 1),
      "generated": self._towards(generated.scores["video"], 0),
    }

  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """Cross entropy of generated clips with the class 1 (real), and the mean of the mask."""
    del real, context
    return {
      "video": self._towards(generated.scores["video"], 1),
      "mask": self.mask_weight * jnp.mean(generated.samples["mask"]),
    }

  @staticmethod
  def _towards(logits: jax.Array, label: int) -> jax.Array:
    return losses.cross_entropy(logits, jnp.full(logits.shape[:1], label, jnp.int32))


def build(config: ConfigDict, settings: LayerSettings) -> Vgan:
  """Builds the system of `config` (see `configs/vgan.py`).

  Args:
    config: the whole config; only `config.model` is read.
    settings: settings of all layers, see `contract.layer_settings`.

  Raises:
    UserError: VGAN does not support the number of frames, the resolution, or classes.
  """
  model = config.model
  if model.num_classes:
    raise UserError(f"{model.name} has no classes; num_classes must be 0")
  if model.frames not in FRAMES:
    raise UserError(f"VGAN generates 16 or 32 frames, not {model.frames}")
  if model.resolution != 4 * 2**_DOUBLINGS:
    raise UserError(f"VGAN generates 64x64, not {model.resolution}x{model.resolution}")
  settings = dataclasses.replace(settings, spectral=False, initializer=model.initializer)
  return Vgan(
    name=model.name,
    generator=Generator(model.generator.channels, model.frames, settings),
    discriminators={"video": Discriminator(model.discriminator.channels, settings)},
    frames=model.frames,
    resolution=model.resolution,
    num_classes=0,
    schedule=contract.Schedule(shared_fakes=model.shared_fakes),
    joint_scores=False,
    latent_dim=model.latent_dim,
    mask_weight=model.mask_weight,
  )
