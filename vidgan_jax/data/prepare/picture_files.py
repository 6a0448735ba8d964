"""Picture files as frames: shown as they are meant to be seen, in 8 bits of red, green and blue."""

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


def read(path: str) -> np.ndarray:
  """Reads a picture file.

  The orientation of its EXIF data is applied. What is transparent is laid over black. Of 16 bits of
  grey the upper 8 are taken, as they are of 16 bits of colour. Of several pictures in a file the
  first is taken.

  Returns:
    uint8 [H, W, 3].

  Raises:
    OSError, SyntaxError, ValueError, Image.DecompressionBombError: it is no such picture, is
      damaged, has pixels of another kind or too many of them.
  """
  with Image.open(path, formats=_FORMATS) as picture:
    if picture.width * picture.height > _MAX_PIXELS:
      raise ValueError(f"it has {picture.width}x{picture.height} pixels")
    # Reading turns a TIFF by itself, and a damaged tag is none.
    turn = None if picture.format == "TIFF" else _TURNS.get(_orientation(picture))
    picture.load()
    shown = Image.fromarray(over_black(_pixels(picture)))
    return np.asarray(shown if turn is None else shown.transpose(turn))


def _orientation(picture: Image.Image) -> int:
  """The orientation in a picture's EXIF data, 1 where it has none that can be read."""
  try:
    return int(picture.getexif().get(_ORIENTATION, 1))
  except Exception:  # damaged tags raise errors of many kinds, and are no reason to lose a clip
    return 1


def _pixels(picture: Image.Image) -> np.ndarray:
  """uint8 [H, W, 3], or [H, W, 4] with transparency."""
  mode, transparent = picture.mode, picture.info.get("transparency")
  if mode in _SIXTEEN_BITS or (mode == "I" and picture.format in ("PNG", "PPM")):
    gray = np.asarray(picture).astype(np.int64)
    channels = [np.clip(gray >> 8, 0, 255).astype(np.uint8)] * 3
    if isinstance(transparent, int):
      channels.append(np.where(gray == transparent, 0, 255).astype(np.uint8))
    return np.stack(channels, axis=-1)
  if mode not in _EIGHT_BITS:
    raise ValueError(f"it has pixels of the kind {mode}, not 8 bits each")
  if mode in ("La", "RGBa"):  # colours that are multiplied by their opacity already
    return np.asarray(picture)[..., [0, 0, 0] if mode == "La" else [0, 1, 2]]
  if mode == "PA":  # its opacity is a channel, its palette may have none
    colors = np.asarray(picture.convert("RGB"))
    return np.concatenate([colors, np.asarray(picture.getchannel("A"))[..., None]], axis=-1)
  if isinstance(transparent, tuple) and max(transparent) > 255:  # of 16 bits of colour
    picture.info["transparency"] = tuple(value >> 8 for value in transparent)
  has_alpha = mode in ("LA", "RGBA") or transparent is not None
  return np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
