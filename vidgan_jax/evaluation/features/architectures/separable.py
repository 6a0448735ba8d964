"""Three-dimensional convolutions, computed as convolutions of frames and convolutions in time.

XLA has fast convolutions in two dimensions on every platform; on CPU, those in three dimensions are
much slower. All functions compute in float32 at the highest precision, and equal the convolution
in three dimensions up to rounding.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

_FEW_CHANNELS = 64


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A three-dimensional convolution with odd windows; zero padding keeps the size of the input.

  Args:
    x: [B, T, H, W, in].
    kernel: [t, h, w, in, out].

  Returns:
    [B, T, H, W, out].
  """
  frames, (window, height, width) = x.shape[1], kernel.shape[:3]
  padded = jnp.pad(x, ((0, 0), (window // 2, window // 2), (0, 0), (0, 0), (0, 0)))
  padding = ((height // 2, height // 2), (width // 2, width // 2))
  taps = [padded[:, tap : tap + frames] for tap in range(window)]
  if x.shape[-1] <= _FEW_CHANNELS:
    # One convolution with the taps as channels. Measured on two CPU cores with a batch of 4: it is
    # 3.8 times as fast as the sum for 3 channels and 1.4 times for 64, without gain from 256 on.
    return frame_convolution(
      jnp.concatenate(taps, axis=-1), jnp.concatenate([*kernel], axis=-2), 1, padding
    )
  terms = [frame_convolution(tap, part, 1, padding) for tap, part in zip(taps, kernel, strict=True)]
  return sum(terms[1:], terms[0])


def frame_convolution(
  x: jax.Array, kernel: jax.Array, stride: int, padding: Sequence[tuple[int, int]]
) -> jax.Array:
  """A two-dimensional convolution of each frame.

  Args:
    x: [B, T, H, W, in].
    kernel: [h, w, in, out].
    stride: stride in height and width.
    padding: ((low, high) of height, (low, high) of width).

  Returns:
    [B, T, H', W', out].
  """
  batch, frames, *rest = x.shape
  x = _convolution(x.reshape(batch * frames, *rest), kernel, (stride, stride), padding)
  return x.reshape(batch, frames, *x.shape[1:])


def time_convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """A convolution of each pixel in time, with an odd window and zero padding at both ends.

  Args:
    x: [B, T, H, W, in].
    kernel: [t, in, out].
    stride: stride in time.

  Returns:
    [B, ceil(T / stride), H, W, out].
  """
  batch, frames, height, width, channels = x.shape
  padding = kernel.shape[0] // 2
  x = x.reshape(batch, frames, height * width, channels)
  x = _convolution(x, kernel[:, None], (stride, 1), ((padding, padding), (0, 0)))
  return x.reshape(batch, x.shape[1], height, width, -1)


def _convolution(x, kernel, strides, padding):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=jax.lax.Precision.HIGHEST,
  )
