"""Convolutions, dense layers and embedding tables, with optional spectral normalisation.

In all layers, channels are the last axis, and every axis in front of the window's axes counts as
batch: a clip [B, T, H, W, C] passes through a 3x3 convolution as B*T frames. `LayerSettings.ops`
names the code that computes them.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers import spectral_norm
from vidgan_jax.layers.settings import LayerSettings, kernel_initializer
from vidgan_jax.ops import convolution, forms


class Weights(nn.Module):
  """Declares a kernel, its power-iteration vector u and a bias, and returns (kernel, bias or None).

  Attributes:
    shape: shape of the kernel, [*window, in, out].
    settings: see `LayerSettings`.
    use_bias: declare a bias.
  """

  shape: tuple[int, ...]
  settings: LayerSettings
  use_bias: bool = True

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array | None]:
    """Returns the kernel of `shape` and the bias [shape[-1]] in the parameters' type."""
    return declare(self, tuple(self.shape), self.settings, self.use_bias)


class Conv(nn.Module):
  """Convolution with window size 1 or 3 and SAME padding, and optional up- or downsampling by 2.

  Attributes:
    features: output channels.
    kernel_size: (3, 3), (1, 1), (3, 3, 3) or (1, 1, 1).
    settings: see `LayerSettings`.
    use_bias: add a bias.
    upsample: double height and width by repetition before the convolution.
    pool: factors of average pooling after the convolution; () does not pool.
    pool_odd: what pooling by 2 does with an odd axis: "drop" its last position, "pad" it with a
      zero that counts, or "pad_single", which also pads an axis of size 1 to 3 and does not pool it
      (a fault of TGANv2's released discriminator).
  """

  features: int
  kernel_size: tuple[int, ...]
  settings: LayerSettings
  use_bias: bool = True
  upsample: bool = False
  pool: tuple[int, ...] = ()
  pool_odd: str = "drop"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., *spatial, in] to [..., *spatial', features] in the settings' dtype."""
    settings = self.settings
    form, precision = forms.get(settings.ops), settings.precision
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel, bias = declare(self, shape, settings, self.use_bias)
    x = x.astype(settings.dtype)
    if self.upsample:
      out = form.upsampled_convolution(x, kernel, precision=precision)
    elif self.pool and self.pool_odd != "drop" and self._pads(x):
      # The zeros stand behind the bias, so that the bias cannot be added after pooling.
      out = add_bias(form.same_convolution(x, kernel, precision=precision), bias)
      return checkpoint_name(self._pooled_with_padding(out), "conv_output")
    elif self.pool:
      out = form.pooled_convolution(x, kernel, self.pool, precision=precision)
    else:
      out = form.same_convolution(x, kernel, precision=precision)
    return checkpoint_name(add_bias(out, bias), "conv_output")

  def _pads(self, x: jax.Array) -> bool:
    """Whether pooling x [..., *spatial, C] pads an axis."""
    sizes = x.shape[-len(self.pool) - 1 : -1]
    odd = [size > 1 and size % 2 == 1 for size in sizes]
    single = [size == 1 and self.pool_odd == "pad_single" for size in sizes]
    return any(f == 2 and (o or s) for f, o, s in zip(self.pool, odd, single, strict=True))

  def _pooled_with_padding(self, x: jax.Array) -> jax.Array:
    """Average pooling of [..., *spatial, C] that counts padded zeros."""
    factors = convolution.pool_factors(x.shape[-len(self.pool) - 1 : -1], self.pool)
    single = self.pool_odd == "pad_single"
    return convolution.average_pool(convolution.pad_odd(x, factors, single=single), factors)


class JoinedConv(nn.Module):
  """A 3x3 convolution of [x; shared], whose second part is the same for all frames of a clip.

  The two inputs are concatenated on the channels. All forms but "plain" convolve `shared` once
  instead of once per frame; see `ops.folded`.

  Attributes:
    features: output channels.
    settings: see `LayerSettings`.
  """

  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, x: jax.Array, shared: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] and [B, H, W, D] to [B, T, H, W, features]."""
    settings = self.settings
    shape = (3, 3, x.shape[-1] + shared.shape[-1], self.features)
    kernel, bias = declare(self, shape, settings, True)
    out = forms.get(settings.ops).joined_convolution(
      x.astype(settings.dtype),
      shared.astype(settings.dtype),
      kernel,
      precision=settings.precision,
    )
    return checkpoint_name(add_bias(out, bias), "conv_output")


class Dense(nn.Module):
  """Product of the last axis with a kernel [in, features], plus a bias.

  Attributes:
    features: size of the output's last axis.
    settings: see `LayerSettings`.
    use_bias: add a bias.
    transposed: this layer replaces a transposed convolution of a single pixel, and initialises its
      kernel as that would.
  """

  features: int
  settings: LayerSettings
  use_bias: bool = True
  transposed: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., in] to [..., features] in the settings' dtype."""
    settings = self.settings
    shape = (x.shape[-1], self.features)
    kernel, bias = declare(self, shape, settings, self.use_bias, transposed=self.transposed)
    kernel = kernel.astype(settings.dtype)
    return add_bias(convolution.product(x.astype(settings.dtype), kernel, settings.precision), bias)


class Embed(nn.Module):
  """Table [num_embeddings, features] whose rows are selected by integer labels.

  In BigGAN the discriminator's table has spectral normalisation (`settings.spectral`), and the
  generator's shared table has none.
  """

  num_embeddings: int
  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, labels: jax.Array) -> jax.Array:
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
    return look_up(table, labels)


def look_up(table: jax.Array, labels: jax.Array) -> jax.Array:
  """Rows of `table` [K, C] by labels int [...]; labels float [..., K] are weights that mix them."""
  if jnp.issubdtype(labels.dtype, jnp.floating):
    return jnp.dot(labels.astype(table.dtype), table, precision=jax.lax.Precision.HIGHEST)
  return jnp.take(table, labels, axis=0)


def declare(
  module: nn.Module,
  shape: tuple[int, ...],
  settings: LayerSettings,
  use_bias: bool,
  *,
  transposed: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
  """Declares kernel, power-iteration vector and bias on `module`; returns (kernel, bias or None).

  Args:
    module: the module whose compact method is running.
    shape: shape of the kernel, [*window, in, out].
    settings: see `LayerSettings`.
    use_bias: declare a bias [out].
    transposed: the kernel belongs to a transposed convolution; see `settings.kernel_initializer`.
  """
  if settings.equalized:
    initializer = nn.initializers.normal(1.0)
  else:
    initializer = kernel_initializer(settings, transposed=transposed)
  kernel = module.param("kernel", initializer, shape, settings.param_dtype)
  if settings.spectral:
    spectral_norm.declare(module, "kernel", kernel)
  if settings.equalized:
    kernel = kernel * (settings.equalized / math.sqrt(math.prod(shape[:-1])))
  if not use_bias:
    return kernel, None
  return kernel, module.param("bias", nn.initializers.zeros, (shape[-1],), settings.param_dtype)


def add_bias(x: jax.Array, bias: jax.Array | None) -> jax.Array:
  """`x` [..., C] plus a bias [C] in the type of `x`; None adds nothing."""
  return x if bias is None else x + bias.astype(x.dtype)
