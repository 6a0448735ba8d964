"""From encoded pictures to pixels, outside of Python's lock.

JPEGs by simplejpeg, which writes where it is told to and takes half of Pillow's time for small
pictures; PNGs, and what is resized, by Pillow. Both have libjpeg-turbo's accurate transform and
smooth chroma, so the pixels are the same.
"""

import io
import struct
import threading
import zlib

import numpy as np
import simplejpeg
from PIL import Image

from vidgan_jax.data.preprocessing import View

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_SIZE = struct.Struct(">HH")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # others define tables
_PIECE = 65536  # bytes that Image.tobytes makes at a time
_DIRECT = 16  # pixels of the smaller side, below which a size does not tell by what it was reduced
_OWN = threading.local()


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


def decode(
  picture: bytes, height: int, width: int, ratio: int = 1, into: Image.Image | None = None
) -> Image.Image:
  """Decodes one picture that passed `check`.

  Args:
    picture: the encoded picture.
    height: its stored height, pixels.
    width: its stored width, pixels.
    ratio: of `View`; 1 for PNG.
    into: an RGB image of the size that comes out, which a JPEG may be decoded into.

  Returns:
    An RGB image of ceil(height/ratio) x ceil(width/ratio) pixels: `into` or another.

  Raises:
    PictureError: it is damaged.
  """
  try:
    if is_png(picture):
      return Image.open(io.BytesIO(picture), formats=("PNG",)).convert("RGB")
    # Image.open would read the headers in Python, which takes twice as long as decoding a small
    # picture does. The arguments are those of Pillow's JpegImagePlugin: what colours are wanted,
    # those of the file trusted, 1/ratio, no fast approximation.
    image = into or Image.new("RGB", _reduced(height, width, ratio))
    image.frombytes(picture, "jpeg", ("RGB", "", ratio, 0))
    return image
  except (OSError, ValueError, SyntaxError, EOFError, zlib.error, struct.error) as error:
    raise PictureError(str(error) or type(error).__name__) from error


def _reduced(height: int, width: int, ratio: int) -> tuple[int, int]:
  """Width and height of what comes out of the decoder."""
  return -(-width // ratio), -(-height // ratio)


def _scratch(name: str, size: tuple[int, int]) -> Image.Image:
  """An image of this thread to write into, the one of the last time where the size is the same.

  Memory that is taken anew for every picture costs as much as decoding: the system hands it out,
  and cleans it, page by page.
  """
  image = getattr(_OWN, name, None)
  if image is None or image.size != size:
    image = Image.new("RGB", size)
    setattr(_OWN, name, image)
  return image


def _scratch_array(rows: int, columns: int) -> np.ndarray:
  """As `_scratch`, uint8 [rows, columns, 3]."""
  array = getattr(_OWN, "array", None)
  if array is None or array.shape[:2] != (rows, columns):
    array = _OWN.array = np.empty((rows, columns, 3), np.uint8)
  return array


def resize(image: Image.Image, height: int, width: int) -> Image.Image:
  """Resizes by Pillow's bilinear filter, which averages over the area where it reduces."""
  return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
  """`resize` on uint8 [T, H, W, 3]; returns uint8 [T, height, width, 3]."""
  images = [resize(Image.fromarray(frame), int(height), int(width)) for frame in frames]
  return np.stack([np.asarray(image) for image in images])


def show(pictures: list[bytes], height: int, width: int, view: View, out: np.ndarray) -> None:
  """Decodes what a view shows.

  Args:
    pictures: the encoded frames, in the order of showing; each passed `check`.
    height: their stored height, pixels.
    width: their stored width, pixels.
    view: what is shown; its frames are not looked at.
    out: uint8 [T, view.side, view.side, 3] to write into.

  Raises:
    PictureError: one is damaged; `frame` of the error is its place in `pictures`.
  """
  if view.resized or min(height, width) < _DIRECT or is_png(pictures[0]):
    _show_by_pillow(pictures, height, width, view, out)
  else:
    _show_directly(pictures, height, width, view, out)


def _show_directly(pictures, height: int, width: int, view: View, out: np.ndarray) -> None:
  """`show` of JPEGs that are not resized but by the decoder."""
  columns, rows = _reduced(height, width, view.ratio)
  rows_shown, columns_shown = (slice(begin, begin + view.side) for begin in (view.top, view.left))
  whole = (rows, columns) == (view.side, view.side) and not view.flip and out.flags.c_contiguous
  scratch = None if whole else _scratch_array(rows, columns)
  for number, picture in enumerate(pictures):
    into = out[number] if whole else scratch
    try:
      # The smallest size of these or more is that of the ratio: no other is so near.
      simplejpeg.decode_jpeg(
        picture, "RGB", min_height=rows, min_width=columns, buffer=into, strict=False
      )
    except ValueError:  # it refuses a little more, such as stray bytes between headers
      image = _decoded(picture, number, height, width, view.ratio)
      into[...] = np.asarray(image)
    if view.flip:
      for channel in range(3):  # of one byte each: much quicker than three side by side
        shown = scratch[rows_shown, columns_shown, channel]
        out[number, :, :, channel] = shown[:, ::-1]
    elif not whole:
      out[number] = scratch[rows_shown, columns_shown]


def _decoded(picture: bytes, number: int, *arguments) -> Image.Image:
  """`decode` whose errors know the picture's number."""
  try:
    return decode(picture, *arguments)
  except PictureError as error:
    error.frame = number
    raise


def _show_by_pillow(pictures, height: int, width: int, view: View, out: np.ndarray) -> None:
  """`show` of any pictures."""
  side = view.side
  # Some frames under each other at a time: turning each small one into an array would take as long
  # as decoding it, and Pillow hands over so many bytes in one piece.
  several = max(1, _PIECE // (3 * side * side))
  strip = _scratch("strip", (side, side * several))
  into = _scratch("picture", _reduced(height, width, view.ratio))
  whole = (view.height, view.width) == (side, side)
  box = (view.left, view.top, view.left + side, view.top + side)
  for number, picture in enumerate(pictures):
    image = _decoded(picture, number, height, width, view.ratio, into)
    if view.resized:
      image = resize(image, view.height, view.width)
    if not whole:
      image = image.crop(box)
    if view.flip:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = number % several
    strip.paste(image, (0, place * side))
    if place == several - 1 or number == len(pictures) - 1:
      out[number - place : number + 1] = np.asarray(strip).reshape(-1, side, side, 3)[: place + 1]
