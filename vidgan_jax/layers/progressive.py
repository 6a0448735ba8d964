"""Layers of progressive growing (Karras et al. 2018, arXiv 1710.10196), for clips.

Activations are [B, T, H, W, C]. The equalised learning rate is `LayerSettings.equalized`; nearest
upsampling and mean pooling with a factor for time are in `ops.convolution`.
"""

import jax
import jax.numpy as jnp

from vidgan_jax.runtime.errors import UserError

EPSILON = 1e-8
GROUP = 4  # clips, in that paper's code


def pixel_norm(x: jax.Array) -> jax.Array:
  """Divides each pixel's features by their root mean square (4.2); [..., C] to [..., C].

  The mean square is taken in float32 or wider.
  """
  wide = x.astype(jnp.promote_types(jnp.float32, x.dtype))
  mean_square = jnp.mean(wide * wide, axis=-1, keepdims=True)
  return (wide * jax.lax.rsqrt(mean_square + EPSILON)).astype(x.dtype)


def minibatch_deviation(x: jax.Array, group: int = GROUP) -> jax.Array:
  """Appends a channel that says how much the clips of a group differ (section 3).

  The channel holds one number for each group: the standard deviation over the group of each
  feature at each position, averaged over features and positions. A discriminator sees by it that a
  generator draws the same clip again and again.

  A group is `group` consecutive clips, or the whole batch where that is smaller. Consecutive clips
  lie on one device if the batch of a device is a multiple of `group`, so that the result does not
  depend on the number of devices. Karras et al. group clips that are B / 4 apart, which has the
  same distribution.

  Args:
    x: [B, T, H, W, C].
    group: clips of a group.

  Returns:
    [B, T, H, W, C + 1].

  Raises:
    UserError: where the batch is not a multiple of the group.
  """
  batch = x.shape[0]
  group = min(group, batch)
  if batch % group:
    raise UserError(f"a batch of {batch} clips does not divide into groups of {group}")
  wide = x.astype(jnp.promote_types(jnp.float32, x.dtype))
  grouped = wide.reshape(batch // group, group, *x.shape[1:])
  variance = jnp.mean(jnp.square(grouped - jnp.mean(grouped, axis=1, keepdims=True)), axis=1)
  deviation = jnp.mean(jnp.sqrt(variance + EPSILON), axis=(1, 2, 3, 4))
  channel = jnp.repeat(deviation, group)[:, None, None, None, None]
  channel = jnp.broadcast_to(channel, (*x.shape[:-1], 1)).astype(x.dtype)
  return jnp.concatenate([x, channel], axis=-1)
