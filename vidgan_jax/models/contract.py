"""The contract of a video GAN: all that the training step, the sampler and the doors know of one.

A `VideoGan` is a frozen description made of Flax modules and pure functions; it holds no arrays.
Data moves through it as dictionaries with the batch as first axis of every array:

* batch: what the data room delivers, {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
* inputs: what a clip is conditioned on (label, first frames, a low-resolution window, a blend
  factor); real clips and generated ones each have their own.
* latents: the random vectors of generated clips.
* samples: {"clip": [B, T, H, W, 3] in [-1, 1], ...} with further levels or a mask where a system
  has them; data and generator deliver the same structure as far as the discriminators look.
* view: the keyword arguments one discriminator is called with.

How the systems use it: DVD-GAN and the thesis take it as it is. DVD-GAN-FP puts the first frames
into `generated_inputs` and joins them to the clip in `views`. SSW-GAN's later stages draw their
low-resolution windows from a frozen earlier stage. TGANv2 delivers several levels as samples, each
with its own batch size, and R1 through `penalties`. TGAN and its kin set `generator_first`,
`constrain` (singular value clipping), `joint_scores=False` (batch norm inside discriminators);
MoCoGAN's image discriminator gets a random frame of each clip from `views`; its categories and
VGAN's mask enter through `generator_losses`. ProgressiveVGAN fades real and generated clips by
`Context.step`, one run per resolution.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.ops import forms
from vidgan_jax.runtime import precision
from vidgan_jax.runtime.errors import UserError

Arrays = dict[str, jax.Array]
Losses = dict[str, jax.Array]


def check(what: str, value, known) -> None:
  """UserError where a switch has a value that is not among the known ones."""
  if value not in known:
    raise UserError(f"unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def layer_settings(config, platform: str, ops: str | None = None) -> LayerSettings:
  """The settings that all layers of a system share; a builder adds those of its networks.

  Args:
    config: the whole config; `config.precision` and `config.model.savings` are read.
    platform: of the devices that the system is built for; see `runtime.mesh.platform`.
    ops: the form of the arithmetic, a name in `ops.forms.FORMS`; None chooses by `platform` and
      `config.model.savings`.

  Raises:
    UserError: on an unknown precision or form.
  """
  policy = precision.policy(config.precision, platform)
  ops = forms.choose(platform, config.model.savings) if ops is None else ops
  check("ops", ops, forms.FORMS)
  return LayerSettings(
    dtype=policy.dtype, param_dtype=policy.param_dtype, precision=policy.precision, ops=ops
  )


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Who moves when within one iteration.

  Attributes:
    discriminator_steps: discriminator updates per generator update, each on its own real batch.
    generator_first: the generator moves before the discriminators.
    shared_fakes: the generator's update and the discriminators' next to it use the same latents,
      inputs and clips: the generator's pass is made once for both, one less in each iteration. With
      `generator_first` the discriminators see the clips that the generator was updated on; else the
      generator is updated on those that the discriminators saw last.
  """

  discriminator_steps: int = 1
  generator_first: bool = False
  shared_fakes: bool = False


class Context(struct.PyTreeNode):
  """What every function of a system may look at besides its own arguments.

  Attributes:
    step: iterations done, an int32 scalar; when sampling, those the run was trained for.
    frozen: {name: variables} of frozen earlier stages, see `VideoGan.frozen_runs`.
  """

  step: jax.Array | int = 0
  frozen: dict[str, Any] = struct.field(default_factory=dict)


class Side(struct.PyTreeNode):
  """One side of the game in one update, real or generated.

  Attributes:
    inputs: see the module's docstring.
    samples: likewise.
    latents: {} on the real side.
    scores: {discriminator: its output}; {} where nothing was scored.
  """

  inputs: Arrays
  samples: Arrays
  latents: Arrays = struct.field(default_factory=dict)
  scores: dict[str, Any] = struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class VideoGan(abc.ABC):
  """A video GAN as the training step knows it.

  Attributes:
    name: of the system, for logs.
    generator: a module called as generator(latents, inputs, train, frames) -> samples.
    discriminators: {name: module}, each called as module(**view, train=train) -> scores.
    frames, resolution, num_classes: of the clips; num_classes 0 is unconditional.
    schedule: see `Schedule`.
    joint_scores: score real and generated clips in one call; exact where no discriminator mixes its
      batch, must be off where one has batch norm.
    constraint_period: iterations between calls of `constrain`; 0 never calls it.
    spectral_eps: lower bound of norms in spectral normalisation.
    frozen_runs: {name: folder of a finished run} whose generators' averages this system uses as
      they are; their variables, normalised, arrive in `Context.frozen`.
    fault: why no new run may begin with this config, "" where one may. Runs that began before such
      configs were refused still open, so `registry.build` builds it; see `check_new`.
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
  frozen_runs: Mapping[str, str] = dataclasses.field(default_factory=dict)
  fault: str = ""

  def check_new(self) -> None:
    """Raises UserError where no new run may begin with this config."""
    if self.fault:
      raise UserError(self.fault)

  @abc.abstractmethod
  def latents(self, key, batch_size: int, frames: int | None = None, scale=1.0) -> Arrays:
    """Draws latents; `scale` shrinks their spread (truncation by sigma), 1 in training."""

  def generated_inputs(self, key, batch: Arrays, context: Context) -> Arrays:
    """Inputs for clips to generate beside the real `batch`, by default none."""
    del key, batch, context
    return {}

  def sampling_inputs(
    self,
    key,
    labels,
    context: Context,
    frames: int | None = None,
    conditioning: Arrays | None = None,
  ) -> Arrays:
    """Inputs for clips of given classes, outside training, by default none.

    Args:
      key: random key, for systems whose inputs are drawn (the clips of an earlier stage).
      labels: int [N], or float [N, num_classes] weights that mix class embeddings.
      context: see `Context`.
      frames: of the clips to generate; None is as in training.
      conditioning: data to condition on, e.g. {"clip": uint8 [N, T, H, W, 3]} of first frames.
    """
    del key, labels, context, frames, conditioning
    return {}

  def real_inputs(self, key, batch: Arrays, context: Context) -> Arrays:
    """Inputs that belong to the real clips of `batch`, by default their labels.

    `key` is the one that `real_samples` gets, so that both can draw the same window.
    """
    del key, context
    return {"label": batch["label"]} if self.num_classes else {}

  def real_samples(self, key, batch: Arrays, context: Context) -> Arrays:
    """The data's samples, by default the clip alone, from uint8 to [-1, 1]."""
    del key, context
    # float32, or float64 where JAX computes in it: there rounding must not enter.
    return {"clip": batch["clip"].astype(jnp.result_type(float)) / 127.5 - 1}

  @abc.abstractmethod
  def views(self, key, samples: Arrays, inputs: Arrays, context: Context) -> dict[str, Arrays]:
    """Cuts what each discriminator sees; one function for real and generated samples."""

  @abc.abstractmethod
  def discriminator_losses(self, real: Side, generated: Side, context: Context) -> Losses:
    """Named parts whose sum the discriminators minimise."""

  @abc.abstractmethod
  def generator_losses(self, generated: Side, real: Side, context: Context) -> Losses:
    """Named parts whose sum the generator minimises; `real` carries no scores."""

  def penalties(
    self,
    score: Callable[[str, Arrays], Any],
    real_views: dict[str, Arrays],
    generated_views: dict[str, Arrays],
    key,
    context: Context,
  ) -> Losses:
    """Further parts of the discriminators' loss, e.g. R1; `score(name, view)` is differentiable."""
    del score, real_views, generated_views, key, context
    return {}

  def constrain(self, name: str, variables):
    """Projects the parameters of discriminator `name` after its update, every period."""
    return variables["params"]

  def generate(self, variables, latents, inputs, key, train: bool, frames: int | None = None):
    """Returns samples and the collections the generator reported ("batch_stats" in training)."""
    return self.generator.apply(
      variables,
      latents,
      inputs,
      train,
      frames or self.frames,
      rngs={"noise": key},
      mutable=[normalization.COLLECTION] if train else [],
    )

  def discriminate(self, name: str, variables, view: Arrays, key, train: bool = True):
    """Returns the scores of discriminator `name` and the collections it reported."""
    call: dict[str, Any] = {**view, "train": train}
    return self.discriminators[name].apply(
      variables,
      **call,
      rngs={"noise": key},
      mutable=[normalization.COLLECTION] if train else [],
    )

  def init(self, key, frozen=None):
    """Draws the variables of all networks.

    Args:
      key: random key.
      frozen: see `Context`.

    Returns:
      {"generator": variables, "discriminators": {name: variables}} with the collections "params",
      "spectral" and, where a network normalises over its batch, "batch_stats".
    """
    keys = dict(
      zip(["generator", *sorted(self.discriminators)], jax.random.split(key, 64), strict=False)
    )
    batch = self.example_batch()
    latents = self.latents(key, 1)
    context = Context(jnp.zeros((), jnp.int32), frozen or {})
    inputs = self.generated_inputs(key, batch, context)
    generator = self.generator.init(
      {"params": keys["generator"], "noise": key}, latents, inputs, True, self.frames
    )

    def example_views():
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
    """A batch of zeros in the data room's structure."""
    size = (batch_size, self.frames, self.resolution, self.resolution, 3)
    return {"clip": jnp.zeros(size, jnp.uint8), "label": jnp.zeros((batch_size,), jnp.int32)}
