"""MoCoGAN (Tulyakov et al. 2018, arXiv 1707.04993).

Details that the paper leaves out follow the authors' code, sergeytulyakov/mocogan. `models/ldvd.py`
has MoCoGAN-F and MoCoGAN-TSM, which replace the discriminators. They come from LDVD, "Lower
Dimensional Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers import noise, temporal
from vidgan_jax.layers.convolution import Dense
from vidgan_jax.layers.normalization import BatchNorm
from vidgan_jax.layers.recurrent import GatedRecurrentUnit
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import StridedConv, TransposedConv
from vidgan_jax.models import contract, tgan
from vidgan_jax.models.contract import Arrays, Context, Losses, Side
from vidgan_jax.objectives import losses
from vidgan_jax.runtime.errors import UserError

SLOPE = 0.2  # of leaky ReLU
LAYERS = 4  # layers of the patch discriminators


class Generator(nn.Module):
  """Generates each frame with one 2-D network from content, category and a motion vector.

  Content and category are the same in all frames of a clip. A GRU computes the motion vectors.

  Attributes:
    channels: channels at half of the full resolution; at 4x4 they are channels * resolution / 8.
    resolution: height and width of a frame, 4 times a power of two.
    categories: number of categories; 0 for none.
    motion_dim: size of the motion vectors.
    settings: see `LayerSettings`.
  """

  channels: int
  resolution: int
  categories: int
  motion_dim: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, latents: Arrays, inputs: Arrays, train: bool, frames: int) -> Arrays:
    """Generates {"clip": [B, T, H, W, 3]} in [-1, 1].

    Args:
      latents: "content", "motion" and "start", see `MocoGan.latents`.
      inputs: {"label": int [B], or float [B, categories] weights}; ignored without categories.
      train: normalise with the statistics of this batch.
      frames: frames per clip T.
    """
    settings, content = self.settings, latents["content"]
    if latents["motion"].shape[1] != frames:
      raise UserError(f"{latents['motion'].shape[1]} motion latents for {frames} frames")
    unit = GatedRecurrentUnit(self.motion_dim, settings, name="motion")
    still = [content]
    if self.categories:
      label = inputs["label"]
      if not jnp.issubdtype(label.dtype, jnp.floating):
        label = jax.nn.one_hot(label, self.categories, dtype=content.dtype)
      still.append(label)
    still = jnp.concatenate(still, axis=-1)[:, None]
    motion = unit(latents["start"], latents["motion"])
    still = jnp.broadcast_to(still, (*motion.shape[:2], still.shape[-1])).astype(motion.dtype)
    z = jnp.concatenate([still, motion], axis=-1)
    width = self.channels * self.resolution // 8
    # A transposed convolution of a single pixel to 4x4 is a linear map.
    x = Dense(16 * width, settings, use_bias=False, transposed=True, name="layer0")(z)
    x = x.reshape(*z.shape[:2], 4, 4, width)
    for index in range(tgan.halvings(self.resolution)):
      x = jax.nn.relu(BatchNorm(settings, "shared", name=f"norm{index}")(x, train))
      width = width // 2 if width > self.channels else 3
      x = TransposedConv(width, 2, settings, use_bias=False, name=f"layer{index + 1}")(x)
    return {"clip": jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))}


def convolution(
  x: jax.Array, width: int, window: tuple[int, int, int], settings: LayerSettings, name: str
) -> jax.Array:
  """A convolution of [B, T, H, W, C] without bias that halves height and width.

  It does not pad time: T frames become T - window[0] + 1.
  """
  padding = (0, window[1] // 2 - 1, window[2] // 2 - 1)
  return StridedConv(width, window, (1, 2, 2), padding, settings, use_bias=False, name=name)(x)


def activation(x: jax.Array, index: int, settings: LayerSettings, train: bool) -> jax.Array:
  """Batch normalisation, unless `index` is 0 (the first layer), and leaky ReLU."""
  if index:
    x = BatchNorm(settings, "shared", name=f"norm{index}")(x, train)
  return jax.nn.leaky_relu(x, SLOPE)


def patch_scores(x: jax.Array) -> jax.Array:
  """Returns activations [B, T, H, W, 1] as scores [B, T, H, W], in float32 or wider."""
  return x[..., 0].astype(jnp.promote_types(jnp.float32, x.dtype))


class PatchDiscriminator(nn.Module):
  """Scores patches of a frame (image discriminator) or of a clip (video discriminator).

  LDVD Table 1 lists the layers.

  Attributes:
    channels: output channels of the first layer; the second and third double them, the fourth has
      one.
    settings: see `LayerSettings`.
    window: height and width of the kernels.
    depth: size of the kernels in time: 1 in the image discriminator, `window` in the video
      discriminator.
    noise: standard deviation of the noise in front of layers: all four in the image discriminator,
      the first three in the video discriminator.
  """

  channels: int
  settings: LayerSettings
  window: int = 4
  depth: int = 4
  noise: float = 0.0

  @nn.compact
  def __call__(
    self, clip: jax.Array, noise_keys: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to scores of patches [B, T', H', W']."""
    settings, window = self.settings, (self.depth, self.window, self.window)
    x = clip.astype(settings.dtype)
    for index in range(LAYERS - 1):
      x = noise.add(x, noise_keys, 2 * index, self.noise)
      x = convolution(x, self.channels * 2**index, window, settings, f"c{index}")
      x = activation(x, index, settings, train)
    if self.depth == 1:
      x = noise.add(x, noise_keys, 2 * (LAYERS - 1), self.noise)
    return patch_scores(convolution(x, 1, window, settings, f"c{LAYERS - 1}"))


class CategoricalDiscriminator(nn.Module):
  """Scores a clip and classifies its category; has one layer more than `PatchDiscriminator`.

  Attributes:
    channels: output channels of the first layer; the next three layers double them.
    categories: number of categories.
    settings: see `LayerSettings`.
    window: size of the kernels in all three dimensions.
    noise: standard deviation of the noise in front of all layers but the last.
  """

  channels: int
  categories: int
  settings: LayerSettings
  window: int = 4
  noise: float = 0.0

  @nn.compact
  def __call__(
    self, clip: jax.Array, noise_keys: jax.Array | None = None, train: bool = True
  ) -> jax.Array:
    """Maps clips [B, T, H, W, 3] to [B, 1 + categories], a score and logits, float32 or wider."""
    settings, window = self.settings, (self.window,) * 3
    x = clip.astype(settings.dtype)
    for index in range(LAYERS):
      x = noise.add(x, noise_keys, 2 * index, self.noise)
      x = convolution(x, self.channels * 2**index, window, settings, f"c{index}")
      x = activation(x, index, settings, train)
    last = StridedConv(
      1 + self.categories, window, (1, 1, 1), (0, 0, 0), settings, use_bias=False, name=f"c{LAYERS}"
    )
    return last(x)[:, 0, 0, 0].astype(jnp.promote_types(jnp.float32, x.dtype))


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class MocoGan(contract.VideoGan):
  """MoCoGAN as a `VideoGan`.

  The authors' code generates separate clips for each discriminator in each update. Here both
  discriminators score the same clips, and the image discriminator sees one random frame of each.

  Attributes:
    content_dim: size of the content vector.
    motion_dim: size of a motion vector.
    categories: categories that the generator is conditioned on, the classes of the data; 0 for
      none.
    infogan: add the cross entropy of the generated clips' categories to the generator's loss.
  """

  content_dim: int = 50
  motion_dim: int = 10
  categories: int = 0
  infogan: bool = False

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """Draws all latents from N(0, scale^2).

    Returns:
      {"content": [B, content_dim], "motion": [B, T, motion_dim], the GRU's inputs, "start":
      [B, motion_dim], the GRU's state before the first step}.
    """
    keys = jax.random.split(key, 3)
    draw = lambda key, *shape: scale * noise.normal(key, (batch_size, *shape))
    return {
      "content": draw(keys[0], self.content_dim),
      "motion": draw(keys[1], frames or self.frames, self.motion_dim),
      "start": draw(keys[2], self.motion_dim),
    }

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """A random frame of each clip for "image", the whole clips for "video"."""
    del inputs, context
    clip, views = samples["clip"], {}
    keys = jax.random.split(key, 3)
    if "image" in self.discriminators:
      views["image"] = {"clip": temporal.sample_frames(keys[0], clip, 1)}
    if "video" in self.discriminators:
      views["video"] = {"clip": clip}
    for name, key in zip(views, keys[1:], strict=False):
      if self.discriminators[name].noise:
        views[name]["noise_keys"] = noise.keys(key, clip.shape[0])
    return views

  def _split(self, side: Side) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """Returns the scores by discriminator, and the logits of the categories or None."""
    scores, logits = dict(side.scores), None
    if getattr(self.discriminators.get("video"), "categories", 0):
      scores["video"], logits = scores["video"][:, 0], scores["video"][:, 1:]
    return scores, logits

  def clip_scores(self, name: str, output: jax.Array) -> jax.Array:
    """The mean over patches, without the logits of categories."""
    if getattr(self.discriminators[name], "categories", 0):
      output = output[:, 0]
    return super().clip_scores(name, output)

  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Cross entropy of the patches' scores, and of the categories of real clips."""
    del context
    (real_scores, logits), (fake_scores, _) = self._split(real), self._split(generated)
    parts = {}
    for name in real_scores:
      parts[f"{name}_real"] = losses.logistic(real_scores[name], 1)
      parts[f"{name}_generated"] = losses.logistic(fake_scores[name], 0)
    if logits is not None:
      parts["category"] = losses.cross_entropy(logits, real.inputs["label"])
    return parts

  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """Non-saturating loss of the patches' scores, and with `infogan` that of the categories."""
    del real, context
    scores, logits = self._split(generated)
    parts = {name: losses.logistic(values, 1) for name, values in scores.items()}
    if self.infogan and logits is not None:
      parts["category"] = losses.cross_entropy(logits, generated.inputs["label"])
    return parts


def video_discriminator(model: ConfigDict, settings: LayerSettings) -> nn.Module:
  """Builds one of MoCoGAN's original discriminators of clips, "patch" or "categorical".

  Args:
    model: `config.model`.
    settings: see `LayerSettings`.

  Raises:
    UserError: the discriminator does not support the number of frames or the resolution.
  """
  options, window = model.discriminator, model.discriminator.video_window
  common = dict(settings=settings, window=window, noise=options.noise)
  lost = LAYERS * (window - 1)  # frames by which four layers without padding shorten a clip
  if options.video == "patch":
    check_frames("patch", model.frames, lost + 1)
    return PatchDiscriminator(options.channels, depth=window, **common)
  if model.frames != lost + window:
    raise UserError(
      f"the categorical discriminator scores {lost + window} frames, not {model.frames}"
    )
  if model.resolution != 64:
    raise UserError("the categorical discriminator is made for 64x64")
  return CategoricalDiscriminator(options.channels, model.categories, **common)


def check_frames(video: str, frames: int, least: int) -> None:
  """UserError if clips are too short for the discriminator `video`."""
  if frames < least:
    raise UserError(f"discriminator.video {video} needs {least} frames or more, not {frames}")


def build(config: ConfigDict, settings: LayerSettings, video_discriminator: Callable) -> MocoGan:
  """Builds the system of `config` (see `configs/mocogan.py`).

  Args:
    config: the whole config; only `config.model` is read.
    settings: settings of all layers, see `contract.layer_settings`.
    video_discriminator: builds the discriminator of clips from (model, settings).

  Raises:
    UserError: sizes do not fit each other.
  """
  model = config.model
  for name in ("image_window", "video_window"):
    window = model.discriminator[name]
    if window % 2:  # an odd window would not halve height and width exactly
      raise UserError(f"discriminator.{name} is {window}, must be even")
  if model.infogan and not (model.categories and model.discriminator.video == "categorical"):
    raise UserError("infogan needs categories, and discriminator.video categorical")
  if model.categories and model.categories != model.num_classes:
    raise UserError(
      f"categories {model.categories} must be 0 or the number of classes, {model.num_classes}"
    )
  if tgan.halvings(model.resolution) < 2:
    raise UserError(f"resolution {model.resolution} is too small for patches, must be at least 16")
  make = lambda spectral: dataclasses.replace(
    settings, spectral=spectral, initializer=model.initializer
  )
  generator = Generator(
    model.generator.channels, model.resolution, model.categories, model.motion_dim, make(False)
  )
  options, settings = model.discriminator, make(model.discriminator.spectral)
  discriminators = {}
  if options.image:
    discriminators["image"] = PatchDiscriminator(
      options.channels, settings, options.image_window, depth=1, noise=options.noise
    )
  if options.video != "none":
    discriminators["video"] = video_discriminator(model, settings)
  if not discriminators:
    raise UserError("no discriminator: discriminator.image is off and discriminator.video none")
  return MocoGan(
    name=model.name,
    generator=generator,
    discriminators=discriminators,
    frames=model.frames,
    resolution=model.resolution,
    num_classes=model.num_classes,
    schedule=contract.Schedule(shared_fakes=model.shared_fakes),
    joint_scores=False,
    constraint_period=0,
    content_dim=model.content_dim,
    motion_dim=model.motion_dim,
    categories=model.categories,
    infogan=model.infogan,
  )
