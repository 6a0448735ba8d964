"""I3D, "Quo Vadis, Action Recognition?" (Carreira and Zisserman, 2017), for inference.

With the weights `rgb_scratch` of Kinetics-400 its logits are what the Frechet video distance is
made of. It is the network of DeepMind's checkpoints, whose names the parameters keep: "SAME"
padding as TensorFlow has it, batch norm without gains and with running moments only, no dropout.

Products are always taken at the highest precision, for TF32 moves features by 6e-4 and bfloat16 by
4e-3 relative; nothing is ever computed in less than float32.

Equal to the layers as drawn, to rounding, and faster on CPU: batch norm as a scale and a bias,
convolutions in two dimensions instead of three (`convolve`), maxima along one axis after the other
(`max_pool`). One product for all 1x1x1 convolutions that read a block's input gained nothing.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.trees import path_name

MIN_FRAMES = 9  # three layers halve time, rounding up, and the last pooling takes two frames
INPUT_SIZE = (224, 224)
EPSILON = 1e-3
FEATURES = 1024  # of "avgpool"

_PRECISION = jax.lax.Precision.HIGHEST

# Channels of a block's units: Branch_0; Branch_1, its reduction first; Branch_2, too; Branch_3.
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
# What is pooled before these blocks, as (window, strides).
POOLS = {
  "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
  "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
  "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


def outputs(classes: int = 400) -> dict[str, int]:
  """Sizes of what the network gives."""
  return {"logits": classes, "avgpool": FEATURES}


OUTPUTS = outputs()


def check_size(shape: tuple[int, ...], size: tuple[int, int] = INPUT_SIZE) -> None:
  """Raises a UserError unless the network takes clips of this shape [B, T, H, W, 3]."""
  if len(shape) != 5 or (*shape[2:4], shape[4]) != (*size, 3):
    raise UserError(
      f"I3D takes clips [B, T, {size[0]}, {size[1]}, 3], not {list(shape)}; resize them first"
    )
  if shape[1] < MIN_FRAMES:
    raise UserError(f"I3D takes clips of {MIN_FRAMES} frames or more, not of {shape[1]}")


class Unit(nn.Module):
  """Declares a convolution without bias and the batch norm behind it.

  Attributes:
    shape: of the kernel, [T, H, W, in, out].
  """

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self):
    """The kernel of `shape`, and the scale and bias [out] that batch norm amounts to behind it.

    They are not folded into the kernel: to scale a network's kernels takes longer than the outputs
    of a few clips, whose bias and ReLU are an operation anyway.
    """
    moment = lambda name, fill: self.variable(
      "batch_stats", name, lambda: jnp.full(self.shape[-1:], fill, jnp.float32)
    )
    kernel = self.param("kernel", nn.initializers.he_normal(), self.shape, jnp.float32)
    beta = self.param("beta", nn.initializers.zeros, self.shape[-1:], jnp.float32)
    scale = jax.lax.rsqrt(moment("variance", 1).value + EPSILON)
    return kernel, scale, beta - moment("mean", 0).value * scale


class Branch(nn.Module):
  """One unit after the other.

  Attributes:
    units: name, window and features of each.
    plain: see `I3D`.
  """

  units: tuple[tuple[str, int, int], ...]
  plain: bool

  @nn.compact
  def __call__(self, x):
    """Maps [B, T, H, W, in] to [B, T, H, W, out]."""
    for name, window, features in self.units:
      weights = Unit((window, window, window, x.shape[-1], features), name=name)()
      x = _unit(x, *weights, plain=self.plain)
    return x


class Block(nn.Module):
  """An Inception block, "Mixed_*": four branches side by side.

  Attributes:
    features: see `BLOCKS`.
    plain: see `I3D`.
  """

  features: tuple[int, ...]
  plain: bool

  @nn.compact
  def __call__(self, x):
    """Maps [B, T, H, W, in] to [B, T, H, W, out]."""
    single, reduced_1, features_1, reduced_2, features_2, pooled = self.features
    # The checkpoints' one exception.
    last = "Conv3d_0a_3x3" if self.name == "Mixed_5b" else "Conv3d_0b_3x3"
    branches = (
      (("Conv3d_0a_1x1", 1, single),),
      (("Conv3d_0a_1x1", 1, reduced_1), ("Conv3d_0b_3x3", 3, features_1)),
      (("Conv3d_0a_1x1", 1, reduced_2), (last, 3, features_2)),
      (("Conv3d_0b_1x1", 1, pooled),),
    )
    seen = [x, x, x, max_pool(x, (3, 3, 3), (1, 1, 1), self.plain)]
    found = [
      Branch(units, self.plain, name=f"Branch_{number}")(seen[number])
      for number, units in enumerate(branches)
    ]
    return jnp.concatenate(found, -1)


class Logits(nn.Module):
  """The last 1x1x1 convolution, which has a bias and nothing behind it.

  Attributes:
    classes: its outputs.
  """

  classes: int

  @nn.compact
  def __call__(self, x):
    """Maps [..., in] to [..., classes]."""
    return nn.Dense(self.classes, precision=_PRECISION, name="Conv3d_0c_1x1")(x)


class I3D(nn.Module):
  """The network for pictures ("RGB").

  Attributes:
    classes: 400 or 600, of Kinetics.
    plain: every layer as the paper draws it, which is slow on CPU and the reference in tests.
    side: height and width of the clips, a multiple of 32; weights that others trained expect 224.
  """

  classes: int = 400
  plain: bool = False
  side: int = INPUT_SIZE[0]

  @nn.compact
  def __call__(self, clips):
    """Features of clips.

    Args:
      clips: [B, T, 224, 224, 3] in [-1, 1], T >= 9.

    Returns:
      {"logits": float32 [B, classes], "avgpool": float32 [B, 1024]}, means over time.

    Raises:
      UserError: the clips are of another size, or too short: with fewer frames nothing is left to
        average, and all features would be NaN.
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
    # Means over two frames and the whole map, then over their places in time.
    x = jnp.mean(x, (2, 3))
    x = (x[:, :-1] + x[:, 1:]) / 2
    logits = Logits(self.classes, name="Logits")(x)
    return {"logits": jnp.mean(logits, 1), "avgpool": jnp.mean(x, 1)}


def _unit(x, kernel, scale, bias, strides=(1, 1, 1), *, plain: bool = False):
  """Convolution, batch norm and ReLU."""
  return jax.nn.relu(convolve(x, kernel, strides, plain) * scale + bias)


def convolve(x, kernel, strides: tuple[int, int, int] = (1, 1, 1), plain: bool = False):
  """A "SAME" convolution of x [B, T, H, W, in] with a kernel [T, H, W, in, out].

  Args:
    x: activations.
    kernel: with a window of ones, or with any.
    strides: in time, height and width.
    plain: as one convolution in three dimensions. Otherwise windows of one are a product, and
      others convolutions in two dimensions over all frames, which XLA takes faster on CPU: one for
      each place of the window in time, on those frames alone that are there, or for the few
      channels of pictures a single one, on frames put side by side.

  Returns:
    [B, T', H', W', out].
  """
  window = kernel.shape[0]
  if plain:
    return _convolution(x, kernel, strides)
  if kernel.shape[:3] == (1, 1, 1) and strides == (1, 1, 1):
    return jnp.dot(x, kernel[0, 0, 0], precision=_PRECISION)
  if strides[0] == 1 and window % 2:
    return _by_time(x, kernel, strides[1:])
  beside = _windows_in_time(x, window, strides[0])
  kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
  return _convolution(beside, kernel, strides[1:])


def _windows_in_time(x, window: int, stride: int):
  """What each "SAME" window in time sees of x [B, T, H, W, C]: [B, T', H, W, window * C].

  Time is put beside the channels first, so that a window lies in one piece; left to itself XLA
  would look up every element of the result by itself, three times as long.
  """
  channels, count = x.shape[-1], -(-x.shape[1] // stride)
  (pads,) = jax.lax.padtype_to_pads((x.shape[1],), (window,), (stride,), "SAME")
  padded = jnp.pad(x, ((0, 0), pads, (0, 0), (0, 0), (0, 0)))
  pixels = padded.transpose(0, 2, 3, 1, 4).reshape(x.shape[0], *x.shape[2:4], -1)
  pixels = jax.lax.optimization_barrier(pixels)
  begins = range(0, count * stride * channels, stride * channels)
  return jnp.stack([pixels[..., begin : begin + window * channels] for begin in begins], 1)


def _by_time(x, kernel, strides):
  """A sum of convolutions in two dimensions over the places of a window in time."""
  reach = kernel.shape[0] // 2
  total = _convolution(x, kernel[reach], strides)
  for step in range(1, reach + 1):
    before = _convolution(x[:, :-step], kernel[reach - step], strides)
    after = _convolution(x[:, step:], kernel[reach + step], strides)
    total = total.at[:, step:].add(before).at[:, :-step].add(after)
  return total


def _places(x, axis: int, window: int, stride: int):
  """What each place of a "SAME" window on `axis` sees of x; outside of x is -inf."""
  ((low, high),) = jax.lax.padtype_to_pads((x.shape[axis],), (window,), (stride,), "SAME")
  widths = [(0, 0)] * x.ndim
  widths[axis] = (low, high)
  padded = jnp.pad(x, widths, constant_values=-jnp.inf)
  count = -(-x.shape[axis] // stride)
  last = lambda place: place + (count - 1) * stride + 1
  return [jax.lax.slice_in_dim(padded, place, last(place), stride, axis) for place in range(window)]


def _convolution(x, kernel, strides):
  """XLA's "SAME" convolution on the last axes before the channels; those before are a batch."""
  rank = kernel.ndim - 2
  folded = x.reshape(-1, *x.shape[-rank - 1 :])
  axes = "DHW"[-rank:]
  layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
  out = jax.lax.conv_general_dilated(
    folded, kernel, strides, "SAME", dimension_numbers=layout, precision=_PRECISION
  )
  return out.reshape(*x.shape[: -rank - 1], *out.shape[1:])


def max_pool(x, window: tuple[int, int, int], strides: tuple[int, int, int], plain: bool = False):
  """Maxima of "SAME" windows of x [B, T, H, W, C].

  Args:
    x: activations.
    window: in time, height and width.
    strides: likewise.
    plain: as one operation, which is slow on CPU. Otherwise along one axis after the other.
  """
  if plain:
    ones = lambda sizes: (1, *sizes, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, ones(window), ones(strides), "SAME")
  for axis, (size, stride) in enumerate(zip(window, strides, strict=True), start=1):
    if size > 1:
      x = functools.reduce(jnp.maximum, _places(x, axis, size, stride))
  return x


_PREFIX = "RGB/inception_i3d/"
_OURS = {
  "conv_3d/w": ("params", "kernel"),
  "conv_3d/b": ("params", "bias"),
  "batch_norm/beta": ("params", "beta"),
  "batch_norm/moving_mean": ("batch_stats", "mean"),
  "batch_norm/moving_variance": ("batch_stats", "variance"),
}


def path_of(name: str) -> str | None:
  """The path of ours, "params/Conv3d_1a_7x7/kernel", of a variable in DeepMind's checkpoints.

  Args:
    name: with or without "RGB/inception_i3d/".

  Returns:
    None where the network needs no such variable, as those of its training.
  """
  parts = name.removeprefix(_PREFIX).split("/")
  collection, leaf = _OURS.get("/".join(parts[-2:]), (None, None))
  return "/".join([collection, *parts[:-2], leaf]) if collection and len(parts) > 2 else None


def from_tensorflow(arrays: Mapping[str, np.ndarray], classes: int = 400) -> dict:
  """Variables of `I3D` made of those of one of DeepMind's checkpoints.

  Args:
    arrays: by the names that `path_of` knows, others are left alone. Vectors of batch norm are [C]
      or, as in TF-Hub's module and the checkpoint of Kinetics-600, [1, 1, 1, 1, C].
    classes: of the network wanted.

  Returns:
    {"params": ..., "batch_stats": ...} of float32 NumPy arrays.

  Raises:
    UserError: a variable is missing, there twice, of another shape or type, or not finite.
  """
  found = {}
  for name, array in arrays.items():
    path = path_of(name)
    if path in found:
      raise UserError(f"I3D: the checkpoint has {path} twice, the second time as {name!r}")
    if path is not None:
      found[path] = (name, np.asarray(array))
  wanted = abstract_variables(classes)
  taken = {}

  def take(path, like):
    path = path_name(path)
    if path not in found:
      raise UserError(f"I3D: the checkpoint has no variable for {path}")
    name, array = taken[path] = found[path]
    # Axes of one in front are all that the checkpoints differ by.
    ones = array.ndim - len(like.shape)
    if ones < 0 or array.shape != (1,) * ones + like.shape or array.dtype != np.float32:
      raise UserError(
        f"I3D with {classes} classes: {name!r} is {array.dtype} {list(array.shape)}, wanted "
        f"float32 {list(like.shape)}"
      )
    if not np.isfinite(array).all():
      raise UserError(f"I3D: {name!r} is not finite")
    return array.reshape(like.shape)

  variables = jax.tree_util.tree_map_with_path(take, wanted)
  strange = sorted(set(found) - set(taken))
  if strange:
    raise UserError(f"I3D: {found[strange[0]][0]!r} belongs to no layer of this network")
  return variables


@functools.cache
def abstract_variables(classes: int = 400) -> dict:
  """The variables of `I3D` as shapes: 12,704,544 floats with 400 classes, 12,909,544 with 600."""
  clips = jax.ShapeDtypeStruct((1, MIN_FRAMES, *INPUT_SIZE, 3), jnp.float32)
  return jax.eval_shape(I3D(classes).init, jax.random.key(0), clips)
