"""Frame sampling, downsampling and temporal shifts of clips."""

import jax
import jax.numpy as jnp

from vidgan_jax.ops.convolution import average_pool
from vidgan_jax.runtime.errors import UserError

DOWNSAMPLINGS = ("identity", "pool2", "pool4", "half_crop")


def sample_frames(key: jax.Array, clips: jax.Array, count: int) -> jax.Array:
  """Samples `count` frames of each clip uniformly without replacement, and keeps their order.

  Frames are sampled separately for each clip (DVD-GAN 3.1, and DGMR's pseudo-code).

  Args:
    key: random key.
    clips: [B, T, H, W, C].
    count: k, at most T.

  Returns:
    [B, count, H, W, C].

  Raises:
    UserError: clips have fewer than `count` frames.
  """
  batch, frames = clips.shape[:2]
  if count > frames:
    raise UserError(f"cannot sample {count} frames without replacement from clips of {frames}")
  # The indices of the `count` largest of T uniform numbers are a uniform sample without
  # replacement. `argsort` finds them, because `top_k` gathers the numbers of all devices.
  order = jnp.argsort(-jax.random.uniform(key, (batch, frames)), axis=1)
  indices = jnp.sort(order[:, :count], axis=1)
  return jnp.take_along_axis(clips, indices[:, :, None, None, None], axis=1)


def downsample(key: jax.Array, clips: jax.Array, kind: str) -> jax.Array:
  """Shrinks clips for the temporal discriminator: phi in DVD-GAN 3.1 and 4.3.

  Args:
    key: random key, used only by "half_crop".
    clips: [B, T, H, W, C].
    kind: "identity" changes nothing. "pool2" and "pool4" average-pool each frame. "half_crop" cuts
      a window of half height and width at a random position, the same in all frames of a clip.

  Returns:
    [B, T, H', W', C].

  Raises:
    UserError: the kind is unknown.
  """
  if kind == "identity":
    return clips
  if kind in ("pool2", "pool4"):
    factor = int(kind[-1])
    return average_pool(clips, (factor, factor))
  if kind != "half_crop":
    raise UserError(f"unknown downsampling {kind!r}; known: {', '.join(DOWNSAMPLINGS)}")
  batch, frames, height, width, channels = clips.shape
  size = (height // 2, width // 2)
  limits = jnp.array([height - size[0], width - size[1]])
  corners = jax.random.randint(key, (batch, 2), 0, limits + 1)

  def crop(clip: jax.Array, corner: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice(clip, (0, corner[0], corner[1], 0), (frames, *size, channels))

  return jax.vmap(crop)(clips, corners)


def shift(x: jax.Array, parts: int = 4) -> jax.Array:
  """Temporal shift: replaces some channels by those of the next frame, some by the previous one's.

  Source: Lin et al. 2019 (arXiv 1811.08383), as used in "Lower Dimensional Kernels for Video
  Discriminators" 4.2: a quarter of the channels for each direction, a shift by one frame, zeros at
  the ends, no residual connection.

  Args:
    x: [B, T, H, W, C].
    parts: in frame t, the first C // parts channels come from frame t + 1, the next C // parts from
      frame t - 1.

  Returns:
    [B, T, H, W, C].
  """
  width = x.shape[-1] // parts
  later, earlier, unshifted = jnp.split(x, [width, 2 * width], axis=-1)
  later = jnp.pad(later[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
  earlier = jnp.pad(earlier[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
  return jnp.concatenate([later, earlier, unshifted], axis=-1)
