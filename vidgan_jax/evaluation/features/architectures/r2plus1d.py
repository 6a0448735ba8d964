"""R(2+1)D-18, "A Closer Look at Spatiotemporal Convolutions" (Tran et al., 2018), for inference.

This is torchvision's `r2plus1d_18`, trained on Kinetics-400. A convolution of frames, batch norm,
ReLU and a convolution in time replace each convolution in three dimensions. The thesis on DVD-GAN
(Du 2020) uses it for the Inception Score and FID. The network accepts any number of frames and any
resolution, because the last pooling is global; it was trained on 16 frames of 112x112.

Products always use the highest precision. Batch norm uses running statistics only, and is folded
into the kernels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidgan_jax.evaluation.features.architectures import separable

OUTPUTS = {"logits": 400, "avgpool": 512}
MIN_FRAMES = 1
INPUT_SIZE = (112, 112)
EPSILON = 1e-5
PARAMETERS = 31_505_325

# (channels, channels between frame and time convolution in each of the two blocks) of each stage.
_STAGES = ((64, (144, 144)), (128, (230, 288)), (256, (460, 576)), (512, (921, 1152)))
_STEM = 45


class Unit(nn.Module):
  """Declares a convolution without bias and the batch norm after it, and folds them together.

  Attributes:
    shape: shape of the kernel, [*window, in, out].
  """

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self):
    """Returns (kernel of `shape`, bias [out]) of a convolution that includes the batch norm."""
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
    window: height and width of the window of the frame convolution; padding is window // 2.
    middle: channels between the two convolutions.
    features: output channels.
    stride: stride in height and width.
    time_stride: stride in time.
  """

  window: int
  middle: int
  features: int
  stride: int = 1
  time_stride: int = 1

  @nn.compact
  def __call__(self, x):
    """Maps [B, T, H, W, in] to [B, T', H', W', features], before ReLU."""
    padding = (self.window // 2,) * 2
    kernel, bias = Unit((self.window, self.window, x.shape[-1], self.middle), name="frame")()
    x = nn.relu(separable.frame_convolution(x, kernel, self.stride, (padding, padding)) + bias)
    kernel, bias = Unit((3, self.middle, self.features), name="time")()
    return separable.time_convolution(x, kernel, self.time_stride) + bias


class Block(nn.Module):
  """A residual block of two separated convolutions; the first one has the stride.

  Attributes:
    features: output channels.
    middle: channels between the frame and the time convolution.
    stride: stride in time, height and width.
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
    """Computes features and predictions of clips.

    Args:
      clips: float32 [B, T, H, W, 3], channels RGB. Values in 0..1 are normalised: minus the mean,
        divided by the standard deviation of each channel.

    Returns:
      {"logits": float32 [B, 400], "avgpool": float32 [B, 512]}.
    """
    x = clips.astype(jnp.float32)
    x = nn.relu(Separated(7, _STEM, 64, 2, name="stem")(x))
    for stage, (features, middles) in enumerate(_STAGES):
      for block, middle in enumerate(middles):
        stride = 2 if stage > 0 and block == 0 else 1
        x = Block(features, middle, stride, name=f"layer{stage + 1}_{block}")(x)
    x = jnp.mean(x, axis=(1, 2, 3))
    dense = nn.Dense(OUTPUTS["logits"], precision=jax.lax.Precision.HIGHEST, name="fc")
    return {"logits": dense(x), "avgpool": x}


# {(convolution, batch norm) in torchvision's block or stem: name of the `Unit` here}.
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
  """{name in torchvision's state dict: path in the variables of `R2Plus1D`}.

  Kernels of torchvision are [out, in, T, H, W]. Here, window axes of length 1 are removed:
  [H, W, in, out], [T, in, out] and [in, out]. `convert_array` converts them.
  """
  units = dict(_STEM_UNITS)
  for stage in range(len(_STAGES)):
    for block in range(2):
      for (kernel, norm), name in _BLOCK_UNITS.items():
        if name != "downsample" or (stage > 0 and block == 0):
          prefix = f"layer{stage + 1}.{block}"
          units[f"{prefix}.{kernel}", f"{prefix}.{norm}"] = f"layer{stage + 1}_{block}/{name}"
  names = {"fc.weight": "params/fc/kernel", "fc.bias": "params/fc/bias"}
  for (kernel, norm), name in units.items():
    names[f"{kernel}.weight"] = f"params/{name}/kernel"
    names.update({f"{norm}.{entry}": path.format(name) for entry, path in _NORM.items()})
  return names


def convert_array(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Transposes and reshapes an array of torchvision's state dict to the `shape` that it has here.

  Raises:
    ValueError: the array has other sizes; the message is "SHAPE instead of SHAPE".
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
