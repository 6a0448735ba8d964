"""Reads video files, and refuses damaged ones. (Video players conceal damage.)"""

import dataclasses
import fractions
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import containers
from vidgan_jax.runtime.hardware import memory

DEFAULT_MAX_BYTES = 4 * 2**30
# "explode" makes decoders fail instead of concealing damage; max_pixels bounds a frame's memory.
_DECODER_OPTIONS = {"err_detect": "explode", "max_pixels": str(2**26)}
# Without these flags the conversion to RGB is faster but too dark, by 1/255 on average and at worst
# by 3/255.
_EXACT_COLORS = (
  Interpolation.BILINEAR
  | Interpolation.ACCURATE_RND
  | Interpolation.FULL_CHR_H_INT
  | Interpolation.BITEXACT
)
# Titles in old files are not always UTF-8. They are not used here; PyAV 19 accepts any bytes.
_METADATA: dict[str, Any] = (
  {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


class VideoError(UserError):
  """A video file that cannot be read completely.

  Attributes:
    path: the file.
    reason: what is wrong, in a few words.
  """

  def __init__(self, path: str, reason: str):
    super().__init__(f"{path}: {reason}")
    self.path = path
    self.reason = reason


Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class DecodedFrame:
  """A frame of a video file. It is converted to RGB only by `picture`.

  Attributes:
    path: the file.
    index: number of the frame in display order, from 0.
    time: display time in seconds, or None if the file does not state it.
    frame_rate: average frame rate of the file, in frames per second.
  """

  path: str
  index: int
  time: float | None
  frame_rate: float
  _frame: av.VideoFrame
  _pixel_aspect: fractions.Fraction | None
  _converter: VideoReformatter

  def picture(self, resize: Resize | None = None) -> np.ndarray:
    """Converts the frame to RGB as a player shows it: square pixels, upright, black background.

    Args:
      resize: a function (image, (height, width)) that resizes the stored pixels, uint8 [h, w, 3].
        It receives the size at which pixels are square, and may return another size. None resizes
        to that size. The result is then rotated as the file's metadata says.

    Returns:
      uint8 [H, W, 3].

    Raises:
      VideoError: the frame cannot be converted.
    """
    try:
      # The colours of transparent pixels must not be shown. Palettes may have such colours too.
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
    # Extreme aspect ratios come from damaged or forged files. Ignoring them bounds the memory.
    if self._pixel_aspect and 0.25 <= self._pixel_aspect <= 4:
      width = max(1, round(width * self._pixel_aspect))
    image = (resize or resize_bilinear)(image, (height, width))
    return _oriented(image, _orientation(self._frame))


def over_black(image: np.ndarray) -> np.ndarray:
  """Blends an image with transparency, uint8 [H, W, 4], over black; [H, W, 3] stays as it is."""
  if image.shape[-1] == 3:
    return image
  colors, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
  return ((colors * alpha + 127) // 255).astype(np.uint8)


def _orientation(frame: av.VideoFrame) -> tuple[int, ...]:
  """The display matrix of a frame, rounded to one of eight orientations.

  Returns:
    (a, b, c, d), each -1, 0 or 1: pixel (x, y) is shown at (ax + cy, bx + dy). Either a and d, or b
    and c, are 0.
  """
  matrix: Any = frame.side_data.get("DISPLAYMATRIX")
  if matrix is None or len(bytes(matrix)) < 36:
    return (1, 0, 0, 1)
  a, b, _, c, d, *_ = np.frombuffer(bytes(matrix)[:36], np.int32).tolist()
  if abs(a) + abs(d) >= abs(b) + abs(c):
    return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
  return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def _oriented(image: np.ndarray, orientation: tuple[int, ...]) -> np.ndarray:
  """Rotates and mirrors stored pixels [h, w, 3] by the result of `_orientation`."""
  a, b, c, d = orientation
  if not a:
    image = image.swapaxes(0, 1)
  return image[:: d or b, :: a or c]


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes uint8 [h, w, 3] to (height, width) with Pillow's bilinear filter.

  When it makes images smaller, the filter averages over the area (antialiasing).
  """
  height, width = size
  if (height, width) == image.shape[:2]:
    return image
  return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def short_side_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
  """The size (height, width) with the same aspect ratio, whose smaller side is `short_side`."""
  scale = short_side / min(size)
  height, width = (max(short_side, round(side * scale)) for side in size)
  return height, width


def decode_video(path: str | os.PathLike) -> Generator[DecodedFrame, None, None]:
  """Decodes a video file frame by frame, or refuses it.

  The frames are those of the decoder, in display order. None is repeated or dropped to make the
  rate constant. Frames that an edit list hides are left out. The display matrix rotates or mirrors
  the frames, transparent pixels are blended over black, and pixels that are not square are
  resampled in width. Cover pictures of music do not count as videos.

  A file is accepted only if no packet or frame is marked corrupt, the decoder reports no error, and
  the file has as many bytes, packets, frames and seconds as its container states (`containers`).
  A header may state one frame too many, as in HMDB-51. Codecs have no checksums. So a flipped bit
  that still decodes cannot be detected, nor can an MPEG stream that ends between two packets.

  Args:
    path: the file.

  Yields:
    The frames. Some faults are detected only after the last frame.

  Raises:
    VideoError: the file is missing, is not a video, or is damaged.
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
        raise VideoError(path, f"cut off: at least {missing} bytes are missing at its end")
      if stream.codec_context is None:
        raise VideoError(path, "no decoder for its codec")
      yield from _decode(container, stream, path)
  except (av.error.FFmpegError, OSError, ValueError) as error:
    raise VideoError(path, f"not readable as a video ({_reason(error)})") from error
  finally:
    memory.release_after_file()


def read_video(
  path: str | os.PathLike, *, short_side: int | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> tuple[np.ndarray, float]:
  """Decodes a video file completely, or refuses it; see `decode_video`.

  Args:
    path: the file.
    short_side: size in pixels to which the smaller of height and width is resized (see
      `resize_bilinear`); None keeps the size.
    max_bytes: largest memory of the returned frames.

  Returns:
    (the frames, uint8 [T, H, W, 3]; the average frame rate in frames per second).

  Raises:
    VideoError: the file is missing, is not a video, is damaged, or is too large.
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
  """Yields all frames of a stream, then compares what was read with what the container states."""
  stream.codec_context.options = dict(_DECODER_OPTIONS)
  stream.codec_context.thread_count = 1  # callers decode many files at once
  rate = float(stream.average_rate or stream.guessed_rate or 25)
  frames, shape, progress = 0, None, containers.Progress()
  converter = VideoReformatter()  # reuses its tables for all frames
  # Reads all streams, because the file ends where the last of them ends.
  for packet in container.demux():
    is_video = packet.stream.index == stream.index
    progress.add(packet, is_video)
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
  reason = containers.shortfall(container, stream, path, frames, progress)
  if reason:
    raise VideoError(path, reason)


def _reason(error: BaseException) -> str:
  """The message of an error in one line, without the path, which the caller adds."""
  text = getattr(error, "strerror", None) or str(error) or type(error).__name__
  return text.splitlines()[0]
