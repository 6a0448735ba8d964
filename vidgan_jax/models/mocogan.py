"""MoCoGAN (Tulyakov et al. 2018, arXiv 1707.04993) and its lower-dimensional discriminators.

"Lower Dimensional Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020, LDVD below)
judges MoCoGAN's generator by other discriminators: factorised (MoCoGAN-F, its Table 4a), with
temporal shifts (MoCoGAN-TSM, 4.2), or TGAN-F's. Where the papers are silent the code of
sergeytulyakov/mocogan decides.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers import noise, temporal
from vidgan_jax.layers.convolution import Dense
from vidgan_jax.layers.normalization import BatchNorm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.layers.strided import StridedConv, TransposedConv
from vidgan_jax.models import contract, tgan
from vidgan_jax.objectives import losses
from vidgan_jax.runtime.errors import UserError

SLOPE = 0.2


class GatedRecurrentUnit(nn.Module):
  """PyTorch's GRU cell, stepped through time.

  Attributes:
    features: of the state.
    settings: see `LayerSettings`; always in float32, since it is tiny.
  """

  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, state, inputs):
    """States [B, T, F] from the one before the first step [B, F] and inputs [B, T, I]."""
    wide = dataclasses.replace(self.settings, dtype=self.settings.param_dtype, spectral=False)
    bound = 1 / jnp.sqrt(self.features)
    draw = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
    shapes = {
      "input_kernel": (inputs.shape[-1], 3 * self.features),
      "input_bias": (3 * self.features,),
      "state_kernel": (self.features, 3 * self.features),
      "state_bias": (3 * self.features,),
    }
    w = {n: self.param(n, draw, s, self.settings.param_dtype) for n, s in shapes.items()}
    product = lambda a, b: jnp.dot(a.astype(wide.dtype), b, precision=jax.lax.Precision.HIGHEST)
    from_inputs = product(inputs, w["input_kernel"]) + w["input_bias"]

    def step(state, given):
      reset, update, candidate = jnp.split(given, 3, axis=-1)
      own = jnp.split(product(state, w["state_kernel"]) + w["state_bias"], 3, axis=-1)
      r, u = jax.nn.sigmoid(reset + own[0]), jax.nn.sigmoid(update + own[1])
      after = (1 - u) * jnp.tanh(candidate + r * own[2]) + u * state
      return after, after

    _, states = jax.lax.scan(step, state.astype(wide.dtype), jnp.moveaxis(from_inputs, 1, 0))
    return jnp.moveaxis(states, 0, 1)


class Generator(nn.Module):
  """A content vector, a category and a motion vector for each frame, drawn by one 2-D network.

  Attributes:
    channels: of the map at full resolution's half; 4x4 has channels * resolution / 8.
    resolution: 4 times a power of two.
    categories: 0 for none.
    motion_dim: of the motion vectors.
    settings: see `LayerSettings`.
  """

  channels: int
  resolution: int
  categories: int
  motion_dim: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, latents, inputs, train: bool, frames: int):
    """Draws {"clip": [B, T, H, W, 3]} from "content", "motion" and "start" of `latents`.

    `inputs` holds "label" where there are categories: int [B], or float [B, categories] weights.
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
    # A transposed convolution of one pixel to 4x4 is a linear map.
    x = Dense(16 * width, settings, use_bias=False, transposed=True, name="layer0")(z)
    x = x.reshape(*z.shape[:2], 4, 4, width)
    for index in range(tgan.halvings(self.resolution)):
      x = jax.nn.relu(BatchNorm(settings, "shared", name=f"norm{index}")(x, train))
      width = width // 2 if width > self.channels else 3
      x = TransposedConv(width, 2, settings, use_bias=False, name=f"layer{index + 1}")(x)
    return {"clip": jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))}


class Discriminator(nn.Module):
  """MoCoGAN's patch discriminators on frames or clips (LDVD Table 1), and their relatives.

  Attributes:
    kind: "image" or "patch", 2-D or 3-D; "categorical", 3-D with one layer more and one score
      beside the logits of the categories; "factorised" (LDVD Table 4a) or "tsm" (4.2).
    level: how many layers are factorised, or followed by a shift; the others are 2-D. (Table 4a
      gives the spatial half of the fourth 256 channels; Table 5b's size says 1.)
    channels: of the first layer; each further one doubles them.
    settings: see `LayerSettings`.
    window: of the kernels.
    categories: of "categorical".
    noise: standard deviation in front of the layers: of all four where there is no time, of the
      first three where there is, of all but the last where there are categories.
  """

  kind: str
  level: int
  channels: int
  settings: LayerSettings
  window: int = 4
  categories: int = 0
  noise: float = 0.0

  @nn.compact
  def __call__(self, clip, noise_keys=None, train: bool = True):
    """Scores [B, T, H, W, 3] as [B, T', H', W']; "categorical" as [B, 1 + categories]."""
    x = clip.astype(self.settings.dtype)
    whole = self.kind in ("patch", "categorical")
    widths = [self.channels * 2**index for index in range(3)]
    widths += [self.channels * 8, 1 + self.categories] if self.kind == "categorical" else [1]
    noisy = {"image": 4, "categorical": 4}.get(self.kind, 3)
    for index, width in enumerate(widths):
      last = index == len(widths) - 1
      if index < noisy:
        x = noise.add(x, noise_keys, 2 * index, self.noise)
      if self.kind == "categorical" and last:
        x = self._conv(x, width, (self.window,) * 3, f"c{index}", (1, 1, 1), (0, 0, 0))
        return x[:, 0, 0, 0].astype(jnp.promote_types(jnp.float32, x.dtype))
      if self.kind == "factorised" and index < self.level:
        x = self._conv(x, width, (1, self.window, self.window), f"c{index}")
        x = jax.nn.leaky_relu(x, SLOPE)
        x = self._conv(x, width, (4, 1, 1), f"c{index}_time", (1, 1, 1), (1, 0, 0))
      else:
        depth = self.window if whole else 1
        x = self._conv(x, width, (depth, self.window, self.window), f"c{index}")
      if last:
        return x[..., 0].astype(jnp.promote_types(jnp.float32, x.dtype))
      if index:
        x = BatchNorm(self.settings, "shared", name=f"norm{index}")(x, train)
      x = jax.nn.leaky_relu(x, SLOPE)
      if self.kind == "tsm" and index < self.level:
        x = temporal.shift(x)
    raise AssertionError("the last layer returns")

  def _conv(self, x, width, window, name, strides=(1, 2, 2), padding=None):
    if padding is None:
      padding = (0, self.window // 2 - 1, self.window // 2 - 1)
    return StridedConv(width, window, strides, padding, self.settings, use_bias=False, name=name)(x)


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class MocoGan(contract.VideoGan):
  """MoCoGAN as a `VideoGan`.

  The code draws clips of its own for each discriminator and for each update; here both see the same
  clips in an update, the image discriminator one random frame of each.

  Attributes:
    content_dim, motion_dim: sizes of the latents.
    categories: of the generator; its labels are the data's classes.
    infogan: the generator is told to be recognised as its category.
  """

  content_dim: int = 50
  motion_dim: int = 10
  categories: int = 0
  infogan: bool = False

  def latents(self, key, batch_size, frames=None, scale=1.0):
    """Content [B, 50], motion noise [B, T, 10] and the first state [B, 10], all N(0, scale^2)."""
    keys = jax.random.split(key, 3)
    draw = lambda key, *shape: scale * jax.random.normal(key, (batch_size, *shape), jnp.float32)
    return {
      "content": draw(keys[0], self.content_dim),
      "motion": draw(keys[1], frames or self.frames, self.motion_dim),
      "start": draw(keys[2], self.motion_dim),
    }

  def generated_inputs(self, key, batch, context):
    """Uniform categories for the clips to generate."""
    del context
    if not self.categories:
      return {}
    return {"label": jax.random.randint(key, batch["label"].shape, 0, self.categories, jnp.int32)}

  def sampling_inputs(self, key, labels, context, frames=None, conditioning=None):
    """Labels as they are; nothing without categories."""
    del key, context, frames, conditioning
    return {"label": labels} if self.categories else {}

  def views(self, key, samples, inputs, context):
    """A random frame of each clip, and the clips."""
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

  def _split(self, side):
    """Scores by discriminator, and the logits of categories or None."""
    scores, logits = dict(side.scores), None
    if getattr(self.discriminators.get("video"), "categories", 0):
      scores["video"], logits = scores["video"][:, 0], scores["video"][:, 1:]
    return scores, logits

  def discriminator_losses(self, real, generated, context):
    """Cross entropy of every patch, and of the real clips' categories."""
    del context
    (real_scores, logits), (fake_scores, _) = self._split(real), self._split(generated)
    parts = {}
    for name in real_scores:
      parts[f"{name}_real"] = losses.logistic(real_scores[name], 1)
      parts[f"{name}_generated"] = losses.logistic(fake_scores[name], 0)
    if logits is not None:
      parts["category"] = losses.cross_entropy(logits, real.inputs["label"])
    return parts

  def generator_losses(self, generated, real, context):
    """Cross entropy towards "real" (not saturating), and of the categories drawn."""
    del real, context
    scores, logits = self._split(generated)
    parts = {name: losses.logistic(values, 1) for name, values in scores.items()}
    if self.infogan and logits is not None:
      parts["category"] = losses.cross_entropy(logits, generated.inputs["label"])
    return parts


def _discriminators(model, settings) -> dict:
  options, found = model.discriminator, {}
  common = dict(channels=options.channels, settings=settings, noise=options.noise)
  if options.image:
    found["image"] = Discriminator("image", 0, window=options.image_window, **common)
  if options.video == "tgan":
    found["video"] = tgan.discriminator(options.tgan, model.resolution, settings)
  elif options.video != "none":
    categories = model.categories if options.video == "categorical" else 0
    if options.video == "categorical" and model.resolution != 64:
      raise UserError("the categorical discriminator is made for 64x64")
    found["video"] = Discriminator(
      options.video,
      options.level,
      window=options.video_window,
      categories=categories,
      **common,
    )
  if not found:
    raise UserError("no discriminator: discriminator.image is off and discriminator.video none")
  return found


def _check_frames(options, frames: int) -> None:
  """UserError where clips are too short, or too long, to be scored."""
  whole = 4 * (options.video_window - 1)  # what four windows without padding take away
  # TGAN's 3-D layers, and those that are factorised, halve time.
  halved = {"3d": 4, "factorised": options.tgan.level}.get(options.tgan.kind, 0)
  least = {"patch": whole + 1, "factorised": options.level + 1, "tgan": 2**halved}
  least = least.get(options.video, 1)
  if options.video == "categorical" and frames != whole + options.video_window:
    raise UserError(
      f"the categorical discriminator scores {whole + options.video_window} frames, not {frames}"
    )
  if frames < least:
    raise UserError(f"discriminator.video {options.video} needs {least} frames or more: {frames}")


def build(config, settings: LayerSettings) -> MocoGan:
  """Builds the system of `config` (see `configs/mocogan.py`).

  Args:
    config: the whole config; `config.model` is read.
    settings: of all layers; see `contract.layer_settings`.

  Raises:
    UserError: on sizes that do not fit.
  """
  model = config.model
  for name in ("image_window", "video_window"):
    window = model.discriminator[name]
    if window % 2:  # else a layer would not halve height and width
      raise UserError(f"discriminator.{name} is {window}, must be even")
  if model.infogan and not (model.categories and model.discriminator.video == "categorical"):
    raise UserError("infogan needs categories, and discriminator.video categorical")
  if model.categories and model.categories != model.num_classes:
    raise UserError(
      f"categories {model.categories} must be 0 or the number of classes, {model.num_classes}"
    )
  if tgan.halvings(model.resolution) < 2:
    raise UserError(f"resolution {model.resolution} is too small for patches, must be at least 16")
  _check_frames(model.discriminator, model.frames)
  make = lambda spectral: dataclasses.replace(
    settings, spectral=spectral, initializer=model.initializer
  )
  generator = Generator(
    model.generator.channels, model.resolution, model.categories, model.motion_dim, make(False)
  )
  return MocoGan(
    name=model.name,
    generator=generator,
    discriminators=_discriminators(model, make(model.discriminator.spectral)),
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
