"""Decodes pictures to pixels without holding Python's lock.

simplejpeg decodes JPEGs directly into the output array and takes half of Pillow's time for small
pictures. Pillow decodes PNGs, and pictures that are resized. Both use libjpeg-turbo's accurate
transform and smooth chroma, so the pixels are the same.
"""

import io
import struct
import threading
import zlib
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from vidgan_jax.data.preprocessing import View

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_SIZE = struct.Struct(">HH")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three define tables
_PIECE = 65536  # bytes that Image.tobytes produces at a time
_MIN_SIMPLEJPEG_SIDE = 16  # pixels; below it, the reduced size does not determine the scale
_BUFFERS = threading.local()


class PictureError(ValueError):
  """A picture that is damaged, or does not match the index.

  Attributes:
    frame: number of the picture in the list that was decoded.
  """

  frame: int = 0


def is_png(picture: bytes) -> bool:
  """Whether the bytes begin with the signature of a PNG."""
  return picture.startswith(_PNG)


def check(picture: bytes, height: int, width: int, png: bool) -> None:
  """Checks signature, end marker and size of an encoded picture without decoding it.

  The two decoders detect different kinds of damage; they receive only pictures that pass this
  check.

  Args:
    picture: the encoded picture.
    height: expected height, pixels.
    width: expected width, pixels.
    png: True expects a PNG, False a JPEG.

  Raises:
    PictureError: the beginning or end is missing, or the size differs.
  """
  if png:
    if not picture.startswith(_PNG) or not picture.endswith(_PNG_END) or len(picture) < 45:
      raise PictureError("is not a complete PNG")
    if struct.unpack(">II", picture[16:24]) != (width, height) or picture[24:26] != b"\x08\x02":
      raise PictureError(f"is not an RGB picture of {height}x{width} pixels")
    return
  if not picture.startswith(b"\xff\xd8\xff") or not picture.endswith(b"\xff\xd9"):
    raise PictureError("is not a complete JPEG")
  position = 2
  while position + 9 < len(picture) and picture[position] == 0xFF:
    if picture[position + 1] in _START_OF_FRAME:
      size = _SIZE.unpack_from(picture, position + 5)
      if size == (height, width) and picture[position + 9] == 3:
        return
      break
    position += 2 + (picture[position + 2] << 8 | picture[position + 3])
  raise PictureError(f"is not an RGB JPEG of {height}x{width} pixels")


def decode(
  picture: bytes, height: int, width: int, ratio: int = 1, into: Image.Image | None = None
) -> Image.Image:
  """Decodes one picture that passed `check`.

  Args:
    picture: the encoded picture.
    height: its stored height, pixels.
    width: its stored width, pixels.
    ratio: see `View`; 1 for PNG.
    into: an RGB image of the size of the result; a JPEG may be decoded into it.

  Returns:
    An RGB image of ceil(height/ratio) x ceil(width/ratio) pixels: `into` or a new one.

  Raises:
    PictureError: the picture is damaged.
  """
  try:
    if is_png(picture):
      return Image.open(io.BytesIO(picture), formats=("PNG",)).convert("RGB")
    # Image.open reads the headers in Python, which takes twice as long as decoding a small picture.
    # The arguments are those of Pillow's JpegImagePlugin: output mode, input mode ("" takes the
    # file's), 1/ratio, no fast approximation.
    image = into or Image.new("RGB", _reduced(height, width, ratio))
    image.frombytes(picture, "jpeg", ("RGB", "", ratio, 0))
    return image
  except (OSError, ValueError, SyntaxError, EOFError, zlib.error, struct.error) as error:
    raise PictureError(str(error) or type(error).__name__) from error


def _reduced(height: int, width: int, ratio: int) -> tuple[int, int]:
  """Width and height of a decoded picture."""
  return -(-width // ratio), -(-height // ratio)


def _scratch(name: str, size: tuple[int, int]) -> Image.Image:
  """An image of this thread to write into, reused while the size stays the same.

  Allocating memory for every picture takes as long as decoding, because the system maps and clears
  it page by page.
  """
  image = getattr(_BUFFERS, name, None)
  if image is None or image.size != size:
    image = Image.new("RGB", size)
    setattr(_BUFFERS, name, image)
  return image


def _scratch_array(rows: int, columns: int) -> np.ndarray:
  """Like `_scratch`, but an array, uint8 [rows, columns, 3]."""
  array = getattr(_BUFFERS, "array", None)
  if array is None or array.shape[:2] != (rows, columns):
    array = _BUFFERS.array = np.empty((rows, columns, 3), np.uint8)
  return array


def resize(image: Image.Image, height: int, width: int) -> Image.Image:
  """Resizes with Pillow's bilinear filter, which averages over the area when it reduces."""
  return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
  """Applies `resize` to uint8 [T, H, W, 3]; returns uint8 [T, height, width, 3]."""
  images = [resize(Image.fromarray(frame), int(height), int(width)) for frame in frames]
  return np.stack([np.asarray(image) for image in images])


def decode_view(
  pictures: list[bytes], height: int, width: int, view: View, out: np.ndarray
) -> None:
  """Decodes the pixels of a view.

  Args:
    pictures: the T encoded frames, in the order of the view; each passed `check`.
    height: their stored height, pixels.
    width: their stored width, pixels.
    view: size, crop and flip; its `frames` are not used.
    out: uint8 [T, view.side, view.side, 3], written to.

  Raises:
    PictureError: a picture is damaged; its attribute `frame` is the position in `pictures`.
  """
  if view.resized or min(height, width) < _MIN_SIMPLEJPEG_SIDE or is_png(pictures[0]):
    _decode_with_pillow(pictures, height, width, view, out)
  else:
    _decode_with_simplejpeg(pictures, height, width, view, out)


def _decode_with_simplejpeg(
  pictures: list[bytes], height: int, width: int, view: View, out: np.ndarray
) -> None:
  """`decode_view` of JPEGs that only the decoder reduces."""
  columns, rows = _reduced(height, width, view.ratio)
  rows_shown, columns_shown = (slice(begin, begin + view.side) for begin in (view.top, view.left))
  whole = (rows, columns) == (view.side, view.side) and not view.flip and out.flags.c_contiguous
  scratch = np.empty(0) if whole else _scratch_array(rows, columns)
  for number, picture in enumerate(pictures):
    into = out[number] if whole else scratch
    try:
      # The decoder takes the smallest scale that gives at least this size, which is 1/ratio.
      simplejpeg.decode_jpeg(
        picture, "RGB", min_height=rows, min_width=columns, buffer=into, strict=False
      )
    except ValueError:  # it rejects some files that Pillow decodes: stray bytes between headers
      image = _numbered_decode(picture, number, height, width, view.ratio)
      into[...] = np.asarray(image)
    if view.flip:
      for channel in range(3):  # much faster than three bytes side by side
        shown = scratch[rows_shown, columns_shown, channel]
        out[number, :, :, channel] = shown[:, ::-1]
    elif not whole:
      out[number] = scratch[rows_shown, columns_shown]


def _numbered_decode(picture: bytes, number: int, *arguments: Any) -> Image.Image:
  """`decode`, with the picture's number in its errors."""
  try:
    return decode(picture, *arguments)
  except PictureError as error:
    error.frame = number
    raise


def _decode_with_pillow(
  pictures: list[bytes], height: int, width: int, view: View, out: np.ndarray
) -> None:
  """`decode_view` of any pictures."""
  side = view.side
  # Stack several frames vertically before converting them to an array: converting each small frame
  # takes as long as decoding it, and Pillow converts _PIECE bytes at a time.
  several = max(1, _PIECE // (3 * side * side))
  strip = _scratch("strip", (side, side * several))
  into = _scratch("picture", _reduced(height, width, view.ratio))
  whole = (view.height, view.width) == (side, side)
  box = (view.left, view.top, view.left + side, view.top + side)
  for number, picture in enumerate(pictures):
    image = _numbered_decode(picture, number, height, width, view.ratio, into)
    if view.resized:
      image = resize(image, view.height, view.width)
    if not whole:
      image = image.crop(box)
    if view.flip:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    position = number % several
    strip.paste(image, (0, position * side))
    if position == several - 1 or number == len(pictures) - 1:
      pixels = np.asarray(strip).reshape(-1, side, side, 3)
      out[number - position : number + 1] = pixels[: position + 1]
