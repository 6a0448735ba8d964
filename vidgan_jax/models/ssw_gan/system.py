"""SSW-GAN's upsampling stages (Castrejon, Ballas, Courville 2021): a GAN on windows of a video.

The first stage is a DVD-GAN (`models.dvd_gan`, variant "stacked_rnn") of few pixels and frames. A
later stage generates a clip from a window x_l of the earlier stage's clip. Fake pairs (x, x_l) come
from the frozen earlier stage (equation 3). Real pairs come from one window of data, by the same
nearest-neighbour subsampling f. The spatial and the temporal discriminator score x alone, as in
DVD-GAN; the matching discriminator scores f(x) and x_l together, so that x must upsample x_l.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vidgan_jax.layers import normalization
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import contract
from vidgan_jax.models.contract import Arrays, Context, Variables
from vidgan_jax.models.dvd_gan import Discriminator, DvdGan
from vidgan_jax.models.ssw_gan import config as ssw_gan_config
from vidgan_jax.models.ssw_gan import unrolling
from vidgan_jax.models.ssw_gan.config import EARLIER
from vidgan_jax.models.ssw_gan.networks import Generator
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.subsampling import nearest

SAMPLES = "samples"  # entry of `Context.frozen` with the clips of `x_l_source` "folder"
_PREFIX = f"{EARLIER}_"  # before names of the earlier stage's latents and drawn inputs


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class SswGan(DvdGan):
  """An upsampling stage as a `VideoGan`; `stages` holds the earlier one.

  Attributes:
    temporal_factor: frames of a clip for each frame of x_l.
    space_factor: pixels of a clip for each pixel of x_l, along height and width.
    x_l_source: where x_l of generated clips comes from in training; see `ssw_gan_config`.
    field: frames on each side of a frame that the generator computes it from; None is all.
    unroll_window: see `ssw_gan_config`.
    reach: largest number of frames of a clip.
  """

  temporal_factor: int = 2
  space_factor: int = 4
  x_l_source: str = "stage"
  field: int | None = None
  unroll_window: int = 12
  reach: int = 50

  @property
  def _stage(self) -> contract.VideoGan:
    return self.stages[EARLIER]

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """The latents of all stages, with "earlier_" before the names of the earlier stage's.

    Returns:
      {"z": [B, latent_dim] from N(0, scale^2 I), "window": [B] from U(0, 1), the position of the
      window of the earlier stage's clip, "earlier_z": ..., ...}.
    """
    window_key, inner_key = (jax.random.fold_in(key, number) for number in (1, 2))
    return {
      **super().latents(key, batch_size, frames, scale),
      "window": jax.random.uniform(window_key, (batch_size,), jnp.float32),
      **_prefixed(self._stage.latents(inner_key, batch_size, scale=scale)),
    }

  def generated_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """Labels of the clips to generate, as in DVD-GAN.

    With `x_l_source` "real", also x_l, from the real batch, whose labels the clips get. With
    "folder", also the "number" of a stored clip, whose label the generated clip gets.
    """
    if self.x_l_source == "real":
      return self.real_inputs(key, batch, context)
    if self.x_l_source == "folder":
      stored = context.frozen.get(SAMPLES, self._example_samples())["label"]
      number = jax.random.randint(key, batch["label"].shape, 0, stored.shape[0])
      return {**self._label(stored[number]), "number": number}
    return super().generated_inputs(key, batch, context)

  def _start(self, latents: Arrays, length: int, count: int) -> jax.Array:
    """First frames [B] of windows of `count` frames in clips of `length`, uniform."""
    starts = length - count + 1
    return jnp.minimum((latents["window"] * starts).astype(jnp.int32), starts - 1)

  def derive(
    self, frozen: Any, latents: Arrays, inputs: Arrays, frames: int | None = None
  ) -> Arrays:
    """{"x_l": [B, frames / temporal_factor, h, w, 3]} and the labels; see `Staged.derive`."""
    if "x_l" in inputs:
      return inputs
    frames = frames or self.frames
    if "number" in inputs:
      clips = self._pixels(frozen[SAMPLES]["clip"][inputs["number"]])
    else:
      clips = self._earlier_clip(frozen, latents, inputs, frames)
    count = frames // self.temporal_factor
    window = self._start(latents, clips.shape[1], count)[:, None] + jnp.arange(count)
    low = jnp.take_along_axis(clips, window[:, :, None, None, None], axis=1)
    return {**self._label(inputs.get("label")), "x_l": jax.lax.stop_gradient(low)}

  def _earlier_clip(self, frozen: Any, latents: Arrays, inputs: Arrays, frames: int) -> jax.Array:
    """The earlier stage's whole clip [B, T, h, w, 3], of which x_l is a window."""
    stage, of_stage, length = self._stage, frozen[EARLIER], self.stage_frames(frames)
    inner_latents = _without_prefix(latents)
    drawn = self._label(inputs.get("label"))
    drawn = stage.derive(of_stage["frozen"], inner_latents, drawn, length)
    unused = jax.random.key(0)  # generators draw noise in training only
    variables = of_stage["variables"]
    samples, _ = stage.generate(variables, inner_latents, drawn, unused, False, length)
    return samples["clip"]

  def stage_clips(
    self, frozen: Any, latents: Arrays, inputs: Arrays, frames: int
  ) -> list[jax.Array]:
    """What each earlier stage contributes to a clip of `frames` frames, the first stage first.

    Args:
      frozen, latents: see `derive`.
      inputs: {"label": [B]}; {} without classes.
      frames: T of the last stage's clip.

    Returns:
      Clips [B, T, h, w, 3] in [-1, 1], h and w of each stage, frames repeated to T.
    """
    low = self.derive(frozen, latents, inputs, frames)["x_l"]
    clips, stage = [jnp.repeat(low, self.temporal_factor, axis=1)], self._stage
    if isinstance(stage, SswGan):
      length = self.stage_frames(frames)
      of_stage = frozen[EARLIER]["frozen"], _without_prefix(latents), inputs
      inner = stage.stage_clips(*of_stage, length)
      start = self._start(latents, length, frames // self.temporal_factor)
      window = start[:, None] + jnp.arange(frames) // self.temporal_factor
      take = lambda clip: jnp.take_along_axis(clip, window[:, :, None, None, None], axis=1)
      clips = [*map(take, inner), *clips]
    return clips

  def check_frames(self, frames: int) -> None:
    """UserError unless the stages can generate clips of `frames` frames."""
    if frames % self.temporal_factor:
      raise UserError(
        f"frames is {frames}, must be a multiple of {self.temporal_factor}: this stage generates "
        "that many for each frame of the earlier stage"
      )
    if frames > self.reach:
      raise UserError(
        f"frames is {frames}, but these stages generate at most {self.reach} frames together"
      )
    self._stage.check_frames(self.stage_frames(frames))

  def stage_frames(self, frames: int) -> int:
    """Frames that the earlier stage generates for a clip of `frames` frames.

    As many as in training, of which a window is used; or more, if the window needs more.
    """
    stage, least = self._stage, max(frames // self.temporal_factor, self._stage.frames)
    unit = stage.temporal_factor if isinstance(stage, SswGan) else 1
    return -(-least // unit) * unit

  def real_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """The labels, and x_l = f(x) of the real clips."""
    return {
      **super().real_inputs(key, batch, context),
      "x_l": self._low(self._pixels(batch["clip"])),
    }

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """DVD-GAN's views, and f(x) beside x_l on six channels for the matching discriminator."""
    views = super().views(key, samples, inputs, context)
    if "matching" in self.discriminators:
      low = self._low(samples["clip"])
      pair = jnp.concatenate([inputs["x_l"].astype(low.dtype), low], axis=-1)
      views["matching"] = {"clip": pair, **self._label(inputs.get("label"))}
    return views

  def generate(
    self,
    variables: Variables,
    latents: Arrays,
    inputs: Arrays,
    key: jax.Array,
    train: bool,
    frames: int | None = None,
  ) -> tuple[Arrays, Variables]:
    """See `VideoGan.generate`. Clips longer than a window are generated window by window."""
    frames, step = frames or self.frames, self.unroll_window
    one_pass = super().generate
    if self.field is None or not step or frames <= self.frames:
      return one_pass(variables, latents, inputs, key, train, frames)
    sizes: dict[str, int] = dict(step=step, field=self.field, multiple=self.temporal_factor)
    if unrolling.span(**sizes) >= frames:
      return one_pass(variables, latents, inputs, key, train, frames)

    def window(statistics: Any, low: jax.Array, length: int) -> tuple[Arrays, Variables]:
      part = variables
      if statistics is not None:
        part = {**variables, normalization.COLLECTION: statistics}
      return one_pass(part, latents, {**inputs, "x_l": low}, key, train, length)

    statistics = None if train else variables[normalization.COLLECTION]
    return unrolling.in_windows(window, statistics, inputs["x_l"], frames=frames, **sizes)

  def _label(self, labels: jax.Array | None) -> Arrays:
    """{"label": labels}; {} without classes."""
    return {"label": labels} if self.num_classes and labels is not None else {}

  def _low(self, clip: jax.Array) -> jax.Array:
    """f(clip)."""
    return nearest(clip, self.temporal_factor, self.space_factor)

  def _pixels(self, clip: jax.Array) -> jax.Array:
    """uint8 pixels as numbers in [-1, 1]; see `VideoGan.real_samples`."""
    return clip.astype(jnp.result_type(float)) / 127.5 - 1

  def example_frozen(self) -> dict[str, Any]:
    """See `Staged.example_frozen`."""
    frozen = super().example_frozen()
    if self.x_l_source == "folder":
      frozen[SAMPLES] = self._example_samples()
    return frozen

  def _example_samples(self) -> Arrays:
    """One clip with the form of those of `x_l_source` "folder"."""
    side = self._stage.resolution
    clip = jnp.zeros((1, self._stage.frames, side, side, 3), jnp.uint8)
    return {"clip": clip, "label": jnp.zeros((1,), jnp.int32)}


def _prefixed(arrays: Arrays) -> Arrays:
  return {_PREFIX + name: array for name, array in arrays.items()}


def _without_prefix(arrays: Arrays) -> Arrays:
  """The arrays of the earlier stage, by its own names."""
  return {n.removeprefix(_PREFIX): a for n, a in arrays.items() if n.startswith(_PREFIX)}


def _discriminators(model: ConfigDict, settings: LayerSettings) -> dict[str, Discriminator]:
  options = model.discriminator
  widths = tuple(m * options.channels for m in options.multipliers)
  frames = Discriminator(widths, model.num_classes, settings)
  clips = dataclasses.replace(frames, blocks_3d=2)
  present = {
    "spatial": (frames, options.sampled_frames),
    "temporal": (clips, options.temporal),
    "matching": (clips, options.matching),
  }
  return {name: module for name, (module, wanted) in present.items() if wanted}


# Temporal convolutions, each with three frames, in the layer over time of a unit.
_CONVOLUTIONS = {"separable_block": 2, "separable": 1}


def _field(options: ConfigDict) -> int | None:
  """See `SswGan.field`; None if a frame depends on all others."""
  if options.temporal not in _CONVOLUTIONS or options.statistics != "per_step":
    return None
  return _CONVOLUTIONS[options.temporal] * len(options.multipliers)


def build(config: ConfigDict, settings: LayerSettings) -> SswGan:
  """Builds the stage of `config` (see `configs/ssw_gan.py`), without its earlier stage.

  Args:
    config: the whole config; only `config.model` is read.
    settings: settings of all layers, see `contract.layer_settings`.

  Raises:
    UserError: sizes do not fit each other.
  """
  model = config.model
  ssw_gan_config.check_model(model)
  settings = dataclasses.replace(settings, initializer=model.initializer, remat=model.remat)
  options = model.generator
  multipliers = (options.multipliers[0], *options.multipliers)
  generator = Generator(
    widths=tuple(m * options.channels for m in multipliers),
    resolution=model.resolution,
    num_classes=model.num_classes,
    embedding_dim=model.embedding_dim,
    settings=settings,
    temporal=options.temporal,
    temporal_factor=model.temporal_factor,
    condition=options.condition,
    statistics=options.statistics,
  )
  return SswGan(
    name=model.name,
    generator=generator,
    discriminators=_discriminators(model, settings.of_discriminator()),
    frames=model.frames,
    resolution=model.resolution,
    num_classes=model.num_classes,
    schedule=contract.Schedule(
      discriminator_steps=model.discriminator_steps, shared_fakes=model.shared_fakes
    ),
    spectral_eps=model.spectral_eps,
    frozen_runs={EARLIER: model.earlier_run} if model.earlier_run else {},
    latent_dim=model.latent_dim,
    sampled_frames=min(model.discriminator.sampled_frames, model.frames),
    downsampling=model.discriminator.downsampling,
    aggregation=model.aggregation,
    generated_labels=model.generated_labels,
    temporal_factor=model.temporal_factor,
    space_factor=model.resolution // model.earlier.resolution,
    x_l_source=model.x_l_source,
    field=_field(options),
    unroll_window=model.unroll_window,
    reach=ssw_gan_config.reach(model),
  )
