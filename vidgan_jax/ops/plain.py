"""The operations of the layers, computed as the papers write them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vidgan_jax.ops import convolution, gru, lstm, strided
from vidgan_jax.ops.convolution import Padding, Precision


class Plain:
  """The plain form, which tests compare the other forms with.

  Other forms inherit from this class and override what they compute differently. In all methods,
  channels are the last axis of activations, and axes in front of the window's axes count as batch.
  `precision` is the `jax.lax.Precision` of convolutions and products. Kernels are cast to the type
  of the activations.
  """

  def convolve(
    self,
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    precision: Precision = None,
  ) -> jax.Array:
    """Convolves activations with a kernel.

    Args:
      x: [..., *spatial, in].
      kernel: [*window, in, out].
      strides: one number, or one per window axis.
      padding: "SAME", "VALID" or one (low, high) pair per window axis.
      precision: see `Plain`.

    Returns:
      [..., *spatial', out] in the type of `x`.
    """
    rank = kernel.ndim - 2
    folded, lead = convolution.fold(x, rank)
    strides = (strides,) * rank if isinstance(strides, int) else tuple(strides)
    out = self._convolve_batch(folded, kernel.astype(x.dtype), strides, padding, precision)
    return out.reshape(*lead, *out.shape[1:])

  def _convolve_batch(
    self,
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Padding,
    precision: Precision,
  ) -> jax.Array:
    """Convolves x [N, *spatial, in]; forms for a kind of device override this method."""
    return convolution.convolve_batch(x, kernel, strides, padding, precision)

  def same_convolution(
    self, x: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """A SAME convolution with window size 3 or 1.

    Args:
      x: [..., *spatial, in].
      kernel: [*window, in, out].
      precision: see `Plain`.

    Returns:
      [..., *spatial, out].
    """
    return self.convolve(x, kernel, precision=precision)

  def joined_convolution(
    self, x: jax.Array, shared: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """A SAME convolution of [x; shared], where `shared` is the same for all frames of a clip.

    Args:
      x: [B, T, H, W, C].
      shared: [B, H, W, D].
      kernel: [3, 3, C + D, out].
      precision: see `Plain`.

    Returns:
      [B, T, H, W, out].
    """
    repeated = jnp.broadcast_to(shared[:, None], (*x.shape[:-1], shared.shape[-1]))
    joined = jnp.concatenate([x, repeated], axis=-1)
    return self.same_convolution(joined, kernel, precision=precision)

  def upsampled_convolution(
    self, x: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """Nearest upsampling of height and width by 2, then a SAME convolution.

    Args:
      x: [..., H, W, in].
      kernel: [3, 3, in, out] or [1, 1, in, out].
      precision: see `Plain`.

    Returns:
      [..., 2H, 2W, out].
    """
    return self.convolve(convolution.upsample_nearest(x), kernel, precision=precision)

  def pooled_convolution(
    self, x: jax.Array, kernel: jax.Array, pool: Sequence[int], *, precision: Precision = None
  ) -> jax.Array:
    """A SAME convolution with window size 3 or 1, then average pooling.

    Args:
      x: [..., *spatial, in].
      kernel: [*window, in, out].
      pool: one factor per window axis; see `convolution.average_pool`.
      precision: see `Plain`.

    Returns:
      [..., *(size // factor), out].
    """
    return convolution.average_pool(self.convolve(x, kernel, precision=precision), pool)

  def strided_convolution(
    self,
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    precision: Precision = None,
  ) -> jax.Array:
    """A convolution with strides and explicit padding.

    Args:
      x: [..., *spatial, in].
      kernel: [*window, in, out].
      strides: one per window axis.
      padding: one (low, high) pair per window axis.
      precision: see `Plain`.

    Returns:
      [..., *spatial', out], spatial' = (spatial + low + high - window) // stride + 1.
    """
    kernel, strides, padding = strided.without_batch_axes(kernel, strides, padding)
    return self.convolve(x, kernel, strides=strides, padding=padding, precision=precision)

  def transposed_convolution(
    self, x: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """A transposed convolution with window 4, stride 2 and padding 1, which doubles every axis.

    It equals ConvTranspose(4, 2, 1) of PyTorch and Chainer: output o is the sum over inputs i of
    input i times tap o + 1 - 2 i of the kernel.

    Args:
      x: [..., *spatial, in].
      kernel: [4, ..., 4, in, out].
      precision: see `Plain`.

    Returns:
      [..., *(2 * spatial), out].
    """
    return strided.dilated(x, kernel, precision)

  def conv_gru(
    self,
    weights: gru.Weights,
    x: jax.Array,
    state: jax.Array,
    *,
    frames: int,
    activation: str,
    unroll: bool,
    precision: Precision = None,
  ) -> jax.Array:
    """Runs a convolutional GRU over the frames of a clip; see `ops.gru` for its equations.

    Args:
      weights: {name: (kernel, bias)}; see `gru.Weights`.
      x: [B, T, H, W, C], or [B, H, W, C] as the input of every step.
      state: [B, H, W, F] before the first step.
      frames: number of steps T.
      activation: rho, a name in `gru.ACTIVATIONS`.
      unroll: unroll the loop over the steps.
      precision: see `Plain`.

    Returns:
      The states after each step, [B, T, H, W, F].
    """
    return gru.as_written(
      weights, x, state, self._recurrent(precision), gru.Steps(activation, frames, unroll)
    )

  def conv_lstm(
    self,
    weights: lstm.Weights,
    x: jax.Array,
    *,
    frames: int,
    unroll: bool,
    precision: Precision = None,
  ) -> jax.Array:
    """Runs a convolutional LSTM whose input is zero after the first step; see `ops.lstm`.

    Args:
      weights: see `lstm.Weights`.
      x: [B, H, W, C], the input of the first step.
      frames: number of steps T.
      unroll: unroll the steps into the program.
      precision: see `Plain`.

    Returns:
      the states after each step, [B, T, H, W, F].
    """
    return lstm.as_written(weights, x, self._recurrent(precision), frames=frames, unroll=unroll)

  def _recurrent(self, precision: Precision) -> gru.Convolve:
    """The convolution of a recurrent unit: a function (x, kernel)."""
    return lambda x, kernel: self.convolve(x, kernel, precision=precision)
