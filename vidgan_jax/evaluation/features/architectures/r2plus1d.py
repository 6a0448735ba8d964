"""R(2+1)D-18, "A Closer Look at Spatiotemporal Convolutions" (Tran et al., 2018), for inference.

The network of torchvision's `r2plus1d_18`, trained on Kinetics-400: every convolution in three
dimensions is one of frames, batch norm, ReLU and one in time. The thesis on DVD-GAN takes its
Inception Score and FID from it. Any number of frames and any resolution pass, for the last pooling
is over all there is; it was trained on 16 frames of 112x112.

Products are always taken at the highest precision. Batch norm, with running moments only, is folded
into the kernels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.evaluation.features.architectures import separable

OUTPUTS = {"logits": 400, "avgpool": 512}
MIN_FRAMES = 1
INPUT_SIZE = (112, 112)
EPSILON = 1e-5
PARAMETERS = 31_505_325

# Of a stage: channels, and those between the two halves of its blocks' convolutions.
_STAGES = ((64, (144, 144)), (128, (230, 288)), (256, (460, 576)), (512, (921, 1152)))
_STEM = 45


class Unit(nn.Module):
  """Declares a convolution without bias and the batch norm behind it, and folds the two.

  Attributes:
    shape: of the kernel, [*window, in, out].
  """

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self):
    """Returns the kernel of `shape` and the bias [out] that the unit amounts to, before ReLU."""
    features = self.shape[-1:]
    moment = lambda name, fill: self.variable(
      "batch_stats", name, lambda: jnp.full(features, fill, jnp.float32)
    )
    kernel = self.param("kernel", nn.initializers.he_normal(), self.shape, jnp.float32)
    gain = self.param("scale", nn.initializers.ones, features, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, features, jnp.float32)
    gain *= jax.lax.rsqrt(moment("var", 1).value + EPSILON)
    return kernel * gain, bias - moment("mean", 0).value * gain


class Separated(nn.Module):
  """A convolution of frames, batch norm, ReLU, a convolution in time and batch norm.

  Attributes:
    window: side of the frames' window; it is padded by half.
    middle: channels between the two.
    features: channels in the end.
    stride: of frames in height and width.
    time_stride: of time.
  """

  window: int
  middle: int
  features: int
  stride: int = 1
  time_stride: int = 1

  @nn.compact
  def __call__(self, x):
    """Maps [B, T, H, W, in] to [B, T', H', W', features], before ReLU."""
    beyond = (self.window // 2,) * 2
    kernel, bias = Unit((self.window, self.window, x.shape[-1], self.middle), name="frame")()
    x = nn.relu(separable.frame_convolution(x, kernel, self.stride, (beyond, beyond)) + bias)
    kernel, bias = Unit((3, self.middle, self.features), name="time")()
    return separable.time_convolution(x, kernel, self.time_stride) + bias


class Block(nn.Module):
  """A residual block of two separated convolutions; the first of them may have strides.

  Attributes:
    features: channels of its output.
    middle: channels within its convolutions.
    stride: of time, height and width.
  """

  features: int
  middle: int
  stride: int

  @nn.compact
  def __call__(self, x):
    """Maps [B, T, H, W, in] to [B, ceil(T / stride), ..., features]."""
    sizes = (3, self.middle, self.features)
    y = nn.relu(Separated(*sizes, self.stride, self.stride, name="conv1")(x))
    y = Separated(*sizes, name="conv2")(y)
    if self.stride > 1:
      x = x[:, :: self.stride, :: self.stride, :: self.stride]
      kernel, bias = Unit((x.shape[-1], self.features), name="downsample")()
      x = jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST) + bias
    return nn.relu(x + y)


class R2Plus1D(nn.Module):
  """The network; see the module."""

  @nn.compact
  def __call__(self, clips: jax.Array) -> dict[str, jax.Array]:
    """Features and predictions of clips.

    Args:
      clips: float32 [B, T, H, W, 3], red first, in 0..1 less the mean and over the deviation of
        each colour.

    Returns:
      {"logits": float32 [B, 400], "avgpool": float32 [B, 512]}.
    """
    x = clips.astype(jnp.float32)
    x = nn.relu(Separated(7, _STEM, 64, 2, name="stem")(x))
    for stage, (features, middles) in enumerate(_STAGES):
      for place, middle in enumerate(middles):
        stride = 2 if stage > 0 and place == 0 else 1
        x = Block(features, middle, stride, name=f"layer{stage + 1}_{place}")(x)
    x = jnp.mean(x, axis=(1, 2, 3))
    dense = nn.Dense(OUTPUTS["logits"], precision=jax.lax.Precision.HIGHEST, name="fc")
    return {"logits": dense(x), "avgpool": x}


# torchvision's places in a block, or in the stem, and ours: a convolution and its batch norm each.
_BLOCK_UNITS = {
  ("conv1.0.0", "conv1.0.1"): "conv1/frame",
  ("conv1.0.3", "conv1.1"): "conv1/time",
  ("conv2.0.0", "conv2.0.1"): "conv2/frame",
  ("conv2.0.3", "conv2.1"): "conv2/time",
  ("downsample.0", "downsample.1"): "downsample",
}
_STEM_UNITS = {("stem.0", "stem.1"): "stem/frame", ("stem.3", "stem.4"): "stem/time"}
_NORM = {
  "weight": "params/{}/scale",
  "bias": "params/{}/bias",
  "running_mean": "batch_stats/{}/mean",
  "running_var": "batch_stats/{}/var",
}


def from_torchvision() -> dict[str, str]:
  """Our path of each array in torchvision's state dict.

  Kernels there are [out, in, T, H, W]; here axes of length one are gone: [H, W, in, out],
  [T, in, out] and [in, out]. `to_ours` turns them.
  """
  units = dict(_STEM_UNITS)
  for stage in range(len(_STAGES)):
    for place in range(2):
      for (kernel, norm), name in _BLOCK_UNITS.items():
        if name != "downsample" or (stage > 0 and place == 0):
          theirs = f"layer{stage + 1}.{place}"
          units[f"{theirs}.{kernel}", f"{theirs}.{norm}"] = f"layer{stage + 1}_{place}/{name}"
  names = {"fc.weight": "params/fc/kernel", "fc.bias": "params/fc/bias"}
  for (kernel, norm), name in units.items():
    names[f"{kernel}.weight"] = f"params/{name}/kernel"
    names.update({f"{norm}.{theirs}": ours.format(name) for theirs, ours in _NORM.items()})
  return names


def to_ours(array, shape: tuple[int, ...]):
  """Turns an array of torchvision's state dict to the `shape` that it has here.

  Raises:
    ValueError: it has other sizes.
  """
  if array.ndim == 5:
    array = array.transpose(2, 3, 4, 1, 0)
    window = tuple(size for size in array.shape[:3] if size != 1)
    array = array.reshape(*window, *array.shape[3:])
  elif array.ndim == 2:
    array = array.T
  if array.shape != tuple(shape):
    raise ValueError(f"{list(array.shape)} instead of {list(shape)}")
  return array
