"""DVD-GAN (Clark, Donahue, Simonyan 2019, arXiv 1907.06571) and the variant of Du's thesis (2020).

The generator runs a convolutional GRU at 4x4. Its input at every time step is a map computed from z
and the class. Self-attention over all positions of all frames follows, then BigGAN's residual
blocks upsample each frame ("single_rnn", the paper's first version). In "stacked_rnn" (the paper's
second version, also used by SSW-GAN) a ConvGRU precedes two residual blocks at every resolution.
The spatial discriminator scores k frames at full resolution. The temporal discriminator scores the
whole clip after downsampling by phi.

Where the paper leaves a choice open, a switch in `dvd_gan_config` decides. Its default follows
other statements of the paper, BigGAN, or the pseudo-code of DGMR by the same authors.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers import chunked, noise, temporal
from vidgan_jax.layers.attention import SelfAttention, SeparableAttention
from vidgan_jax.layers.convolution import Dense, Embed, JoinedConv
from vidgan_jax.layers.heads import ProjectionHead
from vidgan_jax.layers.recurrent import ConvGRU
from vidgan_jax.layers.residual import (
  PlainBlock3D,
  discriminator_block,
  generator_block,
  to_rgb,
)
from vidgan_jax.layers.settings import LayerSettings, rematerialised
from vidgan_jax.models import contract, dvd_gan_config
from vidgan_jax.models.contract import Arrays, Context, Losses, Side
from vidgan_jax.objectives import losses
from vidgan_jax.runtime.errors import UserError


class Generator(nn.Module):
  """DVD-GAN's generator (A.2).

  Attributes:
    widths: channels at 4x4 and after each stage.
    resolution: height and width of the frames, 4 * 2**(number of upsampling stages).
    num_classes: number of classes; 0 is without labels.
    embedding_dim: size of the class embedding e(y).
    settings: see `LayerSettings`.
    variant: "single_rnn" or "stacked_rnn".
    doubled: two residual blocks per stage, of which the second upsamples (A.2), instead of one.
    final_width: channels of a further block at full resolution (thesis, Table 3.1); 0 for none.
    condition: input of conditional batch norm: "z_class", "class" or "z".
    statistics: statistics of batch norm, "per_step" or "shared".
    rnn: kind of the ConvGRU, "multiplicative" or "standard".
    rnn_activation: "relu" or "tanh".
    rnn_spectral: spectral normalisation of the ConvGRU (False in the thesis' code).
    linear_spectral: spectral normalisation of the first linear layer (False in the thesis' code).
    full_attention: attention over all positions and frames after the first ConvGRU.
    attention_before: the block in front of which separable attention stands.
    attention_order, attention_style: see `SeparableAttention`.
  """

  widths: tuple[int, ...]
  resolution: int
  num_classes: int
  embedding_dim: int
  settings: LayerSettings
  variant: str = "single_rnn"
  doubled: bool = True
  final_width: int = 0
  condition: str = "z_class"
  statistics: str = "per_step"
  rnn: str = "multiplicative"
  rnn_activation: str = "relu"
  rnn_spectral: bool = True
  linear_spectral: bool = True
  full_attention: bool = True
  attention_before: str = "last_block"
  attention_order: str = "hwt"
  attention_style: str = "sagan"

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Generates {"clip": [B, frames, resolution, resolution, 3]} in [-1, 1].

    Args:
      latents: {"z": [B, latent_dim]}.
      inputs: {"label": int [B], or float [B, num_classes] to mix classes}; {} without classes.
      train: normalise with the statistics of this batch.
      frames: frames per clip.
    """
    settings = self.settings
    z = latents["z"].astype(settings.dtype)
    both, condition = self._conditions(z, inputs)
    linear = dataclasses.replace(settings, spectral=settings.spectral and self.linear_spectral)
    x = Dense(16 * self.widths[0], linear, name="linear")(both).reshape(-1, 4, 4, self.widths[0])
    given, state, maps = self._encode(inputs)
    steps = frames if given is None else frames - given.shape[1]
    x = self._recurrent(self.widths[0], "rnn")(x, steps, state)
    if self.full_attention:
      x = SelfAttention("thw", settings, self.attention_style, name="attention")(x)
    plan = self._plan()
    block = generator_block(settings)
    for index, (kind, width, upsample) in enumerate(plan):
      if kind == "rnn":
        x = self._recurrent(width, f"rnn{index}")(x)
        continue
      if index == self._attention_index(plan):
        x = self._separable_attention(x, train)
      x = block(width, settings, upsample, self.statistics, name=f"block{index}")(
        x, condition, train
      )
      if x.shape[2] in maps:
        x = JoinedConv(width, settings, name=f"skip{x.shape[2]}")(x, maps.pop(x.shape[2]))
    # Without this last normalisation learning fails altogether (appendix C).
    x = to_rgb(self, settings, self.statistics, x, train)
    clip = jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))
    return {"clip": clip if given is None else jnp.concatenate([given, clip], axis=1)}

  def _encode(self, inputs: Arrays) -> tuple[jax.Array | None, jax.Array | None, dict]:
    """Frames to continue, the ConvGRU's first state, and {height: map} to join; here nothing."""
    del inputs
    return None, None, {}

  def _conditions(self, z: jax.Array, inputs: Arrays) -> tuple[jax.Array, jax.Array]:
    """Returns [z; e(y)] concatenated, and the part of it that enters conditional batch norm."""
    if not self.num_classes:
      return z, z
    # As in BigGAN, the generator's shared embedding table has no spectral normalisation.
    table = dataclasses.replace(self.settings, spectral=False)
    embedding = Embed(self.num_classes, self.embedding_dim, table, name="embed")(inputs["label"])
    both = jnp.concatenate([z, embedding], axis=-1)
    return both, {"z_class": both, "class": embedding, "z": z}[self.condition]

  @nn.nowrap
  def _separable_attention(self, x: jax.Array, train: bool) -> jax.Array:
    settings, options = self.settings, (self.attention_order, self.attention_style)
    number, name = chunked.count(self, settings, x, train), "separable_attention"
    if number > 1:
      layer = SeparableAttention(settings, *options, name=name, parent=None)
      return chunked.apply(self, layer, x, number)
    return rematerialised(SeparableAttention, settings)(settings, *options, name=name)(x)

  def _recurrent(self, width: int, name: str) -> ConvGRU:
    settings = dataclasses.replace(
      self.settings, spectral=self.settings.spectral and self.rnn_spectral
    )
    return ConvGRU(width, settings, self.rnn, self.rnn_activation, name=name)

  def _plan(self) -> list[tuple[str, int, bool]]:
    """The layers after the first ConvGRU, as tuples ("block" or "rnn", channels, upsample)."""
    stages = (self.resolution // 4).bit_length() - 1
    plan = []
    for stage, (before, after) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
      grows = stage < stages
      if self.variant == "stacked_rnn" and stage:
        plan.append(("rnn", before, False))
      if self.doubled or self.variant == "stacked_rnn":
        plan.append(("block", before, False))
      plan.append(("block", after, grows))
    if self.final_width:
      plan.append(("block", self.final_width, False))
    return plan

  def _attention_index(self, plan: list[tuple[str, int, bool]]) -> int | None:
    """Index in `plan` of the block in front of which separable attention stands, or None."""
    blocks = [i for i, (kind, _, _) in enumerate(plan) if kind == "block"]
    upsampling = [i for i, (_, _, upsample) in enumerate(plan) if upsample]
    return {
      "last_block": blocks[-1],
      "last_pair": blocks[-2] if len(blocks) > 1 else blocks[-1],
      "last_upsampling": upsampling[-1],
      "none": None,
    }[self.attention_before]


class Discriminator(nn.Module):
  """BigGAN's discriminator, applied to frames, or to clips with 3-D convolutions at first (A.2).

  Attributes:
    widths: channels of the residual blocks; all but the last halve height and width.
    num_classes: number of classes; 0 is without a projection.
    settings: see `LayerSettings`.
    blocks_3d: number of blocks at the start with 3-D convolutions (0 spatial, 2 temporal).
    plain_3d: replace these blocks by plain 3-D convolutions (`PlainBlock3D`).
    pool_time: 3-D blocks also halve time (thesis, DGMR). An odd last frame is dropped.
    time_into: axis that time is merged into after the 3-D blocks, "batch" or "channel". The thesis
      reports black videos with "channel".
    min_size: no block shrinks height or width below this.
    attention_resolution: self-attention follows the block whose output has this height; 0 for none.
  """

  widths: tuple[int, ...]
  num_classes: int
  settings: LayerSettings
  blocks_3d: int = 0
  plain_3d: bool = False
  pool_time: bool = True
  time_into: str = "batch"
  min_size: int = 1
  attention_resolution: int = 0

  @nn.compact
  def __call__(
    self, clip: jax.Array, label: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Scores clips [B, T, H, W, 3] with labels int [B]: [B, T'], one per frame or time step."""
    del train  # no layer behaves differently
    settings = self.settings
    x = clip.astype(settings.dtype)
    block = discriminator_block(settings)
    for index, width in enumerate(self.widths):
      before, deep = x.shape[2], index < self.blocks_3d
      shrink = index < len(self.widths) - 1 and x.shape[2] // 2 >= self.min_size
      if deep and self.plain_3d:
        x = PlainBlock3D(width, settings, name=f"block{index}")(x)
      else:
        pool = (2, 2) if shrink else ()
        if deep and pool:
          pool = (2 if self.pool_time else 1, *pool)
        x = block(width, settings, pool, index > 0, 3 if deep else 2, name=f"block{index}")(x)
      if index == self.blocks_3d - 1 and self.time_into == "channel":
        x = jnp.moveaxis(x, 1, 3).reshape(x.shape[0], 1, *x.shape[2:4], -1)
      if x.shape[2] == self.attention_resolution != before:
        x = SelfAttention("hw", settings, pool=True, name="attention")(x)
    return ProjectionHead(self.num_classes, settings, name="head")(x, label)


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class DvdGan(contract.VideoGan):
  """DVD-GAN as a `VideoGan`.

  Attributes:
    latent_dim: size of z.
    sampled_frames: k, number of frames of each clip that the spatial discriminator scores.
    downsampling: phi, see `layers.temporal.downsample`.
    aggregation: see `objectives.losses.hinge_discriminator`.
    generated_labels: "uniform" draws labels from all classes (BigGAN's code); "batch" takes those
      of the real clips.
    pixel_weight: weight of the thesis' average pixel loss; 0 leaves it out.
    pixel_start: first iteration with this loss.
    pixel_form: see `objectives.losses.average_pixel_loss`.
  """

  latent_dim: int = 120
  sampled_frames: int = 8
  downsampling: str = "pool2"
  aggregation: str = "sum_before"
  generated_labels: str = "uniform"
  pixel_weight: float = 0.0
  pixel_start: int = 0
  pixel_form: str = "channel_means"

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """{"z": [B, latent_dim]} from N(0, scale^2 I), the same z for every frame (A.2)."""
    del frames
    return {"z": scale * noise.normal(key, (batch_size, self.latent_dim))}

  def generated_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """Labels of the clips to generate; {} without classes."""
    if self.num_classes and self.generated_labels == "batch":
      return {"label": batch["label"]}
    return super().generated_inputs(key, batch, context)

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """k frames of each clip for the spatial discriminator, phi(clip) for the temporal one."""
    del context
    frames_key, crop_key = jax.random.split(key)
    clip, views = samples["clip"], {}
    if "spatial" in self.discriminators:
      views["spatial"] = {"clip": temporal.sample_frames(frames_key, clip, self.sampled_frames)}
    if "temporal" in self.discriminators:
      views["temporal"] = {"clip": temporal.downsample(crop_key, clip, self.downsampling)}
    if self.num_classes:
      views = {name: {**view, "label": inputs["label"]} for name, view in views.items()}
    return views

  def clip_scores(self, name: str, output: jax.Array) -> jax.Array:
    """The sum over frames if the loss takes the sum, else the mean."""
    mean = super().clip_scores(name, output)
    return mean * output.shape[1] if self.aggregation == "sum_before" else mean

  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Hinge losses of each discriminator on real and on generated clips, all with weight 1."""
    del context
    return losses.hinge_discriminator(real.scores, generated.scores, self.aggregation)

  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """Minus the mean score of each discriminator, and the average pixel loss if it has a weight."""
    parts = losses.hinge_generator(generated.scores, self.aggregation)
    if self.pixel_weight:
      pixel = losses.average_pixel_loss(
        real.samples["clip"], generated.samples["clip"], self.pixel_form
      )
      parts["pixel"] = jnp.where(context.step >= self.pixel_start, self.pixel_weight * pixel, 0.0)
    return parts


def _generator(model: ConfigDict, settings: LayerSettings) -> Generator:
  """Builds the generator of `config.model`; UserError if its widths do not fit the resolution."""
  options = model.generator
  widths = dvd_gan_config.generator_multipliers(model.resolution, options.multipliers)
  if model.resolution not in [4 * 2**stage for stage in range(1, len(widths))]:
    raise UserError(
      f"{len(widths)} generator widths cannot grow 4x4 to {model.resolution}x{model.resolution}; "
      "the resolution must be 4 times a power of two with a width for every doubling"
    )
  return Generator(
    widths=tuple(m * options.channels for m in widths),
    resolution=model.resolution,
    num_classes=model.num_classes,
    embedding_dim=model.embedding_dim,
    settings=settings,
    final_width=options.final_multiplier * options.channels,
    **{
      name: options[name]
      for name in (
        "variant doubled condition statistics rnn rnn_activation rnn_spectral linear_spectral "
        "full_attention attention_before attention_order attention_style"
      ).split()
    },
  )


def _discriminators(model: ConfigDict, settings: LayerSettings) -> dict[str, Discriminator]:
  """Builds the discriminators of `config.model`; UserError if there is none."""
  options = model.discriminator
  spatial, temporal_widths = dvd_gan_config.discriminator_multipliers(model)
  common = dict(
    num_classes=model.num_classes,
    settings=settings,
    attention_resolution=options.attention_resolution,
  )
  discriminators = {}
  if options.sampled_frames:
    discriminators["spatial"] = Discriminator(
      tuple(m * options.channels for m in spatial), **common
    )
  if options.temporal:
    discriminators["temporal"] = Discriminator(
      tuple(m * options.channels for m in temporal_widths),
      blocks_3d=2,
      plain_3d=options.plain_3d,
      pool_time=options.pool_time,
      time_into=options.time_into,
      min_size=options.temporal_min_size,
      **common,
    )
  if not discriminators:
    raise UserError("no discriminator: sampled_frames is 0 and temporal is off")
  return discriminators


def build(config: ConfigDict, settings: LayerSettings) -> DvdGan:
  """Builds the system of `config` (see `configs/dvd_gan.py`).

  Args:
    config: the whole config; only `config.model` is read.
    settings: settings of all layers, see `contract.layer_settings`.

  Raises:
    UserError: sizes do not fit each other.
  """
  model = config.model
  if model.discriminator.sampled_frames > model.frames:
    raise UserError(
      f"the spatial discriminator samples {model.discriminator.sampled_frames} frames of clips of "
      f"{model.frames}"
    )
  settings = dataclasses.replace(settings, initializer=model.initializer, remat=model.remat)
  return DvdGan(
    name=model.name,
    generator=_generator(model, settings),
    discriminators=_discriminators(model, settings.of_discriminator()),
    frames=model.frames,
    resolution=model.resolution,
    num_classes=model.num_classes,
    schedule=contract.Schedule(
      discriminator_steps=model.discriminator_steps, shared_fakes=model.shared_fakes
    ),
    spectral_eps=model.spectral_eps,
    fault=dvd_gan_config.attention_fault(model),
    latent_dim=model.latent_dim,
    sampled_frames=model.discriminator.sampled_frames,
    downsampling=model.discriminator.downsampling,
    aggregation=model.aggregation,
    generated_labels=model.generated_labels,
    pixel_weight=model.pixel_loss.weight,
    pixel_start=model.pixel_loss.start,
    pixel_form=model.pixel_loss.form,
  )
