"""From encoded pictures to pixels with Pillow, which works outside of Python's lock."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from vidgan_jax.data.preprocessing import View

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_SIZE = struct.Struct(">HH")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # others define tables


class PictureError(ValueError):
  """A picture that is damaged, or not what the index says."""


def is_png(picture: bytes) -> bool:
  """Whether these bytes begin as a PNG does."""
  return picture.startswith(_PNG)


def check(picture: bytes, height: int, width: int, png: bool) -> None:
  """Compares the frame of a picture with what is expected; does not decode it.

  Both decoders get only what passes here: they differ in what damage they notice.

  Args:
    picture: the encoded picture.
    height: expected, pixels.
    width: expected, pixels.
    png: whether it should be a PNG, else a JPEG.

  Raises:
    PictureError: it has no beginning or end, or another size.
  """
  if png:
    if not picture.startswith(_PNG) or not picture.endswith(_PNG_END) or len(picture) < 45:
      raise PictureError("is no whole PNG")
    if struct.unpack(">II", picture[16:24]) != (width, height) or picture[24:26] != b"\x08\x02":
      raise PictureError(f"is no RGB picture of {height}x{width} pixels")
    return
  if not picture.startswith(b"\xff\xd8\xff") or not picture.endswith(b"\xff\xd9"):
    raise PictureError("is no whole JPEG")
  place = 2
  while place + 9 < len(picture) and picture[place] == 0xFF:
    if picture[place + 1] in _START_OF_FRAME:
      if _SIZE.unpack_from(picture, place + 5) == (height, width) and picture[place + 9] == 3:
        return
      break
    place += 2 + (picture[place + 2] << 8 | picture[place + 3])
  raise PictureError(f"is no RGB JPEG of {height}x{width} pixels")


def decode(picture: bytes, height: int, width: int, ratio: int = 1) -> Image.Image:
  """Decodes one picture that passed `check`.

  Args:
    picture: the encoded picture.
    height: its stored height, pixels.
    width: its stored width, pixels.
    ratio: of `View`; 1 for PNG.

  Returns:
    An RGB image of ceil(height/ratio) x ceil(width/ratio) pixels.

  Raises:
    PictureError: it is damaged.
  """
  try:
    if is_png(picture):
      return Image.open(io.BytesIO(picture), formats=("PNG",)).convert("RGB")
    # Image.open would read the headers in Python, which takes twice as long as decoding a small
    # picture does. The arguments are those of Pillow's JpegImagePlugin: what colours are wanted,
    # those of the file trusted, 1/ratio, no fast approximation.
    size = (-(-width // ratio), -(-height // ratio))
    return Image.frombytes("RGB", size, picture, "jpeg", "RGB", "", ratio, 0)
  except (OSError, ValueError, SyntaxError, EOFError, zlib.error, struct.error) as error:
    raise PictureError(str(error) or type(error).__name__) from error


def resize(image: Image.Image, height: int, width: int) -> Image.Image:
  """Resizes by Pillow's bilinear filter, which averages over the area where it reduces."""
  return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
  """`resize` on uint8 [T, H, W, 3]; returns uint8 [T, height, width, 3]."""
  images = [resize(Image.fromarray(frame), int(height), int(width)) for frame in frames]
  return np.stack([np.asarray(image) for image in images])


def show(pictures: list[bytes], height: int, width: int, view: View) -> np.ndarray:
  """Decodes what a view shows.

  Args:
    pictures: the encoded frames, in the order of showing; each passed `check`.
    height: their stored height, pixels.
    width: their stored width, pixels.
    view: what is shown; its frames are not looked at.

  Returns:
    uint8 [T, view.side, view.side, 3].

  Raises:
    PictureError: one is damaged; `frame` of the error is its place in `pictures`.
  """
  side = view.side
  # All frames go into one tall image: turning each into an array takes as long as decoding it.
  strip = Image.new("RGB", (side, side * len(pictures)))
  whole = (view.height, view.width) == (side, side)
  box = (view.left, view.top, view.left + side, view.top + side)
  for number, picture in enumerate(pictures):
    try:
      image = decode(picture, height, width, view.ratio)
    except PictureError as error:
      error.frame = number
      raise
    if view.resized:
      image = resize(image, view.height, view.width)
    strip.paste(image if whole else image.crop(box), (0, number * side))
  if view.flip:
    strip = strip.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  return np.asarray(strip).reshape(len(pictures), side, side, 3)
