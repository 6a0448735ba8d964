"""Differentiable augmentation of the clips that discriminators see (Zhao et al. 2020).

"Differentiable Augmentation for Data-Efficient GAN Training", arXiv 2006.10738: in every update,
real and generated clips pass through random transformations of the same distribution, and the
generator's gradient passes through them. With few clips, this keeps discriminators from learning
the clips by heart.

Every clip draws its own transformation, which is the same for all of its frames. Ranges are those
of mit-han-lab/data-efficient-gans. Clips are [B, T, H, W, 3] in [-1, 1]; pixels that a translation
uncovers or a cutout removes become 0, grey.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vidgan_jax.runtime.errors import UserError

TRANSLATION = 1 / 8  # largest shift, relative to the size
CUTOUT = 1 / 2  # side of the square that is cut out, relative to the size


def augment(key: jax.Array, clips: jax.Array, kinds: Sequence[str]) -> jax.Array:
  """Applies the transformations `kinds`, in the order of `KINDS`.

  Args:
    key: random key.
    clips: [B, T, H, W, 3].
    kinds: names in `KINDS`.

  Returns:
    [B, T, H, W, 3].

  Raises:
    UserError: on an unknown name.
  """
  for kind in kinds:
    if kind not in KINDS:
      raise UserError(f"unknown augmentation {kind!r}; known: {', '.join(KINDS)}")
  for number, (kind, transform) in enumerate(KINDS.items()):
    if kind in kinds:
      clips = transform(jax.random.fold_in(key, number), clips)
  return clips


def _draw(key: jax.Array, clips: jax.Array, low: float, high: float) -> jax.Array:
  """One uniform number for each clip, [B, 1, 1, 1, 1]."""
  shape = (clips.shape[0], 1, 1, 1, 1)
  return jax.random.uniform(key, shape, jnp.promote_types(jnp.float32, clips.dtype), low, high)


def colour(key: jax.Array, clips: jax.Array) -> jax.Array:
  """Changes brightness, then saturation, then contrast.

  Brightness adds U(-0.5, 0.5). Saturation scales the distance from the mean of the three channels
  by U(0, 2), contrast the distance from the mean of the clip by U(0.5, 1.5).
  """
  keys = jax.random.split(key, 3)
  wide = clips.astype(jnp.promote_types(jnp.float32, clips.dtype))
  wide = wide + _draw(keys[0], clips, -0.5, 0.5)
  grey = jnp.mean(wide, axis=-1, keepdims=True)
  wide = grey + (wide - grey) * _draw(keys[1], clips, 0, 2)
  mean = jnp.mean(wide, axis=(1, 2, 3, 4), keepdims=True)
  wide = mean + (wide - mean) * _draw(keys[2], clips, 0.5, 1.5)
  return wide.astype(clips.dtype)


def translation(key: jax.Array, clips: jax.Array) -> jax.Array:
  """Shifts clips vertically and horizontally by up to an eighth of the size, in whole pixels."""
  for axis, axis_key in zip((2, 3), jax.random.split(key), strict=True):
    size = clips.shape[axis]
    most = int(size * TRANSLATION + 0.5)
    shape = (clips.shape[0], 1, 1, 1, 1)
    shift = jax.random.randint(axis_key, shape, -most, most + 1)
    source = _positions(clips, axis) - shift
    inside = (source >= 0) & (source < size)
    moved = jnp.take_along_axis(clips, jnp.clip(source, 0, size - 1), axis=axis)
    clips = jnp.where(inside, moved, 0)
  return clips


def cutout(key: jax.Array, clips: jax.Array) -> jax.Array:
  """Sets a square of half of the size to 0; a part of the square may lie outside."""
  covered = jnp.ones((clips.shape[0], 1, 1, 1, 1), bool)
  for axis, axis_key in zip((2, 3), jax.random.split(key), strict=True):
    size = clips.shape[axis]
    side = int(size * CUTOUT + 0.5)
    shape = (clips.shape[0], 1, 1, 1, 1)
    centre = jax.random.randint(axis_key, shape, 0, size + 1 - side % 2)
    position = _positions(clips, axis)
    begin = centre - side // 2
    covered = covered & (position >= begin) & (position < begin + side)
  return jnp.where(covered, 0, clips)


def _positions(clips: jax.Array, axis: int) -> jax.Array:
  """0, 1, ... along `axis`, with five axes."""
  shape = [1] * clips.ndim
  shape[axis] = clips.shape[axis]
  return jnp.arange(clips.shape[axis]).reshape(shape)


KINDS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  "colour": colour,
  "translation": translation,
  "cutout": cutout,
}
