"""Reads video files, and refuses damaged ones instead of concealing the damage as players do."""

import dataclasses
import fractions
import os
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import containers
from vidgan_jax.runtime.hardware import memory

DEFAULT_MAX_BYTES = 4 * 2**30
# "explode" makes a decoder fail where it would conceal; max_pixels bounds the memory of a frame.
_DECODER_OPTIONS = {"err_detect": "explode", "max_pixels": str(2**26)}
# Without these the conversion to RGB is fast and about 1/255 too dark on average (3/255 at worst).
_EXACT_COLORS = (
  Interpolation.BILINEAR
  | Interpolation.ACCURATE_RND
  | Interpolation.FULL_CHR_H_INT
  | Interpolation.BITEXACT
)
# Titles in old files are not always UTF-8, and nobody reads them here; PyAV 19 takes any bytes.
_METADATA: dict[str, Any] = (
  {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


class VideoError(UserError):
  """A video file that cannot be read as a whole.

  Attributes:
    path: the file.
    reason: what is wrong with it, in a few words.
  """

  def __init__(self, path: str, reason: str):
    super().__init__(f"{path}: {reason}")
    self.path = path
    self.reason = reason


Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class DecodedFrame:
  """A frame of a video file, made a picture only when it is asked for.

  Attributes:
    path: the file.
    index: number of the frame in order of presentation, from 0.
    time: when it is shown, in seconds; None where the file does not say.
    frame_rate: average rate of the file in frames per second.
  """

  path: str
  index: int
  time: float | None
  frame_rate: float
  _frame: av.VideoFrame
  _pixel_aspect: fractions.Fraction | None
  _converter: VideoReformatter

  def picture(self, resize: Resize | None = None) -> np.ndarray:
    """Returns the picture as it is meant to be seen.

    Args:
      resize: a function (image, (height, width)) that maps the stored pixels, uint8 [h, w, 3], to
        the picture, given the size at which its pixels would be square; None makes it that size.
        Rotation metadata is applied to what it returns.

    Returns:
      uint8 [H, W, 3].

    Raises:
      VideoError: the frame cannot be converted.
    """
    try:
      # What lies under transparent pixels is not meant to be seen; a palette may hold such colours.
      pixels = self._frame.format
      has_alpha = pixels.has_palette or any(part.is_alpha for part in pixels.components)
      converted = self._converter.reformat(
        self._frame,
        format="rgba" if has_alpha else "rgb24",
        interpolation=_EXACT_COLORS,
        threads=1,
      )
      image = over_black(converted.to_ndarray())
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(self.path, f"not readable as a video ({_reason(error)})") from error
    height, width = image.shape[:2]
    # Absurd aspects are damage or malice; ignoring them bounds the memory.
    if self._pixel_aspect and 0.25 <= self._pixel_aspect <= 4:
      width = max(1, round(width * self._pixel_aspect))
    image = (resize or resize_bilinear)(image, (height, width))
    return _oriented(image, _orientation(self._frame))


def over_black(image: np.ndarray) -> np.ndarray:
  """Lays a picture with transparency, uint8 [H, W, 4], over black; others [H, W, 3] stay as is."""
  if image.shape[-1] == 3:
    return image
  colors, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
  return ((colors * alpha + 127) // 255).astype(np.uint8)


def _orientation(frame: av.VideoFrame) -> tuple[int, ...]:
  """Signs (a, b, c, d) of a frame's display matrix: pixel (x, y) is shown at (ax + cy, bx + dy).

  Each pair (a, d) or (b, c) is 0; angles between those of the eight orientations are rounded.
  """
  matrix: Any = frame.side_data.get("DISPLAYMATRIX")
  if matrix is None or len(bytes(matrix)) < 36:
    return (1, 0, 0, 1)
  a, b, _, c, d, *_ = np.frombuffer(bytes(matrix)[:36], np.int32).tolist()
  if abs(a) + abs(d) >= abs(b) + abs(c):
    return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
  return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def _oriented(image: np.ndarray, orientation: tuple[int, ...]) -> np.ndarray:
  """Turns and mirrors stored pixels [h, w, 3] as `_orientation` says."""
  a, b, c, d = orientation
  if not a:
    image = image.swapaxes(0, 1)
  return image[:: d or b, :: a or c]


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes uint8 [h, w, 3] to (height, width) by Pillow's bilinear filter.

  The filter averages over the area when it makes pictures smaller (antialiasing).
  """
  height, width = size
  if (height, width) == image.shape[:2]:
    return image
  return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def short_side_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
  """Size of a picture whose smaller side is resized to `short_side`, its aspect kept."""
  scale = short_side / min(size)
  height, width = (max(short_side, round(side * scale)) for side in size)
  return height, width


def decode_video(path: str | os.PathLike) -> Iterator[DecodedFrame]:
  """Decodes a video file frame by frame, or refuses it.

  The frames are those that the decoder returns in order of presentation, none repeated or dropped
  for a constant rate; what an edit list leaves out is left out. The display matrix turns or mirrors
  them, transparent pixels are laid over black, and pixels that are not square are resampled in
  width. Covers of music are no videos.

  A file counts as whole only if no packet or frame is marked corrupt, the decoder reports no error,
  and as many bytes, packets, frames and seconds arrive as the container announces (`containers`).
  Headers may announce a frame more than there is (HMDB-51's do). Codecs have no checksums: a
  changed bit that still decodes to some picture cannot be noticed, and neither can an MPEG stream
  that ends between two packets.

  Args:
    path: the file.

  Yields:
    The frames. What is missing may be known only behind the last of them.

  Raises:
    VideoError: the file is missing, is no video, or is damaged.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise VideoError(path, "no such file")
  try:
    with av.open(path, **_METADATA) as container:
      stream = containers.moving_stream(container)
      if stream is None:
        raise VideoError(path, "holds no video stream")
      missing = containers.missing_bytes(path, container.format.name)
      if missing:
        raise VideoError(path, f"cut off: its last bytes are missing ({missing} or more)")
      if stream.codec_context is None:
        raise VideoError(path, "is of a kind that no decoder knows")
      yield from _decode(container, stream, path)
  except (av.error.FFmpegError, OSError, ValueError) as error:
    raise VideoError(path, f"not readable as a video ({_reason(error)})") from error
  finally:
    memory.give_back_after_file()


def read_video(
  path: str | os.PathLike, *, short_side: int | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> tuple[np.ndarray, float]:
  """Decodes a video file completely, or refuses it; see `decode_video`.

  Args:
    path: the file.
    short_side: resize so that the smaller of height and width has this many pixels (Pillow's
      bilinear filter, which averages over the area when it makes pictures smaller); None keeps the
      size.
    max_bytes: refuse a video whose returned frames would take more memory than this.

  Returns:
    The frames, uint8 [T, H, W, 3], and the average frame rate in frames per second.

  Raises:
    VideoError: the file is missing, is no video, is damaged, or is too large.
  """
  resize = None
  if short_side is not None:
    resize = lambda image, size: resize_bilinear(image, short_side_size(size, short_side))
  images, size, rate = [], 0, 0.0
  for frame in decode_video(path):
    images.append(frame.picture(resize))
    rate = frame.frame_rate
    size += images[-1].nbytes
    if size > max_bytes:
      raise VideoError(frame.path, f"needs more than the limit of {max_bytes} bytes of memory")
  return np.stack(images), rate


def _decode(container, stream, path: str) -> Iterator[DecodedFrame]:
  """Yields all frames of a stream and compares their number with what the container announces."""
  stream.codec_context.options = dict(_DECODER_OPTIONS)
  stream.codec_context.thread_count = 1  # callers decode many files at once
  rate = float(stream.average_rate or stream.guessed_rate or 25)
  frames, shape, seen = 0, None, containers.Seen()
  converter = VideoReformatter()  # keeps its tables from frame to frame
  # All streams are read, for the file's end is where the last of them ends.
  for packet in container.demux():
    is_video = packet.stream.index == stream.index
    seen.add(packet, is_video)
    if not is_video:
      continue
    if packet.is_corrupt:
      raise VideoError(path, f"damaged or cut off at frame {frames}")
    try:
      decoded = packet.decode()
    except av.error.FFmpegError as error:
      raise VideoError(path, f"damaged at frame {frames} ({_reason(error)})") from error
    for frame in decoded:
      if frame.is_corrupt:
        raise VideoError(path, f"damaged at frame {frames}")
      shape = shape or (frame.height, frame.width, _orientation(frame))
      if (frame.height, frame.width, _orientation(frame)) != shape:
        raise VideoError(path, f"changes its size at frame {frames}")
      yield DecodedFrame(
        path, frames, frame.time, rate, frame, stream.sample_aspect_ratio, converter
      )
      frames += 1
  if not frames:
    raise VideoError(path, "holds no frames")
  reason = containers.shortfall(container, stream, path, frames, seen)
  if reason:
    raise VideoError(path, reason)


def _reason(error: BaseException) -> str:
  """A short text of an error without the file's path, which the caller names."""
  text = getattr(error, "strerror", None) or str(error) or type(error).__name__
  return text.splitlines()[0]
