"""Self-attention in clips: over all positions at once, or separable (one axis after the other).

There are two styles. "sagan" is SAGAN's attention (Zhang et al. 2018) as BigGAN uses it: queries
and keys have C/8 channels, values C/2, and an output map returns to C. The logits are not divided
by the square root of the width. The result is added to the input with a weight gamma that starts at
0. "bare" is the pseudo-code of DVD-GAN's appendix, as printed in Du's thesis, Figure 3.1: three
C x C products, no residual connection and no gamma.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Dense
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime.errors import UserError

_AXES = {"t": 1, "h": 2, "w": 3}
STYLES = ("sagan", "bare")
ORDERS = tuple("".join(order) for order in itertools.permutations("thw"))


def _max_pool(x: jax.Array) -> jax.Array:
  """Maxima over 2x2 windows in height and width of [B, T, H, W, C]."""
  batch, frames, height, width, channels = x.shape
  x = x.reshape(batch, frames, height // 2, 2, width // 2, 2, channels)
  return jnp.max(x, axis=(3, 5))


def _fold(x: jax.Array, axes: str) -> tuple[jax.Array, tuple[int, ...], list[int]]:
  """Moves `axes` of x [B, T, H, W, C] in front of the channels and merges them.

  Returns:
    The result [*other axes, L, C] with L positions, its shape before merging, and the order of the
    axes of `x` in it.
  """
  attended = [_AXES[a] for a in axes]
  order = [i for i in range(4) if i not in attended] + attended + [4]
  moved = x.transpose(order)
  lead = moved.shape[: 4 - len(attended)]
  length = math.prod(moved.shape[len(lead) : 4])
  return moved.reshape(*lead, length, moved.shape[-1]), moved.shape, order


def _unfold(x: jax.Array, shape: tuple[int, ...], order: list[int]) -> jax.Array:
  """Reverses `_fold` for any number of channels."""
  inverse = [order.index(i) for i in range(5)]
  return x.reshape(*shape[:-1], x.shape[-1]).transpose(inverse)


class SelfAttention(nn.Module):
  """Single-head self-attention among the positions of `axes`, separately for all other axes.

  Attributes:
    axes: any of the letters t, h and w. "thw" attends over the whole clip (DVD-GAN A.2 at 4x4),
      "hw" over each frame.
    settings: see `LayerSettings`.
    style: "sagan" or "bare".
    pool: max-pool keys and values by 2x2, as SAGAN does on images; needs the axes "hw".
  """

  axes: str
  settings: LayerSettings
  style: str = "sagan"
  pool: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] to the same shape.

    Raises:
      UserError: the style is unknown.
    """
    if self.style not in STYLES:
      raise UserError(f"unknown attention style {self.style!r}; known: {', '.join(STYLES)}")
    settings, channels = self.settings, x.shape[-1]
    sagan = self.style == "sagan"
    narrow = max(1, channels // 8) if sagan else channels
    middle = max(1, channels // 2) if sagan else channels
    dense = lambda width, name: Dense(width, settings, use_bias=False, name=name)
    query, key = dense(narrow, "query")(x), dense(narrow, "key")(x)
    value = dense(middle, "value")(x)
    if self.pool:
      key, value = _max_pool(key), _max_pool(value)
    query, shape, order = _fold(query, self.axes)
    key, value = _fold(key, self.axes)[0], _fold(value, self.axes)[0]
    # Logits and softmax are float32 or wider, whatever the type of the activations.
    logits = jnp.einsum(
      "...qc,...kc->...qk",
      query,
      key,
      precision=settings.precision,
      preferred_element_type=jnp.promote_types(jnp.float32, query.dtype),
    )
    weights = jax.nn.softmax(logits)
    mixed = jnp.einsum(
      "...qk,...kc->...qc", weights.astype(value.dtype), value, precision=settings.precision
    )
    mixed = _unfold(mixed, shape, order)
    if not sagan:
      return mixed
    gamma = self.param("gamma", nn.initializers.zeros, (), settings.param_dtype)
    return x + gamma.astype(x.dtype) * dense(channels, "output")(mixed).astype(x.dtype)


class SeparableAttention(nn.Module):
  """Self-attention over one axis after the other (DVD-GAN 3.2).

  The attention weights take memory for the largest of H^2 W T, H W^2 T and H W T^2 numbers instead
  of (H W T)^2. The order in the paper's text is height, width, time ("hwt"), in its pseudo-code
  time, height, width ("thw"), and in the thesis' code width, height, time ("wht").

  Attributes:
    settings: see `LayerSettings`.
    order: the letters t, h and w in the order of the attentions.
    style: see `SelfAttention`.
  """

  settings: LayerSettings
  order: str = "hwt"
  style: str = "sagan"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, H, W, C] to the same shape.

    Raises:
      UserError: `order` is not an order of the letters t, h and w.
    """
    if self.order not in ORDERS:
      raise UserError(f"attention order {self.order!r} is not an order of the letters t, h and w")
    names = {"t": "time", "h": "height", "w": "width"}
    for axis in self.order:
      x = SelfAttention(axis, self.settings, self.style, name=names[axis])(x)
    return x
