"""Clips that the user gives: an .npz, or videos at any path (see `data.sources.any_videos`).

How a video becomes a clip:

- Frames. A clip has the protocol's number of frames, or that of --frames. Frames of real videos are
  the protocol's stride apart, or that of --stride. Frames of generated videos are consecutive,
  because a model generates them at the stride of its training.
- Windows. The protocol's `windows` decide which frames of a longer video are used. Real videos give
  `windows_per_video` clips each; generated ones give one, because clips of one video are not
  independent. If the path is a single video, it is cut into successive clips without overlap.
- Short videos. Data sets contain some, and every code of FVD leaves them out: real ones are left
  out and counted. Generated ones are refused, because leaving them out would score a part of what
  the model generates.
- Size. Generated clips keep their size, which must be the same for all. Larger real videos are
  treated like those of a run's data: the shorter side is resized, and a square is cropped in the
  middle, or at random if the protocol says so. Smaller ones are refused: enlarged pictures are
  blurred.
- Which videos. If more videos exist than are scored, a random part of them is chosen by the seed.
  Only these are read. Their clips are in memory; the limit is that of .npz files.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from vidgan_jax.data import pipeline
from vidgan_jax.data.prepare.pictures import Geometry
from vidgan_jax.data.sources import any_videos
from vidgan_jax.data.sources import base as sources
from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.clips import ArrayClips, FixedWindow
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import resize_bilinear
from vidgan_jax.runtime.hardware import cores
from vidgan_jax.runtime.text import find_name

_PROGRESS_SECONDS = 10.0
_Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class _Rule:
  """How videos become clips; see the module's docstring.

  Attributes:
    real: whether the videos are real.
    frames, stride, windows, windows_per_video, crop, flip: see `protocols.base.Protocol`.
    size: (height, width) of the clips.
    option: the flag that takes fewer clips.
  """

  real: bool
  frames: int
  stride: int
  windows: str
  windows_per_video: int
  crop: str
  flip: bool
  size: tuple[int, int]
  option: str

  @property
  def fitted(self) -> bool:
    """Whether videos of another size are resized and cropped."""
    return self.real and self.size[0] == self.size[1]


class VideoClips:
  """Clips of videos, which are read when they are chosen, by `some` or `shuffled`.

  Args:
    videos: the videos.
    rule: how they become clips.
    seed: of random windows and crops.
    report: called with lines for the user.

  Attributes:
    name: the path, for messages.
    count: number of clips, if no video is too short.
    shape: (T, H, W, 3) of a clip.
  """

  def __init__(self, videos: any_videos.AnyVideos, rule: _Rule, seed: int, report: _Report):
    self._videos, self._rule, self._seed, self._report = videos, rule, seed, report
    self._lengths: dict[int, int] = {}
    self._span = sources.window_span(rule.frames, rule.stride)
    self.name, self.shape = videos.path, (rule.frames, *rule.size, 3)
    self._successive = len(videos.videos) == 1
    self.count = len(videos.videos) * rule.windows_per_video
    if self._successive:
      self._measure([0])
      self.count = max(1, self._lengths[0] // self._span)

  def some(self, count: int | None, seed: int = 0) -> ArrayClips:
    """`count` random clips; None takes all, sorted by the names of the videos.

    Raises:
      UserError: there are fewer clips, a video cannot be read or has a wrong size, generated videos
        are too short, or the clips need more memory than the limit.
    """
    if count is None or count == self.count:
      return self._read(np.arange(self.count), self.count, count is None)
    if count > self.count:
      raise UserError(f"{self.name} has {self.count} clips, {count} are requested")
    return self.shuffled(seed, count)

  def shuffled(self, seed: int = 0, count: int | None = None) -> ArrayClips:
    """The clips in random order: all, or the first `count` of this order; see `some`."""
    wanted = self.count if count is None else min(count, self.count)
    return self._read(np.random.default_rng(seed).permutation(self.count), wanted, count is None)

  def _read(self, order: np.ndarray, wanted: int, all_usable: bool) -> ArrayClips:
    """Reads the first `wanted` usable clips of an order; fewer are enough if `all_usable`."""
    self._check_memory(wanted)
    pixels = np.empty((wanted, *self.shape), np.uint8)
    taken: list[int] = []
    short: dict[int, None] = {}  # numbers of videos, in the order of reading
    while len(taken) < wanted and len(order):
      part, order = np.split(order, [wanted - len(taken)])
      numbers = dict.fromkeys((part % len(self._videos.videos)).tolist())
      self._measure(numbers)
      too_short = [number for number in numbers if self._lengths[number] < self._span]
      short.update(dict.fromkeys(too_short))
      if too_short and not self._rule.real:
        break
      usable = [clip for clip in part.tolist() if clip % len(self._videos.videos) not in short]
      self._fill(pixels, usable, len(taken))
      taken += usable
    self._check_short(list(short), len(taken), wanted, all_usable)
    return self._array(pixels[: len(taken)], taken, list(short))

  def _check_memory(self, wanted: int) -> None:
    limit = min(sources.DEFAULT_MAX_BYTES, cores.usable_memory() or sources.DEFAULT_MAX_BYTES)
    needed = wanted * int(np.prod(self.shape))
    if needed > limit:
      raise UserError(
        f"{self.name}: {wanted} clips need {needed / 2**30:.1f} GiB of memory, the limit is "
        f"{limit / 2**30:.1f} GiB; {self._rule.option}=N takes fewer"
      )

  def _check_short(self, short: list[int], taken: int, wanted: int, all_usable: bool) -> None:
    """UserError if generated videos are too short, or too few real ones are long enough."""
    if not short:
      return
    about = f"{self._first_of(short)}, and {self._rule.frames} frames at stride "
    about += f"{self._rule.stride} need {self._span}"
    if not self._rule.real:
      raise UserError(
        f"{self.name}: {len(short)} of {len(self._lengths)} generated videos are too short. The "
        f"first is {about}; --frames=N scores fewer frames"
      )
    if not taken or (taken < wanted and not all_usable):
      remedy = f"--real_count={taken} takes these" if taken else "--frames=N takes fewer frames"
      raise UserError(
        f"{self.name}: {wanted} real clips are requested, {taken} can be taken: {len(short)} "
        f"video(s) are too short. The first is {about}; {remedy}"
      )

  def _first_of(self, short: list[int]) -> str:
    first = min(short)
    return f"{self._videos.shown(self._videos.videos[first])} with {self._lengths[first]} frame(s)"

  def _array(self, pixels: np.ndarray, taken: list[int], short: list[int]) -> ArrayClips:
    """The clips that were read, with labels, and a line about them for the user."""
    videos, rule, names = self._videos, self._rule, self._videos.class_names
    numbers = [clip % len(videos.videos) for clip in taken]
    labels = [videos.videos[number].label for number in numbers]
    array = ArrayClips(pixels, np.array(labels, np.int32) if names else None, self.name)
    if names:
      array.num_classes, array.class_names = len(names), names
    if len(taken) + len(short) * rule.windows_per_video < self.count:
      array.population = self.count
    windows = "successive windows" if self._successive else f"{rule.windows} windows"
    classes = f"{len(names)} classes" if names else "no classes"
    height, width = rule.size
    line = (
      f"{'real' if rule.real else 'generated'} clips: {len(taken)}, from {len(set(numbers))} of "
      f"{len(videos.videos)} video(s) in {self.name}; {rule.frames} frames at stride "
      f"{rule.stride}, {windows}, {height}x{width} pixels, {classes}"
    )
    if short:
      line += f"; {len(short)} left out as too short, first {self._first_of(short)}"
    if videos.ignored:
      line += f"; {videos.ignored} other file(s) ignored"
    self._report(line)
    return array

  def _measure(self, numbers: Iterable[int]) -> None:
    """Finds the lengths of videos that are not known yet."""
    unknown = [number for number in numbers if number not in self._lengths]
    length = lambda number: self._videos.length(self._videos.videos[number])
    self._lengths.update(zip(unknown, self._in_threads(length, unknown, "checked"), strict=True))

  def _fill(self, pixels: np.ndarray, chosen: list[int], begin: int) -> None:
    """Reads the chosen clips into `pixels`, from number `begin` on; each video is read once."""
    outputs = collections.defaultdict(list)
    for slot, clip in enumerate(chosen, begin):
      outputs[clip % len(self._videos.videos)].append((pixels[slot], clip))
    work = lambda number: self._fill_of_video(number, outputs[number])
    self._in_threads(work, list(outputs), "read")

  def _in_threads(self, work: Callable[[int], Any], numbers: list[int], done: str) -> list:
    """Results of `work` for videos, in their order; reports progress as "N of M videos `done`"."""
    results, started = [], time.monotonic()
    last = started
    # Threads suffice, because decoders and resizing release Python's lock.
    pool = concurrent.futures.ThreadPoolExecutor(min(16, cores.usable_cores()))
    try:
      for result in pool.map(work, numbers):
        results.append(result)
        now = time.monotonic()
        if now - last > _PROGRESS_SECONDS:
          last, left = now, (now - started) * (len(numbers) / len(results) - 1.0)
          self._report(
            f"{self.name}: {len(results)} of {len(numbers)} videos {done}, about {left:.0f} s left"
          )
    finally:
      pool.shutdown(cancel_futures=True)  # after an error, work that has not begun is left
    return results

  def _fill_of_video(self, number: int, outputs: list[tuple[np.ndarray, int]]) -> None:
    """Reads clips of one video.

    Args:
      number: of the video.
      outputs: (array to fill, number of the clip) of each clip.
    """
    rule, video, length = self._rule, self._videos.videos[number], self._lengths[number]
    wanted, draws = collections.defaultdict(list), []
    for position, (_, clip) in enumerate(outputs):
      ordinal = clip // len(self._videos.videos)
      if self._successive:
        draw: Any = FixedWindow(clip * self._span)
      elif rule.windows == "random":
        draw = pipeline.augmentation_generator(self._seed, clip)
      else:
        draw = FixedWindow(ordinal if rule.windows == "each" else 0)
      draws.append(draw)
      window = sources.random_window(draw, length, rule.frames, rule.stride)
      for time_step, frame in enumerate(range(length)[window]):
        wanted[frame].append((position, time_step))
    views: list[tuple[int, int, bool]] = []
    for frame, image in self._videos.frames(video, wanted, self._resize(video)):
      self._check_size(video, image.shape[:2])
      views = views or [self._view(draw, image.shape[:2]) for draw in draws]
      for position, time_step in wanted[frame]:
        top, left, mirrored = views[position]
        shown = image[top : top + rule.size[0], left : left + rule.size[1]]
        outputs[position][0][time_step] = shown[:, ::-1] if mirrored else shown

  def _view(self, draw: Any, size: tuple[int, int]) -> tuple[int, int, bool]:
    """(first row, first column, whether to mirror) of a clip; draws the crop, then the flip."""
    top, left = (have - want for have, want in zip(size, self._rule.size, strict=True))
    if self._rule.crop == "random":
      top, left = int(draw.integers(top + 1)), int(draw.integers(left + 1))
    else:
      top, left = top // 2, left // 2
    return top, left, self._rule.flip and draw.random() < 0.5

  def _resize(self, video: any_videos.Video) -> Callable:
    """The function that resizes the pictures of a video; see `DecodedFrame.picture`."""
    rule = self._rule

    def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
      if not rule.fitted or size == rule.size:
        return resize_bilinear(image, size)
      geometry = Geometry(rule.size[0])
      if geometry.enlarged_from(size) is not None:
        raise UserError(
          f"{self._videos.shown(video)}: its pictures of {size[0]}x{size[1]} pixels are smaller "
          f"than the generated clips, {rule.size[0]}x{rule.size[1]}; real videos are reduced, but "
          "not enlarged (the MP4 files of vidgan sample are enlarged; its samples.npz is not)"
        )
      return geometry(image, size)

    return resize

  def _check_size(self, video: any_videos.Video, size: Sequence[int]) -> None:
    """UserError if pictures have another size than the clips, and are not cropped."""
    if tuple(size) == self._rule.size or self._rule.fitted:
      return
    (height, width), name = self._rule.size, self._videos.shown(video)
    if self._rule.real:
      rest = f"the generated clips {height}x{width}; only for square clips, others are cropped"
    else:
      rest = f"the first video {height}x{width}; generated clips must have one size"
    raise UserError(f"{name}: has {size[0]}x{size[1]} pixels, {rest}")


def generated(
  path: str | os.PathLike, protocol: Protocol, *, seed: int = 0, report: _Report = print
) -> ArrayClips | VideoClips:
  """Generated clips at a path, not yet those that are scored; see the module's docstring.

  Raises:
    UserError: there are no videos, the first one is broken, the protocol sets no number of frames,
      or an .npz is not valid.
  """
  if not any_videos.at(path):
    return clips.read(path)
  videos = any_videos.AnyVideos(path)
  first = videos.videos[0]
  if protocol.frames is None:
    raise UserError(
      f"protocol {protocol.name} scores clips of any length; --frames=N says how many frames of "
      f"each video to score ({videos.shown(first)} has {videos.length(first)})"
    )
  with contextlib.closing(videos.frames(first, [0])) as frames:
    _, image = next(frames)
  size = (image.shape[0], image.shape[1])
  rule = _Rule(False, protocol.frames, 1, protocol.windows, 1, "center", False, size, "--count")
  return VideoClips(videos, rule, seed, report)


def real(
  path: str | os.PathLike,
  protocol: Protocol,
  shape: tuple[int, ...],
  *,
  stride: int | None = None,
  seed: int = 0,
  report: _Report = print,
) -> ArrayClips | VideoClips:
  """Real clips at a path, not yet those that are compared; see the module's docstring.

  Args:
    path: an .npz, a folder, a zip or a video.
    protocol: sets windows, crop and mirroring of videos.
    shape: (T, H, W, 3) of the generated clips.
    stride: stride between frames of videos if the protocol sets none; None is 1.
    seed: of random windows and crops.
    report: called with lines for the user.

  Raises:
    UserError: there are no videos, or an .npz is not valid.
  """
  if not any_videos.at(path):
    return clips.read(path)
  rule = _Rule(
    True,
    shape[0],
    protocol.stride or stride or 1,
    protocol.windows,
    protocol.windows_per_video,
    protocol.crop,
    protocol.flip,
    (shape[1], shape[2]),
    "--real_count",
  )
  return VideoClips(any_videos.AnyVideos(path), rule, seed, report)


def with_classes_of(real_clips: Any, drawn: ArrayClips) -> ArrayClips:
  """Generated clips whose labels are the numbers of the same class names among real clips.

  Labels without names, which an .npz has, stay as they are.

  Raises:
    UserError: the real clips do not have a class.
  """
  names, known = drawn.class_names, tuple(getattr(real_clips, "class_names", ()))
  numbered = lambda which: which == tuple(map(str, range(len(which))))
  if numbered(names) or numbered(known) or names == known:
    return drawn
  found = [find_name(name, known) for name in names]
  if None in found:
    shown = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    raise UserError(
      f"{drawn.name}: the class '{names[found.index(None)]}' is not among those of the real clips: "
      f"{shown}"
    )
  pixels, labels = drawn(0, drawn.count)
  renamed = ArrayClips(pixels, np.array(found, np.int32)[labels], drawn.name)
  renamed.num_classes, renamed.class_names = len(known), known
  renamed.population = drawn.population
  return renamed
