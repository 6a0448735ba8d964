"""Interpolation between latents and between classes (DVD-GAN 4.4, Figures 8, 9 and 18 to 20)."""

from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from vidgan_jax.models.contract import Arrays, VideoGan
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import generation


def _check_steps(steps: int) -> None:
  if steps < 2:
    raise UserError(f"an interpolation needs at least 2 steps, not {steps}")


def latent_walk(
  gan: VideoGan,
  key: jax.Array,
  labels: ArrayLike,
  steps: int,
  *,
  frames: int | None = None,
  truncation: float = 1.0,
) -> tuple[Arrays, np.ndarray]:
  """Interpolates linearly between two random latents, with the same class for both.

  Args:
    gan: a `VideoGan`.
    key: random key.
    labels: int [N], one interpolation for each label.
    steps: clips per interpolation, including both ends.
    frames: frames per clip; None is as in training.
    truncation: see `generation.draw_latents`.

  Returns:
    (latents {name: [N * steps, ...]}, labels [N * steps]), one interpolation after the other.
  """
  _check_steps(steps)
  generation.check_labels(labels, gan.num_classes)
  labels = np.asarray(labels)
  count = len(labels)
  ends = generation.draw_latents(gan, key, 2 * count, frames=frames, truncation=truncation)
  weights = np.linspace(0, 1, steps)

  def walk(a: jax.Array) -> np.ndarray:
    a = np.asarray(a)
    shape = (1, steps, *[1] * (a.ndim - 1))
    line = weights.reshape(shape).astype(a.dtype)
    points = (1 - line) * a[:count, None] + line * a[count:, None]
    return points.reshape(count * steps, *a.shape[1:])

  return jax.tree.map(walk, ends), np.repeat(labels, steps)


def class_walk(
  gan: VideoGan,
  key: jax.Array,
  labels: Sequence[int],
  steps: int,
  *,
  frames: int | None = None,
  truncation: float = 1.0,
) -> tuple[Arrays, np.ndarray]:
  """Interpolates linearly between the embeddings of two classes, with the same latent for both.

  Args:
    gan: a `VideoGan` with classes.
    key: random key.
    labels: int [2 N], pairs (from, to).
    steps, frames, truncation: see `latent_walk`.

  Returns:
    (latents {name: [N * steps, ...]}, label weights float32 [N * steps, num_classes]), one
    interpolation after the other.

  Raises:
    UserError: the number of labels is odd, or the model has no classes.
  """
  _check_steps(steps)
  if not gan.num_classes:
    raise UserError("this model has no classes to interpolate between")
  if len(labels) % 2 or not len(labels):
    raise UserError(f"class interpolation needs pairs of labels, got {len(labels)} label(s)")
  generation.check_labels(labels, gan.num_classes)
  pairs = np.eye(gan.num_classes, dtype=np.float32)[np.asarray(labels).reshape(-1, 2)]
  line = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None]
  weights = (1 - line) * pairs[:, :1] + line * pairs[:, 1:]
  latents = generation.draw_latents(gan, key, len(pairs), frames=frames, truncation=truncation)
  latents = jax.tree.map(lambda a: np.repeat(np.asarray(a), steps, axis=0), latents)
  return latents, weights.reshape(-1, gan.num_classes)
