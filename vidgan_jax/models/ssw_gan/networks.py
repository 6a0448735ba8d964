"""The generator of SSW-GAN's upsampling stages (B.2). The discriminators are DVD-GAN's."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Conv, Dense, Embed
from vidgan_jax.layers.recurrent import ConvGRU
from vidgan_jax.layers.residual import generator_block, to_rgb
from vidgan_jax.layers.separable import SeparableConv, separable_block
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models.contract import Arrays
from vidgan_jax.runtime.subsampling import nearest


class Generator(nn.Module):
  """Generates a clip that upsamples a low-resolution clip x_l in space and time.

  It stacks units. A unit is a layer over time and two residual blocks over single frames, the
  second of which doubles height and width and changes the number of channels. After each of the
  three, x_l is added, where the map is not larger than x_l: subsampled by nearest neighbour in
  space, repeated in time, and mapped to the map's channels by a 1x1 convolution.

  Attributes:
    widths: channels at 4x4 and after each unit.
    resolution: height and width of the frames, 4 * 2**(number of units that double them).
    num_classes: number of classes; 0 is without labels.
    embedding_dim: size of the class embedding e(y).
    settings: see `LayerSettings`.
    temporal: the layer over time: "separable_block" (Figure 1), "separable" (a single separable
      convolution, as B.2 has it) or "gru" (appendix C).
    temporal_factor: frames of the output for each frame of x_l.
    condition: input of conditional batch normalisation: "z_class", "class" or "z".
    statistics: of batch normalisation, "per_step" or "shared".
  """

  widths: tuple[int, ...]
  resolution: int
  num_classes: int
  embedding_dim: int
  settings: LayerSettings
  temporal: str = "separable_block"
  temporal_factor: int = 2
  condition: str = "z_class"
  statistics: str = "per_step"

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Generates {"clip": [B, frames, resolution, resolution, 3]} in [-1, 1].

    Args:
      latents: {"z": [B, latent_dim]}.
      inputs: {"x_l": [B, frames / temporal_factor, h, h, 3] in [-1, 1], "label": int [B], or
        float [B, num_classes] to mix classes}; no label without classes.
      train: normalise with the statistics of this batch.
      frames: frames per clip.
    """
    settings, low = self.settings, inputs["x_l"]
    assert low.shape[1] * self.temporal_factor == frames, (low.shape, frames)
    both, condition = self._conditions(latents["z"].astype(settings.dtype), inputs)
    x = Dense(16 * self.widths[0], settings, name="linear")(both)
    x = x.reshape(-1, 1, 4, 4, self.widths[0])
    x = jnp.broadcast_to(x, (x.shape[0], frames, *x.shape[2:]))
    block, doublings = generator_block(settings), (self.resolution // 4).bit_length() - 1
    for unit, (before, after) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
      x = self._over_time(x, before, condition, train, f"time{unit}")
      x = self._with_low(x, low, f"low{unit}_time")
      for index, width in enumerate((before, after)):
        upsample = index == 1 and unit < doublings
        name = f"block{unit}_{index}"
        x = block(width, settings, upsample, self.statistics, name=name)(x, condition, train)
        x = self._with_low(x, low, f"low{unit}_{index}")
    x = to_rgb(self, settings, self.statistics, x, train)
    return {"clip": jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))}

  def _conditions(self, z: jax.Array, inputs: Arrays) -> tuple[jax.Array, jax.Array]:
    """Returns [z; e(y)] concatenated, and the part of it that enters conditional batch norm."""
    if not self.num_classes:
      return z, z
    table = dataclasses.replace(self.settings, spectral=False)  # as in DVD-GAN
    embedding = Embed(self.num_classes, self.embedding_dim, table, name="embed")(inputs["label"])
    both = jnp.concatenate([z, embedding], axis=-1)
    return both, {"z_class": both, "class": embedding, "z": z}[self.condition]

  def _over_time(
    self, x: jax.Array, width: int, condition: jax.Array, train: bool, name: str
  ) -> jax.Array:
    """The layer of a unit that connects frames; keeps the shape."""
    if self.temporal == "gru":
      return ConvGRU(width, self.settings, "standard", name=name)(x)
    if self.temporal == "separable":
      return SeparableConv(width, self.settings, name=name)(x)
    return separable_block(self.settings)(self.settings, self.statistics, name=name)(
      x, condition, train
    )

  def _with_low(self, x: jax.Array, low: jax.Array, name: str) -> jax.Array:
    """Adds x_l to the map `x`, unless the map is larger than x_l."""
    side, of_low = x.shape[2], low.shape[2]
    if side > of_low:
      return x
    low = nearest(low, space=of_low // side)
    # The same before as after repetition, but on fewer frames.
    mapped = Conv(x.shape[-1], (1, 1), self.settings, name=name)(low)
    return x + jnp.repeat(mapped, self.temporal_factor, axis=1)
