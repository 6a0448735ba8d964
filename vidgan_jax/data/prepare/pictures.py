"""Frames of a clip: which are kept, how they are resized, and their encoding."""

import dataclasses
import io
from typing import Protocol

import numpy as np
from PIL import Image

from vidgan_jax.runtime.files.video_files import (
  Resize,
  VideoError,
  resize_bilinear,
  short_side_size,
)

_MAX_SIDE = 65500  # libjpeg's limit
_MAX_PIXELS = 2**26
# A frame that comes by up to this part of a period too early counts as on time: containers round
# times, Matroska to milliseconds.
_EARLY = 0.25


class Frame(Protocol):
  """One frame of an input, as `video_files.DecodedFrame` is one."""

  path: str
  index: int
  time: float | None
  frame_rate: float

  def picture(self, resize: Resize | None = None) -> np.ndarray:
    """The picture, uint8 [H, W, 3]."""


@dataclasses.dataclass(frozen=True)
class ArrayFrame:
  """A frame that is an array already.

  Attributes:
    path: of the file it is from.
    index: its number in the clip.
    image: uint8 [H, W, 3].
    time: None, nothing is known about it.
    frame_rate: 0, it is unknown.
  """

  path: str
  index: int
  image: np.ndarray
  time: float | None = None
  frame_rate: float = 0.0

  def picture(self, resize: Resize | None = None) -> np.ndarray:
    """See `Frame`."""
    return (resize or resize_bilinear)(self.image, self.image.shape[:2])


class Selection:
  """Which frames of one clip are kept, asked once for each frame in order.

  With a frame rate, time is cut into periods and the first frame of each is kept; none is repeated,
  so a clip that is slower keeps all of its frames and its own rate.

  Args:
    stride: keep every n-th frame.
    frame_rate: keep so many frames per second; None keeps to the stride.
  """

  def __init__(self, stride: int = 1, frame_rate: float | None = None):
    self._stride = stride
    self._frame_rate = frame_rate
    self._period = -1

  def keeps(self, frame: Frame) -> bool:
    """Whether a frame is kept.

    Raises:
      VideoError: a frame rate is wanted, and that of the clip is unknown.
    """
    if self._frame_rate is None:
      return frame.index % self._stride == 0
    if not frame.frame_rate > 0:
      raise VideoError(frame.path, "its frame rate is unknown; a stride can be taken instead")
    if frame.frame_rate <= self._frame_rate * 1.001:
      return True
    time = frame.time if frame.time is not None else frame.index / frame.frame_rate
    period = int(np.floor(time * self._frame_rate + _EARLY))
    if frame.index and period <= self._period:
      return False
    self._period = period
    return True

  def rate(self, frame_rate: float) -> float:
    """Frames per second of what is kept of a clip, 0 where that of the clip is unknown."""
    if not 0 < frame_rate <= 1000:  # headers hold anything
      return 0.0
    if self._frame_rate is None:
      return frame_rate / self._stride
    return min(frame_rate, self._frame_rate)


@dataclasses.dataclass(frozen=True)
class Geometry:
  """From a stored picture to the one that is kept; a `Resize`.

  Attributes:
    resolution: pixels of the smaller side; None keeps the size.
    resize: "bilinear" (Pillow's filter, antialiased: DVD-GAN A.1 names bilinear, not its filter) or
      "area" (the mean over each pixel's area: Du's thesis, 4.1).
    crop: first cut the square of so many pixels from the centre (TGANv2 5.1 and "Lower Dimensional
      Kernels" 3.1: 240 of UCF-101); None keeps the whole picture.
  """

  resolution: int | None
  resize: str = "bilinear"
  crop: int | None = None

  def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns uint8 [H, W, 3].

    Args:
      image: uint8 [h, w, 3].
      size: (height, width) at which its pixels are square.

    Raises:
      ValueError: the picture is smaller than the crop, or would have more than 65500 pixels
        a side or 2**26 in all.
    """
    if self.crop is not None:
      if min(size) < self.crop:
        raise ValueError(f"{size[1]}x{size[0]} pixels, smaller than the crop of {self.crop}")
      _check_size(size)
      image = resize_bilinear(image, size)
      top, left = ((side - self.crop) // 2 for side in size)
      image = image[top : top + self.crop, left : left + self.crop]
      size = (self.crop, self.crop)
    if self.resolution is not None:
      size = short_side_size(size, self.resolution)
    _check_size(size)
    return RESIZES[self.resize](image, size)

  def enlarged_from(self, size: tuple[int, int]) -> int | None:
    """Pixels of the smaller side that are made more; None where a picture is not made larger.

    Args:
      size: (height, width) at which its pixels are square.
    """
    side = min(size) if self.crop is None else self.crop
    return None if self.resolution is None or side >= self.resolution else side


def _check_size(size: tuple[int, int]) -> None:
  """Raises ValueError where a picture of this size would take too much memory."""
  if max(size) > _MAX_SIDE or size[0] * size[1] > _MAX_PIXELS:
    raise ValueError(
      f"would have {size[1]}x{size[0]} pixels, at most {_MAX_SIDE} a side and {_MAX_PIXELS} in all"
    )


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes uint8 [h, w, 3] to (height, width): the mean over the area that each pixel covers.

  Parts of pixels at the border of an area count by their share. Computed in integers, so that the
  result is exact and the same everywhere.
  """
  if size == image.shape[:2]:
    return image
  area = image.shape[0] * image.shape[1]
  sums = _area_sums(image, size[0], 0, np.int32)
  sums = _area_sums(sums, size[1], 1, np.int64)
  return ((sums + area // 2) // area).astype(np.uint8)


def _area_sums(image: np.ndarray, size: int, axis: int, dtype: type) -> np.ndarray:
  """Sums over `size` equal stretches of an axis of length n, of which each row counts n parts."""
  rows = image.shape[axis]
  begins = np.arange(size) * rows  # in parts of which a row has `size`
  shape = (-1, *(1 for _ in image.shape[axis + 1 :]))
  sums = 0
  for row in begins // size + np.arange(-(-rows // size) + 1)[:, None]:
    overlap = np.minimum((row + 1) * size, begins + rows) - np.maximum(row * size, begins)
    weights = np.maximum(overlap, 0).astype(dtype).reshape(shape)
    sums = sums + np.take(image, np.minimum(row, rows - 1), axis) * weights
  return sums


RESIZES = {"bilinear": resize_bilinear, "area": resize_area}


def encode(image: np.ndarray, quality: int | None) -> bytes:
  """Encodes a picture; the same picture gives the same bytes.

  Args:
    image: uint8 [H, W, 3].
    quality: of the JPEG, 1..100 (colour at half resolution, as usual); None writes a PNG, lossless.

  Raises:
    ValueError: a side has more than 65500 pixels.
  """
  if max(image.shape) > _MAX_SIDE:
    raise ValueError(f"{image.shape[1]}x{image.shape[0]} pixels, at most {_MAX_SIDE} a side")
  buffer = io.BytesIO()
  picture = Image.fromarray(image)
  if quality is None:
    picture.save(buffer, format="PNG")
  else:
    picture.save(buffer, format="JPEG", quality=quality)
  return buffer.getvalue()


def decode(content: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
  """Decodes a picture of a prepared set, uint8 [H, W, 3].

  Args:
    content: of a JPEG or PNG file.
    size: (height, width) that it must have, looked at before memory is taken; None takes any.

  Raises:
    ValueError: it is damaged, or of another kind or size.
  """
  try:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
      if picture.mode != "RGB":
        raise ValueError(f"mode {picture.mode} instead of RGB")
      if size is not None and picture.size != size[::-1]:
        raise ValueError(f"{picture.width}x{picture.height} pixels, not {size[1]}x{size[0]}")
      return np.asarray(picture)
  except (OSError, SyntaxError, Image.DecompressionBombError) as error:
    raise ValueError(f"does not decode ({error})") from error
