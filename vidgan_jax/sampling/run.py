"""Opens a training run for sampling."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

import vidgan_jax.training.earlier as stages
import vidgan_jax.training.state as states
from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import Arrays, Context, Variables, VideoGan
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.text import find_name, printable
from vidgan_jax.sampling import cascade, exported, generation
from vidgan_jax.sampling import conditioning as conditioning_of
from vidgan_jax.sampling.conditioning import Conditioning
from vidgan_jax.training.state import TrainState


class Run:
  """A trained generator to sample from. `load` opens one.

  Attributes:
    config: the whole config of the run.
    gan: the system that was trained, as it draws clips of full size (`VideoGan.sampler`).
    step: number of iterations it was trained for.
    class_names: class names of the training data, by label; empty without classes.
    context: the training step, and the variables of frozen earlier stages with their running
      statistics; see `context_of`.
    conditioning: clips from which standing statistics are collected, for systems that continue
      given frames. Without it, such systems use the running statistics of training.
  """

  def __init__(
    self,
    config: ConfigDict,
    gan: VideoGan,
    state: TrainState,
    *,
    frozen: dict[str, Any] | None = None,
    use_ema: bool = True,
    standing_passes: int = 16,
    class_names: Sequence[str] = (),
    conditioning: Conditioning | None = None,
  ):
    self.config, self.step = config, int(state.step)
    self.gan = gan.sampler(self.step)
    self.context = Context(jnp.asarray(state.step), frozen or {})
    self.class_names = tuple(class_names)
    self.use_ema, self.standing_passes = use_ema, standing_passes
    self._variables = states.generator_variables(state, use_ema=use_ema, eps=gan.spectral_eps)
    self.conditioning = conditioning
    self._contexts: dict[tuple[int, float], Context] = {}

  @property
  def conditioning(self) -> Conditioning | None:
    """See the class's docstring. Another value collects the standing statistics anew."""
    return self._conditioning

  @conditioning.setter
  def conditioning(self, conditioning: Conditioning | None) -> None:
    self._conditioning, self._standing = conditioning, {}

  @property
  def params(self) -> Any:
    """The generator's parameters, spectrally normalised."""
    return self._variables["params"]

  @property
  def _collects(self) -> bool:
    """Whether clips are generated with standing statistics."""
    given = self.conditioning is not None or not self.gan.needs_conditioning
    return self.standing_passes > 0 and given

  def use_statistics(self, own: Arrays, stages: dict[str, Any]) -> None:
    """Uses these standing statistics for clips as in training, without truncation.

    Args:
      own: batch statistics of the generator.
      stages: those of earlier stages, see `cascade.statistics_of`.
    """
    key = (self.gan.frames, 1.0)
    self._standing[key] = {**self._variables, normalization.COLLECTION: own}
    if stages:
      frozen = cascade.with_statistics(self.context.frozen, stages)
      self._contexts[key] = self.context.replace(frozen=frozen)

  def check_frames(self, frames: int | None) -> None:
    """UserError if the generator cannot generate clips of `frames` frames.

    Any number is possible with standing statistics, only that of training without them.
    """
    generation.check_frames(frames)
    self.gan.check_frames(frames or self.gan.frames)
    if self.gan.stages and not self.context.frozen:
      raise UserError("this run draws no clips: config.model.earlier_run names no earlier stage")
    if frames is not None and frames <= self.gan.given_frames:
      raise UserError(
        f"clips of {frames} frames leave none to generate: {self.gan.given_frames} are given"
      )
    if not self._collects and frames not in (None, self.gan.frames):
      how = ""
      if self.gan.needs_conditioning and self.conditioning is None:
        how = "; --conditioning=SPLIT, or `run.conditioning` in Python, provides clips for them"
      raise UserError(
        f"{frames} frames need standing statistics: training had {self.gan.frames}{how}"
      )

  def variables(self, frames: int | None = None, truncation: float = 1.0) -> Variables:
    """The generator's variables for clips of `frames` frames.

    Standing statistics are collected at the first call and cached.

    Raises:
      UserError: see `check_frames`.
    """
    generation.check_truncation(truncation)
    self.check_frames(frames)
    frames = frames or self.gan.frames
    if not self._collects:
      return self._variables
    key = (frames, float(truncation))
    if key not in self._standing:
      self._standing[key] = generation.standing_statistics(
        self.gan,
        self._variables,
        streams.key(self.config.seed, streams.STANDING),
        self.context_of(frames, truncation),
        passes=self.standing_passes,
        frames=frames,
        truncation=truncation,
        conditioning=self.conditioning.inputs if self.conditioning else None,
      )
    return self._standing[key]

  def context_of(self, frames: int | None = None, truncation: float = 1.0) -> Context:
    """The context of clips of `frames` frames: earlier stages have statistics for these.

    Standing statistics are collected at the first call and cached, the first stage's first.
    """
    if self.standing_passes < 1 or not self.gan.stages:
      return self.context
    key = (frames or self.gan.frames, float(truncation))
    if key not in self._contexts:
      frozen = cascade.standing_stages(
        self.gan,
        self.context,
        streams.key(self.config.seed, streams.STANDING),
        passes=self.standing_passes,
        frames=key[0],
        truncation=truncation,
      )
      self._contexts[key] = self.context.replace(frozen=frozen)
    return self._contexts[key]

  def sample(
    self,
    key: jax.Array | int = 0,
    *,
    labels: ArrayLike | None = None,
    count: int | None = None,
    truncation: float = 1.0,
    frames: int | None = None,
    batch_size: int = 16,
    conditioning: Arrays | None = None,
  ) -> np.ndarray:
    """Samples clips.

    Args:
      key: a random key or an integer seed, 0..2**32-1. The same key gives the same bytes.
      labels: int [N]; or N names of classes (`class_names`); or float [N, num_classes] weights
        that mix class embeddings. None samples `count` clips, clip i with the class i modulo the
        number of classes.
      count: number of clips N if `labels` is None; None is one clip per class, or 16 without
        classes.
      truncation: factor on the latents' standard deviation or range; 1 in training, 0.44 in
        DVD-GAN's Figure 14.
      frames: frames per clip; None is as in training. More frames than in training are allowed.
      batch_size: clips generated at once.
      conditioning: {"clip": uint8 [N, T, H, W, 3]} for systems that continue given frames; see
        `predict`, which generates several clips for each.

    Returns:
      NumPy uint8 [N, T, H, W, 3].

    Raises:
      UserError: labels are out of range, or the truncation is not positive.
    """
    if isinstance(key, int | np.integer):
      if not 0 <= key < 2**32:  # JAX would drop the higher bits
        raise UserError(f"seed {key} is outside 0..{2**32 - 1}")
      key = streams.key(int(key), streams.SAMPLING)
    classes = self.gan.num_classes
    if labels is None:
      labels = np.arange(count if count is not None else classes or 16) % max(1, classes)
    labels = self._indices(labels)
    generation.check_labels(labels, classes)
    latents = generation.draw_latents(
      self.gan, key, len(labels), frames=frames, truncation=truncation
    )
    return self.generate(
      latents,
      labels,
      key=key,
      truncation=truncation,
      frames=frames,
      batch_size=batch_size,
      conditioning=conditioning,
    )

  def _indices(self, labels: ArrayLike) -> np.ndarray:
    """Replaces names of classes by their indices; UserError if there is no such class."""
    generation.check_shape(labels)
    labels = np.asarray(labels)
    if labels.dtype.kind != "U" or labels.ndim != 1:
      return labels
    indices = [find_name(str(name), self.class_names) for name in labels]
    if None in indices:
      unknown = printable(str(labels[indices.index(None)]))
      known = ", ".join(self.class_names[:20]) + (", ..." if len(self.class_names) > 20 else "")
      raise UserError(f"no class {unknown!r}; known: {known or 'none, this run has no names'}")
    return np.array(indices, np.int64)

  def predict(
    self,
    frames: np.ndarray,
    futures: int = 4,
    key: jax.Array | int = 0,
    *,
    truncation: float = 1.0,
    length: int | None = None,
    batch_size: int = 16,
  ) -> np.ndarray:
    """Continues given frames (DVD-GAN-FP), several times each.

    Args:
      frames: uint8 [N, T, H, W, 3]. The first `gan.given_frames` frames of each clip are used.
      futures: number of clips generated for each given one, which differ in their latents.
      key: see `sample`.
      truncation: see `sample`.
      length: frames of each returned clip, with the given ones; None is as in training.
      batch_size: clips generated at once.

    Returns:
      NumPy uint8 [N, futures, length, H, W, 3]. Each clip begins with its given frames, unchanged.

    Raises:
      UserError: the run continues no frames, or `frames` has another type or size.
    """
    given = np.asarray(frames)
    conditioning_of.check(given.shape, given.dtype, self.gan, "frames")
    if futures < 1:
      raise UserError(f"futures is {futures}, must be at least 1")
    clips = self.sample(
      key,
      count=len(given) * futures,
      truncation=truncation,
      frames=length,
      batch_size=batch_size,
      conditioning={"clip": jnp.repeat(given[:, : self.gan.given_frames], futures, axis=0)},
    )
    return clips.reshape(len(given), futures, *clips.shape[1:])

  def generate(
    self,
    latents: Arrays,
    labels: ArrayLike,
    *,
    key: jax.Array | None = None,
    truncation: float = 1.0,
    frames: int | None = None,
    batch_size: int = 16,
    conditioning: Arrays | None = None,
    show_stages: bool = False,
  ) -> np.ndarray:
    """Generates clips from latents {name: [N, ...]} and labels; see `sample`.

    With `show_stages`, those of all stages side by side, uint8 [N, T, H, stages * W, 3].
    """
    if show_stages and not self.gan.stages:
      raise UserError("this run has no earlier stages to show")
    labels = self._indices(labels)
    generation.check_labels(labels, self.gan.num_classes)
    key = streams.key(0, streams.SAMPLING) if key is None else key
    labels = labels if np.issubdtype(labels.dtype, np.floating) else labels.astype(np.int32)
    variables = self.variables(frames, truncation)
    return generation.in_batches(
      self.gan,
      variables,
      latents,
      self.gan.sampling_inputs(key, jnp.asarray(labels), self.context, frames, conditioning),
      frames=frames,
      batch_size=batch_size,
      frozen=self.context_of(frames, truncation).frozen,
      draw=cascade.side_by_side if show_stages else generation.generate,
    )


def load(
  workdir: str | os.PathLike,
  *,
  step: int | None = None,
  use_ema: bool = True,
  standing_passes: int = 16,
  report: Callable[[str], None] = print,
) -> Run:
  """Opens the run, or the exported model, in `workdir` for sampling.

  Args:
    workdir: folder of a run, or one that `vidgan export` wrote; or moving_shapes, the model of the
      package.
    step: step of the checkpoint to open; None is the newest undamaged one.
    use_ema: sample from the moving average of the generator instead of the live generator.
    standing_passes: see `generation.standing_statistics`; 0 uses the running statistics.
    report: called with lines for the user.

  Raises:
    UserError: there is no run, or no such checkpoint, or a file of an exported model was changed.
  """
  workdir = paths.run(workdir, "the folder of the run")
  if states.is_export(workdir):
    return _load_export(workdir, step, use_ema, standing_passes)
  config, gan, state = states.load(workdir, step, report=report)
  return of_state(
    workdir,
    config,
    gan,
    state,
    use_ema=use_ema,
    standing_passes=standing_passes,
    report=report,
  )


def of_state(
  workdir: str | os.PathLike,
  config: ConfigDict,
  gan: VideoGan,
  state: TrainState,
  *,
  use_ema: bool = True,
  standing_passes: int = 16,
  report: Callable[[str], None] = print,
) -> Run:
  """The run of a state that `training.state.load` has read from `workdir`; see `load`."""
  return Run(
    config,
    gan,
    state,
    frozen=stages.frozen_variables(config, gan, workdir, report=report),
    use_ema=use_ema,
    standing_passes=standing_passes,
    class_names=_class_names(workdir, gan),
  )


def _class_names(workdir: str | os.PathLike, gan: VideoGan) -> tuple[str, ...]:
  """Class names of a run's data; UserError if they are not as many as the model's classes."""
  names = states.class_names(workdir)
  if names and len(names) != gan.num_classes:
    raise UserError(
      f"{workdir}: {states.DATA} names {len(names)} classes, the model has {gan.num_classes}"
    )
  return names


def _load_export(
  workdir: str | os.PathLike, step: int | None, use_ema: bool, standing_passes: int
) -> Run:
  """Opens an exported model; see `load`."""
  if not use_ema:
    raise UserError(f"{workdir} is an exported model, which has no live weights, only the average")
  model = exported.Exported(workdir)
  if step not in (None, int(model.state.step)):
    raise UserError(
      f"no checkpoint at iteration {step} in {workdir}, which is an exported model of iteration "
      f"{int(model.state.step)}"
    )
  run = Run(
    model.config,
    model.gan,
    model.state,
    frozen=model.frozen,
    standing_passes=standing_passes,
    class_names=_class_names(workdir, model.gan),
  )
  if standing_passes > 0 and model.standing_passes == standing_passes:
    run.use_statistics(model.statistics, model.stage_statistics)
  return run
