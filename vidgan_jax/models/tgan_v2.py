"""TGANv2 (Saito & Saito 2018, arXiv 1811.09245): samples at several levels, with subsampling.

Where the paper is silent, the code of pfnet-research/tgan2 decides; where both differ there is a
switch (`tgan_v2_config`).

A convolutional LSTM draws one small map for each frame. Blocks double height and width; after each
of the last four, a rendering block turns the map into frames. In training, a subsampling layer
after each of the first three rendering blocks keeps every second clip and every second frame, so
that all levels take about as much memory and time: level 1 has all clips and frames at an eighth of
the resolution, level 4 an eighth of the clips and frames at full resolution. Each level has a
discriminator. Outside training nothing is subsampled, and only the last level is rendered.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers.convolution import Conv, Dense
from vidgan_jax.layers.heads import ProjectionHead
from vidgan_jax.layers.normalization import ConditionalBatchNorm
from vidgan_jax.layers.recurrent import ConvLSTM
from vidgan_jax.layers.residual import discriminator_block, generator_block
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import contract, tgan_v2_config
from vidgan_jax.models.contract import Arrays, Context, Losses, Side
from vidgan_jax.objectives import losses
from vidgan_jax.ops.convolution import average_pool

EPSILON = 2e-5  # of Chainer's batch norm
AGGREGATIONS = ("concatenated", "summed")
SHORTCUTS = ("always", "where_width_changes")


@dataclasses.dataclass(frozen=True)
class Subsampling:
  """What the subsampling layers do.

  Attributes:
    layers: number of layers, one after each of the first levels.
    batch: a layer keeps every second clip.
    frames: a layer keeps every second frame.
  """

  layers: int = 3
  batch: bool = True
  frames: bool = True

  def batch_factor(self, level: int) -> int:
    """By what the number of clips at `level` (counted from 0) is divided."""
    return 2 ** min(level, self.layers) if self.batch else 1

  def time_factor(self, level: int) -> int:
    """By what the number of frames at `level` (counted from 0) is divided."""
    return 2 ** min(level, self.layers) if self.frames else 1


def level_names(count: int) -> tuple[str, ...]:
  """Names of the samples by level: "level1", "level2", ..., and "clip", the full resolution."""
  return (*(f"level{number}" for number in range(1, count)), "clip")


def discriminator_names(count: int) -> tuple[str, ...]:
  """Names of the discriminators by level."""
  return tuple(f"level{number}" for number in range(1, count + 1))


def thin(x: jax.Array, factor: int) -> jax.Array:
  """Every `factor`-th example of [B, ...], the first included."""
  if factor == 1 or x.shape[0] % factor:
    return x[::factor]
  # In this form a batch that is split over devices stays where it is.
  return x.reshape(x.shape[0] // factor, factor, *x.shape[1:])[:, 0]


class Generator(nn.Module):
  """A convolutional LSTM, blocks that upsample, and a rendering block for each level.

  Attributes:
    widths: channels of the blocks.
    levels: rendering blocks, after the last blocks.
    resolution: of the last level.
    lstm_width: channels of the LSTM.
    subsampling: see `Subsampling`.
    num_classes: 0 is unconditional.
    shortcut: a name in `SHORTCUTS`.
    settings: see `LayerSettings`; each layer has its own initializer.
  """

  widths: tuple[int, ...]
  levels: int
  resolution: int
  lstm_width: int
  subsampling: Subsampling
  num_classes: int
  shortcut: str
  settings: LayerSettings

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Draws clips from {"z": [B, Z]} and, with classes, {"label": [B]}.

    Returns:
      {"clip": [B, T, H, W, 3] in [-1, 1]}. In training also "level1", "level2", ...; each level,
      the last one ("clip") included, then has its share of clips and frames (`Subsampling`).
    """
    settings, z = self.settings, latents["z"]
    label = inputs["label"] if self.num_classes else None
    size = self.resolution >> len(self.widths)
    x = Dense(size * size * self.lstm_width, settings, name="linear")(z)
    x = x.reshape(z.shape[0], size, size, self.lstm_width)
    x = ConvLSTM(self.lstm_width, settings, name="lstm")(x, frames)
    residual = dataclasses.replace(settings, initializer="glorot_uniform_sqrt2")
    block = generator_block(settings)
    samples, names = {}, level_names(self.levels)
    for index, width in enumerate(self.widths):
      x = block(
        width,
        residual,
        upsample=True,
        statistics="shared",
        epsilon=EPSILON,
        num_classes=self.num_classes,
        shortcut_initializer="glorot_uniform",
        bare_upsampling=self.shortcut == "where_width_changes",
        name=f"block{index}",
      )(x, label, train)
      level = index - len(self.widths) + self.levels
      if level == self.levels - 1 or (train and level >= 0):
        samples[names[level]] = self._rendered(x, label, train, level)
      if train and 0 <= level < self.subsampling.layers:
        x, label = self._subsampled(x, label)
    return samples

  def _rendered(self, x: jax.Array, label: jax.Array | None, train: bool, level: int) -> jax.Array:
    """Frames [B, T, H, W, 3] of a map [B, T, H, W, C]."""
    norm = ConditionalBatchNorm(
      self.settings, "shared", EPSILON, self.num_classes, name=f"norm{level + 1}"
    )
    x = jax.nn.relu(norm(x, label, train))
    x = Conv(3, (3, 3), self.settings, name=f"render{level + 1}")(x)
    return jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))

  def _subsampled(
    self, x: jax.Array, label: jax.Array | None
  ) -> tuple[jax.Array, jax.Array | None]:
    """The map and the labels after one subsampling layer (equations 8 and 9).

    The offset in time is one for the whole batch: all devices have the same key.
    """
    if self.subsampling.frames and x.shape[1] > 1:
      offset = jax.random.randint(self.make_rng("noise"), (), 0, 2)
      half = x.shape[1] // 2
      pairs = x[:, : 2 * half].reshape(x.shape[0], half, 2, *x.shape[2:])
      x = jnp.where(offset == 0, pairs[:, :, 0], pairs[:, :, 1])
    if self.subsampling.batch:
      x, label = x[::2], None if label is None else label[::2]
    return x, label


class Discriminator(nn.Module):
  """A 3-D residual network without normalisation.

  Attributes:
    widths: channels of the blocks.
    num_classes: 0 leaves the projection out.
    pad_single_axis: pad axes of size 1 too, see `Conv.pool_odd`.
    settings: see `LayerSettings`; each layer has its own initializer.
  """

  widths: tuple[int, ...]
  num_classes: int
  pad_single_axis: bool
  settings: LayerSettings

  @nn.compact
  def __call__(
    self, clip: jax.Array, label: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Scores [B, T, H, W, 3], with `label` int [B] where there are classes, as [B]."""
    del train  # no layer behaves differently
    residual = dataclasses.replace(self.settings, initializer="glorot_uniform_sqrt2")
    block = discriminator_block(self.settings)
    x = clip.astype(self.settings.dtype)
    for index, width in enumerate(self.widths):
      first = index == 0
      x = block(
        width,
        residual,
        pool=(1, 2, 2) if first else (2, 2, 2),
        preactivation=not first,
        dimensions=3,
        hidden=0 if first else x.shape[-1],
        pool_odd="drop" if first else "pad_single" if self.pad_single_axis else "pad",
        shortcut_initializer="glorot_uniform",
        name=f"block{index}",
      )(x)
    # The head sums over height and width: time is made a part of the height.
    x = x.reshape(x.shape[0], 1, x.shape[1] * x.shape[2], *x.shape[3:])
    settings = dataclasses.replace(self.settings, initializer="glorot_uniform")
    return ProjectionHead(self.num_classes, settings, name="head")(x, label)[:, 0]


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class TganV2(contract.VideoGan):
  """TGANv2 as a `VideoGan`: the generator moves first, and both sides see the same clips.

  Attributes:
    latent_dim: size of z.
    levels: number of levels.
    subsampling: see `Subsampling`.
    aggregation: a name in `AGGREGATIONS`.
  """

  latent_dim: int = 256
  levels: int = 4
  subsampling: Subsampling = dataclasses.field(default_factory=Subsampling)
  aggregation: str = "concatenated"

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """z ~ U(-scale, scale) [B, latent_dim]."""
    del frames
    shape = (batch_size, self.latent_dim)
    return {"z": scale * jax.random.uniform(key, shape, jnp.float32, -1, 1)}

  def time_offsets(self, key: jax.Array, batch_size: int) -> jax.Array:
    """The offset in time of each real clip at each subsampling layer: 0 or 1, [B, layers]."""
    return jax.random.randint(key, (batch_size, self.subsampling.layers), 0, 2)

  def real_samples(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """The data at all levels: subsampled as the generator's maps are, and mean-pooled.

    Each clip has offsets of its own, as in the released code.
    """
    del context
    clips, samples = batch["clip"], {}
    offsets = self.time_offsets(key, clips.shape[0])
    for level, name in enumerate(level_names(self.levels)):
      factor = self.subsampling.batch_factor(level)
      clip = self._frames_of_level(thin(clips, factor), thin(offsets, factor), level)
      # float32, or float64 where JAX computes in it: there rounding must not enter.
      clip = clip.astype(jnp.result_type(float)) / 127.5 - 1
      pool = 2 ** (self.levels - 1 - level)
      samples[name] = average_pool(clip, (pool, pool))
    return samples

  def _frames_of_level(self, clips: jax.Array, offsets: jax.Array, level: int) -> jax.Array:
    """The frames that the first layers, up to that in front of `level`, leave of [B, T, ...]."""
    stride = self.subsampling.time_factor(level)
    if stride == 1:
      return clips
    powers = 2 ** jnp.arange(stride.bit_length() - 1)
    first = jnp.sum(offsets[:, : len(powers)] * powers, axis=1, keepdims=True)
    index = first + stride * jnp.arange(clips.shape[1] // stride)
    return jnp.take_along_axis(clips, index[:, :, None, None, None], axis=1)

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """Each discriminator sees its level, with the labels of the clips that are left there."""
    del key, context
    views = {}
    names = zip(discriminator_names(self.levels), level_names(self.levels), strict=True)
    for level, (discriminator, name) in enumerate(names):
      views[discriminator] = {"clip": samples[name]}
      if self.num_classes:
        label = thin(inputs["label"], self.subsampling.batch_factor(level))
        views[discriminator]["label"] = label
    return views

  def clip_scores(self, name: str, output: jax.Array) -> jax.Array:
    """The scores themselves."""
    del name
    return output

  def r1_share(self, name: str, real_views: dict[str, Arrays]) -> float:
    """The mean is taken over the clips of all levels together."""
    return real_views[name]["clip"].shape[0] / sum(v["clip"].shape[0] for v in real_views.values())

  def _logistic(self, scores: Arrays, target: int, side: str) -> Losses:
    """The mean of softplus over all scores, as a sum of parts; `target` 1 is "real".

    Args:
      scores: {discriminator: [B of its level]}.
      target: 0 or 1.
      side: what the names of the parts end with.
    """
    if self.aggregation == "summed":
      total = jnp.sum(jnp.stack(list(scores.values())), axis=0)
      return {side.lstrip("_") or "clip": losses.logistic(total, target)}
    count = sum(score.shape[0] for score in scores.values())
    return {
      f"{name}{side}": score.shape[0] / count * losses.logistic(score, target)
      for name, score in scores.items()
    }

  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Cross entropy: softplus(-score) of real clips and softplus(score) of generated ones."""
    del context
    return {
      **self._logistic(real.scores, 1, "_real"),
      **self._logistic(generated.scores, 0, "_generated"),
    }

  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """softplus(-score), which does not saturate."""
    del real, context
    return self._logistic(generated.scores, 1, "")


def build(config: ConfigDict, settings: LayerSettings) -> TganV2:
  """Builds the system of `config` (see `configs/tgan_v2.py`).

  Args:
    config: the whole config; `config.model` is read.
    settings: of all layers; see `contract.layer_settings`.

  Raises:
    UserError: on sizes that do not fit each other.
  """
  model = config.model
  tgan_v2_config.check_sizes(model)
  settings = dataclasses.replace(
    settings, spectral=False, initializer="lecun_normal", remat=model.remat
  )
  wide, deep = model.generator, model.discriminator
  subsampling = Subsampling(**model.subsampling)
  discriminator = Discriminator(
    tuple(deep.channels * multiplier for multiplier in deep.multipliers),
    model.num_classes,
    deep.pad_single_axis,
    settings.of_discriminator(),
  )
  return TganV2(
    name=model.name,
    generator=Generator(
      tuple(wide.channels * multiplier for multiplier in wide.multipliers),
      model.levels,
      model.resolution,
      wide.lstm_channels,
      subsampling,
      model.num_classes,
      wide.shortcut,
      settings,
    ),
    discriminators={name: discriminator for name in discriminator_names(model.levels)},
    frames=model.frames,
    resolution=model.resolution,
    num_classes=model.num_classes,
    schedule=contract.Schedule(generator_first=True, shared_fakes=model.shared_fakes),
    batch_multiple=subsampling.batch_factor(model.levels - 1),
    latent_dim=model.latent_dim,
    levels=model.levels,
    subsampling=subsampling,
    aggregation=model.aggregation,
  )
