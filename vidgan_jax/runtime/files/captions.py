"""Enlarges clips for people to look at, and writes names above them."""

import functools
import importlib.util
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidgan_jax.runtime.text import printable

HEIGHT = 18  # pixels of the bar with the name
_SIDE = 128  # pixels; smaller clips are enlarged to about this width
_LARGEST = 4096  # pixels; enlarged grids stay below this width and height
_SIZE = 12  # of the font, in pixels
_BAR, _TEXT = (32, 32, 32), (255, 255, 255)


def scale_of(side: int, columns: int, rows: int) -> int:
  """The integer factor by which to enlarge clips of `side` pixels in a grid; at least 1.

  The grid then has at most 4096 pixels in each direction, with names and with gaps of 4 pixels,
  unless its clips are too many.
  """
  widest, highest = _LARGEST // columns - 4, _LARGEST // rows - 4 - HEIGHT
  return max(1, min(_SIDE // side, widest // side, highest // side))


def enlarged(clips: np.ndarray, scale: int) -> np.ndarray:
  """Repeats each pixel `scale` times in both directions: uint8 [N, T, scale * H, scale * W, 3]."""
  return clips.repeat(scale, axis=2).repeat(scale, axis=3)


def captioned(clips: np.ndarray, names: Sequence[str], gap: int | None = None) -> np.ndarray:
  """Puts a dark bar with a name above each clip.

  Args:
    clips: uint8 [N, T, H, W, 3].
    names: one for each clip; names that are too long are cut off.
    gap: if the frames of a clip will stand side by side, the pixels between them: the name then
      goes on above the next frames. With None, each frame shows the whole name.

  Returns:
    uint8 [N, T, H + HEIGHT, W, 3]; the pixels below the bar are those of the clips.
  """
  number, length, height, width, _ = clips.shape
  drawn = np.empty((number, length, height + HEIGHT, width, 3), np.uint8)
  drawn[:, :, HEIGHT:] = clips
  for clip, name in zip(drawn, names, strict=True):
    if gap is None:
      clip[:, :HEIGHT] = _bar(name, width)
      continue
    bar = _bar(name, length * (width + gap))
    for frame in range(length):
      begin = frame * (width + gap)
      clip[frame, :HEIGHT] = bar[:, begin : begin + width]
  return drawn


@functools.lru_cache(maxsize=32)
def _bar(name: str, width: int) -> np.ndarray:
  """A name in white on a dark bar, uint8 [HEIGHT, width, 3]."""
  image = Image.new("RGB", (width, HEIGHT), _BAR)
  draw, font, text = ImageDraw.Draw(image), _font(), printable(name)
  room = width - 6
  if draw.textlength(text, font=font) > room:
    while text and draw.textlength(f"{text}…", font=font) > room:
      text = text[:-1]
    text += "…"
  draw.text((3, HEIGHT // 2), text, font=font, fill=_TEXT, anchor="lm")
  return np.asarray(image)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  """DejaVu Sans, which comes with matplotlib and has the letters of many scripts."""
  found = importlib.util.find_spec("matplotlib")  # importing it would take a second
  for folder in (found and found.submodule_search_locations) or ():
    path = pathlib.Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if path.is_file():
      return ImageFont.truetype(str(path), _SIZE)
  return ImageFont.load_default(_SIZE)
