"""Reads picture files of many formats as 8-bit RGB, upright and without transparency."""

from typing import BinaryIO

import numpy as np
from PIL import Image

from vidgan_jax.runtime.files.video_files import over_black

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112  # EXIF
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_MAX_PIXELS = 2**26


def read(path: str | BinaryIO) -> np.ndarray:
  """Reads a picture file, given by its path or open.

  Applies the orientation in the EXIF data, and puts transparent pictures over black. Of 16-bit
  pictures it keeps the upper 8 bits. Of a file with several pictures it reads the first.

  Returns:
    uint8 [H, W, 3].

  Raises:
    OSError, SyntaxError, ValueError, Image.DecompressionBombError: the file is not a picture of a
      known format, is damaged, or has an unsupported pixel format or too many pixels.
  """
  with Image.open(path, formats=_FORMATS) as picture:
    if picture.width * picture.height > _MAX_PIXELS:
      raise ValueError(f"it has {picture.width}x{picture.height} pixels")
    # Pillow applies the orientation of a TIFF itself.
    turn = None if picture.format == "TIFF" else _TURNS.get(_orientation(picture))
    picture.load()
    upright = Image.fromarray(over_black(_pixels(picture)))
    return np.asarray(upright if turn is None else upright.transpose(turn))


def _orientation(picture: Image.Image) -> int:
  """The orientation in a picture's EXIF data; 1 (upright) if it is missing or not readable."""
  try:
    return int(picture.getexif().get(_ORIENTATION, 1))
  except Exception:  # damaged tags raise many kinds of errors, and must not lose a clip
    return 1


def _pixels(picture: Image.Image) -> np.ndarray:
  """Returns uint8 [H, W, 3], or [H, W, 4] with an alpha channel."""
  mode, transparent = picture.mode, picture.info.get("transparency")
  if mode in _SIXTEEN_BITS or (mode == "I" and picture.format in ("PNG", "PPM")):
    gray = np.asarray(picture).astype(np.int64)
    channels = [np.clip(gray >> 8, 0, 255).astype(np.uint8)] * 3
    if isinstance(transparent, int):
      channels.append(np.where(gray == transparent, 0, 255).astype(np.uint8))
    return np.stack(channels, axis=-1)
  if mode not in _EIGHT_BITS:
    raise ValueError(f"it has pixels of mode {mode}, which is not an 8-bit mode")
  if mode in ("La", "RGBa"):  # colours are already multiplied by alpha
    return np.asarray(picture)[..., [0, 0, 0] if mode == "La" else [0, 1, 2]]
  if mode == "PA":  # alpha is a separate channel; the palette may have none
    colors = np.asarray(picture.convert("RGB"))
    return np.concatenate([colors, np.asarray(picture.getchannel("A"))[..., None]], axis=-1)
  if isinstance(transparent, tuple) and max(transparent) > 255:  # a 16-bit colour
    picture.info["transparency"] = tuple(value >> 8 for value in transparent)
  has_alpha = mode in ("LA", "RGBA") or transparent is not None
  return np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
