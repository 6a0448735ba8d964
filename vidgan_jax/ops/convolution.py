"""Primitives that all forms share: XLA's convolution, pooling, upsampling and rearrangements.

Channels are the last axis. All axes in front of the window's axes count as batch, and are merged
with the first as the slowest: a clip [B, T, H, W, C] passes through a 3x3 convolution as B*T frames
and stays on its device.

A "map" is the array of activations of one frame or clip. A "tap" is one position in the window of a
kernel. A "cell" is a block of neighbouring pixels, for example 2x2.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Precision = jax.lax.PrecisionLike
Padding = str | Sequence[tuple[int, int]]

_SPATIAL = "DHW"


def convolve_batch(
  x: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Padding,
  precision: Precision = None,
) -> jax.Array:
  """XLA's convolution, for activations with exactly one batch axis.

  Args:
    x: [N, *spatial, in], with one to three spatial axes.
    kernel: [*window, in, out] in the type of `x`.
    strides: one per window axis.
    padding: "SAME", "VALID" or one (low, high) pair per window axis.
    precision: see `jax.lax.Precision`.

  Returns:
    [N, *spatial', out] in the type of `x`.
  """
  axes = _SPATIAL[-(kernel.ndim - 2) :]
  layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
  return jax.lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=layout, precision=precision
  )


def fold(x: jax.Array, rank: int) -> tuple[jax.Array, tuple[int, ...]]:
  """Merges the axes in front of the last `rank` + 1 into one.

  Args:
    x: [*lead, *spatial, C] with `rank` spatial axes.
    rank: number of spatial axes.

  Returns:
    [N, *spatial, C] and `lead`.
  """
  lead = x.shape[: x.ndim - rank - 1]
  return x.reshape(math.prod(lead), *x.shape[len(lead) :]), lead


def upsample_nearest(x: jax.Array, factors: Sequence[int] = (2, 2)) -> jax.Array:
  """Enlarges the last axes before the channels by repetition.

  Args:
    x: [..., *spatial, C].
    factors: one per spatial axis, e.g. (2, 2) for height and width.

  Returns:
    [..., *(factor * size), C].
  """
  rank = len(factors)
  lead, spatial, channels = x.shape[: x.ndim - rank - 1], x.shape[-rank - 1 : -1], x.shape[-1]
  single = itertools.chain.from_iterable((size, 1) for size in spatial)
  repeated = itertools.chain.from_iterable(zip(spatial, factors, strict=True))
  x = jnp.broadcast_to(x.reshape(*lead, *single, channels), (*lead, *repeated, channels))
  sizes = (size * factor for size, factor in zip(spatial, factors, strict=True))
  return x.reshape(*lead, *sizes, channels)


def pool_factors(shape: Sequence[int], pool: Sequence[int]) -> tuple[int, ...]:
  """Replaces pooling factors larger than their axis by 1.

  Args:
    shape: sizes of the pooled axes.
    pool: requested factors, one per axis.
  """
  return tuple(factor if size >= factor else 1 for size, factor in zip(shape, pool, strict=True))


def average_pool(x: jax.Array, pool: Sequence[int]) -> jax.Array:
  """Means over windows of size `pool` on the last axes before the channels.

  Incomplete windows are dropped: [B, T, H, W, C] with pool (2, 2, 2) gives [B, T//2, H//2, W//2,
  C]. An axis shorter than its factor keeps its size. Means are computed in float32 or wider.

  Args:
    x: [..., *spatial, C].
    pool: one factor per spatial axis.

  Returns:
    [..., *(size // factor), C] in the type of `x`.
  """
  rank = len(pool)
  spatial = x.shape[-rank - 1 : -1]
  pool = pool_factors(spatial, pool)
  lead = x.shape[: x.ndim - rank - 1]
  kept = tuple(size // factor for size, factor in zip(spatial, pool, strict=True))
  x = x[(..., *[slice(0, k * f) for k, f in zip(kept, pool, strict=True)], slice(None))]
  windows = list(itertools.chain.from_iterable(zip(kept, pool, strict=True)))
  x = x.reshape(*lead, *windows, x.shape[-1])
  means = jnp.mean(
    x.astype(jnp.promote_types(jnp.float32, x.dtype)),
    axis=tuple(len(lead) + 2 * i + 1 for i in range(rank)),
  )
  return means.astype(x.dtype)


def pad_odd(x: jax.Array, factors: Sequence[int], *, single: bool = False) -> jax.Array:
  """Pads odd axes with zeros, so that pooling counts the zeros instead of dropping a remainder.

  As the average pooling of TGANv2's discriminator (Chainer's, with a padding of 1): the windows of
  an axis of 3 are (zero, first) and (second, third).

  Args:
    x: [..., *spatial, C].
    factors: pooling factor of each spatial axis, 1 or 2; see `pool_factors`.
    single: pad an axis of size 1 to 3, a fault of the released network.

  Returns:
    [..., *spatial', C], to be pooled by `factors`.
  """
  rank = len(factors)
  widths = [(0, 0)] * (x.ndim - rank - 1)
  for size, factor in zip(x.shape[-rank - 1 : -1], factors, strict=True):
    if factor == 2:
      widths.append((size % 2, 0))
    else:
      widths.append((1, 1) if single and size == 1 else (0, 0))
  return jnp.pad(x, (*widths, (0, 0)))


def product(x: jax.Array, matrix: jax.Array, precision: Precision = None) -> jax.Array:
  """The product of x [..., in] and a matrix [in, out].

  All leading axes are merged first. With several leading axes, XLA would copy both operands into
  another memory order before it computes the matrix's gradient.

  Returns:
    [..., out].
  """
  out = jnp.dot(x.reshape(-1, x.shape[-1]), matrix, precision=precision)
  return out.reshape(*x.shape[:-1], matrix.shape[-1])


def space_to_depth(x: jax.Array, factors: Sequence[int], lead: int, merge: int = 1) -> jax.Array:
  """Moves the pixels of each cell of `factors` pixels into the channel axis.

  Args:
    x: [*lead, *spatial, *rest]; each factor divides its spatial size.
    factors: size of a cell along each spatial axis.
    lead: number of axes in front of the spatial ones.
    merge: which axis the pixels of a cell are merged into, counted from the end: 1 for activations
      [..., C], 2 for kernels [..., in, out].

  Returns:
    [*lead, *(size // factor), *rest], where the merged axis is prod(factors) times as long.
  """
  rank = len(factors)
  shape = list(x.shape[:lead])
  for size, factor in zip(x.shape[lead : lead + rank], factors, strict=True):
    shape += [size // factor, factor]
  x = x.reshape(*shape, *x.shape[lead + rank :])
  order = [*range(lead), *range(lead, lead + 2 * rank, 2), *range(lead + 1, lead + 2 * rank, 2)]
  x = x.transpose(*order, *range(lead + 2 * rank, x.ndim))
  channels = math.prod(factors) * x.shape[-merge]
  return x.reshape(*x.shape[: lead + rank], channels, *x.shape[x.ndim - merge + 1 :])


def inputs_of_taps(
  x: jax.Array, window: Sequence[int], padding: Sequence[tuple[int, int]]
) -> list[jax.Array]:
  """Returns, for each tap of a window, the part of the padded input that it multiplies (stride 1).

  Args:
    x: [N, *spatial, C].
    window: one size per spatial axis.
    padding: one (low, high) pair per spatial axis.

  Returns:
    One array [N, *spatial', C] per tap, ordered with the last window axis fastest.
  """
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  sizes = [n - w + 1 for n, w in zip(padded.shape[1:-1], window, strict=True)]
  return [
    padded[(slice(None), *[slice(o, o + n) for o, n in zip(offset, sizes, strict=True)])]
    for offset in itertools.product(*map(range, window))
  ]
