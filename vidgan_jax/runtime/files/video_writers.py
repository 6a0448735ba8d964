"""Writes clips as MP4, GIF and PNG files. Equal input gives equal bytes."""

import fractions
import io
import os
import pathlib

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from vidgan_jax.runtime.files import temporary
from vidgan_jax.runtime.files.atomic_files import atomic_file

_PADDING_VALUE = 127  # grey value between the tiles of a grid


def write_mp4(path: str | os.PathLike, clip: np.ndarray, frame_rate: float, scale: int = 1) -> None:
  """Writes a clip as MP4 (H.264, yuv420p, constant quality 12), playable everywhere.

  Args:
    path: the file to write.
    clip: uint8 [T, H, W, 3]. An odd height or width is padded by repeating the last row or column,
      because the format stores colour at half resolution.
    frame_rate: frames per second.
    scale: integer factor by which to enlarge small clips (nearest neighbour).

  Raises:
    ValueError: the clip has another type or shape, or the frame rate is not positive.
    UserError: the file cannot be written.
  """
  _check_clip(clip, frame_rate)
  clip = clip.repeat(scale, axis=1).repeat(scale, axis=2)
  _, height, width, _ = clip.shape
  clip = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
  # For equal bytes: no version strings; one thread, because slices depend on the number of threads;
  # no vector code of x264, whose AVX-512 part reads uninitialised memory if a side is not a
  # multiple of 16. The preset "veryfast" makes up for most of the time.
  options = {"crf": "12", "preset": "veryfast", "threads": "1", "x264-params": "asm=0"}
  options["flags"] = "+bitexact"
  container_options = {"movflags": "+faststart", "fflags": "+bitexact"}
  with atomic_file(path) as temporary:
    with av.open(temporary, "w", format="mp4", container_options=container_options) as container:
      rate = fractions.Fraction(frame_rate).limit_denominator(1001)
      stream = container.add_stream("libx264", rate=rate, options=options)
      stream.height, stream.width = clip.shape[1:3]
      stream.pix_fmt = "yuv420p"
      stream.codec_context.colorspace = Colorspace.ITU601
      stream.codec_context.color_range = ColorRange.MPEG
      for image in clip:
        frame = av.VideoFrame.from_ndarray(_to_yuv420(image), format="yuv420p")
        container.mux(stream.encode(frame))
      container.mux(stream.encode())


def mp4_bytes(clip: np.ndarray, frame_rate: float, scale: int = 1) -> bytes:
  """Encodes a clip as MP4 and returns the content of the file; see `write_mp4`.

  Raises:
    ValueError: the clip has another type or shape, or the frame rate is not positive.
  """
  # A file, because FFmpeg reads it again to move its index to the front.
  with temporary.folder("vidgan_jax_mp4_") as folder:
    path = os.path.join(folder, "clip.mp4")
    write_mp4(path, clip, frame_rate, scale)
    return pathlib.Path(path).read_bytes()


def _to_yuv420(image: np.ndarray) -> np.ndarray:
  """Converts RGB to the planes Y, Cb, Cr of ITU-R BT.601 in limited range, exact up to rounding.

  FFmpeg's own conversion depends on the alignment of its buffers, so the bytes of files would vary.

  Args:
    image: uint8 [H, W, 3], with even H and W.

  Returns:
    The planes below each other, uint8 [1.5 H, W].
  """
  matrix = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
  )
  height, width, _ = image.shape
  components = image @ (matrix.T / 255.0).astype(np.float32)
  luma = components[..., 0] + 16.0
  blocks = components[..., 1:].reshape(height // 2, 2, width // 2, 2, 2)
  chroma = np.moveaxis(blocks.mean((1, 3)), -1, 0).reshape(height // 2, width) + 128.0
  return np.round(np.concatenate([luma, chroma])).astype(np.uint8)


def gif_bytes(clip: np.ndarray, frame_rate: float) -> bytes:
  """Encodes a clip as a looping GIF with one palette of 256 colours for all frames.

  A frame that equals the previous one is stored as a longer duration of that one.

  Args:
    clip: uint8 [T, H, W, 3].
    frame_rate: frames per second. GIF counts time in 1/100 s, so frames are shown up to 5 ms too
      short or too long. Rates above 50 play at 50.

  Returns:
    The content of the file.

  Raises:
    ValueError: the clip has another type or shape, or the frame rate is not positive.
  """
  _check_clip(clip, frame_rate)
  frames, height, width, _ = clip.shape
  # The palette is computed from all frames together; for very large clips, from every n-th row.
  rows = clip.reshape(frames * height, width, 3)
  palette = Image.fromarray(rows[:: 1 + rows.shape[0] * width // 2**22]).quantize(256)
  images = [
    Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    for image in clip
  ]
  ticks = np.round(np.arange(frames + 1) * (100.0 / min(frame_rate, 50.0))).astype(int)
  buffer = io.BytesIO()
  images[0].save(
    buffer,
    format="GIF",
    save_all=True,
    append_images=images[1:],
    duration=[int(tick) * 10 for tick in np.diff(ticks)],
    loop=0,
    optimize=False,
  )
  return buffer.getvalue()


def write_gif(path: str | os.PathLike, clip: np.ndarray, frame_rate: float) -> None:
  """Writes a clip as a looping GIF; see `gif_bytes`.

  Raises:
    ValueError: the clip is not uint8 [T, H, W, 3], or the frame rate is not positive.
    UserError: the file cannot be written.
  """
  content = gif_bytes(clip, frame_rate)
  with atomic_file(path) as temporary, open(temporary, "wb") as file:
    file.write(content)


def grid(clips: np.ndarray, columns: int | None = None, padding: int = 2) -> np.ndarray:
  """Arranges clips as tiles of one clip, row by row, on a grey background.

  Args:
    clips: uint8 [N, T, H, W, 3].
    columns: tiles per row; None makes the grid approximately square.
    padding: pixels between tiles.

  Returns:
    uint8 [T, rows * (H + padding) - padding, columns * (W + padding) - padding, 3].

  Raises:
    ValueError: the clips have another type or shape, `columns` is below 1, or `padding` is
      negative.
  """
  if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
    raise ValueError(f"expected uint8 [N, T, H, W, 3], got {clips.dtype} {list(clips.shape)}")
  number, frames, height, width, _ = clips.shape
  columns = int(np.ceil(np.sqrt(number))) if columns is None else columns
  if columns < 1 or padding < 0:
    raise ValueError(f"columns {columns} must be at least 1 and padding {padding} at least 0")
  rows = -(-number // columns)
  shape = (frames, rows * (height + padding), columns * (width + padding), 3)
  tiles = np.full(shape, _PADDING_VALUE, np.uint8)
  for index, clip in enumerate(clips):
    row, column = divmod(index, columns)
    top, left = row * (height + padding), column * (width + padding)
    tiles[:, top : top + height, left : left + width] = clip
  return tiles[:, : shape[1] - padding, : shape[2] - padding]


def contact_sheet(
  clips: np.ndarray, path: str | os.PathLike | None = None, padding: int = 2
) -> np.ndarray:
  """Arranges clips as one image: a row per clip, a column per frame.

  Args:
    clips: uint8 [N, T, H, W, 3].
    path: PNG file to write; None writes no file.
    padding: pixels between frames.

  Returns:
    The image, uint8 [N * (H + padding) - padding, T * (W + padding) - padding, 3].

  Raises:
    ValueError: the clips have another type or shape.
    UserError: the file cannot be written.
  """
  frames_as_clips = clips.reshape(-1, 1, *clips.shape[2:])
  sheet = grid(frames_as_clips, columns=clips.shape[1], padding=padding)[0]
  if path is not None:
    with atomic_file(path) as temporary:
      Image.fromarray(sheet).save(temporary, format="PNG")
  return sheet


def _check_clip(clip: np.ndarray, frame_rate: float) -> None:
  """Raises ValueError unless the clip is uint8 [T, H, W, 3] and the frame rate is positive."""
  if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3 or 0 in clip.shape:
    raise ValueError(f"expected uint8 [T, H, W, 3], got {clip.dtype} {list(clip.shape)}")
  if not frame_rate > 0:
    raise ValueError(f"the frame rate {frame_rate} is not positive")
