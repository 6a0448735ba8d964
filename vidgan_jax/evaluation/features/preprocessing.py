"""Preprocessing of clips before a network: a sequence of named operations with arguments.

An operation is a tuple (name, *arguments) of plain numbers and strings, so that a protocol can be
hashed and stored. `apply` executes a sequence of operations. The input is uint8 0..255 RGB
[B, T, H, W, 3], the result is float32; there is no rounding in between.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidgan_jax.evaluation.features import resizing

MEAN = "mean"  # name of an extractor's constant: C3D's mean clip, float32 [16, 128, 171, 3], BGR


def _resize(clips, constants, method, height, width):
  del constants
  return resizing.resize(clips, (height, width), method)


def _scale(clips, constants, factor, offset):
  """clips * factor + offset."""
  del constants
  return clips * jnp.float32(factor) + jnp.float32(offset)


def _drop_frames(clips, constants, count):
  """Leaves out the first frames."""
  del constants
  return clips[:, count:]


def _crop(clips, constants, top, left, height, width):
  del constants
  return resizing.crop(clips, top, left, height, width)


def _center_crop(clips, constants, height, width):
  del constants
  return resizing.center_crop(clips, height, width)


def _bgr(clips, constants):
  """Reverses the order of channels: red, green, blue becomes blue, green, red."""
  del constants
  return clips[..., ::-1]


def _subtract_mean(clips, constants, top, left):
  """Subtracts the window at (top, left) of the mean clip, frame by frame."""
  mean = np.asarray(constants[MEAN], np.float32)
  frames, height, width = clips.shape[1:4]
  if frames > len(mean):
    raise ValueError(f"the mean clip has {len(mean)} frames, the clips have {frames}")
  return clips - resizing.crop(jnp.asarray(mean[:frames]), top, left, height, width)


def _normalize(clips, constants, mean, deviation):
  """(clips - mean) / deviation, with one mean and deviation per channel."""
  del constants
  return (clips - jnp.asarray(mean, jnp.float32)) / jnp.asarray(deviation, jnp.float32)


OPERATIONS: Mapping[str, Callable[..., jax.Array]] = {
  "resize": _resize,
  "scale": _scale,
  "crop": _crop,
  "drop_frames": _drop_frames,
  "center_crop": _center_crop,
  "bgr": _bgr,
  "subtract_mean": _subtract_mean,
  "normalize": _normalize,
}


def apply(
  clips: jax.Array | np.ndarray,
  operations: Iterable[tuple],
  constants: Mapping[str, np.ndarray] | None = None,
) -> jax.Array:
  """Executes operations one after the other.

  Args:
    clips: uint8 0..255 [B, T, H, W, 3].
    operations: sequence of (name, *arguments), with names in OPERATIONS.
    constants: {name: array} that some operations need; see `MEAN`.

  Returns:
    float32 [B, T, H', W', 3].
  """
  prepared: Any = clips.astype(jnp.float32)
  for name, *arguments in operations:
    prepared = OPERATIONS[name](prepared, constants or {}, *arguments)
  return prepared


def needs(operations: Iterable[tuple]) -> tuple[str, ...]:
  """Names of the constants that the operations need."""
  return (MEAN,) if any(operation[0] == "subtract_mean" for operation in operations) else ()
