"""Clips and pictures as data URIs: a page that needs no other file."""

import base64
import dataclasses
import io
import os
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidgan_jax.runtime.files import video_files

_MAX_BYTES = 2_000_000  # of one video; of larger ones fewer clips are shown
_MAX_PICTURE = 4_000_000
_TILE = 96  # pixels to which small clips are enlarged
_ROWS, _COLUMNS, _SQUARE = 8, 4, 16
BAR = 0.75  # of a tile's height: a strip below the clips, where players show their controls
_BAR_VALUE = 24


@dataclasses.dataclass(frozen=True)
class Clips:
  """Clips to be shown.

  Attributes:
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or None.
    class_names: by label.
    frame_rate: frames per second.
  """

  clips: np.ndarray
  labels: Sequence[int] | None = None
  class_names: Sequence[str] = ()
  frame_rate: float = 8.0

  def name(self, label: int) -> str:
    """Of a class."""
    return str(self.class_names[label]) if label < len(self.class_names) else f"class {label}"


@dataclasses.dataclass(frozen=True)
class Grid:
  """A playing grid of clips.

  Attributes:
    video, poster: data URIs, MP4 and PNG.
    size: (width, height) in pixels.
    rows: names of its rows from the top; empty where they have none.
    count: clips in it.
  """

  video: str
  poster: str
  size: tuple[int, int]
  rows: tuple[str, ...]
  count: int


def chosen_labels(*sets: Clips | None) -> list[int]:
  """The classes that grids of several sets can show side by side: eight at most, evenly chosen."""
  known = [np.unique(s.labels) for s in sets if s is not None and s.labels is not None]
  if not known or any(s is not None and s.labels is None for s in sets):
    return []
  common = known[0]
  for other in known[1:]:
    common = np.intersect1d(common, other)
  if len(common) > _ROWS:
    common = common[np.arange(_ROWS) * len(common) // _ROWS]
  return [int(label) for label in common]


def grid(clips: Clips, labels: Sequence[int] = ()) -> Grid:
  """Makes a grid that plays, a row for each of `labels`, or a square one without.

  Raises:
    ValueError: the clips are not uint8 [N, T, H, W, 3].
  """
  columns = _COLUMNS
  if labels:
    own = np.asarray(clips.labels)
    columns = min(_COLUMNS, *(int(np.sum(own == label)) for label in labels))
    places = [np.flatnonzero(own == label)[:columns] for label in labels]
    shown = clips.clips[np.concatenate(places)]
  else:
    shown = clips.clips[:_SQUARE]
  rows = [clips.name(label) for label in labels]
  while True:
    tiles = video_files.grid(shown, columns=columns)
    strip = round(BAR * shown.shape[2])
    tiles = np.pad(tiles, ((0, 0), (0, strip), (0, 0), (0, 0)), constant_values=_BAR_VALUE)
    scale = max(1, _TILE // shown.shape[2])
    content = _mp4(tiles, clips.frame_rate, scale)
    if len(content) <= _MAX_BYTES or len(shown) <= columns:
      break
    kept = -(-len(shown) // columns // 2)
    shown, rows = shown[: kept * columns], rows[:kept]
  height, width = tiles.shape[1] * scale, tiles.shape[2] * scale
  poster = Image.fromarray(tiles[0].repeat(scale, 0).repeat(scale, 1)).quantize(128)
  buffer = io.BytesIO()
  poster.save(buffer, format="PNG")
  return Grid(
    _uri("video/mp4", content),
    _uri("image/png", buffer.getvalue()),
    (width + width % 2, height + height % 2),
    tuple(rows),
    len(shown),
  )


def _mp4(clip, frame_rate, scale) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "grid.mp4")
    video_files.write_mp4(path, clip, frame_rate, scale)
    return pathlib.Path(path).read_bytes()


def picture(content: bytes) -> tuple[str, tuple[int, int]] | None:
  """A PNG as data URI, and its (width, height); None for what is none, or too large for a page."""
  if len(content) > _MAX_PICTURE or not content.startswith(b"\x89PNG\r\n\x1a\n"):
    return None
  try:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
      size = image.size
  except (OSError, ValueError, Image.DecompressionBombError):
    return None
  return _uri("image/png", content), size


def _uri(kind: str, content: bytes) -> str:
  return f"data:{kind};base64,{base64.b64encode(content).decode()}"
