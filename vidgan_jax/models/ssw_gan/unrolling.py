"""Generates long clips in windows of time, so that memory does not grow with their length.

A generator of convolutions computes a frame from those within its temporal receptive field. A
window with that many more frames on both sides therefore gives the same frames as the whole clip.
Batch normalisation must have statistics per time step, which connect no frames.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.models.contract import Arrays
from vidgan_jax.runtime import mesh as meshes


def span(step: int, field: int, multiple: int) -> int:
  """Frames of a window: `step` new ones, and the receptive field on both sides.

  Args:
    step: frames that a window adds to the clip.
    field: frames on each side that a frame depends on.
    multiple: frames per frame of x_l, of which window borders must be multiples.
  """
  return step + 2 * _margin(field, multiple)


def _margin(field: int, multiple: int) -> int:
  return -(-field // multiple) * multiple


def in_windows(
  generate: Callable[[Any, jax.Array, int], tuple[Arrays, Any]],
  statistics: Any,
  low: jax.Array,
  *,
  frames: int,
  step: int,
  field: int,
  multiple: int,
) -> tuple[Arrays, Any]:
  """Generates a clip window by window.

  Args:
    generate: a function (statistics, x_l, frames) of one window -> (samples, reported statistics).
    statistics: batch statistics [frames, C] per time step, of which each window gets its part;
      None to pass None.
    low: x_l [B, frames / multiple, h, w, 3].
    frames: frames of the clip.
    step, field, multiple: see `span`; `frames` and `step` are multiples of `multiple`.

  Returns:
    samples {name: [B, frames, ...]} and reported statistics [frames, C], equal to those of one
    call for the whole clip up to rounding.
  """
  margin, length = _margin(field, multiple), span(step, field, multiple)

  def window(start: jax.Array) -> tuple[jax.Array, Arrays, Any]:
    """The first frame of the new ones, and what was generated for these alone."""
    first = jnp.minimum(start, frames - step)  # the last window repeats frames of the one before
    begin = jnp.clip(first - margin, 0, frames - length)
    part = None
    if statistics is not None:
      cut = lambda a: jax.lax.dynamic_slice_in_dim(a, begin, length, 0)
      part = jax.tree.map(cut, statistics)
    cut_low = jax.lax.dynamic_slice_in_dim(low, begin // multiple, length // multiple, 1)
    samples, reported = generate(part, cut_low, length)
    new = lambda axis: lambda a: jax.lax.dynamic_slice_in_dim(a, first - begin, step, axis)
    return first, jax.tree.map(new(1), samples), jax.tree.map(new(0), reported)

  def place(axis: int, first: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, first, axis)

  def add(wholes: tuple[Arrays, Any], start: jax.Array) -> tuple[tuple[Arrays, Any], None]:
    first, *parts = window(start)
    placed = [
      jax.tree.map(place(axis, first), whole, part)
      for axis, whole, part in zip((1, 0), wholes, parts, strict=True)
    ]
    return (placed[0], placed[1]), None

  _, samples, reported = jax.eval_shape(window, jnp.zeros((), jnp.int32))
  empty = lambda a: jnp.zeros((a.shape[0], frames, *a.shape[2:]), a.dtype)
  clip = {name: meshes.like_devices(empty(a), low) for name, a in samples.items()}
  wholes = clip, jax.tree.map(lambda a: jnp.zeros((frames, *a.shape[1:]), a.dtype), reported)
  wholes, _ = jax.lax.scan(add, wholes, jnp.arange(0, frames, step))
  return wholes
