"""The networks of ProgressiveVGAN.

Both work at one level. Their parameters are those of all levels: `init` declares the last level's
and what the smaller levels need besides.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers import progressive
from vidgan_jax.layers.convolution import Conv, Dense
from vidgan_jax.layers.heads import SlicedHead
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models.contract import Arrays
from vidgan_jax.models.progressive_vgan.config import FIRST, GROUP, Level
from vidgan_jax.ops.convolution import average_pool, upsample_nearest
from vidgan_jax.runtime.errors import UserError

SLOPE = 0.2  # of leaky ReLU
# Gains of the equalised learning rate, before an activation, without one, and of the first layer.
_GAIN, _LINEAR_GAIN, _FIRST_GAIN = math.sqrt(2), 1.0, math.sqrt(2) / 4


def _activated(x: jax.Array) -> jax.Array:
  return jax.nn.leaky_relu(x, SLOPE)


def _wide(x: jax.Array) -> jax.Array:
  return x.astype(jnp.promote_types(jnp.float32, x.dtype))


def blend(old: jax.Array, new: jax.Array, fade: jax.Array) -> jax.Array:
  """(1 - fade) old + fade new, for `old` and `new` [B, ...] and `fade` [B] from 0 to 1.

  In this form the result is exactly `new` at fade 1, in bfloat16 too.
  """
  fade = fade.reshape(-1, *[1] * (new.ndim - 1)).astype(new.dtype)
  return (1 - fade) * old + fade * new


class _Layers(nn.Module):
  """What both networks share.

  Attributes:
    levels: all levels, from 4x4 to the full size.
    level: index of the level whose clips the network generates or scores.
    settings: see `LayerSettings`.
  """

  levels: tuple[Level, ...]
  level: int
  settings: LayerSettings

  def _equalized(self, gain: float) -> LayerSettings:
    return dataclasses.replace(self.settings, equalized=gain)

  def _conv(self, features: int, name: str) -> Conv:
    return Conv(features, (3, 3, 3), self._equalized(_GAIN), name=name)


class Generator(_Layers):
  """Grows a clip from a latent vector.

  Attributes:
    levels, level, settings: see `_Layers`.
    full_size: repeat frames and pixels up to the size of the last level.
  """

  full_size: bool = False

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Draws clips.

    Args:
      latents: {"z": [B, latent_dim]}.
      inputs: {"fade": [B]}, how far the level has faded in, 0 to 1.
      train: not used.
      frames: of a clip of full size.

    Returns:
      {"clip": [B, T, H, W, 3]} in about [-1, 1], of the level's size or of full size. The last
      layer is linear.

    Raises:
      UserError: on another number of frames than that of the last level.
    """
    del train
    levels, last = self.levels, self.levels[-1]
    if frames != last.frames:
      raise UserError(f"this ProgressiveVGAN draws {last.frames} frames, not {frames}")
    x = self._first(latents["z"])
    clips = {0: self._to_rgb(0, x)} if self._shown(0) else {}
    for index, level in enumerate(levels[: self.level + 1]):
      if not index:
        continue
      x = upsample_nearest(x, level.grows)
      for part in "ab":
        x = self._conv(level.features, f"conv{level.resolution}{part}")(x)
        x = progressive.pixel_norm(_activated(x))
      if self._shown(index):
        clips[index] = self._to_rgb(index, x)
    clip, now = clips[self.level], levels[self.level]
    if self.level:
      clip = blend(upsample_nearest(clips[self.level - 1], now.grows), clip, inputs["fade"])
    if self.full_size:
      spatial = last.resolution // now.resolution
      clip = upsample_nearest(clip, (last.frames // now.frames, spatial, spatial))
    return {"clip": clip}

  def _first(self, z: jax.Array) -> jax.Array:
    """The first level's features, [B, 4, 4, 4, C]."""
    features, settings = self.levels[0].features, self._equalized(_FIRST_GAIN)
    z = progressive.pixel_norm(z)
    x = Dense(FIRST**3 * features, settings, name="dense")(z)
    x = x.reshape(z.shape[0], FIRST, FIRST, FIRST, features)
    x = progressive.pixel_norm(_activated(x))
    return progressive.pixel_norm(_activated(self._conv(features, f"conv{FIRST}")(x)))

  def _shown(self, index: int) -> bool:
    """Whether a level's features become a clip; all do when the parameters are drawn."""
    return self.is_initializing() or index >= self.level - 1

  def _to_rgb(self, index: int, x: jax.Array) -> jax.Array:
    settings = self._equalized(_LINEAR_GAIN)
    return _wide(Conv(3, (1, 1, 1), settings, name=f"rgb{self.levels[index].resolution}")(x))


class Discriminator(_Layers):
  """Scores clips: the mirror image of `Generator`.

  Attributes:
    levels, level, settings: see `_Layers`.
    head: "wgan_gp" or "sliced".
  """

  head: str = "wgan_gp"

  @nn.compact
  def __call__(self, clip: jax.Array, fade: jax.Array, train: bool = True) -> Any:
    """Scores clips of the level's size.

    Args:
      clip: [B, T, H, W, 3].
      fade: [B], how far the level has faded in, 0 to 1.
      train: not used.

    Returns:
      scores [B] (wgan_gp), or what `SlicedHead` returns (sliced), in float32 or wider.
    """
    del train
    if self.is_initializing():
      self._draw_all_from_rgb(clip)
    x = self._from_rgb(self.level, clip)
    for index in range(self.level, 0, -1):
      level, smaller = self.levels[index], self.levels[index - 1]
      x = _activated(self._conv(level.features, f"conv{level.resolution}a")(x))
      x = _activated(self._conv(smaller.features, f"conv{level.resolution}b")(x))
      x = average_pool(x, level.grows)
      if index == self.level:
        old = self._from_rgb(index - 1, average_pool(clip, level.grows))
        x = blend(old, x, fade)
    x = progressive.minibatch_deviation(x, GROUP)
    features = self.levels[0].features
    x = _activated(self._conv(features, f"conv{FIRST}")(x))
    x = _activated(Dense(features, self._equalized(_GAIN), name="dense")(x.reshape(len(x), -1)))
    if self.head == "sliced":
      return SlicedHead(features, SLOPE, self.settings, name="sliced")(x)
    wide = jnp.promote_types(jnp.float32, x.dtype)
    settings = dataclasses.replace(self._equalized(_LINEAR_GAIN), dtype=wide)
    return Dense(1, settings, name="score")(x)[:, 0]

  def _from_rgb(self, index: int, clip: jax.Array) -> jax.Array:
    level = self.levels[index]
    settings = self._equalized(_GAIN)
    return _activated(
      Conv(level.features, (1, 1, 1), settings, name=f"rgb{level.resolution}")(clip)
    )

  def _draw_all_from_rgb(self, clip: jax.Array) -> None:
    """Declares the first layers of the levels that this one does not use."""
    for index in range(self.level - 1):
      self._from_rgb(index, clip)
