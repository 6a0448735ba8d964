"""Batch normalisation of clips, plain and conditional.

Activations are [B, T, H, W, C]. "per_step" statistics are taken over B, H and W for each time step,
so that no information passes between frames (DVD-GAN A.2). "shared" statistics are taken over T as
well. If the batch is split over devices, they are the statistics of the whole batch
(`runtime.mesh`).

With `train=True` a layer normalises with the mean and variance of the batch, and writes them to the
collection "batch_stats". With `train=False` it normalises with the mean and variance in that
collection. Layers do not update running averages. The training step blends the written statistics
into running ones (`blend`), and standing statistics average them over several passes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers.convolution import Dense, look_up
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError

COLLECTION = "batch_stats"
EPSILON = 1e-5  # BigGAN's code
MOMENTUM = 0.9  # weight of the old running statistics in an update (BigGAN's code: 1 - 0.1)
STATISTICS = ("per_step", "shared")


def blend(running: Any, reported: Any, momentum: float = MOMENTUM) -> Any:
  """Moves running statistics towards those of a batch.

  Args:
    running: tree of running statistics.
    reported: tree of the batch's statistics, with the same structure.
    momentum: weight of the running statistics.

  Returns:
    momentum * running + (1 - momentum) * reported.
  """
  return jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, running, reported)


def means(x: jax.Array, statistics: str) -> tuple[jax.Array, jax.Array]:
  """The means of x [B, T, H, W, C] and of its squares, in float32 or wider.

  Args:
    x: activations.
    statistics: "per_step" or "shared".

  Returns:
    Two arrays [T, C] or [C].
  """
  axes = (0, 2, 3) if statistics == "per_step" else (0, 1, 2, 3)
  values = x.astype(jnp.promote_types(jnp.float32, x.dtype))
  # Both need only one pass over x. How often x is read limits the speed of the network.
  return jnp.mean(values, axes), jnp.mean(jnp.square(values), axes)


def _moments(
  module: nn.Module,
  x: jax.Array,
  statistics: str,
  train: bool,
  known: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns the mean and biased variance to normalise x [B, T, H, W, C] with.

  Both are [1, T or 1, 1, 1, C] in float32 or wider. `known` are the result of `means` of x, on this
  device, where they are computed with x.
  """
  if statistics not in STATISTICS:
    raise UserError(f"unknown batch statistics {statistics!r}; known: {', '.join(STATISTICS)}")
  wide = jnp.promote_types(jnp.float32, x.dtype)
  shape = (x.shape[1], x.shape[-1]) if statistics == "per_step" else (x.shape[-1],)
  if not train and not module.is_initializing():
    mean = module.get_variable(COLLECTION, "mean")
    variance = module.get_variable(COLLECTION, "variance")
    if mean is None or mean.shape != shape:
      present = "none" if mean is None else mean.shape
      raise ValueError(
        f"batch statistics at {'/'.join(module.path)} are {present}, the activations need {shape}; "
        "collect standing statistics for this number of frames first"
      )
  elif module.is_initializing():
    module.variable(COLLECTION, "mean", jnp.zeros, shape, wide)
    module.variable(COLLECTION, "variance", jnp.ones, shape, wide)
    mean, variance = jnp.zeros(shape, wide), jnp.ones(shape, wide)
  else:
    mean, square = meshes.mean_over_devices(means(x, statistics) if known is None else known)
    if known is not None:  # stored by rematerialised blocks, which need not compute x again
      mean, square = (checkpoint_name(moment, "moment") for moment in (mean, square))
    variance = jnp.maximum(square - jnp.square(mean), 0)
    if module.is_mutable_collection(COLLECTION):
      module.put_variable(COLLECTION, "mean", mean)
      module.put_variable(COLLECTION, "variance", variance)
  spread = (1, -1, 1, 1, x.shape[-1])
  return mean.reshape(spread), variance.reshape(spread)


class Coefficients(NamedTuple):
  """What a layer normalises activations [B, T, H, W, C] with, in float32 or wider.

  Attributes:
    mean, variance: [1, T or 1, 1, 1, C].
    gain, bias: of each example [B, 1, 1, 1, C], or of all [C]; the bias may also be 0.0.
  """

  mean: jax.Array
  variance: jax.Array
  gain: jax.Array
  bias: jax.Array | float

  def applied(self, x: jax.Array, epsilon: float = EPSILON) -> jax.Array:
    """Returns (x - mean) * gain / sqrt(variance + epsilon) + bias in the type of `x`."""
    scale = self.gain * jax.lax.rsqrt(self.variance + epsilon)
    return ((x.astype(self.mean.dtype) - self.mean) * scale + self.bias).astype(x.dtype)


class BatchNorm(nn.Module):
  """Batch normalisation with a learned gain (1 at the start) and bias (0) per channel.

  Attributes:
    settings: see `LayerSettings`.
    statistics: "per_step" or "shared" over time.
    epsilon: added to the variance; 2e-5 in Chainer, 1e-3 in VGAN's discriminator.
    use_bias: learn a bias.
    gain_spread: standard deviation of the initial gains, whose mean is 1.
  """

  settings: LayerSettings
  statistics: str = "per_step"
  epsilon: float = EPSILON
  use_bias: bool = True
  gain_spread: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Normalises [B, T, H, W, C]; the module's docstring explains `train`.

    Raises:
      UserError: `statistics` is unknown.
      ValueError: `train` is False and there are no statistics for this number of frames.
    """
    return self._coefficients(x, train).applied(x, self.epsilon)

  @nn.nowrap
  def _coefficients(self, x: jax.Array, train: bool, known: Any = None) -> Coefficients:
    mean, variance = _moments(self, x, self.statistics, train, known)
    shape = (x.shape[-1],)
    spread = nn.initializers.normal(self.gain_spread) if self.gain_spread else None
    initial = nn.initializers.ones if spread is None else lambda *args: 1 + spread(*args)
    gain = self.param("gain", initial, shape, self.settings.param_dtype).astype(mean.dtype)
    bias = 0.0
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, shape, self.settings.param_dtype)
      bias = bias.astype(mean.dtype)
    return Coefficients(mean, variance, gain, bias)


class ConditionalBatchNorm(nn.Module):
  """Batch normalisation with a gain 1 + Wg c and a bias Wb c that depend on a condition c.

  Source: DVD-GAN A.3. As in BigGAN, the linear maps Wg and Wb have no bias and are spectrally
  normalised. Without the "1 +", gains would start near zero (google/compare_gan issue 54).

  Attributes:
    settings: see `LayerSettings`.
    statistics: see `BatchNorm`.
    epsilon: see `BatchNorm`.
    num_classes: above 0, the condition is a class: gain (1 at the start) and bias (0) are rows of
      tables, one row for each class (TGANv2's conditional variant).
  """

  settings: LayerSettings
  statistics: str = "per_step"
  epsilon: float = EPSILON
  num_classes: int = 0

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
    """Normalises [B, T, H, W, C]; without a condition as a plain `BatchNorm`.

    Args:
      x: activations.
      condition: [B, D]; with `num_classes` K, labels int [B] or weights of the classes [B, K].
      train: see the module.
    """
    if condition is None:
      plain = BatchNorm(self.settings, self.statistics, self.epsilon, name="unconditional")
      return plain(x, train)
    return self._coefficients(x, condition, train).applied(x, self.epsilon)

  @nn.nowrap
  def _coefficients(
    self, x: jax.Array, condition: jax.Array, train: bool, known: Any = None
  ) -> Coefficients:
    mean, variance = _moments(self, x, self.statistics, train, known)
    if self.num_classes:
      gain, bias = self._rows(condition, x.shape[-1], mean.dtype)
      return Coefficients(mean, variance, gain, bias)
    maps = {
      name: Dense(x.shape[-1], self.settings, use_bias=False, name=name)(condition)
      for name in ("gain", "bias")
    }
    maps = {name: m.astype(mean.dtype)[:, None, None, None, :] for name, m in maps.items()}
    return Coefficients(mean, variance, 1 + maps["gain"], maps["bias"])

  def _rows(self, labels: jax.Array, channels: int, dtype: jnp.dtype) -> list[jax.Array]:
    """Gain and bias of each example's class, [B, 1, 1, 1, C]."""
    shape = (self.num_classes, channels)
    starts = {"gain": nn.initializers.ones, "bias": nn.initializers.zeros}
    tables = [self.param(n, start, shape, self.settings.param_dtype) for n, start in starts.items()]
    return [look_up(t.astype(dtype), labels)[:, None, None, None, :] for t in tables]


class BatchNormCoefficients(BatchNorm):
  """A `BatchNorm` that returns its coefficients instead of normalised activations."""

  @nn.compact
  def __call__(  # type: ignore[override]  # another result
    self, x: jax.Array, train: bool, known: Any = None
  ) -> Coefficients:
    """The coefficients for [B, T, H, W, C]; see `BatchNorm`, and `_moments` for `known`."""
    return self._coefficients(x, train, known)


class ConditionalCoefficients(ConditionalBatchNorm):
  """A `ConditionalBatchNorm` that returns its coefficients instead of normalised activations."""

  @nn.compact
  def __call__(  # type: ignore[override]  # another result
    self, x: jax.Array, condition: jax.Array | None, train: bool, known: Any = None
  ) -> Coefficients:
    """The coefficients for [B, T, H, W, C]; see `ConditionalBatchNorm`, `_moments` for `known`."""
    if condition is None:
      plain = BatchNormCoefficients(
        self.settings, self.statistics, self.epsilon, name="unconditional"
      )
      return plain(x, train, known)
    return self._coefficients(x, condition, train, known)
