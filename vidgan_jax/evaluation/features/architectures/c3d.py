"""C3D, "Learning Spatiotemporal Features with 3D Convolutional Networks" (Tran et al., 2015).

The network of the Inception Score and FID on UCF-101: trained on Sports-1M, fine-tuned on the 101
classes of UCF-101, and converted to Chainer for TGAN (`conv3d_deepnetA_ucf.npz`). All papers with
these scores use that file. Two properties of Chainer are part of the network: max pooling includes
a last window that extends beyond the edge (7 -> 4 at pool5), and activations are flattened with
the channels first before fc6.

Products always use the highest precision, because TF32 and bfloat16 change features and scores. A
convolution in three dimensions is computed as a sum of two-dimensional ones over its three frames.
This is equal up to rounding, and faster on CPU than XLA's convolution in three dimensions.
"""

import re

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.evaluation.features.architectures import separable
from vidgan_jax.runtime.errors import UserError

OUTPUTS = {"prob": 101, "logits": 101, "fc7": 4096}
FRAMES = 16  # the input size of fc6 requires exactly 16 frames
MIN_FRAMES = FRAMES
INPUT_SIZE = (112, 112)
CONSTANTS = {"mean": (16, 128, 171, 3)}  # mean of the training clips; BGR, 0..255
PARAMETERS = 78_409_573

# {convolution: its output channels} of each stage. A stage ends with a max pooling.
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
    """Computes features and predictions of clips.

    Args:
      clips: float32 [B, 16, 112, 112, 3], channels BGR, 0..255 minus the mean clip.

    Returns:
      {"prob": float32 [B, 101], softmax of "logits"; "logits": float32 [B, 101];
      "fc7": float32 [B, 4096], after ReLU}.

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
    outputs = {}
    for name, features in _DENSE.items():
      kernel, bias = Layer((x.shape[-1], features), name=name)()
      x = jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST) + bias
      outputs[name] = x = x if name == "fc8" else nn.relu(x)
    return {"prob": nn.softmax(x), "logits": x, "fc7": outputs["fc7"]}


def pool(x: jax.Array, window: tuple[int, int, int]) -> jax.Array:
  """Max pooling with disjoint windows.

  As with Chainer's `cover_all`, the last window extends beyond the end if the length of an axis is
  not a multiple of the window.

  Args:
    x: [B, T, H, W, C].
    window: window in time, height and width.
  """
  padded = [-size % length for size, length in zip(x.shape[1:4], window, strict=True)]
  padding = ((0, 0), *((0, count) for count in padded), (0, 0))
  shape = (1, *window, 1)
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, shape, shape, padding)


def from_chainer(name: str) -> tuple[str, tuple[int, ...]]:
  """The path and the order of axes for an array of Chainer's npz.

  Args:
    name: "conv1a/W" for a kernel [out, in, T, H, W], "fc6/W" for [out, in], "conv1a/b" for a bias.
      The form "conv1a.W" and a leading slash are accepted too.

  Returns:
    (path such as "params/conv1a/kernel", permutation of axes for `transpose`).

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
