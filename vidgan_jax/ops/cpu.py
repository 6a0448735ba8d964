"""Forms of large convolutions that XLA computes faster on a CPU.

On CPUs, XLA computes 2-D convolutions and matrix products several times faster than 3-D
convolutions, convolutions of small maps, and gradients with respect to kernels. This module
replaces the slow operations, as measured on two cores (benchmarks/README.md):

- A 3-D convolution becomes a 2-D convolution over all frames, whose channels are the inputs of all
  taps in depth. With many input channels it becomes a sum of matrix products, one for each tap.
- A convolution of a map with few pixels becomes one matrix product.
- The gradient with respect to a kernel becomes a sum of matrix products. With few channels it
  becomes a 2-D convolution whose window is as large as the map.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.ops import strided
from vidgan_jax.ops.convolution import Padding, Precision, convolve_batch, inputs_of_taps
from vidgan_jax.ops.folded import Folded
from vidgan_jax.ops.strided import Pairs

# All limits are measured on two CPU cores. On maps with at most this many pixels, a convolution
# reaches a tenth of the speed of a matrix product.
_FEW_PIXELS = 16
# Below this number of multiply-adds, compile time outweighs the speed-up.
_LEAST_WORK = {"few pixels": 2**22, "many pixels": 2**27}
# With at most this many input and output channels, the gradient with respect to a kernel is
# computed as a convolution. The matrix products would be narrow, and copying the inputs of their
# taps would take longer than the products.
_NARROW = 64
# With more input channels than this, one product per tap is as fast as a 2-D convolution.
_SHALLOW = 128


class Cpu(Folded):
  """The forms for CPUs: `Folded`, but large convolutions as the module's docstring describes.

  Large convolutions have no forward-mode derivatives, only reverse-mode ones.
  """

  def _convolve_batch(
    self,
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Padding,
    precision: Precision,
  ) -> jax.Array:
    if set(strides) != {1} or not is_large(x, kernel):
      return super()._convolve_batch(x, kernel, strides, padding, precision)
    if isinstance(padding, str):
      rank = kernel.ndim - 2
      padding = jax.lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:rank], strides, padding)
    pairs = tuple((low, high) for low, high in padding)
    return self._convolve_large(x, kernel, pairs, precision)

  def _convolve_large(
    self, x: jax.Array, kernel: jax.Array, padding: Pairs, precision: Precision
  ) -> jax.Array:
    return _convolve(x, kernel, padding, precision)

  def _convolve_pooled(
    self,
    x: jax.Array,
    kernel: jax.Array,
    factors: Sequence[int],
    padding: Pairs,
    precision: Precision,
  ) -> jax.Array:
    """See `Folded`. The backward pass of a large 2-D convolution moves cells into the channels."""
    if kernel.ndim == 4 and is_large(x, kernel):
      return _convolve_pooled(x, kernel.astype(x.dtype), factors, padding, precision)
    return super()._convolve_pooled(x, kernel, factors, padding, precision)


class CpuForward(Cpu):
  """The forms of `Cpu` with forward- and reverse-mode derivatives of any order.

  All large convolutions are matrix products, which JAX can differentiate.
  """

  def _convolve_large(
    self, x: jax.Array, kernel: jax.Array, padding: Pairs, precision: Precision
  ) -> jax.Array:
    return _products(x, kernel, padding, precision)

  def _convolve_pooled(
    self,
    x: jax.Array,
    kernel: jax.Array,
    factors: Sequence[int],
    padding: Pairs,
    precision: Precision,
  ) -> jax.Array:
    return self._convolve_cells(x, kernel, factors, padding, precision)


def is_large(x: jax.Array, kernel: jax.Array) -> bool:
  """Whether a convolution is large enough for the forms of this module to be faster on a CPU.

  Args:
    x: [N, *spatial, in].
    kernel: [*window, in, out].
  """
  kind = "few pixels" if _few_pixels(x) else "many pixels"
  return math.prod(x.shape[:-1]) * kernel.size >= _LEAST_WORK[kind]


def _few_pixels(x: jax.Array) -> bool:
  """Whether the maps of x [N, *spatial, in] are small."""
  return math.prod(x.shape[1:-1]) <= _FEW_PIXELS


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, padding: Pairs, precision: Precision) -> jax.Array:
  """A convolution of x [N, *spatial, in] with stride 1, in the form that is fastest on CPUs.

  Args:
    x: activations.
    kernel: [*window, in, out] in the type of `x`.
    padding: tuple of (low, high) pairs.
    precision: see `jax.lax.Precision`.

  Returns:
    [N, *spatial', out].
  """
  rank = kernel.ndim - 2
  if _few_pixels(x) or (rank == 3 and x.shape[-1] > _SHALLOW):
    return _products(x, kernel, padding, precision)
  if rank == 2:
    return convolve_batch(x, kernel, (1,) * rank, padding, precision)
  frames = _depth_as_channels(x, kernel.shape[0], padding[0])
  flat = frames.reshape(-1, *frames.shape[2:])
  kernel = jnp.moveaxis(kernel, 0, 2)
  kernel = kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])
  out = convolve_batch(flat, kernel, (1, 1), padding[1:], precision)
  return out.reshape(*frames.shape[:2], *out.shape[1:])


def _depth_as_channels(x: jax.Array, depth: int, padding: tuple[int, int]) -> jax.Array:
  """Puts the inputs of all taps in depth side by side as channels.

  Args:
    x: [N, D, H, W, C].
    depth: size of the window in depth.
    padding: a (low, high) pair in depth.

  Returns:
    [N, D', H, W, depth * C].
  """
  padded = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
  size = padded.shape[1] - depth + 1
  return jnp.concatenate([padded[:, tap : tap + size] for tap in range(depth)], axis=-1)


def _products(x: jax.Array, kernel: jax.Array, padding: Pairs, precision: Precision) -> jax.Array:
  """A convolution of x [N, *spatial, in] as matrix products; see `_convolve` for the arguments."""
  inputs = inputs_of_taps(x, kernel.shape[:-2], padding)
  taps = kernel.reshape(-1, *kernel.shape[-2:])
  if _few_pixels(x):
    flat = taps.reshape(-1, taps.shape[-1])
    return _product(jnp.concatenate(inputs, axis=-1), flat, precision).astype(x.dtype)
  total: Any = sum(_product(i, tap, precision) for i, tap in zip(inputs, taps, strict=True))
  return total.astype(x.dtype)


def _product(a: jax.Array, b: jax.Array, precision: Precision) -> jax.Array:
  """A matrix product, summed and returned in float32 or wider."""
  wide = jnp.promote_types(jnp.float32, a.dtype)
  return jnp.dot(a, b, precision=precision, preferred_element_type=wide)


def _gradients(
  padding: Pairs, precision: Precision, residuals: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The gradients of `_convolve` with respect to x and kernel, which are `residuals`."""
  x, kernel = residuals
  *window, inputs, outputs = kernel.shape
  back = tuple(
    (size - 1 - low, size - 1 - high) for size, (low, high) in zip(window, padding, strict=True)
  )
  mirrored = jnp.flip(kernel, tuple(range(len(window)))).swapaxes(-1, -2)
  by_x = _convolve(cotangent, mirrored, back, precision)
  if not _few_pixels(x) and max(inputs, outputs) <= _NARROW:
    by_kernel = _narrow_kernel_gradient(x, cotangent, window, padding, precision)
    return by_x, by_kernel.astype(kernel.dtype)
  flat = lambda a: a.reshape(-1, a.shape[-1])
  product = lambda a, b: _product(flat(a).T, flat(b), precision)
  if outputs < inputs:  # copy the shifts of the array with fewer channels
    shifted = reversed(inputs_of_taps(cotangent, window, back))
    by_kernel = product(x, jnp.concatenate([*shifted], axis=-1))
    by_kernel = jnp.moveaxis(by_kernel.reshape(inputs, *window, outputs), 0, -2)
  else:
    shifted = inputs_of_taps(x, window, padding)
    by_kernel = jnp.stack([product(each, cotangent) for each in shifted])
  return by_x, by_kernel.reshape(kernel.shape).astype(kernel.dtype)


def _narrow_kernel_gradient(
  x: jax.Array, cotangent: jax.Array, window: Sequence[int], padding: Pairs, precision: Precision
) -> jax.Array:
  """The gradient with respect to a kernel, as a 2-D convolution with a map-sized window."""
  *depth, _, _ = window
  if depth:
    x = _depth_as_channels(x, depth[0], padding[0])
    x, cotangent = (a.reshape(-1, *a.shape[2:]) for a in (x, cotangent))
  gradient = jax.lax.conv_general_dilated(
    x,
    cotangent,
    (1, 1),
    padding[-2:],
    dimension_numbers=("CHWN", "IHWO", "HWNC"),  # examples act as channels, which are summed
    precision=precision,
    preferred_element_type=jnp.promote_types(jnp.float32, x.dtype),
  )
  if depth:
    gradient = gradient.reshape(*window[-2:], depth[0], -1, cotangent.shape[-1])
    gradient = jnp.moveaxis(gradient, 2, 0)
  return gradient


_convolve.defvjp(lambda x, kernel, *rest: (_convolve(x, kernel, *rest), (x, kernel)), _gradients)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_pooled(
  x: jax.Array, kernel: jax.Array, factors: Sequence[int], padding: Pairs, precision: Precision
) -> jax.Array:
  """A 2-D convolution with strides `factors`.

  The backward pass moves cells of `factors` pixels into the channels instead of using strides.
  """
  return convolve_batch(x, kernel, factors, padding, precision)


def _pooled_gradients(
  factors: Sequence[int],
  padding: Pairs,
  precision: Precision,
  residuals: tuple[jax.Array, ...],
  cotangent: jax.Array,
) -> tuple[jax.Array, ...]:
  """The gradients of `_convolve_pooled` with respect to x and kernel, which are `residuals`."""
  cells = strided.cells(factors, padding)
  arrays = tuple(cell(array) for cell, array in zip(cells, residuals, strict=True))
  gradients = _gradients(((0, 0),) * len(factors), precision, arrays, cotangent)
  # `jax.vjp` of the whole would trace a forward pass, which the count of FLOPs would include.
  return tuple(
    jax.linear_transpose(cell, array)(gradient)[0]
    for cell, array, gradient in zip(cells, residuals, gradients, strict=True)
  )


_convolve_pooled.defvjp(
  lambda x, kernel, *rest: (_convolve_pooled(x, kernel, *rest), (x, kernel)), _pooled_gradients
)
