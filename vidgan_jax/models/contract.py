"""The contract of a video GAN: what training, sampling and evaluation know about a system.

A `VideoGan` is a frozen description made of Flax modules and pure functions. It holds no arrays.
Its methods exchange dictionaries of arrays, whose first axis is the batch:

* batch: a batch of training data, {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
* inputs: what a clip is conditioned on (label, first frames, a low-resolution window, a blend
  factor). Real and generated clips have separate inputs.
* latents: the random vectors from which clips are generated.
* samples: {"clip": [B, T, H, W, 3] in [-1, 1], ...}. Some systems add further resolutions or a
  mask. Real and generated samples have the same structure in all that `views` reads.
* view: the keyword arguments for one call of a discriminator.

How systems use it: TGAN sets `generator_first`, implements `constrain` (singular value clipping)
and sets `joint_scores=False`, because its discriminator normalises over the batch. MoCoGAN's
`views` gives the image discriminator one random frame of each clip. MoCoGAN's categories and VGAN's
mask enter the loss in `generator_losses`.

DVD-GAN-FP takes the first frames of real clips as inputs, and its samples begin with them. The
later stages of SSW-GAN take low-resolution windows from a frozen earlier stage (`derive`). TGANv2
returns several resolutions as samples, each with its own batch size, and weights their R1 penalties
in `r1_share`.
"""

import abc
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from ml_collections import ConfigDict

from vidgan_jax.layers import augmentation, normalization, spectral_norm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models.dvd_gan_fp.given import Conditioned
from vidgan_jax.models.phases import Phase, Phased, Schedule
from vidgan_jax.models.ssw_gan.stages import Staged
from vidgan_jax.objectives import penalties
from vidgan_jax.ops import forms
from vidgan_jax.runtime import precision
from vidgan_jax.runtime.errors import UserError

Arrays = dict[str, jax.Array]  # batch, inputs, latents, samples or a view; see above
Losses = dict[str, jax.Array]  # {name: scalar}
Variables = Mapping[str, Any]  # {collection: nested dictionary of arrays}


def check(what: str, value: object, known: Iterable[object]) -> None:
  """Raises UserError unless `value` is one of the `known` values of the switch called `what`."""
  if value not in known:
    raise UserError(f"unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def layer_settings(config: ConfigDict, platform: str, ops: str | None = None) -> LayerSettings:
  """Returns the settings that all layers of a system share.

  The `build` function of a system replaces single fields, such as the initializer.

  Args:
    config: the whole config. This function reads `config.precision`, `config.chunks` and
      `config.model.savings`.
    platform: kind of the devices that will run the system; see `runtime.mesh.platform`.
    ops: form of the arithmetic, a name in `ops.forms.FORMS`. None chooses it by `platform` and
      `config.model.savings`.

  Raises:
    UserError: the precision or the form is unknown.
  """
  policy = precision.policy(config.precision, platform)
  ops = forms.choose(platform, config.model.savings) if ops is None else ops
  check("ops", ops, forms.FORMS)
  return LayerSettings(
    dtype=policy.dtype,
    param_dtype=policy.param_dtype,
    precision=policy.precision,
    ops=ops,
    chunks=config.get("chunks", 1),
  )


class Context(struct.PyTreeNode):
  """What every function of a system may read besides its other arguments.

  Attributes:
    step: number of finished training iterations, an int32 scalar.
    frozen: variables of frozen earlier stages, see `Staged`.
  """

  step: jax.Array | int = 0
  frozen: dict[str, Any] = struct.field(default_factory=dict)


class Side(struct.PyTreeNode):
  """The real or the generated clips of one update, with all that belongs to them.

  Attributes:
    inputs: see the module's docstring.
    samples: see the module's docstring.
    latents: {} for real clips.
    scores: {name of a discriminator: its output}; {} before the clips are scored.
  """

  inputs: Arrays
  samples: Arrays
  latents: Arrays = struct.field(default_factory=dict)
  scores: dict[str, Any] = struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class VideoGan(Phased, Conditioned, Staged, abc.ABC):
  """A video GAN, as the training step sees it.

  Attributes:
    name: name of the system, for logs.
    generator: a module called as generator(latents, inputs, train, frames) -> samples.
    discriminators: {name: module}, each called as module(**view, train=train) -> scores, where
      `views` makes the view.
    frames: frames per clip.
    resolution: height and width of a frame in pixels.
    num_classes: number of classes; 0 is an unconditional system.
    schedule: see `Schedule`.
    joint_scores: score real and generated clips in one call of a discriminator. Must be False if a
      discriminator has batch normalisation, which mixes the examples of a call. If True, the step
      may pass a call's examples in chunks.
    constraint_period: iterations between calls of `constrain`; 0 never calls it.
    spectral_eps: lower bound of norms in spectral normalisation.
    batch_multiple: on each device, every micro-batch holds a multiple of this number of clips, for
      systems that split a batch into parts of fixed sizes.
    r1: penalty on the gradients at real clips; see `penalties`.
    augmentation: transformations of the clips that discriminators see; see `layers.augmentation`.
    stages: {name: an earlier stage}. This system uses their averaged generators without training
      them. `Context.frozen` holds their variables, spectrally normalised; see `derive`.
    frozen_runs: {name of a stage: folder of its finished run}.
    phases: phases of training, for networks that grow; () is one phase without end. All parameters
      exist from the start, so that the state has the same structure in all phases.
    fault: why no new run may begin with this config; "" allows it. `registry.build` builds such
      configs nevertheless, because older runs with them must still open; see `check_new`.
  """

  name: str
  generator: nn.Module
  discriminators: Mapping[str, nn.Module]
  frames: int
  resolution: int
  num_classes: int
  schedule: Schedule
  joint_scores: bool = True
  constraint_period: int = 0
  spectral_eps: float = 1e-8
  batch_multiple: int = 1
  r1: penalties.R1 = dataclasses.field(default_factory=penalties.R1)
  augmentation: tuple[str, ...] = ()
  stages: Mapping[str, "VideoGan"] = dataclasses.field(default_factory=dict)
  frozen_runs: Mapping[str, str] = dataclasses.field(default_factory=dict)
  phases: tuple[Phase, ...] = ()
  fault: str = ""

  def check_new(self) -> None:
    """Raises UserError if no new run may begin with this config."""
    if self.fault:
      raise UserError(self.fault)

  @abc.abstractmethod
  def latents(
    self, key: jax.Array, batch_size: int, frames: int | None = None, scale: float | jax.Array = 1.0
  ) -> Arrays:
    """Draws the latents of `batch_size` clips.

    Args:
      key: random key.
      batch_size: number of clips.
      frames: frames per clip; None is `self.frames`.
      scale: factor on the latents' standard deviation or range: 1 in training, less to truncate.
    """

  def generated_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """Inputs of the clips generated in an update with the real `batch`.

    By default labels drawn uniformly from all classes; {} without classes.
    """
    del context
    if not self.num_classes:
      return {}
    shape = batch["label"].shape
    return {"label": jax.random.randint(key, shape, 0, self.num_classes, jnp.int32)}

  def sampling_inputs(
    self,
    key: jax.Array,
    labels: jax.Array,
    context: Context,
    frames: int | None = None,
    conditioning: Arrays | None = None,
  ) -> Arrays:
    """Inputs of clips with given classes, outside training.

    By default the labels; {} without classes.

    Args:
      key: random key for systems that draw inputs, such as the clips of an earlier stage.
      labels: int [N], or float [N, num_classes] weights that mix class embeddings.
      context: see `Context`.
      frames: frames per generated clip; None is `self.frames`.
      conditioning: data to condition on, {"clip": uint8 [N, T, H, W, 3]}; see `Conditioned`.
    """
    del key, context, frames, conditioning
    return {"label": labels} if self.num_classes else {}

  def real_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """Inputs of the real clips of `batch`, by default their labels.

    `real_samples` receives the same `key`, so that both methods can draw the same window.
    """
    del key, context
    return {"label": batch["label"]} if self.num_classes else {}

  def real_samples(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """Samples of the real clips of `batch`, by default {"clip": the clips in [-1, 1]}."""
    del key, context
    # float32, or float64 if JAX has it enabled: such runs must not round to float32.
    return {"clip": batch["clip"].astype(jnp.result_type(float)) / 127.5 - 1}

  @abc.abstractmethod
  def views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """Returns {discriminator: view}, the part of real or generated samples that each one sees."""

  def augmented_views(
    self, key: jax.Array, samples: Arrays, inputs: Arrays, context: Context
  ) -> dict[str, Arrays]:
    """The views that updates use: `views` of the samples after the system's augmentation.

    All samples that are clips, [B, T, H, W, 3], are augmented. Each of them, such as each level of
    TGANv2, draws its own transformations.
    """
    if self.augmentation:
      augment_key = jax.random.fold_in(key, zlib.crc32(b"augmentation"))
      keys = dict(zip(samples, jax.random.split(augment_key, len(samples)), strict=True))
      samples = {
        name: augmentation.augment(keys[name], sample, self.augmentation)
        if sample.ndim == 5 and sample.shape[-1] == 3
        else sample
        for name, sample in samples.items()
      }
    return self.views(key, samples, inputs, context)

  def clip_scores(self, name: str, output: Any) -> jax.Array:
    """The score of each clip [B], larger for real ones, from what discriminator `name` returned.

    R1 penalises its gradient. By default the mean over what is left beside the batch.
    """
    del name
    return jnp.mean(output.reshape(output.shape[0], -1), axis=1)

  @abc.abstractmethod
  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Returns {name: scalar}; the discriminators minimise the sum."""

  @abc.abstractmethod
  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """Returns {name: scalar}; the generator minimises the sum. `real` has no scores."""

  def penalties(
    self,
    score: Callable[[str, Arrays], Any],
    real_views: dict[str, Arrays],
    generated_views: dict[str, Arrays],
    key: jax.Array,
    context: Context,
  ) -> Losses:
    """Further terms of the discriminators' loss by name; by default R1 if its weight is above 0.

    With augmentation, R1 is taken at the augmented clips, by their pixels. The code of Zhao et al.
    differentiates by the pixels before the augmentation.

    Args:
      score: a differentiable function (name of a discriminator, view) -> scores.
      real_views, generated_views: {name of a discriminator: view}.
      key: random key.
      context: see `Context`.
    """
    del generated_views, key, context
    if not self.r1.weight:
      return {}
    parts = {}
    for name, view in real_views.items():
      scores = lambda view, name=name: self.clip_scores(name, score(name, view))
      norms = penalties.squared_gradient_norms(scores, view)
      share = self.r1_share(name, real_views)
      parts[f"r1_{name}"] = self.r1.weight * self.r1.reference_count * share * jnp.mean(norms)
    return parts

  def r1_share(self, name: str, real_views: dict[str, Arrays]) -> float:
    """The factor of discriminator `name` in the sum of R1 over the discriminators."""
    del name, real_views
    return 1.0

  def constrain(self, name: str, variables: Variables) -> Variables:
    """Projects the parameters of discriminator `name`; see `constraint_period`."""
    return variables["params"]

  def generate(
    self,
    variables: Variables,
    latents: Arrays,
    inputs: Arrays,
    key: jax.Array,
    train: bool,
    frames: int | None = None,
  ) -> tuple[Arrays, Variables]:
    """Runs the generator.

    Args:
      variables: {"params": spectrally normalised weights, "batch_stats": running statistics}.
      latents: see `latents`.
      inputs: see the module's docstring.
      key: random key for noise inside the network.
      train: normalise with the statistics of this batch, and return them.
      frames: frames per clip; None is `self.frames`.

    Returns:
      The samples, and {"batch_stats": statistics of this batch} in training, otherwise {}.
    """
    return self.generator.apply(
      variables,
      latents,
      inputs,
      train,
      frames or self.frames,
      rngs={"noise": key},
      mutable=[normalization.COLLECTION] if train else [],
    )

  def discriminate(
    self, name: str, variables: Variables, view: Arrays, key: jax.Array, train: bool = True
  ) -> tuple[Any, Variables]:
    """Runs discriminator `name` on a view; see `generate` for the arguments.

    Returns:
      The scores, and {"batch_stats": statistics of this batch} in training, otherwise {}.
    """
    call: dict[str, Any] = {**view, "train": train}
    return self.discriminators[name].apply(
      variables,
      **call,
      rngs={"noise": key},
      mutable=[normalization.COLLECTION] if train else [],
    )

  def init(self, key: jax.Array, frozen: dict[str, Any] | None = None) -> dict[str, Any]:
    """Draws the initial variables of all networks.

    Args:
      key: random key.
      frozen: see `Context`.

    Returns:
      {"generator": variables, "discriminators": {name: variables}} with the collections "params",
      "spectral" and, if a network has batch normalisation, "batch_stats".
    """
    keys = dict(
      zip(["generator", *sorted(self.discriminators)], jax.random.split(key, 64), strict=False)
    )
    batch = self.example_batch(self.batch_multiple)
    latents = self.latents(key, self.batch_multiple)
    context = Context(jnp.zeros((), jnp.int32), frozen or {})
    inputs = self.example_derived(latents, self.generated_inputs(key, batch, context))
    generator = self.generator.init(
      {"params": keys["generator"], "noise": key}, latents, inputs, True, self.frames
    )

    def example_views() -> dict[str, Arrays]:
      samples = self.real_samples(key, batch, context)
      return self.views(key, samples, self.real_inputs(key, batch, context), context)

    views = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(example_views))
    discriminators = {
      name: module.init({"params": keys[name], "noise": key}, **views[name], train=True)
      for name, module in self.discriminators.items()
    }
    collections = ("params", spectral_norm.COLLECTION, normalization.COLLECTION)
    keep = lambda variables: {c: dict(variables[c]) for c in collections if c in variables}
    return {
      "generator": keep(generator),
      "discriminators": {name: keep(v) for name, v in discriminators.items()},
    }

  def example_batch(self, batch_size: int = 1) -> Arrays:
    """A batch of zeros with the structure and types of training data."""
    size = (batch_size, self.frames, self.resolution, self.resolution, 3)
    return {"clip": jnp.zeros(size, jnp.uint8), "label": jnp.zeros((batch_size,), jnp.int32)}
