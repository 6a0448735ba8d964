"""Clips as HTML: a video inside the page, for the outputs of notebooks and for reports."""

import base64
import dataclasses
import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import video_writers

_TILE = 96  # pixels; smaller clips are enlarged to at least this height
_WIDTH = 960  # pixels; a wider grid is enlarged less
_LARGEST = 4096  # pixels, height and width of a video: the limit of many H.264 decoders
_PADDING = 2  # pixels between clips, before they are enlarged
_STRIP = 56  # pixels below the clips, on which browsers show the controls
_STRIP_VALUE = 24  # grey value of the strip


def data_uri(kind: str, content: bytes) -> str:
  """A file as a data URI, such as "data:video/mp4;base64,AAAA".

  Args:
    kind: MIME type.
    content: of the file.
  """
  return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@dataclasses.dataclass(frozen=True)
class InlineVideo:
  """A video that a notebook shows if it is the last value of a cell, or passed to `display`.

  Jupyter, JupyterLab, VS Code and Colab show the result of `_repr_html_`. A terminal shows
  `description`.

  Attributes:
    html: HTML with the video inside.
    description: what it shows, in words.
  """

  html: str
  description: str

  def _repr_html_(self) -> str:
    return self.html

  def __repr__(self) -> str:
    return f"<{self.description}; a notebook plays it>"


def show(
  clips: ArrayLike,
  *,
  rows: Sequence[str] = (),
  columns: int | None = None,
  frame_rate: float = 8.0,
) -> InlineVideo:
  """Shows clips in a notebook: one looping video, with the clips side by side.

  All clips play in step. The MP4 file is inside the HTML, so that the notebook needs no other file.
  Clips of fewer than 96 pixels are enlarged by a whole number, without smoothing.

  Args:
    clips: uint8 [T, H, W, 3], one clip; [N, T, H, W, 3], several; or [rows, columns, T, H, W, 3].
      NumPy and JAX arrays are accepted.
    rows: names of the rows from the top, such as class names. Several clips are then divided evenly
      among the rows.
    columns: clips per row; None chooses it from the shape and from `rows`, or makes the grid
      approximately square.
    frame_rate: frames per second.

  Returns:
    An object that notebooks show as a video.

  Raises:
    UserError: the clips have another type or shape, they are not as many as `rows` and `columns`
      say, or the video would be larger than 4096 pixels.
  """
  clips = np.asarray(clips)
  columns = _columns(clips, rows, columns)
  if not 0 < frame_rate < float("inf"):
    raise UserError(f"frame_rate is {frame_rate}, must be positive")
  frames, height, width = clips.shape[-4:-1]
  clips = clips.reshape(-1, *clips.shape[-4:])
  grid = video_writers.grid(clips, columns, _PADDING)
  scale = max(1, min(-(-_TILE // height), _WIDTH // grid.shape[2]))
  grid = np.pad(
    grid, ((0, 0), (0, -(-_STRIP // scale)), (0, 0), (0, 0)), constant_values=_STRIP_VALUE
  )
  size = (grid.shape[2] * scale, grid.shape[1] * scale)
  if max(size) > _LARGEST:
    raise UserError(
      f"{len(clips)} clips in {columns or 'a square of'} columns make a video of {size[0]}x"
      f"{size[1]} pixels; show fewer, such as clips[:16]"
    )
  video = data_uri("video/mp4", video_writers.mp4_bytes(grid, frame_rate, scale))
  many = "1 clip" if len(clips) == 1 else f"{len(clips)} clips"
  description = f"{many} of {frames} frames, {height}x{width} pixels"
  return InlineVideo(
    _html(video, size, (height + _PADDING) * scale, rows, description), description
  )


def _columns(clips: np.ndarray, rows: Sequence[str], columns: int | None) -> int | None:
  """Checks the arguments of `show`; returns the clips per row, or None for a square."""
  if clips.dtype != np.uint8 or clips.ndim not in (4, 5, 6) or clips.shape[-1] != 3:
    raise UserError(
      "clips must be uint8 [T, H, W, 3], [N, T, H, W, 3] or [rows, columns, T, H, W, 3], found "
      f"{clips.dtype} {list(clips.shape)}"
    )
  if 0 in clips.shape:
    raise UserError(f"there is no clip, frame or pixel to show: {list(clips.shape)}")
  if isinstance(rows, str):
    raise UserError(f"rows is the text {rows!r}, must be a list of names")
  number = int(np.prod(clips.shape[:-4], dtype=int))
  if columns is None and clips.ndim == 6:
    columns = clips.shape[1]
  if columns is None and rows and number % len(rows) == 0:
    columns = number // len(rows)
  if columns is not None and columns < 1:
    raise UserError(f"columns is {columns}, must be at least 1")
  if rows and (columns is None or -(-number // columns) != len(rows)):
    raise UserError(
      f"{len(rows)} names of rows do not fit {number} clips"
      + (f" in {columns} columns" if columns else ": each row has equally many")
    )
  return columns


def _html(
  video: str, size: tuple[int, int], pitch: int, rows: Sequence[str], description: str
) -> str:
  """The page's part for a video of `size` (width, height), whose rows are `pitch` pixels high.

  The video is in the attribute `src`, because JupyterLab removes <source> elements from notebooks
  that it does not trust. Browsers start a video by themselves only if it is muted.
  """
  cell = f"height:{pitch}px;display:flex;align-items:center;justify-content:flex-end"
  names = "".join(f'<div style="{cell}">{html.escape(str(name))}</div>' for name in rows)
  left = f'<div style="flex:none">{names}</div>' if rows else ""
  return (
    '<div style="display:flex;gap:8px;align-items:flex-start;overflow-x:auto">'
    f'{left}<video src="{video}" width="{size[0] + size[0] % 2}" height="{size[1] + size[1] % 2}" '
    f'style="flex:none" controls autoplay loop muted playsinline title="{html.escape(description)}"'
    "></video></div>"
  )
