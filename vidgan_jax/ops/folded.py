"""Forms with fewer multiply-adds: upsampling and pooling are merged into a convolution's kernel.

- Nearest upsampling by 2 and a 3x3 convolution become four 2x2 convolutions, whose outputs are
  interleaved: 16 instead of 36 products per input pixel.
- A 3x3 (3x3x3) convolution and average pooling by 2 become one 4x4 (4x4x4) convolution with stride
  2: 16 instead of 36 products per output pixel (64 instead of 216).
- A 1x1 convolution is computed before upsampling or after pooling, on the smaller map.
- A convolution of a clip joined with one map for all frames is the sum of two convolutions. That of
  the map is computed once.
- The parts of a ConvGRU that depend only on its input are computed for all time steps at once. A
  ConvLSTM convolves its input at the first step only, because it is zero afterwards.

Merged kernels are computed in the type of the parameters. No form uses a dilated or transposed
convolution, because their gradients are slow in XLA.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vidgan_jax.ops import convolution, gru, lstm, strided
from vidgan_jax.ops.convolution import Precision
from vidgan_jax.ops.plain import Plain
from vidgan_jax.ops.strided import Pairs

_FEW_CHANNELS = 4


def _patches(x: jax.Array, window: Sequence[int]) -> jax.Array:
  """Gathers the inputs of all taps of an odd window with SAME padding as channels.

  One axis after the other: a TPU stores an array of 3 channels with 128, so 27 shifted copies of a
  clip would take more memory than a network. Here at most three exist at a time, and the gradient
  adds 9 arrays instead of 27.

  Args:
    x: [N, *spatial, C].
    window: one odd size per spatial axis.

  Returns:
    [N, *spatial, prod(window) * C], in the order of a kernel's [*window, C].

  Raises:
    ValueError: a size of the window is even.
  """
  if any(size % 2 == 0 for size in window):
    raise ValueError(f"expected an odd window, got {list(window)}")
  for axis in reversed(range(1, 1 + len(window))):
    size, taps = x.shape[axis], window[axis - 1]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (taps // 2, taps // 2)
    padded = jnp.pad(x, padding)
    shifted = [lax.slice_in_dim(padded, tap, tap + size, axis=axis) for tap in range(taps)]
    x = jnp.concatenate(shifted, axis=-1)
  return x


class Folded(Plain):
  """The forms for accelerators; see the module's docstring, and `Plain` for the operations."""

  def same_convolution(
    self, x: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """See `Plain`. With few input channels, the inputs of all taps are gathered for one product.

    Convolutions of so few channels (a video has three) use a small part of a matrix unit.
    """
    window = kernel.shape[:-2]
    if kernel.shape[-2] > _FEW_CHANNELS or math.prod(window) == 1:
      return self.convolve(x, kernel, precision=precision)
    folded, _ = convolution.fold(x, len(window))
    patches = _patches(folded, window)
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(x.dtype)
    out = convolution.product(patches, matrix, precision)
    return out.reshape(*x.shape[:-1], -1)

  def joined_convolution(
    self, x: jax.Array, shared: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """See `Plain`. A convolution is linear in its input, so `shared` is convolved once per clip."""
    own, of_shared = jnp.split(kernel, [x.shape[-1]], axis=-2)
    once = self.same_convolution(shared, of_shared, precision=precision)
    return self.same_convolution(x, own, precision=precision) + once[:, None]

  def upsampled_convolution(
    self, x: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """See `Plain`. Four 2x2 convolutions, one for each pixel of a 2x2 cell of the output."""
    if kernel.shape[:2] == (1, 1):
      return convolution.upsample_nearest(self.convolve(x, kernel, precision=precision))
    *lead, height, width, _ = x.shape
    features = kernel.shape[-1]
    # Output row 2i depends on input rows i-1 (tap 0) and i (taps 1, 2); row 2i+1 depends on i (taps
    # 0, 1) and i+1 (tap 2). One convolution of a padded map with four times the output channels
    # would need as many multiply-adds as these four, but on CPU its weight gradient is 20 times
    # slower.
    phases = []
    for a, row in enumerate(_halve(kernel, 0)):
      for b, phase in enumerate(_halve(row, 1)):
        padding = ((1 - a, a), (1 - b, b))
        phases.append(self.convolve(x, phase, padding=padding, precision=precision))
    out = jnp.stack(phases, axis=-2).reshape(*lead, height, width, 2, 2, features)
    out = jnp.moveaxis(out, -3, -4)  # [..., H, 2, W, 2, features]
    return out.reshape(*lead, 2 * height, 2 * width, features)

  def pooled_convolution(
    self, x: jax.Array, kernel: jax.Array, pool: Sequence[int], *, precision: Precision = None
  ) -> jax.Array:
    """See `Plain`. Pooling by 2 becomes a stride of 2; other factors are computed as in `Plain`."""
    rank = kernel.ndim - 2
    spatial = x.shape[-rank - 1 : -1]
    factors = convolution.pool_factors(spatial, pool)
    if not set(factors) <= {1, 2}:
      return super().pooled_convolution(x, kernel, pool, precision=precision)
    if all(size == 1 for size in kernel.shape[:-2]):
      return self.convolve(convolution.average_pool(x, factors), kernel, precision=precision)
    kernel, padding = _pooled_kernel(kernel, spatial, factors)
    folded, lead = convolution.fold(x, rank)
    out = self._convolve_pooled(folded, kernel, factors, padding, precision)
    return out.reshape(*lead, *out.shape[1:])

  def _convolve_pooled(
    self,
    x: jax.Array,
    kernel: jax.Array,
    factors: Sequence[int],
    padding: Pairs,
    precision: Precision,
  ) -> jax.Array:
    """The strided convolution that replaces convolution and pooling.

    In 3-D it becomes a convolution without strides, because on GPUs strided 3-D convolutions are
    slow and their gradients unreliable.

    Args:
      x: [N, *spatial, in].
      kernel: see `_pooled_kernel`.
      factors: strides, one per window axis.
      padding: one (low, high) pair per window axis.
      precision: see `Plain`.
    """
    if kernel.ndim == 5:
      return self._convolve_cells(x, kernel, factors, padding, precision)
    return convolution.convolve_batch(x, kernel.astype(x.dtype), factors, padding, precision)

  def _convolve_cells(
    self,
    x: jax.Array,
    kernel: jax.Array,
    factors: Sequence[int],
    padding: Pairs,
    precision: Precision,
  ) -> jax.Array:
    """A convolution with strides `factors`, computed without strides; see `strided.cells`."""
    cells_of_x, cells_of_kernel = strided.cells(factors, padding)
    return self.convolve(
      cells_of_x(x), cells_of_kernel(kernel), padding="VALID", precision=precision
    )

  def strided_convolution(
    self,
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    precision: Precision = None,
  ) -> jax.Array:
    """See `Plain`. Computed without strides if the strides divide the window; see `strided`."""
    kernel, strides, padding = strided.without_batch_axes(kernel, strides, padding)
    window = kernel.shape[:-2]
    divides = all(size % stride == 0 for size, stride in zip(window, strides, strict=True))
    if set(strides) == {1} or not divides:
      return self.convolve(x, kernel, strides=strides, padding=padding, precision=precision)
    padded = strided.pad_to_cells(x, window, strides, padding)
    folded, lead = convolution.fold(padded, len(window))
    no_padding = ((0, 0),) * len(window)
    out = self._convolve_cells(folded, kernel, strides, no_padding, precision)
    return out.reshape(*lead, *out.shape[1:])

  def transposed_convolution(
    self, x: jax.Array, kernel: jax.Array, *, precision: Precision = None
  ) -> jax.Array:
    """See `Plain`. One convolution with half the window for each phase; see `strided.by_phases`."""
    return strided.by_phases(
      x,
      kernel,
      lambda taps, padding: self.convolve(x, taps, padding=padding, precision=precision),
    )

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
    """See `Plain`. Computes what depends on x alone outside the loop; see `gru.hoisted`."""
    return gru.hoisted(
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
    """See `Plain`. Convolves the input at the first step alone; reverse-mode derivatives only."""
    return lstm.hoisted(weights, x, self._recurrent(precision), frames=frames, unroll=unroll)


def _halve(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  """The two windows of 2 that, on the map before upsampling, replace a window of 3 on `axis`."""
  first, second, third = jnp.split(kernel, 3, axis)
  return (
    jnp.concatenate([first, second + third], axis),
    jnp.concatenate([first + second, third], axis),
  )


def _pooled_kernel(
  kernel: jax.Array, spatial: Sequence[int], factors: Sequence[int]
) -> tuple[jax.Array, Pairs]:
  """The kernel and padding of the strided convolution that includes the pooling.

  Args:
    kernel: [3, ..., 3, in, out].
    spatial: sizes of the map before the convolution.
    factors: 1 or 2 for each window axis.

  Returns:
    a kernel with windows of 3 (factor 1) or 4 (factor 2), and (low, high) pairs.
  """
  padding = []
  for axis, (size, factor) in enumerate(zip(spatial, factors, strict=True)):
    if factor == 1:
      padding.append((1, 1))
      continue
    # The mean of outputs 2i and 2i+1 depends on inputs 2i-1 .. 2i+2.
    widths = [(0, 0)] * kernel.ndim
    widths[axis] = (0, 1)
    first = jnp.pad(kernel, widths)
    widths[axis] = (1, 0)
    kernel = 0.5 * (first + jnp.pad(kernel, widths))
    padding.append((1, 1 - size % 2))
  return kernel, tuple(padding)
