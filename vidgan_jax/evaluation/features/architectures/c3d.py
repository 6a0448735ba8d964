"""C3D, "Learning Spatiotemporal Features with 3D Convolutional Networks" (Tran et al., 2015).

The Inception Score and FID on UCF-101 are made of it: trained on Sports-1M, fine-tuned on UCF-101's
101 classes and carried over to Chainer for TGAN (`conv3d_deepnetA_ucf.npz`), which all who report
these scores use. Two of Chainer's habits are part of the network: max pooling takes a last window
that hangs over the edge (7 -> 4 at pool5), and maps are flattened channels first in front of fc6.

Products are always taken at the highest precision: TF32 and bfloat16 move features and scores.
Convolutions are sums over the three frames they see of convolutions of frames: equal to rounding,
and on CPU faster than XLA's own in three dimensions.
"""

import re

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.evaluation.features.architectures import separable
from vidgan_jax.runtime.errors import UserError

OUTPUTS = {"prob": 101, "logits": 101, "fc7": 4096}
FRAMES = 16  # fc6 reads what is left of exactly so many
MIN_FRAMES = FRAMES
INPUT_SIZE = (112, 112)
CONSTANTS = {"mean": (16, 128, 171, 3)}  # of the training clips; BGR, 0..255
PARAMETERS = 78_409_573

# Convolutions between poolings, and the channels of each.
_STAGES = (
  {"conv1a": 64},
  {"conv2a": 128},
  {"conv3a": 256, "conv3b": 256},
  {"conv4a": 512, "conv4b": 512},
  {"conv5a": 512, "conv5b": 512},
)
_DENSE = {"fc6": 4096, "fc7": 4096, "fc8": 101}


class Layer(nn.Module):
  """Declares a kernel of `shape` and a bias, and returns both."""

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self):
    """Returns (kernel, bias [out])."""
    kernel = self.param("kernel", nn.initializers.he_normal(), self.shape, jnp.float32)
    return kernel, self.param("bias", nn.initializers.zeros, self.shape[-1:], jnp.float32)


class C3D(nn.Module):
  """The network; see the module."""

  @nn.compact
  def __call__(self, clips: jax.Array) -> dict[str, jax.Array]:
    """Features and predictions of clips.

    Args:
      clips: float32 [B, 16, 112, 112, 3], blue first, 0..255 less the mean clip.

    Returns:
      {"prob": float32 [B, 101], the softmax of "logits": [B, 101], "fc7": [B, 4096], after ReLU}.

    Raises:
      UserError: the clips have another shape.
    """
    if clips.shape[1:] != (FRAMES, *INPUT_SIZE, 3):
      size = " x ".join(map(str, (FRAMES, *INPUT_SIZE, 3)))
      raise UserError(f"C3D takes clips of {size}, not {list(clips.shape[1:])}")
    x = clips.astype(jnp.float32)
    for stage, convolutions in enumerate(_STAGES):
      for name, features in convolutions.items():
        kernel, bias = Layer((3, 3, 3, x.shape[-1], features), name=name)()
        x = nn.relu(separable.convolve(x, kernel) + bias)
      x = pool(x, (1 if stage == 0 else 2, 2, 2))
    x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
    found = {}
    for name, features in _DENSE.items():
      kernel, bias = Layer((x.shape[-1], features), name=name)()
      x = jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST) + bias
      found[name] = x = x if name == "fc8" else nn.relu(x)
    return {"prob": nn.softmax(x), "logits": x, "fc7": found["fc7"]}


def pool(x: jax.Array, window: tuple[int, int, int]) -> jax.Array:
  """The largest number in each window, which neighbours do not share.

  Chainer's `cover_all`: where the window does not divide a length, a last one hangs over the end.

  Args:
    x: [B, T, H, W, C].
    window: lengths in time, height and width.
  """
  beyond = [-size % length for size, length in zip(x.shape[1:4], window, strict=True)]
  padding = ((0, 0), *((0, more) for more in beyond), (0, 0))
  shape = (1, *window, 1)
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, shape, shape, padding)


def from_chainer(name: str) -> tuple[str, tuple[int, ...]]:
  """Where an array of Chainer's npz belongs, and how its axes are turned.

  Args:
    name: "conv1a/W" [out, in, T, H, W], "fc6/W" [out, in], "conv1a/b"; "conv1a.W" and a leading
      slash are understood.

  Returns:
    its path, such as "params/conv1a/kernel", and the order of its axes there.

  Raises:
    KeyError: the network has no such layer.
  """
  match = re.fullmatch(r"/?(conv\d[ab]|fc[678])[/.]([Wb])", name)
  layers = {layer: 5 for stage in _STAGES for layer in stage} | dict.fromkeys(_DENSE, 2)
  if not match or match[1] not in layers:
    raise KeyError(name)
  layer, kind = match.groups()
  if kind == "b":
    return f"params/{layer}/bias", (0,)
  axes = (2, 3, 4, 1, 0) if layers[layer] == 5 else (1, 0)
  return f"params/{layer}/kernel", axes
