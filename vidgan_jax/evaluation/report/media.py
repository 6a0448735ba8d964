"""Clips and pictures as data URIs, so that a page needs no other file."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidgan_jax.runtime.files import video_writers
from vidgan_jax.runtime.files.inline_video import data_uri

_MAX_BYTES = 2_000_000  # of one video; a larger one is made again with fewer clips
_MAX_PICTURE = 4_000_000  # bytes
_TILE = 96  # pixels; smaller clips are enlarged to about this height
_ROWS, _COLUMNS = 8, 4  # at most, in a grid with a row for each class
_SQUARE = 16  # clips of a grid without classes


@dataclasses.dataclass(frozen=True)
class Clips:
  """Clips for a report.

  Attributes:
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or None.
    class_names: name of each label.
    frame_rate: frames per second.
  """

  clips: np.ndarray
  labels: Sequence[int] | np.ndarray | None = None
  class_names: Sequence[str] = ()
  frame_rate: float = 8.0

  def name(self, label: int) -> str:
    """Name of a class."""
    return str(self.class_names[label]) if label < len(self.class_names) else f"class {label}"


@dataclasses.dataclass(frozen=True)
class Grid:
  """A video of clips side by side.

  Attributes:
    video, poster: data URIs, MP4 and PNG.
    size: (width, height) in pixels.
    rows: names of the rows from the top; empty if the rows are no classes.
    count: number of clips.
  """

  video: str
  poster: str
  size: tuple[int, int]
  rows: tuple[str, ...]
  count: int


def chosen_labels(*sets: Clips | None) -> list[int]:
  """Classes that all sets contain: at most eight, evenly spaced; none if a set has no labels."""
  classes = [np.unique(s.labels) for s in sets if s is not None and s.labels is not None]
  if not classes or any(s is not None and s.labels is None for s in sets):
    return []
  common = classes[0]
  for other in classes[1:]:
    common = np.intersect1d(common, other)
  if len(common) > _ROWS:
    common = common[np.arange(_ROWS) * len(common) // _ROWS]
  return [int(label) for label in common]


def grid(clips: Clips, labels: Sequence[int] = ()) -> Grid:
  """Makes a grid with a row for each of `labels`; without labels, a square of the first clips.

  Raises:
    ValueError: the clips are not uint8 [N, T, H, W, 3].
  """
  columns = _COLUMNS
  if labels:
    clip_labels = np.asarray(clips.labels)
    columns = min(_COLUMNS, *(int(np.sum(clip_labels == label)) for label in labels))
    indices = [np.flatnonzero(clip_labels == label)[:columns] for label in labels]
    shown = clips.clips[np.concatenate(indices)]
  else:
    shown = clips.clips[:_SQUARE]
  rows = [clips.name(label) for label in labels]
  while True:
    tiles = video_writers.grid(shown, columns=columns)
    scale = max(1, _TILE // shown.shape[2])
    content = video_writers.mp4_bytes(tiles, clips.frame_rate, scale)
    if len(content) <= _MAX_BYTES or len(shown) <= columns:
      break
    half = -(-len(shown) // columns // 2)  # of the rows
    shown, rows = shown[: half * columns], rows[:half]
  height, width = tiles.shape[1] * scale, tiles.shape[2] * scale
  poster = Image.fromarray(tiles[0].repeat(scale, 0).repeat(scale, 1)).quantize(128)
  buffer = io.BytesIO()
  poster.save(buffer, format="PNG")
  return Grid(
    data_uri("video/mp4", content),
    data_uri("image/png", buffer.getvalue()),
    (width + width % 2, height + height % 2),
    tuple(rows),
    len(shown),
  )


def picture(content: bytes) -> tuple[str, tuple[int, int]] | None:
  """A PNG as data URI, and its (width, height); None if it is no PNG or too large for a page."""
  if len(content) > _MAX_PICTURE or not content.startswith(b"\x89PNG\r\n\x1a\n"):
    return None
  try:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
      size = image.size
  except (OSError, ValueError, Image.DecompressionBombError):
    return None
  return data_uri("image/png", content), size
