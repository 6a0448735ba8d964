"""ProgressiveVGAN as a `VideoGan`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vidgan_jax.layers import noise
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import contract
from vidgan_jax.models.contract import Arrays, Context, Losses, Side
from vidgan_jax.models.phases import Phase, index_at
from vidgan_jax.models.progressive_vgan import config as configuration
from vidgan_jax.models.progressive_vgan.networks import SLOPE, Discriminator, Generator, blend
from vidgan_jax.objectives import losses, penalties
from vidgan_jax.ops.convolution import average_pool, upsample_nearest
from vidgan_jax.runtime.errors import UserError

_FIRST_PHASE = Phase(0, configuration.FIRST, configuration.FIRST, 1)
_MIXING = 1  # folded into a key for the shares in which features are blended


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class ProgressiveVgan(contract.VideoGan):
  """ProgressiveVGAN as a `VideoGan`: discriminator first, the generator on new clips.

  Attributes:
    phase: the phase whose level the networks work at.
    latent_dim: size of z.
    head: "wgan_gp" or "sliced".
    penalty_weight: of the gradient penalty; with "sliced" of both penalties.
    drift: weight of the mean squared score of real clips, with "wgan_gp".
    projection_penalty: form of `penalties.projection_penalty`, with "sliced".
  """

  phase: Phase = _FIRST_PHASE
  latent_dim: int = 128
  head: str = "wgan_gp"
  penalty_weight: float = 10.0
  drift: float = 1e-3
  projection_penalty: str = "released"

  def at(self, index: int) -> Self:
    """See `VideoGan.at`: the level is a constant of the networks."""
    return _at(self, index, False)

  def sampler(self, step: int) -> Self:
    """See `VideoGan.sampler`: clips of every level are repeated up to full size.

    At the border of two phases it draws the earlier level, because the later one is not trained.
    """
    return _at(self, index_at(self.phases, max(step - 1, 0)), True)

  def fade(self, step: jax.Array | int) -> jax.Array:
    """How far the phase's level has faded in after `step` iterations, a scalar from 0 to 1."""
    kind = jnp.result_type(float)
    if not self.phase.fade:
      return jnp.ones((), kind)
    done = jnp.asarray(step - self.phase.begin, kind)
    return jnp.clip(done / self.phase.fade, 0, 1)

  def _fade_input(self, count: int, context: Context) -> Arrays:
    return {"fade": jnp.broadcast_to(self.fade(context.step), (count,))}

  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """{"z": [B, latent_dim]} from N(0, scale^2), which the generator normalises by pixel norm.

    The norm takes the spread out again: truncation changes nothing.
    """
    del frames
    return {"z": scale * noise.normal(key, (batch_size, self.latent_dim))}

  def generated_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """How far the level has faded in."""
    del key
    return self._fade_input(batch["label"].shape[0], context)

  def sampling_inputs(
    self,
    key: jax.Array | None,
    labels: jax.Array,
    context: Context,
    frames: int | None = None,
    conditioning: Arrays | None = None,
  ) -> Arrays:
    """How far the level has faded in."""
    del key, frames, conditioning
    return self._fade_input(labels.shape[0], context)

  def real_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """How far the level has faded in, and the shares in which features are blended."""
    count = batch["label"].shape[0]
    share = jax.random.uniform(jax.random.fold_in(key, _MIXING), (count,))
    return {**self._fade_input(count, context), "share": share}

  def real_samples(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """The data's clips as means over time and space of the level's size, fading in like the level.

    Blended with the clip of the level before, enlarged: what a generator can draw at this fade.
    """
    clip = super().real_samples(key, batch, context)["clip"]
    spatial = self.resolution // self.phase.resolution
    clip = average_pool(clip, (self.frames // self.phase.frames, spatial, spatial))
    if self.phase.fade:
      grows = self.generator.levels[self.generator.level].grows
      old = upsample_nearest(average_pool(clip, grows), grows)
      clip = blend(old, clip, self._fade_input(len(clip), context)["fade"])
    return {"clip": clip}

  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """The whole clip, and how far the level has faded in."""
    del key, context
    return {"video": {"clip": samples["clip"], "fade": inputs["fade"]}}

  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Wasserstein losses, with the drift penalty or the penalty on projections.

    The released code gives the sliced scores the opposite sign: its discriminator lowers the scores
    of real clips.
    """
    del context
    scores, fakes = real.scores["video"], generated.scores["video"]
    if self.head == "wgan_gp":
      drift = self.drift * losses.drift(scores)
      return {**losses.wasserstein_discriminator(scores, fakes), "drift": drift}
    parts = losses.wasserstein_discriminator(fakes["score"], scores["score"])
    penalty = penalties.projection_penalty(
      scores["affine"],
      fakes["affine"],
      scores["scale"],
      real.inputs["share"],
      slope=SLOPE,
      form=self.projection_penalty,
    )
    return {
      "real": parts["generated"],
      "generated": parts["real"],
      "projection_penalty": self.penalty_weight * penalty,
    }

  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """The Wasserstein loss."""
    del real, context
    scores = generated.scores["video"]
    if self.head == "wgan_gp":
      return {"video": losses.wasserstein_generator(scores)}
    return {"video": -losses.wasserstein_generator(scores["score"])}

  def clip_scores(self, name: str, output: Any) -> jax.Array:
    """See `VideoGan.clip_scores`; the sliced scores of real clips are the smaller ones."""
    del name
    return -output["score"] if self.head == "sliced" else output

  def penalties(
    self,
    score: Callable[[str, Arrays], Any],
    real_views: dict[str, Arrays],
    generated_views: dict[str, Arrays],
    key: jax.Array,
    context: Context,
  ) -> Losses:
    """The gradient penalty of WGAN-GP, or that of the sliced Wasserstein GAN, and R1 if asked."""
    parts = super().penalties(score, real_views, generated_views, key, context)
    real, generated = real_views["video"], generated_views["video"]
    share = jax.random.uniform(key, real["fade"].shape, jnp.result_type(float))

    def scores(clip: jax.Array) -> jax.Array:
      output = score("video", {"clip": clip, "fade": real["fade"]})
      return output["score"] if self.head == "sliced" else output

    clips = real["clip"], generated["clip"]
    if self.head == "wgan_gp":
      penalty = penalties.wgan_gradient_penalty(scores, *clips, share)
    else:
      penalty = _SLICED_WEIGHT * penalties.zero_centred_gradient_penalty(scores, *clips, share)
    return {**parts, "gradient_penalty": self.penalty_weight * penalty}


_SLICED_WEIGHT = 5  # of the gradient penalty beside that on projections, in the released code


# Cached, because JAX compiles again for each new `VideoGan` object.
@functools.lru_cache(maxsize=64)
def _at(gan: ProgressiveVgan, index: int, full_size: bool) -> Any:
  """The system at the level of phase `index`."""
  generator, discriminator = gan.generator, gan.discriminators["video"]
  return dataclasses.replace(
    gan,
    generator=generator.clone(level=index, full_size=full_size),
    discriminators={"video": discriminator.clone(level=index)},
    phase=gan.phases[index],
  )


def build(config: ConfigDict, settings: LayerSettings) -> ProgressiveVgan:
  """Builds the system of `config` (see `configs/progressive_vgan.py`), at its last level.

  Args:
    config: the whole config; `config.model` is read.
    settings: of all layers; see `contract.layer_settings`.

  Raises:
    UserError: on sizes or phases that do not fit, or classes.
  """
  model = config.model
  if model.num_classes:
    raise UserError(f"{model.name} knows no classes; num_classes must be 0")
  settings = dataclasses.replace(settings, spectral=False)
  phases, all_levels = configuration.phases(model), configuration.levels(model)
  last = len(all_levels) - 1
  return ProgressiveVgan(
    name=model.name,
    generator=Generator(all_levels, last, settings),
    discriminators={"video": Discriminator(all_levels, last, settings, head=model.head)},
    frames=model.frames,
    resolution=model.resolution,
    num_classes=0,
    schedule=contract.Schedule(shared_fakes=model.shared_fakes),
    joint_scores=False,
    batch_multiple=configuration.GROUP,
    phases=phases,
    phase=phases[last],
    latent_dim=model.latent_dim,
    head=model.head,
    penalty_weight=model.penalty_weight,
    drift=model.drift,
    projection_penalty=model.projection_penalty,
  )
