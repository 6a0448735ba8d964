"""Generated clips by number, as many as wanted, drawn where the devices are.

Clip i of a stream depends on the seed and on i alone: not on how many are drawn, nor on the batch
or the devices they are drawn with. Clips stay on the devices, for whatever looks at them next.
"""

import functools

import jax
import numpy as np

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import generation
from vidgan_jax.sampling.run import Run

_INPUTS = 1  # folded into a clip's key for what its inputs are drawn from


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(gan, frames, mesh, truncation, variables, context, key, index):
  """Clips `index` [N] of the stream of `key`; returns uint8 [N, frames, H, W, 3], int32 [N]."""

  def latents_and_inputs(i, label):
    own = jax.random.fold_in(key, i)
    inputs = gan.sampling_inputs(jax.random.fold_in(own, _INPUTS), label[None], context, frames)
    return gan.latents(own, 1, frames, truncation), inputs

  labels = index % max(1, gan.num_classes)
  drawn, inputs = jax.vmap(latents_and_inputs)(index, labels)
  drawn, inputs = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), (drawn, inputs))
  split = lambda array: meshes.split_batch(array, mesh)
  drawn, inputs = jax.tree.map(split, (drawn, inputs))
  samples, _ = gan.generate(variables, drawn, inputs, jax.random.key(0), False, frames)
  return split(generation.to_uint8(samples["clip"])), labels


class Stream:
  """The generated clips of a run.

  Args:
    run: see `sampling.run.load`; its standing statistics are collected here, before any clip.
    seed: of the latents, 0..2**32-1.
    truncation: standard deviation of z.
    frames: per clip; None is as in training.
    mesh: devices; by default the first alone.

  Attributes:
    about: what the clips depend on besides their numbers: step, ema, truncation, standing passes.

  Raises:
    UserError: on a seed, truncation or number of frames that will not do.
  """

  def __init__(self, run: Run, seed: int = 0, *, truncation: float = 1.0, frames=None, mesh=None):
    if not 0 <= seed < 2**32:
      raise UserError(f"seed {seed} is outside 0..{2**32 - 1}")
    variables = run.variables(frames, truncation)  # standing statistics
    self._mesh = mesh or meshes.make_mesh(jax.devices()[:1])
    put = lambda tree: meshes.replicate(tree, self._mesh)
    self._variables, self._context = put((variables, run.context))
    self._key = put(streams.key(seed, streams.SAMPLING))
    self._gan, self._truncation = run.gan, float(truncation)
    self._frames = frames or run.gan.frames
    self.about = {
      "step": run.step,
      "ema": run.use_ema,
      "truncation": self._truncation,
      "standing_passes": run.standing_passes,
      "seed": seed,
    }

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """(T, H, W, 3) of a clip."""
    side = self._gan.resolution
    return (self._frames, side, side, 3)

  def __call__(self, begin: int, end: int):
    """Clips begin..end-1: uint8 [end - begin, T, H, W, 3] on the devices, and labels int32.

    Classes come in turn. Each length is compiled once; the devices share clips whose number is a
    multiple of theirs. Where they are several processes', all have to ask for the same clips.
    """
    index = meshes.replicate(np.arange(begin, end, dtype=np.int32), self._mesh)
    return _draw(
      self._gan,
      self._frames,
      self._mesh,
      self._truncation,  # traced: a curve over it is one program
      self._variables,
      self._context,
      self._key,
      index,
    )


def of_moment(moment, *, seed: int, count_of_passes: int = 16) -> Stream:
  """The clips of a run in training, drawn from the average of its generator.

  Args:
    moment: see `training.hooks.Moment`.
    seed: of the latents.
    count_of_passes: for standing statistics.
  """
  run = Run(
    moment.config,
    moment.gan,
    moment.state,
    frozen=moment.frozen,
    standing_passes=count_of_passes,
  )
  return Stream(run, seed, mesh=moment.mesh)
