"""Generates clips: latents, truncation, standing statistics, any number of frames."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import Arrays, Context, Variables, VideoGan
from vidgan_jax.runtime.errors import UserError

_MAX_BYTES = 16 * 2**30  # limit for all clips of a request; more is probably a typing error
_BAR_DELAY = 2  # seconds before a progress bar appears


def to_uint8(clip: jax.Array) -> jax.Array:
  """Converts float pixels in [-1, 1] to uint8 in 0..255, rounded to nearest; any shape."""
  return jnp.clip(jnp.round((clip.astype(jnp.float32) + 1) * 127.5), 0, 255).astype(jnp.uint8)


def check_truncation(truncation: float) -> None:
  """UserError unless `truncation`, the standard deviation of z, is positive and finite."""
  if not (truncation > 0 and np.isfinite(truncation)):
    raise UserError(f"truncation is {truncation}; it is a standard deviation and must be positive")


def check_frames(frames: int | None) -> None:
  """UserError if `frames` is below 1; None, which stands for the frames of training, is allowed."""
  if frames is not None and frames < 1:
    raise UserError(f"frames is {frames}, must be at least 1")


def check_shape(labels: ArrayLike) -> None:
  """UserError unless there is one label per clip, and at least one."""
  try:
    labels = np.asarray(labels)
  except ValueError as error:
    raise UserError(f"labels are lists of different lengths ({error})") from error
  if not labels.ndim or not len(labels):
    raise UserError(f"expected one label per clip, got {labels.tolist()}")


def check_labels(labels: ArrayLike, num_classes: int) -> None:
  """UserError unless labels are int [N] in 0..num_classes-1 or finite float [N, num_classes].

  A model without classes ignores labels; it accepts any N numbers.
  """
  check_shape(labels)
  labels = np.asarray(labels)
  if labels.dtype.kind not in "biuf":
    raise UserError(f"labels must be integers [N], got {labels.dtype} {list(labels.shape)}")
  if not num_classes:
    return
  if np.issubdtype(labels.dtype, np.floating):
    if labels.shape[1:] != (num_classes,) or not np.all(np.isfinite(labels)):
      raise UserError(
        f"label weights must be finite and [N, {num_classes}], got {list(labels.shape)}"
      )
    return
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise UserError(f"labels must be integers [N], got {labels.dtype} {list(labels.shape)}")
  for label in labels:
    if not 0 <= label < num_classes:
      raise UserError(f"label {label} is outside 0..{num_classes - 1}")


def check_size(gan: VideoGan, count: int, frames: int) -> None:
  """UserError if `count` uint8 clips of `frames` frames take more than `_MAX_BYTES`."""
  size = count * frames * gan.resolution**2 * 3
  if size > _MAX_BYTES:
    raise UserError(
      f"{count} clips of {frames} frames take {size / 2**30:.0f} GiB of memory; the limit is "
      f"{_MAX_BYTES >> 30} GiB"
    )


def draw_latents(
  gan: VideoGan, key: jax.Array, count: int, *, frames: int | None = None, truncation: float = 1.0
) -> Arrays:
  """Draws the latents of `count` clips.

  Each clip has a separate random key, so that its latents do not depend on `count`.

  Args:
    gan: a `VideoGan`.
    key: random key.
    count: number of clips N.
    frames: frames per clip; None is as in training.
    truncation: factor on the latents' standard deviation or range; 1 in training, 0.44 in DVD-GAN's
      Figure 14.

  Returns:
    {name: [N, ...]}.
  """
  check_truncation(truncation)
  check_frames(frames)
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
  draw = lambda k: gan.latents(k, 1, frames, truncation)
  return jax.tree.map(lambda a: a.reshape(count, *a.shape[2:]), jax.vmap(draw)(keys))


@functools.partial(jax.jit, static_argnums=(0, 4))
def generate(
  gan: VideoGan,
  variables: Variables,
  latents: Arrays,
  inputs: Arrays,
  frames: int,
  frozen: dict[str, Any] | None = None,
) -> jax.Array:
  """Generates uint8 [N, frames, H, W, 3], normalised with the statistics in `variables`."""
  inputs = gan.derive(frozen or {}, latents, inputs, frames)
  key = jax.random.key(0)  # unused: generators draw noise in training only
  samples, _ = gan.generate(variables, latents, inputs, key, False, frames)
  return to_uint8(samples["clip"])


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _moments(
  gan: VideoGan,
  variables: Variables,
  key: jax.Array,
  batch_size: int,
  frames: int,
  truncation: float | jax.Array,
  context: Context,
  conditioning: Arrays | None,
) -> Any:
  """Generates one batch; returns the mean and variance of each batch normalisation layer."""
  keys = jax.random.split(key, 4)
  latents = gan.latents(keys[0], batch_size, frames, truncation)
  labels = jnp.zeros((batch_size,), jnp.int32)
  if gan.num_classes:
    labels = jax.random.randint(keys[1], (batch_size,), 0, gan.num_classes)
  inputs = gan.sampling_inputs(keys[3], labels, context, frames, conditioning)
  inputs = gan.derive(context.frozen, latents, inputs, frames)
  _, reported = gan.generate(variables, latents, inputs, keys[2], True, frames)
  return reported.get(normalization.COLLECTION, {})


def standing_statistics(
  gan: VideoGan,
  variables: Variables,
  key: jax.Array,
  context: Context,
  *,
  passes: int = 16,
  batch_size: int = 16,
  frames: int | None = None,
  truncation: float = 1.0,
  conditioning: Callable[[int, int], Arrays] | None = None,
) -> Variables:
  """Replaces batch statistics by their average over several batches of generated clips.

  These are BigGAN's standing statistics: before sampling, 16 batches are generated with the
  truncation of the samples. Statistics per time step must be collected for each number of frames
  (SSW-GAN takes 200 passes for its unrolled clips).

  Args:
    gan: a `VideoGan`.
    variables: variables of the generator, normalised weights and batch statistics.
    key: random key.
    context: see `models.contract.Context`.
    passes: number of batches; 0 returns `variables` unchanged. A generator without batch
      normalisation needs none.
    batch_size: clips per batch, times `VideoGan.batch_multiple`: in training mode TGANv2 keeps one
      of that many clips at its last level, and a variance over a few clips is too small.
    frames: frames per clip; None is as in training.
    truncation: see `draw_latents`.
    conditioning: a function (begin, end) -> the data that the clips begin..end-1 of all passes are
      generated from, see `VideoGan.sampling_inputs`. None for systems that need none.

  Returns:
    `variables` with the new batch statistics.
  """
  if passes < 1 or not variables.get(normalization.COLLECTION):
    return variables
  frames = frames or gan.frames
  clips = batch_size * gan.batch_multiple
  total = None
  for index in tqdm(
    range(passes), desc="batch statistics", leave=False, delay=_BAR_DELAY, disable=None
  ):
    given = conditioning and conditioning(index * clips, (index + 1) * clips)
    pass_key = jax.random.fold_in(key, index)
    moments = _moments(gan, variables, pass_key, clips, frames, float(truncation), context, given)
    total = moments if total is None else jax.tree.map(jnp.add, total, moments)
  mean = jax.tree.map(lambda a: a / passes, total)
  return {**variables, normalization.COLLECTION: mean}


def in_batches(
  gan: VideoGan,
  variables: Variables,
  latents: Arrays,
  inputs: Arrays,
  *,
  frames: int | None = None,
  batch_size: int = 16,
  frozen: dict[str, Any] | None = None,
  draw: Callable[..., jax.Array] = generate,
) -> np.ndarray:
  """Generates N clips in batches of equal size, so that only one program is compiled.

  Args:
    gan: a `VideoGan`.
    variables: see `generate`.
    latents, inputs: dictionaries of arrays [N, ...].
    frames: frames per clip; None is as in training.
    batch_size: clips per batch. The last batch is filled up with copies of the last clip.
    frozen: see `models.contract.Context`.
    draw: a function that is called as `generate`.

  Returns:
    NumPy uint8 [N, frames, H, W, 3].
  """
  if batch_size < 1:
    raise UserError(f"batch_size is {batch_size}, must be at least 1")
  frames = frames or gan.frames
  count = jax.tree.leaves(latents)[0].shape[0]
  check_size(gan, count, frames)
  batch_size = min(batch_size, count)
  clips = []
  begins = range(0, count, batch_size)
  for begin in tqdm(
    begins, desc="generating", unit="batch", leave=False, delay=_BAR_DELAY, disable=None
  ):
    index = np.minimum(np.arange(begin, begin + batch_size), count - 1)
    take = lambda tree, index=index: jax.tree.map(lambda a: jnp.asarray(a)[index], tree)
    clips.append(np.asarray(draw(gan, variables, take(latents), take(inputs), frames, frozen)))
  return np.concatenate(clips)[:count]
