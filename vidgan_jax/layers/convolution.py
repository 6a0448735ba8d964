"""Convolutions, products and tables with optional spectral normalisation, and exact savings.

All take channels last and fold every axis in front of their window into the batch, batch-major:
a clip [B, T, H, W, C] goes through a 3x3 convolution as B*T frames without crossing devices.

The exact savings: nearest upsampling x2 followed by a 3x3 convolution is four 2x2 convolutions and
an interleave (36 products per input pixel become 16); a 3x3 (3x3x3) convolution followed by average
pooling is one 4x4 (4x4x4) convolution with stride 2 (36 -> 16 per output, 216 -> 64); a 1x1
convolution commutes with both. Kernels are folded in the parameters' type. No form needs a
transposed or dilated convolution, whose gradients are slow in XLA.

On CPU there are more, see `cpu_convolution`.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers import cpu_convolution, spectral_norm
from vidgan_jax.layers.cpu_convolution import convolution, seen_by_taps
from vidgan_jax.layers.settings import LayerSettings, kernel_initializer

_FEW_CHANNELS = 4


def convolve(x, kernel, *, strides=1, padding="SAME", savings: bool = False, precision=None):
  """Convolves [..., *spatial, in] with `kernel` [*window, in, out], leading axes as batch.

  Args:
    x: activations with as many axes before the channels as the window has, or more.
    kernel: cast to the type of `x`.
    strides: one number or one per window axis.
    padding: "SAME", "VALID" or explicit (low, high) pairs.
    savings: on CPU, a large convolution without strides takes a faster form, see `cpu_convolution`;
      it then has a forward-mode derivative within `cpu_convolution.forward_mode` alone. No
      difference elsewhere.
    precision: see `jax.lax.Precision`.

  Returns:
    [..., *spatial', out] in the type of `x`.
  """
  rank = kernel.ndim - 2
  lead, spatial = x.shape[: x.ndim - rank - 1], x.shape[-rank - 1 : -1]
  folded, kernel = x.reshape(math.prod(lead), *x.shape[len(lead) :]), kernel.astype(x.dtype)
  strides = (strides,) * rank if isinstance(strides, int) else tuple(strides)
  if savings and set(strides) == {1} and cpu_convolution.worth_it(folded, kernel):
    if isinstance(padding, str):
      padding = jax.lax.padtype_to_pads(spatial, kernel.shape[:rank], strides, padding)
    out = cpu_convolution.convolution_on_cpu(folded, kernel, padding, precision)
  else:
    out = convolution(folded, kernel, strides, padding, precision)
  return out.reshape(*lead, *out.shape[1:])


def upsample_nearest(x):
  """Doubles height and width of [..., H, W, C] by repetition."""
  *lead, height, width, channels = x.shape
  x = jnp.broadcast_to(
    x.reshape(*lead, height, 1, width, 1, channels), (*lead, height, 2, width, 2, channels)
  )
  return x.reshape(*lead, 2 * height, 2 * width, channels)


def pool_factors(shape: Sequence[int], pool: Sequence[int]) -> tuple[int, ...]:
  """Pooling factors that never shrink an axis below one: `pool` where it fits, else 1."""
  return tuple(factor if size >= factor else 1 for size, factor in zip(shape, pool, strict=True))


def average_pool(x, pool: Sequence[int]):
  """Means over windows of `pool` on the last axes before the channels; a remainder is dropped.

  [B, T, H, W, C] with pool (2, 2, 2) gives [B, T//2, H//2, W//2, C]. An axis shorter than its
  factor is left as it is.
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


def upsampled_convolution(x, kernel, *, savings: bool, precision=None):
  """Nearest upsampling x2, then a SAME convolution with `kernel` [3, 3, in, out] or [1, 1, ...].

  [..., H, W, in] -> [..., 2H, 2W, out]. `savings` chooses the cheaper equal form.
  """
  if not savings:
    return convolve(upsample_nearest(x), kernel, precision=precision)
  if kernel.shape[:2] == (1, 1):
    return upsample_nearest(convolve(x, kernel, savings=True, precision=precision))
  *lead, height, width, _ = x.shape
  features = kernel.shape[-1]
  # Output row 2i sees rows i-1 (tap 0) and i (taps 1, 2); row 2i+1 sees i (0, 1) and i+1 (2).
  # Four convolutions, not one with four times the channels on a padded map: equally many products,
  # and on CPU the weight gradient of the latter is 20 times slower.
  phases = []
  for a, row in enumerate(_halve(kernel, 0)):
    for b, phase in enumerate(_halve(row, 1)):
      padding = ((1 - a, a), (1 - b, b))
      phases.append(convolve(x, phase, padding=padding, savings=True, precision=precision))
  out = jnp.stack(phases, axis=-2).reshape(*lead, height, width, 2, 2, features)
  out = jnp.moveaxis(out, -3, -4)  # [..., H, 2, W, 2, features]
  return out.reshape(*lead, 2 * height, 2 * width, features)


def _halve(kernel, axis):
  """The two windows of 2 that a window of 3 on `axis` becomes on a map before its upsampling."""
  first, second, third = jnp.split(kernel, 3, axis)
  return (
    jnp.concatenate([first, second + third], axis),
    jnp.concatenate([first + second, third], axis),
  )


def same_convolution(x, kernel, *, savings: bool, precision=None):
  """A SAME convolution with a window of 3s or 1s; [..., *spatial, in] -> [..., *spatial, out].

  With `savings` a video's three channels are gathered from the whole window before one product:
  convolution units reach a small part of their speed on so few channels.
  """
  rank = kernel.ndim - 2
  if not savings or kernel.shape[-2] > _FEW_CHANNELS or math.prod(kernel.shape[:-2]) == 1:
    return convolve(x, kernel, savings=savings, precision=precision)
  lead = x.shape[: x.ndim - rank - 1]
  folded = x.reshape(math.prod(lead), *x.shape[len(lead) :])
  patches = jnp.concatenate(seen_by_taps(folded, kernel.shape[:-2], ((1, 1),) * rank), axis=-1)
  flat = kernel.reshape(-1, kernel.shape[-1]).astype(x.dtype)
  return by_rows(patches, flat, precision).reshape(*x.shape[:-1], -1)


def by_rows(x, matrix, precision=None):
  """The product of x [..., in] and a matrix [in, out], over a single axis of rows.

  The gradient by the matrix of a product with several copies its operands into another order first.
  """
  out = jnp.dot(x.reshape(-1, x.shape[-1]), matrix, precision=precision)
  return out.reshape(*x.shape[:-1], matrix.shape[-1])


def pooled_convolution(x, kernel, pool: Sequence[int], *, savings: bool, precision=None):
  """A SAME convolution with a window of 3s or of 1s, then average pooling.

  [..., *spatial, in] -> [..., *(size // factor), out]; see `average_pool` for remainders.
  """
  rank = kernel.ndim - 2
  spatial = x.shape[-rank - 1 : -1]
  factors = pool_factors(spatial, pool)
  if not savings or not set(factors) <= {1, 2}:  # what follows folds pairs
    return average_pool(convolve(x, kernel, precision=precision), factors)
  if all(window == 1 for window in kernel.shape[:-2]):
    return convolve(average_pool(x, factors), kernel, savings=True, precision=precision)
  padding = []
  for axis, (size, factor) in enumerate(zip(spatial, factors, strict=True)):
    if factor == 1:
      padding.append((1, 1))
      continue
    # The mean of outputs 2i and 2i+1 sees inputs 2i-1 .. 2i+2.
    widths = [(0, 0)] * kernel.ndim
    widths[axis] = (0, 1)
    first = jnp.pad(kernel, widths)
    widths[axis] = (1, 0)
    kernel = 0.5 * (first + jnp.pad(kernel, widths))
    padding.append((1, 1 - size % 2))
  padding = tuple(padding)
  lead = x.shape[: x.ndim - rank - 1]
  folded = x.reshape(math.prod(lead), *x.shape[len(lead) :])
  if rank == 3 or cpu_convolution.in_forward_mode():
    # The gradient of a strided convolution is slow on CPU (in 3-D 20 times) and in 3-D treacherous
    # on GPU: every 2x2x2 cell becomes channels instead, and the window shrinks with it.
    cell_x, cell_kernel = _cells(factors, padding)
    out = convolve(
      cell_x(folded), cell_kernel(kernel), padding="VALID", savings=True, precision=precision
    )
  elif cpu_convolution.worth_it(folded, kernel):
    out = _strided(folded, kernel.astype(x.dtype), factors, padding, precision)
  else:
    out = convolution(folded, kernel.astype(x.dtype), factors, padding, precision)
  return out.reshape(*lead, *out.shape[1:])


def _cells(factors, padding):
  """How a strided convolution becomes one without strides: its cells become channels.

  Returns:
    two linear functions, of x [N, *spatial, in] and of the kernel, whose results convolve "VALID".
  """
  return (
    lambda x: space_to_depth(jnp.pad(x, ((0, 0), *padding, (0, 0))), factors, 1),
    lambda kernel: space_to_depth(kernel[None], factors, 1, merge=2)[0],
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _strided(x, kernel, factors, padding, precision):
  """A strided convolution forward, one of cells backward."""
  return convolution(x, kernel, factors, padding, precision)


def _strided_backward(factors, padding, precision, residuals, cotangent):
  cells = _cells(factors, padding)
  arrays = tuple(cell(array) for cell, array in zip(cells, residuals, strict=True))
  gradients = cpu_convolution.gradients(((0, 0),) * len(factors), precision, arrays, cotangent)
  # Not `jax.vjp` of the whole: the forward pass that it traces would count as work.
  return tuple(
    jax.linear_transpose(cell, array)(gradient)[0]
    for cell, array, gradient in zip(cells, residuals, gradients, strict=True)
  )


_strided.defvjp(lambda x, kernel, *how: (_strided(x, kernel, *how), (x, kernel)), _strided_backward)


def space_to_depth(x, factors, lead: int, merge: int = 1):
  """Moves cells of `factors` on the axes after `lead` into the first of the last `merge` axes."""
  rank = len(factors)
  shape = list(x.shape[:lead])
  for size, factor in zip(x.shape[lead : lead + rank], factors, strict=True):
    shape += [size // factor, factor]
  x = x.reshape(*shape, *x.shape[lead + rank :])
  order = [*range(lead), *range(lead, lead + 2 * rank, 2), *range(lead + 1, lead + 2 * rank, 2)]
  x = x.transpose(*order, *range(lead + 2 * rank, x.ndim))
  channels = math.prod(factors) * x.shape[-merge]
  return x.reshape(*x.shape[: lead + rank], channels, *x.shape[x.ndim - merge + 1 :])


class Weights(nn.Module):
  """Declares a kernel, its vector u and a bias, and returns (kernel, bias or None)."""

  shape: tuple[int, ...]
  settings: LayerSettings
  use_bias: bool = True

  @nn.compact
  def __call__(self):
    """Returns the kernel of `shape` and the bias [shape[-1]] in the parameters' type."""
    return declare(self, tuple(self.shape), self.settings, self.use_bias)


class Conv(nn.Module):
  """Convolution with a window of 1s or 3s, SAME padding, optional up- or downsampling by two.

  Attributes:
    features: output channels.
    kernel_size: (3, 3), (1, 1), (3, 3, 3) or (1, 1, 1).
    settings: see `LayerSettings`.
    use_bias: add a bias.
    upsample: double height and width by repetition before the convolution.
    pool: average-pool by these factors after the convolution; None or () does not.
  """

  features: int
  kernel_size: tuple[int, ...]
  settings: LayerSettings
  use_bias: bool = True
  upsample: bool = False
  pool: tuple[int, ...] = ()

  @nn.compact
  def __call__(self, x):
    """Maps [..., *spatial, in] to [..., *spatial', features]."""
    settings = self.settings
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel, bias = declare(self, shape, settings, self.use_bias)
    x = x.astype(settings.dtype)
    options = dict(precision=settings.precision)
    if self.upsample:
      out = upsampled_convolution(x, kernel, savings=settings.savings, **options)
    elif self.pool:
      out = pooled_convolution(x, kernel, self.pool, savings=settings.savings, **options)
    else:
      out = same_convolution(x, kernel, savings=settings.savings, **options)
    if bias is not None:
      out = out + bias.astype(out.dtype)
    return checkpoint_name(out, "conv_output")


class Dense(nn.Module):
  """Product with a kernel [in, features] on the last axis, plus a bias.

  Attributes:
    features: of the output.
    settings: see `LayerSettings`.
    use_bias: add a bias.
    transposed: it stands for a transposed convolution of one pixel, and is initialised like one.
  """

  features: int
  settings: LayerSettings
  use_bias: bool = True
  transposed: bool = False

  @nn.compact
  def __call__(self, x):
    """Maps [..., in] to [..., features] in the settings' dtype."""
    settings = self.settings
    shape = (x.shape[-1], self.features)
    kernel, bias = declare(self, shape, settings, self.use_bias, transposed=self.transposed)
    out = by_rows(x.astype(settings.dtype), kernel.astype(settings.dtype), settings.precision)
    return out if bias is None else out + bias.astype(out.dtype)


class Embed(nn.Module):
  """Table [num_embeddings, features] looked up by integer labels.

  BigGAN keeps the generator's shared table without spectral normalisation and normalises the
  discriminators' (settings.spectral).
  """

  num_embeddings: int
  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, labels):
    """Maps int [...] to [..., features]; float [..., num_embeddings] weights mix the rows."""
    settings = self.settings
    table = self.param(
      "embedding",
      kernel_initializer(settings),
      (self.num_embeddings, self.features),
      settings.param_dtype,
    )
    if settings.spectral:
      spectral_norm.declare(self, "embedding", table)
    table = table.astype(settings.dtype)
    if jnp.issubdtype(labels.dtype, jnp.floating):
      return jnp.dot(labels.astype(settings.dtype), table, precision=jax.lax.Precision.HIGHEST)
    return jnp.take(table, labels, axis=0)


def declare(module, shape, settings: LayerSettings, use_bias: bool, *, transposed: bool = False):
  """Declares kernel, vector and bias on `module` itself; returns (kernel, bias or None).

  Args:
    module: the one that is running its compact method.
    shape: of the kernel, [*window, in, out].
    settings: see `LayerSettings`.
    use_bias: declare a bias [out].
    transposed: of a transposed convolution; see `settings.kernel_initializer`.
  """
  initializer = kernel_initializer(settings, transposed=transposed)
  kernel = module.param("kernel", initializer, shape, settings.param_dtype)
  if settings.spectral:
    spectral_norm.declare(module, "kernel", kernel)
  if not use_bias:
    return kernel, None
  return kernel, module.param("bias", nn.initializers.zeros, (shape[-1],), settings.param_dtype)
