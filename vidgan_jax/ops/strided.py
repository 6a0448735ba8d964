"""Strided and transposed convolutions, and equivalent convolutions without strides.

A convolution with stride 2 and an even window becomes a convolution without strides if the pixels
of each cell of 2 (2x2, 2x2x2) pixels are moved into the channels. Its gradients are fast on all
devices. A transposed convolution with stride 2 and window 4 becomes one convolution with window 2
for each phase of the output, that is, for each position in a cell of 2 (2x2, 2x2x2) output pixels.
Neither needs dilated operands, which are slow in XLA (jax issues 8537 and 23783, openxla issue
34273).
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vidgan_jax.ops.convolution import Precision, fold, space_to_depth

Pairs = tuple[tuple[int, int], ...]


def without_batch_axes(
  kernel: jax.Array, strides: Sequence[int], padding: Sequence[tuple[int, int]]
) -> tuple[jax.Array, tuple[int, ...], Pairs]:
  """Drops leading window axes of size 1, stride 1 and no padding, which act as batch axes.

  Args:
    kernel: [*window, in, out].
    strides: one per window axis.
    padding: one (low, high) pair per window axis.

  Returns:
    Kernel, strides and padding of the remaining axes; at least one remains.
  """
  strides, pairs = tuple(strides), tuple((low, high) for low, high in padding)
  while kernel.ndim > 3 and (kernel.shape[0], strides[0], pairs[0]) == (1, 1, (0, 0)):
    kernel, strides, pairs = kernel[0], strides[1:], pairs[1:]
  return kernel, strides, pairs


def cells(
  factors: Sequence[int], padding: Sequence[tuple[int, int]]
) -> tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]:
  """Returns two functions that turn a strided convolution into one without strides.

  They move the pixels of each cell of `factors` pixels into the channels.

  Args:
    factors: strides, which divide the window and the padded map.
    padding: one (low, high) pair per window axis.

  Returns:
    A linear function of x [N, *spatial, in] and one of the kernel [*window, in, out]. The "VALID"
    convolution of their results, with stride 1, equals the strided convolution.
  """

  def of_x(x: jax.Array) -> jax.Array:
    if any(map(any, padding)):
      x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return space_to_depth(x, factors, 1)

  return of_x, lambda kernel: space_to_depth(kernel[None], factors, 1, merge=2)[0]


def pad_to_cells(
  x: jax.Array,
  window: Sequence[int],
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
) -> jax.Array:
  """Pads x [..., *spatial, in], and cuts off the pixels beyond the last window.

  If the strides divide the window, the result consists of whole cells of `strides` pixels.
  """
  rank = len(window)
  widths, cut = [(0, 0)] * (x.ndim - rank - 1), []
  for size, (low, high), length, stride in zip(
    x.shape[-rank - 1 : -1], padding, window, strides, strict=True
  ):
    out = (size + low + high - length) // stride + 1
    reach = (out - 1) * stride + length
    widths.append((low, max(0, reach - low - size)))
    cut.append(slice(0, reach))
  return jnp.pad(x, (*widths, (0, 0)))[(..., *cut, slice(None))]


def by_phases(
  x: jax.Array, kernel: jax.Array, convolve: Callable[[jax.Array, Pairs], jax.Array]
) -> jax.Array:
  """A transposed convolution (window 4, stride 2, padding 1) as one convolution for each phase.

  Args:
    x: [..., *spatial, in].
    kernel: [4, ..., 4, in, out].
    convolve: a function (part of the kernel [2, ..., 2, in, out], padding) that convolves `x`.

  Returns:
    [..., *(2 * spatial), out].
  """
  rank = kernel.ndim - 2
  phases = []
  # Output 2m depends on inputs m - 1 (tap 3) and m (tap 1), output 2m + 1 on m (tap 2) and m + 1
  # (tap 0). The gradient of a slice is a pad, that of a list of indices a slow scatter.
  reversed_ = jnp.flip(kernel, tuple(range(rank)))
  for phase in itertools.product((0, 1), repeat=rank):
    taps = reversed_[tuple(slice(odd, None, 2) for odd in phase)]
    phases.append(convolve(taps, tuple((0, 1) if odd else (1, 0) for odd in phase)))
  lead, spatial = x.shape[: x.ndim - rank - 1], x.shape[x.ndim - rank - 1 : -1]
  features, first = kernel.shape[-1], len(lead)
  out = jnp.stack(phases, axis=-2).reshape(*lead, *spatial, *[2] * rank, features)
  order = [axis for i in range(rank) for axis in (first + i, first + rank + i)]
  out = out.transpose(*range(first), *order, first + 2 * rank)
  return out.reshape(*lead, *[2 * size for size in spatial], features)


def dilated(x: jax.Array, kernel: jax.Array, precision: Precision = None) -> jax.Array:
  """A transposed convolution (window 4, stride 2, padding 1), computed as it is defined.

  Args:
    x: [..., *spatial, in], between whose pixels zeros are inserted.
    kernel: [4, ..., 4, in, out].
    precision: see `jax.lax.Precision`.

  Returns:
    [..., *(2 * spatial), out].
  """
  rank = kernel.ndim - 2
  folded, lead = fold(x, rank)
  axes = "DHW"[-rank:]
  out = jax.lax.conv_general_dilated(
    folded,
    jnp.flip(kernel, tuple(range(rank))).astype(x.dtype),
    (1,) * rank,
    [(2, 2)] * rank,
    lhs_dilation=(2,) * rank,
    dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    precision=precision,
  )
  return out.reshape(*lead, *out.shape[1:])
