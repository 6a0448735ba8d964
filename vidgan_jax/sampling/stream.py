"""An unlimited, numbered stream of generated clips, computed on the devices of a mesh.

Clip i depends only on the run, the seed and i. It does not depend on the number of clips, the batch
or the devices that generate it. Clips stay on the devices, where feature networks use them.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vidgan_jax.models.contract import Arrays, Context, Variables, VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hooks import HookContext
from vidgan_jax.sampling import conditioning, generation
from vidgan_jax.sampling.run import Run

_INPUTS = 1  # folded into a clip's key to get the key of its inputs


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(
  gan: VideoGan,
  frames: int,
  mesh: Mesh,
  truncation: float | jax.Array,
  variables: Variables,
  context: Context,
  key: jax.Array,
  index: jax.Array,
  given: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Generates the clips with the numbers `index` [N]; `given` has first frames for each of them.

  Returns:
    Clips uint8 [N, frames, H, W, 3] and labels int32 [N].
  """

  def latents_and_inputs(
    i: jax.Array, label: jax.Array, clip: jax.Array | None
  ) -> tuple[Arrays, Arrays]:
    clip_key = jax.random.fold_in(key, i)
    inputs_key = jax.random.fold_in(clip_key, _INPUTS)
    continued = None if clip is None else {"clip": clip[None]}
    inputs = gan.sampling_inputs(inputs_key, label[None], context, frames, continued)
    return gan.latents(clip_key, 1, frames, truncation), inputs

  labels = index % max(1, gan.num_classes)
  latents, inputs = jax.vmap(latents_and_inputs)(index, labels, given)
  latents, inputs = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), (latents, inputs))
  split = lambda array: meshes.split_batch(array, mesh)
  latents, inputs = jax.tree.map(split, (latents, inputs))
  inputs = gan.derive(context.frozen, latents, inputs, frames)
  samples, _ = gan.generate(variables, latents, inputs, jax.random.key(0), False, frames)
  return split(generation.to_uint8(samples["clip"])), labels


class Stream:
  """The stream of generated clips of a run.

  The constructor collects the standing statistics. If the run continues given frames, clip i
  continues the clip i of `run.conditioning`, whose numbers begin again after its last clip.

  Args:
    run: see `sampling.run.load`.
    seed: seed of the latents, 0..2**32-1.
    truncation: factor on the latents' standard deviation or range.
    frames: frames per clip; None is as in training.
    mesh: devices to generate on; None is the first device alone.

  Attributes:
    about: the settings that the clips depend on: step, ema, truncation, standing_passes, seed, and
      the clips to condition on.

  Raises:
    UserError: the seed, the truncation or the number of frames is not allowed, or the run continues
      given frames and has no `conditioning`.
  """

  def __init__(
    self,
    run: Run,
    seed: int = 0,
    *,
    truncation: float = 1.0,
    frames: int | None = None,
    mesh: Mesh | None = None,
  ):
    if not 0 <= seed < 2**32:
      raise UserError(f"seed {seed} is outside 0..{2**32 - 1}")
    self._conditioning = run.conditioning if run.gan.needs_conditioning else None
    if run.gan.needs_conditioning and self._conditioning is None:
      raise UserError(f"this run continues {run.gan.given_frames} given frame(s), but has no clips")
    variables = run.variables(frames, truncation)
    self._mesh = mesh or meshes.make_mesh(jax.devices()[:1])
    put = lambda tree: meshes.replicate(tree, self._mesh)
    self._variables, self._context = put((variables, run.context_of(frames, truncation)))
    self._key = put(streams.key(seed, streams.SAMPLING))
    self._gan, self._truncation = run.gan, float(truncation)
    self._frames = frames or run.gan.frames
    self.about = {
      "step": run.step,
      "ema": run.use_ema,
      "truncation": self._truncation,
      "standing_passes": run.standing_passes,
      "seed": seed,
      **({"conditioning": self._conditioning.about} if self._conditioning else {}),
    }

  def given(self, begin: int, end: int) -> np.ndarray | None:
    """The whole clips whose first frames the clips begin..end-1 continue, or None.

    Returns:
      uint8 [end - begin, T, H, W, 3].
    """
    return self._conditioning(begin, end) if self._conditioning else None

  @property
  def given_count(self) -> int:
    """Number of different clips that are continued; 0 if none are given."""
    return self._conditioning.count if self._conditioning else 0

  @property
  def given_frames(self) -> int:
    """Number of given frames at the start of each clip."""
    return self._gan.given_frames

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """Shape (T, H, W, 3) of a clip."""
    size = self._gan.resolution
    return (self._frames, size, size, 3)

  def __call__(self, begin: int, end: int) -> tuple[jax.Array, jax.Array]:
    """Generates the clips begin..end-1.

    The class of clip i is i modulo the number of classes. Each value of end - begin is compiled
    once. If it is a multiple of the number of devices, each device generates an equal part. If the
    devices belong to several processes, all processes must request the same clips.

    Returns:
      Clips uint8 [end - begin, T, H, W, 3] on the devices, and labels int32 [end - begin].
    """
    index = meshes.replicate(np.arange(begin, end, dtype=np.int32), self._mesh)
    given = self.given(begin, end)
    if given is not None:
      given = meshes.replicate(given[:, : self._gan.given_frames], self._mesh)
    return _draw(
      self._gan,
      self._frames,
      self._mesh,
      self._truncation,  # traced, so that several values share one program
      self._variables,
      self._context,
      self._key,
      index,
      given,
    )


def of_conditioned(run: Run, seed: int = 0, *, clips: Any, count: int, **options: Any) -> Stream:
  """The stream of a run that continues given frames: clip i continues clip i modulo `count`.

  Args:
    run: see `sampling.run.load`.
    seed: seed of the latents.
    clips: a function (begin, end) -> (clips uint8 [end - begin, T, H, W, 3], labels).
    count: number of these clips.
    **options: further arguments of `Stream`.
  """
  run.conditioning = conditioning.of_labelled(clips, count)
  return Stream(run, seed, **options)


def from_hook_context(
  context: HookContext,
  *,
  seed: int,
  standing_passes: int = 16,
  clips: Any = None,
  count: int = 0,
) -> Stream:
  """The stream of a run in training, generated by the moving average of its generator.

  Args:
    context: what the training loop passes to a collective hook.
    seed: seed of the latents.
    standing_passes: see `generation.standing_statistics`.
    clips, count: for systems that continue given frames; see `of_conditioned`.
  """
  run = Run(
    context.config,
    context.gan,
    context.state,
    frozen=context.frozen,
    standing_passes=standing_passes,
  )
  if context.gan.needs_conditioning:
    return of_conditioned(run, seed, clips=clips, count=count, mesh=context.mesh)
  return Stream(run, seed, mesh=context.mesh)
