"""Pictures of drawn clips: one sheet for a page, and moving clips for a report."""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

LARGEST = 300_000  # bytes of a picture in docs/
_LABEL = 260  # pixels for the name of a row
_EDGE = 2


def some_clips(path: pathlib.Path, numbers: Sequence[int]) -> np.ndarray:
  """Clips of a file by number, uint8 [N, T, H, W, 3]; the first ones show one class each."""
  with np.load(path) as stored:
    return stored["clips"][list(numbers)]


def _strip(clips: np.ndarray, every: int) -> np.ndarray:
  """Frames of clips from left to right, clips side by side with a gap, uint8 [H, W, 3]."""
  parts = []
  for clip in clips:
    parts += [np.full((clip.shape[1], 4, 3), 255, np.uint8)] if parts else []
    parts += list(clip[::every])
  return np.concatenate(parts, axis=1)


def sheet(rows: Mapping[str, np.ndarray], every: int = 2) -> Image.Image:
  """One row of pictures for each name.

  Args:
    rows: {name: clips uint8 [N, T, H, W, 3]}, all of one size.
    every: shows every n-th frame.
  """
  strips = {name: _strip(clips, every) for name, clips in rows.items()}
  height, width = next(iter(strips.values())).shape[:2]
  size = (_LABEL + width, len(strips) * (height + _EDGE))
  picture = Image.new("RGB", size, "white")
  draw = ImageDraw.Draw(picture)
  for number, (name, strip) in enumerate(strips.items()):
    top = number * (height + _EDGE)
    draw.text((4, top + height // 2 - 6), name, fill="black")
    picture.paste(Image.fromarray(strip), (_LABEL, top))
  return picture


def write_sheet(rows: Mapping[str, np.ndarray], path: pathlib.Path, every: int = 2) -> None:
  """Writes a sheet as a PNG of at most `LARGEST` bytes, with fewer colours if it must."""
  picture = sheet(rows, every)
  for colours in (None, 256, 128, 64, 32):
    content = _png(picture if colours is None else picture.quantize(colours))
    if len(content) <= LARGEST:
      break
  path.write_bytes(content)


def _png(picture: Image.Image) -> bytes:
  file = io.BytesIO()
  picture.save(file, "PNG", optimize=True)
  return file.getvalue()


def moving(clips: np.ndarray, scale: int = 2, milliseconds: int = 120) -> bytes:
  """A GIF of clips side by side.

  Args:
    clips: uint8 [N, T, H, W, 3].
    scale: each pixel becomes a square of this side.
    milliseconds: that a frame is shown.
  """
  frames: Sequence[np.ndarray] = [
    np.concatenate(list(frame), axis=1) for frame in clips.swapaxes(0, 1)
  ]
  pictures = [Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)) for frame in frames]
  file = io.BytesIO()
  pictures[0].save(
    file, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0
  )
  return file.getvalue()
