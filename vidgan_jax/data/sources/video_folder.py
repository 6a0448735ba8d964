"""A folder of video files as a source, in UCF-101's layout or with one sub-folder per class.

Every video is decoded once, resized so that its smaller side equals the resolution, and cached as
uint8 frames (`frame_cache`). An example is a temporal window and a crop of these frames.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator

import numpy as np

from vidgan_jax.data.sources import frame_cache, split_lists
from vidgan_jax.data.sources.base import Source, random_window, scarce_classes, window_span
from vidgan_jax.data.sources.frame_cache import FrameCache
from vidgan_jax.data.sources.split_lists import ListedClip
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.runtime.files.video_files import DEFAULT_MAX_BYTES, VideoError, read_video
from vidgan_jax.runtime.hardware.cores import usable_cores
from vidgan_jax.runtime.text import file_text, printable

SPLITS = ("train", "val", "test", "all")
CROPS = ("random", "center")

# Raise this number when decoding or resizing changes; caches with another number are not used.
_DECODER_VERSION = 2
_LISTED = 5  # skipped files in the summary; the report and a file contain all of them
_LISTED_CLASSES = 20
_PROGRESS_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class FolderReport:
  """The clips of a folder that are in use, and those that are not.

  Attributes:
    used: number of clips in use.
    skipped: (path, reason) of the files that cannot be used.
    missing: paths in the lists that do not exist in the folder.
    frames: number of stored frames of all clips in use.
    ignored: number of files whose endings are not those of videos.
    cache: folder of the decoded frames.
    cache_bytes: size of the decoded frames in use.
    skipped_list: path of a text file with all skipped files, one per line; "" if there is none.
    without_clips: names of the classes that have no clip in use.
    remarks: lines of text about folders; see `split_lists.Listing`.
  """

  used: int
  skipped: tuple[tuple[str, str], ...]
  missing: tuple[str, ...]
  frames: int
  ignored: int
  cache: str
  cache_bytes: int
  skipped_list: str = ""
  without_clips: tuple[str, ...] = ()
  remarks: tuple[str, ...] = ()

  def summary(self) -> str:
    """The report as a few lines of text for the user."""
    size = f"{self.cache_bytes / 2**20:.0f} MiB in {self.cache}"
    lines = [f"{self.used} clips, {self.frames} frames ({size})", *self.remarks]
    if self.missing:
      example = printable(self.missing[0])
      lines.append(f"{len(self.missing)} listed clips do not exist, such as {example}")
    if self.skipped:
      location = f", listed in {self.skipped_list}" if self.skipped_list else ""
      lines.append(f"{len(self.skipped)} files skipped{location}:")
      lines += [f"  {printable(path)}: {reason}" for path, reason in self.skipped[:_LISTED]]
      if len(self.skipped) > _LISTED:
        lines.append(f"  and {len(self.skipped) - _LISTED} more")
    if self.ignored:
      lines.append(f"{self.ignored} files ignored, because their endings are not those of videos")
    if self.without_clips:
      names = ", ".join(printable(name) for name in self.without_clips[:_LISTED_CLASSES])
      more = len(self.without_clips) - _LISTED_CLASSES
      names += f" and {more} more" if more > 0 else ""
      lines.append(f"WARNING: classes without a usable clip: {names}")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _StoredClip:
  """One decoded clip.

  Attributes:
    path: its cache file.
    name: path of its video, relative to the folder.
    size: size of its video file, bytes.
    label: 0-based.
    frames: number of frames.
  """

  path: str
  name: str
  size: int
  label: int
  frames: int


class VideoFolder(Source):
  """The videos of a folder.

  Three layouts are supported. With split lists in `ucfTrainTestlist/` (UCF-101: `classInd.txt`,
  `trainlist0N.txt`, `testlist0N.txt`), the lists decide. Without lists, the topmost folders are the
  classes, sorted by name; folders with names like train and test above or below them are splits
  (see `split_folders`), and without such folders all videos are training clips. Videos without
  class folders are unlabelled.

  Damaged or short files, and files that are not videos, are skipped and reported. Pillow's bilinear
  filter (antialiased) resizes frames so that the smaller side equals the resolution. An example is
  a temporal window, cropped along the other side (DVD-GAN, appendix A.1).

  Args:
    directory: the folder.
    frames: frames per example.
    resolution: height and width of an example in pixels.
    stride: distance between frames of an example, in stored frames; a clip needs frames * stride.
    split: "train", "val", "test" or "all".
    split_folders: which folders are splits; see `split_folders.parse`.
    split_number: number of the split lists, 1 for trainlist01.txt.
    num_classes: expected number of classes; 0 drops the labels, None accepts any number.
    crop: "random" or "center".
    horizontal_flip: mirror examples with probability 1/2; only for data without a preferred side.
    cache_directory: folder of decoded frames; None is a folder for this data and resolution in
      $XDG_CACHE_HOME/vidgan_jax (~/.cache/vidgan_jax).
    min_clips: smallest number of usable clips.
    report: called with each line of text about progress and skipped files.
    max_bytes_per_clip: videos whose decoded frames need more memory are skipped.

  Attributes:
    report: the FolderReport.

  Raises:
    UserError: there is no such folder, a list is malformed, too few clips are usable, no cache
      folder can be written, or the number of classes differs.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    *,
    frames: int,
    resolution: int,
    stride: int = 1,
    split: str = "train",
    split_folders: str = "auto",
    split_number: int = 1,
    num_classes: int | None = None,
    crop: str = "random",
    horizontal_flip: bool = False,
    cache_directory: str | os.PathLike | None = None,
    min_clips: int = 1,
    report: Callable[[str], None] = print,
    max_bytes_per_clip: int = DEFAULT_MAX_BYTES,
  ):
    directory = os.fspath(directory)
    if crop not in CROPS:
      raise UserError(f"unknown crop '{crop}', known are: {', '.join(CROPS)}")
    if split not in SPLITS:
      raise UserError(f"unknown split '{split}', known are: {', '.join(SPLITS)}")
    span = window_span(frames, stride)
    if resolution < 1:
      raise UserError(f"resolution {resolution} is not positive")
    listing = split_lists.list_folder(
      directory, split, split_number, by_folders=split_folders, labelled=num_classes != 0
    )
    _check_num_classes(directory, num_classes, len(listing.class_names))
    folder = os.fspath(cache_directory) if cache_directory else None
    self._cache = FrameCache(folder or _default_cache(directory, resolution), report)
    self._directory, self._max_bytes = directory, max_bytes_per_clip
    clips, skipped = [], list(listing.unassigned)
    for listed, stored in _decode_all(
      directory, listing.clips, resolution, self._cache, max_bytes_per_clip, report
    ):
      if isinstance(stored, str):
        skipped.append((listed.path, stored))
      elif stored.frames < span:
        skipped.append((listed.path, f"too short: {stored.frames} frames, {span} are needed"))
      else:
        clips.append(stored)
    labels = {clip.label for clip in clips}
    names = () if num_classes == 0 else listing.class_names
    self.report = FolderReport(
      used=len(clips),
      skipped=tuple(skipped),
      missing=listing.missing,
      frames=sum(clip.frames for clip in clips),
      ignored=listing.ignored,
      cache=self._cache.current,
      cache_bytes=sum(os.path.getsize(clip.path) for clip in clips),
      skipped_list=_list_skipped(
        directory, split, split_number, self._cache.current, skipped, report
      ),
      without_clips=tuple(name for label, name in enumerate(names) if label not in labels),
      remarks=listing.remarks,
    )
    for line in f"{directory} ({split}): {self.report.summary()}".splitlines():
      report(line)
    for line in scarce_classes([clip.label for clip in clips], names):
      report(f"{directory} ({split}): {line}")
    if len(clips) < max(1, min_clips):
      raise UserError(
        f"{directory}: {len(clips)} usable clips, {max(1, min_clips)} are needed "
        f"({len(skipped)} skipped, {len(listing.missing)} missing)"
      )
    self.num_examples = len(clips)
    self.class_names = names
    self.num_classes = len(self.class_names)
    self.frames = frames
    self.resolution = resolution
    self._clips = tuple(clips)
    self._stride = stride
    self._random_crop = crop == "random"
    self._horizontal_flip = horizontal_flip
    self._report, self._damaged = report, set()

  def identity(self) -> str:
    """See `Source.identity`: names, sizes, lengths and labels of the videos, without the folder."""
    clips = [f"{file_text(c.name)} {c.size} {c.frames} {c.label}" for c in self._clips]
    return "\n".join([super().identity(), *clips])

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example`; draws the window first, then the crop, then the flip.

    Raises:
      UserError: the cached frames are damaged or missing, and the video does not decode any more.
    """
    self.check_index(index)
    clip = self._clips[index]
    window = random_window(generator, clip.frames, self.frames, self._stride)
    stored = self._read(clip, range(clip.frames)[window])
    top, left = (side - self.resolution for side in stored.shape[1:3])  # one of them is 0
    if self._random_crop:
      top, left = int(generator.integers(top + 1)), int(generator.integers(left + 1))
    else:
      top, left = top // 2, left // 2
    cropped = stored[:, top : top + self.resolution, left : left + self.resolution]
    if self._horizontal_flip and generator.random() < 0.5:
      cropped = cropped[:, :, ::-1]
    return np.array(cropped), clip.label if self.num_classes else 0

  def _read(self, clip: _StoredClip, frames: range) -> np.ndarray:
    """Frames of a clip, uint8 [T, H, W, 3]; decodes the video again if its cache is damaged."""
    name, reason = os.path.basename(clip.path), ""
    for path in self._cache.paths(name):
      try:
        return frame_cache.read(path, frames)
      except frame_cache.Damaged as error:
        reason = str(error)
    path = os.path.join(self._directory, clip.name)
    video, _ = read_video(path, short_side=self.resolution, max_bytes=self._max_bytes)
    if len(video) != clip.frames:
      raise UserError(f"{path}: has {len(video)} frames now, but had {clip.frames} before")
    if clip not in self._damaged:
      self._damaged.add(clip)
      self._report(f"WARNING: {reason}; the video is decoded again")
    self._cache.store(name, video)
    return video[frames.start : frames.stop : frames.step]


def _check_num_classes(directory: str, expected: int | None, available: int) -> None:
  """Raises UserError if the configuration and the folder have different numbers of classes."""
  if not expected or expected == available:
    return
  if not available:
    raise UserError(
      f"{directory}: its videos are not in class folders, so there are no labels; "
      f"num_classes={expected} should be 0"
    )
  raise UserError(f"{directory}: has {available} classes, but num_classes is {expected}")


def _list_skipped(
  directory: str,
  split: str,
  split_number: int,
  cache: str,
  skipped: list[tuple[str, str]],
  report: Callable[[str], None],
) -> str:
  """Writes path and reason of all skipped files to the cache folder; returns the file or ""."""
  # The name contains split and folder, because several folders and splits may share a cache.
  name = f"skipped_{split}{split_number}_{_hash(os.path.realpath(directory))[:8]}.txt"
  path = os.path.join(cache, name)
  if not cache:
    return ""
  if not skipped:
    with contextlib.suppress(OSError):
      os.remove(path)  # from an earlier start, when some files were unusable
    return ""
  root = os.path.abspath(directory)
  lines = [printable(f"{os.path.join(root, name)}: {reason}") + "\n" for name, reason in skipped]
  try:
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
      file.writelines(lines)
  except UserError as error:  # a complete cache may be read-only
    report(f"WARNING: {error}")
    return ""
  return path


def _default_cache(directory: str, resolution: int) -> str | None:
  """The cache folder of this data at this resolution; its splits share it, with the same frames."""
  return paths.cache(_hash(os.path.realpath(directory), resolution))


def _hash(*parts: object) -> str:
  """A file name that identifies the given values."""
  text = "\0".join(map(str, parts))
  return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]


def _decode_all(
  directory: str,
  listed: tuple[ListedClip, ...],
  resolution: int,
  cache: FrameCache,
  max_bytes: int,
  report: Callable[[str], None],
) -> Iterator[tuple[ListedClip, _StoredClip | str]]:
  """Yields each listed clip with its decoded form, or with the reason why it is not usable."""
  started = last_report = time.monotonic()
  # Threads suffice, because decoder, resizing and disk release Python's lock.
  with concurrent.futures.ThreadPoolExecutor(min(16, usable_cores())) as pool:
    futures = [
      pool.submit(_decode, directory, clip, resolution, cache, max_bytes) for clip in listed
    ]
    try:
      for done, (clip, future) in enumerate(zip(listed, futures, strict=True), start=1):
        yield clip, future.result()
        now = time.monotonic()
        if now - last_report > _PROGRESS_SECONDS:
          last_report, left = now, (now - started) * (len(listed) / done - 1.0)
          report(f"{directory}: {done} of {len(listed)} files decoded, about {left:.0f} s left")
    finally:
      for future in futures:
        future.cancel()


def _decode(
  directory: str, clip: ListedClip, resolution: int, cache: FrameCache, max_bytes: int
) -> _StoredClip | str:
  """Looks a clip up in the cache or decodes it into the cache; or returns why it is not usable."""
  path = os.path.join(directory, clip.path)
  try:
    status = os.stat(path)
  except OSError as error:
    return f"not readable ({error.strerror})"
  key = _hash(
    _DECODER_VERSION, resolution, os.path.realpath(path), status.st_size, status.st_mtime_ns
  )
  name = f"{key}.npy"
  for stored in cache.paths(name):
    frames = _stored_frames(stored, resolution)
    if frames is not None:
      break
  else:
    try:
      video, _ = read_video(path, short_side=resolution, max_bytes=max_bytes)
    except VideoError as error:
      return error.reason
    stored, frames = cache.store(name, video), len(video)
  return _StoredClip(stored, clip.path, status.st_size, clip.label, frames)


def _stored_frames(path: str, resolution: int) -> int | None:
  """Number of frames of a cache file; None if it is missing, damaged or of another resolution."""
  try:
    frames, height, width, _ = frame_cache.shape(path)
  except frame_cache.Damaged:
    return None
  return frames if min(height, width) == resolution else None
