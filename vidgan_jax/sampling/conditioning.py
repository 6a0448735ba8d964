"""Clips to condition on: data that a run continues (DVD-GAN-FP), by number.

Every path that draws clips of such a run takes them from a `Conditioning`: the commands, standing
statistics, previews, scores during training, and analyses.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vidgan_jax.data import pipeline
from vidgan_jax.data.build import build_source
from vidgan_jax.data.formats import pictures
from vidgan_jax.data.sources import base as sources
from vidgan_jax.data.sources.base import Source
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz, paths, video_files

_PROBES = 8  # clips whose hash identifies the data


class Conditioning:
  """Numbered clips to condition on. After the last clip the first one follows again.

  Args:
    clips: a function (begin, end) -> uint8 [end - begin, T, H, W, 3], 0 <= begin < end <= count.
    count: number of clips.

  Attributes:
    about: text that identifies the clips: their number, and a hash of the first ones.
  """

  def __init__(self, clips: Callable[[int, int], np.ndarray], count: int):
    self._clips, self.count = clips, count
    content = np.ascontiguousarray(clips(0, min(_PROBES, count)))
    self.about = f"{count} clips {hashlib.sha256(content.tobytes()).hexdigest()[:12]}"

  def __call__(self, begin: int, end: int) -> np.ndarray:
    """The clips begin..end-1, each number modulo `count`: uint8 [end - begin, T, H, W, 3]."""
    parts = []
    while begin < end:
      first = begin % self.count
      last = min(self.count, first + end - begin)
      parts.append(np.asarray(self._clips(first, last)))
      begin += last - first
    return np.concatenate(parts)

  def inputs(self, begin: int, end: int) -> dict[str, Any]:
    """The argument `conditioning` of `VideoGan.sampling_inputs` for the clips begin..end-1."""
    return {"clip": self(begin, end)}


def of_array(clips: np.ndarray) -> Conditioning:
  """The clips of an array uint8 [N, T, H, W, 3]."""
  return Conditioning(lambda begin, end: clips[begin:end], len(clips))


def of_labelled(clips: Any, count: int) -> Conditioning:
  """The first `count` of clips whose calls also return labels; see `evaluation.clips`."""
  return Conditioning(lambda begin, end: clips(begin, end)[0], count)


def of_source(source: Source, seed: int = 0) -> Conditioning:
  """All clips of a source in a fixed random order, each with one window.

  Args:
    source: see `data.sources.base.Source`.
    seed: of the order and the windows.
  """
  order = pipeline.epoch_order(seed, 0, source.num_examples)

  def clips(begin: int, end: int) -> np.ndarray:
    draw = lambda n: source.example(int(order[n]), pipeline.augmentation_generator(seed, n))[0]
    return np.stack([draw(number) for number in range(begin, end)])

  return Conditioning(clips, source.num_examples)


def of_split(
  config: Any, gan: VideoGan, split: str, seed: int = 0, report: Callable[[str], None] = print
) -> Conditioning:
  """The clips of a split of a run's data.

  Args:
    config: the whole config of the run.
    gan: its system, which sets frames and size.
    split: "train", "test", or another split of the data.
    seed: see `of_source`.
    report: called with lines for the user.

  Raises:
    UserError: the data cannot be opened, or has no such split.
  """
  data = config.copy_and_resolve_references().data
  source = build_source(
    data,
    frames=gan.frames,
    resolution=gan.resolution,
    num_classes=gan.num_classes,
    split=split,
    report=report,
  )
  return of_source(source, seed)


def read(files: Sequence[str | os.PathLike], gan: VideoGan, stride: int = 1) -> np.ndarray:
  """Reads clips to condition on from one .npz, or one clip from each of several videos.

  Args:
    files: the path of an .npz with `clips` uint8 [N, T, H, W, 3], or paths of videos. Of a video,
      the first frames are used, at `stride`, resized and cropped to the run's size.
    gan: sets the size, and the number of frames that are needed.
    stride: distance between the used frames of a video.

  Returns:
    uint8 [N, T, H, W, 3].

  Raises:
    UserError: a file cannot be read, or its clips have too few frames or another size.
  """
  local = [paths.fetched(file, "--conditioning") for file in files]
  for file in local:
    if os.path.isdir(file):
      raise UserError(f"--conditioning: {file} is a folder; name the videos, separated by commas")
    if not os.path.isfile(file):
      raise UserError(f"--conditioning: {file}: neither a split of the data nor a file")
  if any(str(file).endswith(".npz") for file in local):
    if len(local) > 1:
      raise UserError("--conditioning takes one .npz, or videos, not both")
    with npz.open_npz(local[0], sources.DEFAULT_MAX_BYTES) as archive:
      header = archive.header("clips")
      check(header.shape, header.dtype, gan, local[0])
      clips = archive.read("clips")
    sources.check_pixels(clips, local[0])
    return clips
  return np.stack([_of_video(file, gan, stride) for file in local])


def check(shape: Sequence[int], dtype: Any, gan: VideoGan, what: str = "clips to continue") -> None:
  """UserError unless an array has the type and shape of clips that `gan` can continue.

  Args:
    shape, dtype: of the array; uint8 [N, given_frames or more, H, W, 3] is right.
    gan: the system.
    what: the array, for the message.
  """
  if not gan.needs_conditioning:
    raise UserError("this run continues no given frames: it generates whole clips")
  size, least = gan.resolution, gan.given_frames
  if dtype != np.uint8:
    raise UserError(f"{what}: must be uint8 in 0..255, found {dtype} {list(shape)}")
  fits = len(shape) == 5 and tuple(shape[2:]) == (size, size, 3) and shape[0]
  if not fits or shape[1] < least:
    raise UserError(
      f"{what}: this run continues {least} given frame(s) of {size}x{size}, so clips must be "
      f"[N, {least} or more, {size}, {size}, 3], found {list(shape)}"
    )


def _of_video(path: str | os.PathLike, gan: VideoGan, stride: int) -> np.ndarray:
  """The first frames of a video, uint8 [given_frames, H, W, 3]."""
  needed, frames = gan.given_frames, []
  for index, frame in enumerate(video_files.decode_video(path)):
    if index % stride == 0:
      frames.append(_square(frame.picture(), gan.resolution))
    if len(frames) == needed:
      return np.stack(frames)
  raise UserError(
    f"--conditioning: {path} has {len(frames)} frame(s) at stride {stride}, {needed} are needed"
  )


def _square(image: np.ndarray, side: int) -> np.ndarray:
  """Resizes the shorter side of an image to `side` pixels by area, and crops the middle."""
  height, width = image.shape[:2]
  if min(height, width) != side:
    scale = side / min(height, width)
    size = [max(side, round(length * scale)) for length in (height, width)]
    image = pictures.resize_frames(image[None], *size)[0]
  top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
  return image[top : top + side, left : left + side]
