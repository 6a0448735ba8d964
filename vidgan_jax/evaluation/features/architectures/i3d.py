"""I3D, "Quo Vadis, Action Recognition?" (Carreira and Zisserman, 2017), for inference.

The Frechet video distance uses its logits, with the weights `rgb_scratch` of Kinetics-400. The
network and the names of its parameters are those of DeepMind's checkpoints: "SAME" padding of
TensorFlow, batch norm without gains and with running statistics, no dropout.

All computations are in float32. Products use the highest precision, because TF32 changes features
by 6e-4 and bfloat16 by 4e-3, relatively.

Three layers are computed in another way than the paper describes, which is equal up to rounding and
faster on CPU: batch norm as a scale and a bias, convolutions in two dimensions instead of three
(`convolve`), and maxima along one axis at a time (`max_pool`). Merging all 1x1x1 convolutions of a
block's input into one product was not faster.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.trees import path_name

MIN_FRAMES = 9  # three layers halve time, rounding up; the last pooling needs two frames
INPUT_SIZE = (224, 224)
EPSILON = 1e-3
FEATURES = 1024  # size of "avgpool"

_PRECISION = jax.lax.Precision.HIGHEST

# Output channels of the units of each block: Branch_0; Branch_1, first unit and second unit;
# Branch_2, first unit and second unit; Branch_3.
BLOCKS = {
  "Mixed_3b": (64, 96, 128, 16, 32, 32),
  "Mixed_3c": (128, 128, 192, 32, 96, 64),
  "Mixed_4b": (192, 96, 208, 16, 48, 64),
  "Mixed_4c": (160, 112, 224, 24, 64, 64),
  "Mixed_4d": (128, 128, 256, 24, 64, 64),
  "Mixed_4e": (112, 144, 288, 32, 64, 64),
  "Mixed_4f": (256, 160, 320, 32, 128, 128),
  "Mixed_5b": (256, 160, 320, 32, 128, 128),
  "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# {block: (window, strides) of the max pooling before it}.
POOLS = {
  "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
  "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
  "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


def outputs(classes: int = 400) -> dict[str, int]:
  """{output: its size}."""
  return {"logits": classes, "avgpool": FEATURES}


OUTPUTS = outputs()


def check_size(shape: tuple[int, ...], size: tuple[int, int] = INPUT_SIZE) -> None:
  """Raises a UserError unless `shape` is [B, T, H, W, 3] with H, W = `size` and enough frames."""
  if len(shape) != 5 or (*shape[2:4], shape[4]) != (*size, 3):
    raise UserError(
      f"I3D takes clips [B, T, {size[0]}, {size[1]}, 3], not {list(shape)}; resize them first"
    )
  if shape[1] < MIN_FRAMES:
    raise UserError(f"I3D takes clips of {MIN_FRAMES} frames or more, not of {shape[1]}")


class Unit(nn.Module):
  """Declares a convolution without bias and the batch norm after it.

  Attributes:
    shape: shape of the kernel, [T, H, W, in, out].
  """

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self):
    """Returns (kernel of `shape`, scale [out], bias [out]); the last two are the batch norm.

    The scale is not folded into the kernel: scaling all kernels takes longer than scaling the
    activations of a few clips, which is part of the same operation as the bias and the ReLU.
    """
    moment = lambda name, fill: self.variable(
      "batch_stats", name, lambda: jnp.full(self.shape[-1:], fill, jnp.float32)
    )
    kernel = self.param("kernel", nn.initializers.he_normal(), self.shape, jnp.float32)
    beta = self.param("beta", nn.initializers.zeros, self.shape[-1:], jnp.float32)
    scale = jax.lax.rsqrt(moment("variance", 1).value + EPSILON)
    return kernel, scale, beta - moment("mean", 0).value * scale


class Branch(nn.Module):
  """A sequence of units.

  Attributes:
    units: (name, window, output channels) of each unit.
    plain: see `I3D`.
  """

  units: tuple[tuple[str, int, int], ...]
  plain: bool

  @nn.compact
  def __call__(self, x: jax.Array):
    """Maps [B, T, H, W, in] to [B, T, H, W, out]."""
    for name, window, features in self.units:
      weights = Unit((window, window, window, x.shape[-1], features), name=name)()
      x = _unit(x, *weights, plain=self.plain)
    return x


class Block(nn.Module):
  """An Inception block, "Mixed_*": four parallel branches, concatenated along the channels.

  Attributes:
    features: see `BLOCKS`.
    plain: see `I3D`.
  """

  features: tuple[int, ...]
  plain: bool

  @nn.compact
  def __call__(self, x: jax.Array):
    """Maps [B, T, H, W, in] to [B, T, H, W, out]."""
    single, reduced_1, features_1, reduced_2, features_2, pooled = self.features
    # The checkpoints name this unit differently in one block.
    last = "Conv3d_0a_3x3" if self.name == "Mixed_5b" else "Conv3d_0b_3x3"
    branches = (
      (("Conv3d_0a_1x1", 1, single),),
      (("Conv3d_0a_1x1", 1, reduced_1), ("Conv3d_0b_3x3", 3, features_1)),
      (("Conv3d_0a_1x1", 1, reduced_2), (last, 3, features_2)),
      (("Conv3d_0b_1x1", 1, pooled),),
    )
    inputs = [x, x, x, max_pool(x, (3, 3, 3), (1, 1, 1), self.plain)]
    results = [
      Branch(units, self.plain, name=f"Branch_{number}")(inputs[number])
      for number, units in enumerate(branches)
    ]
    return jnp.concatenate(results, -1)


class Logits(nn.Module):
  """The last 1x1x1 convolution, with a bias and without batch norm or ReLU.

  Attributes:
    classes: number of outputs.
  """

  classes: int

  @nn.compact
  def __call__(self, x: jax.Array):
    """Maps [..., in] to [..., classes]."""
    return nn.Dense(self.classes, precision=_PRECISION, name="Conv3d_0c_1x1")(x)


class I3D(nn.Module):
  """The network for RGB frames.

  Attributes:
    classes: number of classes, 400 or 600 for Kinetics.
    plain: computes all layers as the paper describes them. This is slow on CPU; tests compare with
      it.
    side: height and width of the clips, a multiple of 32; published weights need 224.
  """

  classes: int = 400
  plain: bool = False
  side: int = INPUT_SIZE[0]

  @nn.compact
  def __call__(self, clips):
    """Computes features of clips.

    Args:
      clips: [B, T, 224, 224, 3] in [-1, 1], T >= 9.

    Returns:
      {"logits": float32 [B, classes], "avgpool": float32 [B, 1024]}, averaged over time.

    Raises:
      UserError: the clips have another size, or too few frames. With fewer frames the last pooling
        would be empty, and all features NaN.
    """
    check_size(clips.shape, (self.side, self.side))
    x = clips.astype(jnp.float32)
    unit = lambda name, x, window, features, strides=(1, 1, 1): _unit(
      x, *Unit((*(window,) * 3, x.shape[-1], features), name=name)(), strides, plain=self.plain
    )
    x = unit("Conv3d_1a_7x7", x, 7, 64, (2, 2, 2))
    self.sow("intermediates", "after_1a", x)
    x = max_pool(x, (1, 3, 3), (1, 2, 2), self.plain)
    x = unit("Conv3d_2b_1x1", x, 1, 64)
    x = unit("Conv3d_2c_3x3", x, 3, 192)
    for name, features in BLOCKS.items():
      if name in POOLS:
        x = max_pool(x, *POOLS[name], self.plain)
      x = Block(features, self.plain, name=name)(x)
      self.sow("intermediates", f"after_{name.removeprefix('Mixed_')}", x)
    # Average pooling over windows of two frames and all pixels; then the mean over windows.
    x = jnp.mean(x, (2, 3))
    x = (x[:, :-1] + x[:, 1:]) / 2
    logits = Logits(self.classes, name="Logits")(x)
    return {"logits": jnp.mean(logits, 1), "avgpool": jnp.mean(x, 1)}


def _unit(x, kernel, scale, bias, strides=(1, 1, 1), *, plain: bool = False):
  """Convolution, batch norm (scale and bias) and ReLU."""
  return jax.nn.relu(convolve(x, kernel, strides, plain) * scale + bias)


def convolve(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int, int] = (1, 1, 1), plain: bool = False
) -> jax.Array:
  """A "SAME" convolution of x [B, T, H, W, in] with a kernel [T, H, W, in, out].

  Args:
    x: activations.
    kernel: the kernel.
    strides: strides in time, height and width.
    plain: computes one convolution in three dimensions. Otherwise a 1x1x1 kernel becomes a matrix
      product, and other kernels become convolutions of frames, which XLA computes faster on CPU:
      one convolution for each time step of the window (`_sum_over_time`), or, if there is a stride
      in time, a single one whose channels are all frames of the window (`_windows_in_time`).

  Returns:
    [B, T', H', W', out].
  """
  window = kernel.shape[0]
  if plain:
    return _convolution(x, kernel, strides)
  if kernel.shape[:3] == (1, 1, 1) and strides == (1, 1, 1):
    return jnp.dot(x, kernel[0, 0, 0], precision=_PRECISION)
  if strides[0] == 1 and window % 2:
    return _sum_over_time(x, kernel, strides[1:])
  windows = _windows_in_time(x, window, strides[0])
  kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
  return _convolution(windows, kernel, strides[1:])


def _windows_in_time(x, window: int, stride: int):
  """Frames of each "SAME" window in time as channels: [B, T, H, W, C] -> [B, T', H, W, window * C].

  Time is moved next to the channels first, so that each window is contiguous in memory. The barrier
  keeps XLA from fusing this with the slices: it would gather single elements, which takes three
  times as long.
  """
  channels, count = x.shape[-1], -(-x.shape[1] // stride)
  (pads,) = jax.lax.padtype_to_pads((x.shape[1],), (window,), (stride,), "SAME")
  padded = jnp.pad(x, ((0, 0), pads, (0, 0), (0, 0), (0, 0)))
  pixels = padded.transpose(0, 2, 3, 1, 4).reshape(x.shape[0], *x.shape[2:4], -1)
  pixels = jax.lax.optimization_barrier(pixels)
  begins = range(0, count * stride * channels, stride * channels)
  return jnp.stack([pixels[..., begin : begin + window * channels] for begin in begins], 1)


def _sum_over_time(x, kernel, strides):
  """Sums convolutions of frames over the time steps of the window, without padding frames."""
  half = kernel.shape[0] // 2
  total = _convolution(x, kernel[half], strides)
  for step in range(1, half + 1):
    before = _convolution(x[:, :-step], kernel[half - step], strides)
    after = _convolution(x[:, step:], kernel[half + step], strides)
    total = total.at[:, step:].add(before).at[:, :-step].add(after)
  return total


def _taps(x, axis: int, window: int, stride: int):
  """For each position in a "SAME" window along `axis`, the elements of x there; -inf outside x."""
  ((low, high),) = jax.lax.padtype_to_pads((x.shape[axis],), (window,), (stride,), "SAME")
  widths = [(0, 0)] * x.ndim
  widths[axis] = (low, high)
  padded = jnp.pad(x, widths, constant_values=-jnp.inf)
  count = -(-x.shape[axis] // stride)
  end = lambda tap: tap + (count - 1) * stride + 1
  return [jax.lax.slice_in_dim(padded, tap, end(tap), stride, axis) for tap in range(window)]


def _convolution(x, kernel, strides):
  """XLA's "SAME" convolution over the last axes before the channels; all others are the batch."""
  rank = kernel.ndim - 2
  folded = x.reshape(-1, *x.shape[-rank - 1 :])
  axes = "DHW"[-rank:]
  layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
  out = jax.lax.conv_general_dilated(
    folded, kernel, strides, "SAME", dimension_numbers=layout, precision=_PRECISION
  )
  return out.reshape(*x.shape[: -rank - 1], *out.shape[1:])


def max_pool(
  x: jax.Array, window: tuple[int, int, int], strides: tuple[int, int, int], plain: bool = False
) -> jax.Array:
  """Maxima of "SAME" windows of x [B, T, H, W, C].

  Args:
    x: activations.
    window: window in time, height and width.
    strides: strides in time, height and width.
    plain: computes one operation, which is slow on CPU, instead of one per axis.
  """
  if plain:
    ones = lambda sizes: (1, *sizes, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, ones(window), ones(strides), "SAME")
  for axis, (size, stride) in enumerate(zip(window, strides, strict=True), start=1):
    if size > 1:
      x = functools.reduce(jnp.maximum, _taps(x, axis, size, stride))
  return x


_PREFIX = "RGB/inception_i3d/"
_VARIABLES = {  # {name in the checkpoints: (collection, name in this module)}
  "conv_3d/w": ("params", "kernel"),
  "conv_3d/b": ("params", "bias"),
  "batch_norm/beta": ("params", "beta"),
  "batch_norm/moving_mean": ("batch_stats", "mean"),
  "batch_norm/moving_variance": ("batch_stats", "variance"),
}


def path_of(name: str) -> str | None:
  """The path, such as "params/Conv3d_1a_7x7/kernel", of a variable in DeepMind's checkpoints.

  Args:
    name: its name in the checkpoint, with or without "RGB/inception_i3d/".

  Returns:
    The path in the variables of `I3D`; None for variables that are only used in training.
  """
  parts = name.removeprefix(_PREFIX).split("/")
  variable = _VARIABLES.get("/".join(parts[-2:]))
  if variable is None or len(parts) < 3:
    return None
  collection, leaf = variable
  return "/".join([collection, *parts[:-2], leaf])


def from_tensorflow(arrays: Mapping[str, np.ndarray], classes: int = 400) -> dict:
  """Converts the variables of one of DeepMind's checkpoints to variables of `I3D`.

  Args:
    arrays: {name in the checkpoint: array}; names for which `path_of` is None are ignored. Vectors
      of batch norm are [C], or [1, 1, 1, 1, C] in TF-Hub's module and the checkpoint of
      Kinetics-600.
    classes: number of classes of the network.

  Returns:
    {"params": ..., "batch_stats": ...} of float32 NumPy arrays.

  Raises:
    UserError: a variable is missing, occurs twice, has another shape or type, or is not finite.
  """
  named = {}
  for name, array in arrays.items():
    path = path_of(name)
    if path in named:
      raise UserError(f"I3D: the checkpoint has {path} twice, the second time as {name!r}")
    if path is not None:
      named[path] = (name, np.asarray(array))
  used = set()

  def convert(path, like):
    path = path_name(path)
    if path not in named:
      raise UserError(f"I3D: the checkpoint has no variable for {path}")
    used.add(path)
    name, array = named[path]
    # Shapes may differ between checkpoints by leading axes of size 1.
    ones = array.ndim - len(like.shape)
    if ones < 0 or array.shape != (1,) * ones + like.shape or array.dtype != np.float32:
      raise UserError(
        f"I3D with {classes} classes: {name!r} is {array.dtype} {list(array.shape)}, expected "
        f"float32 {list(like.shape)}"
      )
    if not np.isfinite(array).all():
      raise UserError(f"I3D: {name!r} is not finite")
    return array.reshape(like.shape)

  variables = jax.tree_util.tree_map_with_path(convert, abstract_variables(classes))
  unused = sorted(set(named) - used)
  if unused:
    raise UserError(f"I3D: {named[unused[0]][0]!r} belongs to no layer of this network")
  return variables


@functools.cache
def abstract_variables(classes: int = 400) -> dict:
  """Shapes of the variables of `I3D`: 12,704,544 floats with 400 classes, 12,909,544 with 600."""
  clips = jax.ShapeDtypeStruct((1, MIN_FRAMES, *INPUT_SIZE, 3), jnp.float32)
  return jax.eval_shape(I3D(classes).init, jax.random.key(0), clips)
