"""Resizing and cropping as in published evaluations; each method gives different scores.

All functions take [..., H, W, C] and compute what the reference implementations compute, in float32
and without rounding to whole grey levels. The methods differ in the input position of an output
pixel:

  tf1            input = output * scale                 TensorFlow 1's resize_bilinear by default
  align_corners  input = output * (in - 1) / (out - 1)  Chainer's resize_images
  half_pixel     input = (output + 1/2) * scale - 1/2   PyTorch's interpolate, TensorFlow 2
  cubic          as half_pixel, four taps, a = -3/4     OpenCV's INTER_CUBIC
  antialiased    as half_pixel; when shrinking, the triangular kernel is widened by the factor of
                 reduction                              Pillow's BILINEAR

From 64x64 to 224x224, tf1 and half_pixel differ by 3.7 grey levels of 255 on average.
"""

import jax
import jax.numpy as jnp
import numpy as np


def _linear_taps(position, size: int):
  """Taps and weights of linear interpolation at positions [n] on an axis of `size` elements.

  Returns:
    ((lower indices [n], upper indices [n]), (weights of lower [n], weights of upper [n])).
  """
  position = np.maximum(position, 0)
  lower = np.minimum(np.floor(position).astype(np.int32), size - 1)
  upper = np.minimum(lower + 1, size - 1)
  weight = position - lower
  return (lower, upper), ((1 - weight).astype(np.float32), weight.astype(np.float32))


def _tf1(size: int, new: int):
  # In float32, as in TensorFlow, where the product of index and scale is rounded to float32 too.
  scale = np.float32(size) / np.float32(new)
  return _linear_taps(np.arange(new, dtype=np.float32) * scale, size)


def _align_corners(size: int, new: int):
  return _linear_taps(np.linspace(0, size - 1, new), size)


def _half_pixel_positions(size: int, new: int):
  return (np.arange(new) + 0.5) * (size / new) - 0.5


def _half_pixel(size: int, new: int):
  return _linear_taps(_half_pixel_positions(size, new), size)


_CUBIC = -0.75  # OpenCV's value of a; Keys (1981) uses -1/2


def _cubic(size: int, new: int):
  position = _half_pixel_positions(size, new)
  first = np.floor(position).astype(np.int32)
  t, a = position - first, _CUBIC
  near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1
  far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
  weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
  taps = tuple(np.clip(first + offset, 0, size - 1) for offset in (-1, 0, 1, 2))
  return taps, tuple(weight.astype(np.float32) for weight in weights)


def _antialiased(size: int, new: int):
  scale = max(size / new, 1.0)
  centre = (np.arange(new) + 0.5) * (size / new)
  count = int(np.ceil(scale)) * 2 + 1
  first = np.floor(centre - scale).astype(np.int32)
  taps = first[:, None] + np.arange(count + 1)
  weights = np.maximum(0, 1 - np.abs(taps + 0.5 - centre[:, None]) / scale)
  weights[(taps < 0) | (taps >= size)] = 0  # truncated at the border, then normalised
  weights /= weights.sum(axis=1, keepdims=True)
  taps = np.clip(taps, 0, size - 1)
  return tuple(taps.T), tuple(weights.T.astype(np.float32))


_TAPS = {
  "tf1": _tf1,
  "align_corners": _align_corners,
  "half_pixel": _half_pixel,
  "cubic": _cubic,
  "antialiased": _antialiased,
}
METHODS = tuple(_TAPS)


def _along(images, axis: int, taps, weights):
  """Weighted sums of elements along one axis."""
  shape = [1] * images.ndim
  shape[axis] = len(weights[0])
  terms = [
    jnp.take(images, tap, axis=axis) * jnp.asarray(weight).reshape(shape)
    for tap, weight in zip(taps, weights, strict=True)
  ]
  return sum(terms[1:], terms[0])


def resize(images: jax.Array | np.ndarray, size: tuple[int, int], method: str) -> jax.Array:
  """Resizes pictures by one of `METHODS`; see the module.

  Args:
    images: [..., H, W, C], any numeric type.
    size: (height, width) of the result; the aspect ratio may change.
    method: one of METHODS.

  Returns:
    float32 [..., height, width, C], not rounded. An axis that already has the right size stays
    unchanged, which is exact for every method.
  """
  images = jnp.asarray(images, jnp.float32)
  height, width = images.shape[-3:-1]
  rule = _TAPS[method]
  if width != size[1]:  # horizontally first, like TensorFlow and OpenCV
    images = _along(images, images.ndim - 2, *rule(width, size[1]))
  if height != size[0]:
    images = _along(images, images.ndim - 3, *rule(height, size[0]))
  return images


def crop(
  images: jax.Array | np.ndarray, top: int, left: int, height: int, width: int
) -> jax.Array | np.ndarray:
  """Cuts [..., height, width, C] out of [..., H, W, C].

  Raises:
    ValueError: the crop extends beyond the picture.
  """
  rows, columns = images.shape[-3:-1]
  if min(top, left) < 0 or top + height > rows or left + width > columns:
    raise ValueError(f"no {height}x{width} crop at ({top}, {left}) in {rows}x{columns} pixels")
  return images[..., top : top + height, left : left + width, :]


def center_crop(images: jax.Array | np.ndarray, height: int, width: int) -> jax.Array | np.ndarray:
  """Cuts out the middle [..., height, width, C]; an odd margin is larger below and at the right."""
  rows, columns = images.shape[-3:-1]
  return crop(images, (rows - height) // 2, (columns - width) // 2, height, width)
