"""A small video classifier for the built-in moving shapes, `moving_shapes_classifier`.

It is trained on four shapes and four motions of drawn clips (`data.sources.moving_shapes`). Its
Inception Score, Frechet distance and accuracy are meaningful on that set only. They need no
download and take seconds. They are not FVD, and no paper reports them; for I3D see `i3d`.

Each frame passes three convolutions, with half the resolution at each. Between them and at the end,
layers combine three consecutive frames. The resulting vectors are averaged over time. Normalisation
uses groups of channels within one clip, so features of a clip do not depend on its batch.
"""

import typing
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES
from vidgan_jax.ops import convolution, forms
from vidgan_jax.runtime.errors import UserError

NAME = "moving_shapes_classifier"
OUTPUTS = {"logits": len(CLASS_NAMES), "features": 64}
MIN_FRAMES = 4
INPUT_SIZE = (32, 32)

_WIDTHS = (24, 48, 96)
_EMBEDDING = 96
_GROUPS = 8
# The form for CPUs, on every device: `apply` has no argument for the platform, all forms give the
# same features up to rounding, and the network is small and mostly used on CPUs.
_OPS = "cpu"
_HIGHEST = jax.lax.Precision.HIGHEST


class MovingShapesClassifier(nn.Module):
  """The network; see the module. It computes in float32 at the highest precision."""

  @nn.compact
  def __call__(self, clips: jax.Array) -> dict[str, jax.Array]:
    """Classifies clips of the input size.

    Args:
      clips: float32 [B, T, 32, 32, 3] in [-1, 1], T at least 1.

    Returns:
      {"logits": float32 [B, 16] in the order of CLASS_NAMES, "features": float32 [B, 64], at least
      0}.
    """
    x = clips.astype(jnp.float32)
    for stage, width in enumerate(_WIDTHS):
      if stage == 0:
        x = convolution.space_to_depth(x, (2, 2), lead=2)  # 16x16 cells of 12 numbers
      else:
        x = nn.max_pool(x, (1, 2, 2), (1, 2, 2))
      x = self._norm(f"norm{stage}", self._spatial(f"frame{stage}", x, width))
      x = nn.relu(x)
      if stage > 0:
        x = nn.relu(
          x + self._norm(f"change_norm{stage}", self._temporal(f"change{stage}", x, width))
        )
    x = x.reshape(*x.shape[:2], -1)
    x = nn.relu(self._dense("embedding", x, _EMBEDDING))
    x = nn.relu(x + self._temporal("path0", x, _EMBEDDING))
    x = nn.relu(self._temporal("path1", x, OUTPUTS["features"]))
    features = jnp.mean(x, axis=1)
    return {"logits": self._dense("logits", features, OUTPUTS["logits"]), "features": features}

  def _dense(self, name, x, features):
    return nn.Dense(
      features, kernel_init=nn.initializers.he_normal(), precision=_HIGHEST, name=name
    )(x)

  def _norm(self, name, x):
    return nn.GroupNorm(_GROUPS, name=name)(x)

  def _spatial(self, name, x, features):
    """A 3x3 convolution of each frame, without bias because a normalisation follows."""
    shape = (3, 3, x.shape[-1], features)
    kernel = self.param(f"{name}_kernel", nn.initializers.he_normal(), shape)
    return forms.get(_OPS).convolve(x, kernel, precision=_HIGHEST)

  def _temporal(self, name, x, features):
    """Combines frames t-1, t and t+1 at each pixel; zeros before the first and after the last."""
    before, after = jnp.zeros_like(x[:, :1]), jnp.zeros_like(x[:, :1])
    neighbours = [jnp.concatenate([before, x[:, :-1]], 1), x, jnp.concatenate([x[:, 1:], after], 1)]
    return self._dense(name, jnp.concatenate(neighbours, axis=-1), features)


def resize(clips: jax.Array) -> jax.Array:
  """Resizes clips to the input size: bilinear, half-pixel centres, antialiased when shrinking.

  Clips that are not square are stretched. Clips of 32x32 are returned unchanged.

  Args:
    clips: float [B, T, H, W, 3].

  Returns:
    float32 [B, T, 32, 32, 3].
  """
  clips = clips.astype(jnp.float32)
  if clips.shape[2:4] == INPUT_SIZE:
    return clips
  shape = (*clips.shape[:2], *INPUT_SIZE, clips.shape[-1])
  return jax.image.resize(clips, shape, "linear", antialias=True, precision=_HIGHEST)


def apply(variables: Mapping[str, Any], clips: jax.Array) -> dict[str, jax.Array]:
  """Computes features and logits of clips of any resolution; a pure function for `jax.jit`.

  Args:
    variables: {"params": ...} of `MovingShapesClassifier`.
    clips: float [B, T, H, W, 3] in [-1, 1]; `resize` brings them to 32x32.

  Returns:
    {"logits": float32 [B, 16], "features": float32 [B, 64]}.

  Raises:
    UserError: the clips do not have this shape, or have fewer than 4 frames, which are too few to
      recognise a motion.
  """
  if clips.ndim != 5 or clips.shape[-1] != 3:
    raise UserError(f"{NAME} takes clips [B, T, H, W, 3], not {list(clips.shape)}")
  if clips.shape[1] < MIN_FRAMES:
    raise UserError(f"{NAME} needs clips of at least {MIN_FRAMES} frames, not {clips.shape[1]}")
  outputs = MovingShapesClassifier().apply(variables, resize(clips))
  return typing.cast(dict[str, jax.Array], outputs)
