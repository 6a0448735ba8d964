"""Selects, crops, resizes and encodes the frames of a clip."""

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
# A frame that is early by at most this fraction of a period counts as on time, because containers
# round times (Matroska to milliseconds).
_EARLY = 0.25


class Frame(Protocol):
  """One frame of an input, such as a `video_files.DecodedFrame`.

  Attributes:
    path: file of the clip.
    index: number of the frame in the clip.
    time: seconds; None if unknown.
    frame_rate: frames per second of the clip; 0 if unknown.
  """

  @property
  def path(self) -> str: ...  # noqa: D102, the class documents the attributes

  @property
  def index(self) -> int: ...  # noqa: D102

  @property
  def time(self) -> float | None: ...  # noqa: D102

  @property
  def frame_rate(self) -> float: ...  # noqa: D102

  def picture(self, resize: Resize | None = None) -> np.ndarray:
    """Returns the picture, uint8 [H, W, 3], resized by `resize` if given."""
    ...


@dataclasses.dataclass(frozen=True)
class ArrayFrame:
  """A frame that is already an array.

  Attributes:
    path: file of the clip.
    index: number of the frame in the clip.
    image: uint8 [H, W, 3].
    time: None, unknown.
    frame_rate: 0, unknown.
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
  """Selects the frames of one clip; call `keeps` once for each frame, in order.

  With a frame rate, time is divided into periods and the first frame of each period is kept. Frames
  are never repeated: a slower clip keeps all of its frames and its own rate.

  Args:
    stride: keep every n-th frame.
    frame_rate: keep this many frames per second; None uses the stride.
  """

  def __init__(self, stride: int = 1, frame_rate: float | None = None):
    self._stride = stride
    self._frame_rate = frame_rate
    self._period = -1

  def keeps(self, frame: Frame) -> bool:
    """Whether a frame is kept.

    Raises:
      VideoError: a frame rate is set, and that of the clip is unknown.
    """
    if self._frame_rate is None:
      return frame.index % self._stride == 0
    if not frame.frame_rate > 0:
      raise VideoError(frame.path, "its frame rate is unknown; use a stride instead")
    if frame.frame_rate <= self._frame_rate * 1.001:
      return True
    time = frame.time if frame.time is not None else frame.index / frame.frame_rate
    period = int(np.floor(time * self._frame_rate + _EARLY))
    if frame.index and period <= self._period:
      return False
    self._period = period
    return True

  def rate(self, frame_rate: float) -> float:
    """Frames per second of the kept frames of a clip; 0 if the clip's rate is unknown."""
    if not 0 < frame_rate <= 1000:  # headers may contain any number
      return 0.0
    if self._frame_rate is None:
      return frame_rate / self._stride
    return min(frame_rate, self._frame_rate)


@dataclasses.dataclass(frozen=True)
class Geometry:
  """Crops and resizes a picture for storing; a `Resize`.

  Attributes:
    resolution: smaller side in pixels; None keeps the size.
    resize: "bilinear" (Pillow's antialiased filter; DVD-GAN A.1 says bilinear, but not which
      implementation) or "area" (mean over the area of each pixel; Du's thesis, 4.1).
    crop: side in pixels of a central square that is cropped first (TGANv2 5.1 and "Lower
      Dimensional Kernels" 3.1: 240 for UCF-101); None keeps the whole picture.
  """

  resolution: int | None
  resize: str = "bilinear"
  crop: int | None = None

  def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the cropped and resized picture, uint8 [H, W, 3].

    Args:
      image: uint8 [h, w, 3].
      size: (height, width) at which the pixels are square.

    Raises:
      ValueError: the picture is smaller than the crop, or the result would have more than 65500
        pixels per side or 2**26 in total.
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
    """Smaller side, in pixels, of a picture that is enlarged; None if it is not enlarged.

    Args:
      size: (height, width) at which the pixels are square.
    """
    side = min(size) if self.crop is None else self.crop
    return None if self.resolution is None or side >= self.resolution else side


def _check_size(size: tuple[int, int]) -> None:
  """Raises ValueError if a picture of this size would need too much memory."""
  if max(size) > _MAX_SIDE or size[0] * size[1] > _MAX_PIXELS:
    raise ValueError(
      f"would have {size[1]}x{size[0]} pixels; the limit is {_MAX_SIDE} per side, {_MAX_PIXELS} in "
      "total"
    )


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes uint8 [h, w, 3] to (height, width): each pixel is the mean over the area it covers.

  Pixels at the border of an area count in proportion to their overlap. The arithmetic uses
  integers, so the result is exact and does not depend on the machine.
  """
  if size == image.shape[:2]:
    return image
  area = image.shape[0] * image.shape[1]
  sums = _area_sums(image, size[0], 0, np.int32)
  sums = _area_sums(sums, size[1], 1, np.int64)
  return ((sums + area // 2) // area).astype(np.uint8)


def _area_sums(image: np.ndarray, size: int, axis: int, dtype: type) -> np.ndarray:
  """Sums rows over `size` equal intervals of an axis, in units of 1/size row.

  An axis of n rows has n * size units: each row has `size` of them, each interval n.

  Args:
    image: array of any shape.
    size: number of intervals.
    axis: axis to sum over.
    dtype: integer type of the sums.

  Returns:
    The array with `size` rows along the axis.
  """
  rows = image.shape[axis]
  begins = np.arange(size) * rows  # first unit of each interval
  shape = (-1, *(1 for _ in image.shape[axis + 1 :]))
  sums = np.zeros((), dtype)
  for row in begins // size + np.arange(-(-rows // size) + 1)[:, None]:
    overlap = np.minimum((row + 1) * size, begins + rows) - np.maximum(row * size, begins)
    weights = np.maximum(overlap, 0).astype(dtype).reshape(shape)
    sums = sums + np.take(image, np.minimum(row, rows - 1), axis) * weights
  return sums


RESIZES = {"bilinear": resize_bilinear, "area": resize_area}


def encode(image: np.ndarray, quality: int | None) -> bytes:
  """Encodes a picture; equal pictures give equal bytes.

  Args:
    image: uint8 [H, W, 3].
    quality: quality of the JPEG, 1..100, with chroma at half resolution; None writes a lossless
      PNG.

  Raises:
    ValueError: a side has more than 65500 pixels.
  """
  if max(image.shape) > _MAX_SIDE:
    raise ValueError(f"{image.shape[1]}x{image.shape[0]} pixels; the limit is {_MAX_SIDE} per side")
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
    content: bytes of a JPEG or PNG file.
    size: expected (height, width), checked before memory is allocated; None accepts any size.

  Raises:
    ValueError: it is damaged, or of another format, mode or size.
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
