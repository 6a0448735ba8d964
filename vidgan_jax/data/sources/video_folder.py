"""A folder of video files as a source, in UCF-101's layout or simply one sub-folder per class.

Every file is decoded once, resized so that its smaller side has the wanted resolution, and kept as
uint8 frames in a cache of `.npy` files; examples are windows and crops of those.
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
from vidgan_jax.data.sources.base import Source, random_window, window_span
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

_DECODER_VERSION = (
  2  # raise it when decoding or resizing changes, so that old caches are left aside
)
_SHOWN = 5  # files named in a report; all of them are in its fields and in a file
_SHOWN_CLASSES = 20
_PROGRESS_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class FolderReport:
  """What was found in a folder.

  Attributes:
    used: number of clips in use.
    skipped: (path, reason) of the files that are there but cannot be used.
    skipped_list: text file with all of them, a line each; empty where there is none.
    without_clips: names of the classes that have no clip in use.
    missing: paths that the lists name and the folder does not have.
    frames: frames of all clips in use, as stored.
    aside: files with endings that are not a video's.
    cache: folder of the decoded frames.
    cache_bytes: size of the decoded frames in use.
    remarks: lines about folders; see `split_lists.Listing`.
  """

  used: int
  skipped: tuple[tuple[str, str], ...]
  missing: tuple[str, ...]
  frames: int
  aside: int
  cache: str
  cache_bytes: int
  skipped_list: str = ""
  without_clips: tuple[str, ...] = ()
  remarks: tuple[str, ...] = ()

  def summary(self) -> str:
    """A few lines for the user."""
    size = f"{self.cache_bytes / 2**20:.0f} MiB in {self.cache}"
    lines = [f"{self.used} clips, {self.frames} frames ({size})", *self.remarks]
    if self.missing:
      example = printable(self.missing[0])
      lines.append(f"{len(self.missing)} listed clips are not there, such as {example}")
    if self.skipped:
      place = f", all of them listed in {self.skipped_list}" if self.skipped_list else ""
      lines.append(f"{len(self.skipped)} files skipped{place}:")
      lines += [f"  {printable(path)}: {reason}" for path, reason in self.skipped[:_SHOWN]]
      if len(self.skipped) > _SHOWN:
        lines.append(f"  and {len(self.skipped) - _SHOWN} more")
    if self.aside:
      lines.append(f"{self.aside} files left aside: by their names they are no videos")
    if self.without_clips:
      names = ", ".join(printable(name) for name in self.without_clips[:_SHOWN_CLASSES])
      more = len(self.without_clips) - _SHOWN_CLASSES
      names += f" and {more} more" if more > 0 else ""
      lines.append(f"WARNING: classes without a usable clip: {names}")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _StoredClip:
  """One decoded clip.

  Attributes:
    path: its cache file.
    name: its video, relative to the folder.
    size: of its video, bytes.
    label: 0-based.
    frames: how many it has.
  """

  path: str
  name: str
  size: int
  label: int
  frames: int


class VideoFolder(Source):
  """The videos of a folder.

  Layouts: `Class/video.avi` with split lists in `ucfTrainTestlist/` (UCF-101: `classInd.txt`,
  `trainlist0N.txt`, `testlist0N.txt`); the same without lists (classes are the topmost folders in
  order of their names; folders named like train and test above or below them are splits, see
  `split_folders`, else all files are the training split); or videos alone (unlabelled).

  A file that is damaged, no video, or too short is skipped and reported. Frames are resized by
  Pillow's bilinear filter (antialiased) so that the smaller side equals the resolution; an example
  is a window of them, cropped along the other side (DVD-GAN, appendix A.1).

  Args:
    directory: the folder.
    frames: frames per example.
    resolution: height and width of an example in pixels.
    stride: distance between an example's frames in stored frames; a clip needs frames * stride.
    split: "train", "val", "test" or "all".
    split_folders: which folders are splits; see `split_folders.parse`.
    split_number: which of the lists, 1 for trainlist01.txt.
    num_classes: expected number of classes; 0 drops the labels, None takes what is found.
    crop: "random" or "center".
    horizontal_flip: mirror every second example on average (only where left and right are alike).
    cache_directory: where decoded frames are kept; None is a folder of its own in
      $XDG_CACHE_HOME/vidgan_jax (~/.cache/vidgan_jax).
    min_clips: refuse to go on with fewer usable clips.
    report: receives each line about progress and what was skipped.
    max_bytes_per_clip: files whose decoded frames take more memory are skipped.

  Attributes:
    report: the FolderReport.

  Raises:
    UserError: no such folder, a malformed list, too few usable clips, an unwritable cache, or
      another number of classes than expected.
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
    clips, skipped = [], list(listing.unplaced)
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
      aside=listing.aside,
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
    """See `Source.identity`: the videos' names, sizes, lengths and labels, wherever they lie."""
    clips = [f"{file_text(c.name)} {c.size} {c.frames} {c.label}" for c in self._clips]
    return "\n".join([super().identity(), *clips])

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example`; draws the window first, then the crop, then the flip.

    Raises:
      UserError: the cached frames are damaged or gone, and the video cannot be decoded any more.
    """
    self.check_index(index)
    clip = self._clips[index]
    chosen = random_window(generator, clip.frames, self.frames, self._stride)
    stored = self._read(clip, range(clip.frames)[chosen])
    top, left = (side - self.resolution for side in stored.shape[1:3])  # one of them is 0
    if self._random_crop:
      top, left = int(generator.integers(top + 1)), int(generator.integers(left + 1))
    else:
      top, left = top // 2, left // 2
    window = stored[:, top : top + self.resolution, left : left + self.resolution]
    if self._horizontal_flip and generator.random() < 0.5:
      window = window[:, :, ::-1]
    return np.array(window), clip.label if self.num_classes else 0

  def _read(self, clip: _StoredClip, frames: range) -> np.ndarray:
    """Frames of a clip, uint8 [T, H, W, 3]; it is decoded again where its file is damaged."""
    name, reason = os.path.basename(clip.path), ""
    for path in self._cache.paths(name):
      try:
        return frame_cache.read(path, frames)
      except frame_cache.Damaged as error:
        reason = str(error)
    path = os.path.join(self._directory, clip.name)
    video, _ = read_video(path, short_side=self.resolution, max_bytes=self._max_bytes)
    if len(video) != clip.frames:
      raise UserError(f"{path}: has {len(video)} frames by now, it had {clip.frames}")
    if clip not in self._damaged:
      self._damaged.add(clip)
      self._report(f"WARNING: {reason}; the video is decoded again")
    self._cache.keep(name, video)
    return video[frames.start : frames.stop : frames.step]


def _check_num_classes(directory: str, expected: int | None, found: int) -> None:
  """Raises UserError where the configuration and the folder disagree about the classes."""
  if not expected or expected == found:
    return
  if not found:
    raise UserError(
      f"{directory}: its videos are in no class folders, so there are no labels; "
      f"num_classes={expected} should be 0"
    )
  raise UserError(
    f"{directory}: has {found} classes, but num_classes is {expected}: "
    f"labels outside the range, or none for a part of it"
  )


def _list_skipped(
  directory: str,
  split: str,
  split_number: int,
  cache: str,
  skipped: list[tuple[str, str]],
  report: Callable[[str], None],
) -> str:
  """Writes (path, reason) of all skipped files beside the decoded ones; returns where, or ""."""
  # Several folders and splits may share a cache.
  name = f"skipped_{split}{split_number}_{_hash(os.path.realpath(directory))[:8]}.txt"
  path = os.path.join(cache, name)
  if not cache:
    return ""
  if not skipped:
    with contextlib.suppress(OSError):
      os.remove(path)  # of an earlier time, with files that are sound by now
    return ""
  root = os.path.abspath(directory)
  lines = [printable(f"{os.path.join(root, name)}: {reason}") + "\n" for name, reason in skipped]
  try:
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
      file.writelines(lines)
  except UserError as error:  # a cache that is complete may well be read-only
    report(f"WARNING: {error}")
    return ""
  return path


def _default_cache(directory: str, resolution: int) -> str | None:
  """A folder for this data at this resolution, shared by its splits: they store the same frames."""
  return paths.cache(_hash(os.path.realpath(directory), resolution))


def _hash(*parts: object) -> str:
  """A file name that stands for the given values."""
  return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()[
    :24
  ]


def _decode_all(
  directory: str,
  listed: tuple[ListedClip, ...],
  resolution: int,
  cache: FrameCache,
  max_bytes: int,
  report: Callable[[str], None],
) -> Iterator[tuple[ListedClip, _StoredClip | str]]:
  """Yields each listed clip with its decoded form, or with the reason why it has none."""
  started = told = time.monotonic()
  # Threads suffice: decoder, resizing and disk work outside of Python's lock.
  with concurrent.futures.ThreadPoolExecutor(min(16, usable_cores())) as pool:
    futures = [
      pool.submit(_decode, directory, clip, resolution, cache, max_bytes) for clip in listed
    ]
    try:
      for done, (clip, future) in enumerate(zip(listed, futures, strict=True), start=1):
        yield clip, future.result()
        now = time.monotonic()
        if now - told > _PROGRESS_SECONDS:
          told, left = now, (now - started) * (len(listed) / done - 1.0)
          report(f"{directory}: {done} of {len(listed)} files decoded, about {left:.0f} s left")
    finally:
      for future in futures:
        future.cancel()


def _decode(
  directory: str, clip: ListedClip, resolution: int, cache: FrameCache, max_bytes: int
) -> _StoredClip | str:
  """Finds a clip in the cache or decodes it into the cache; returns the reason if it cannot."""
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
    stored, frames = cache.keep(name, video), len(video)
  return _StoredClip(stored, clip.path, status.st_size, clip.label, frames)


def _stored_frames(path: str, resolution: int) -> int | None:
  """Number of frames of a cache file, or None if it is not there or not what it should be."""
  try:
    frames, height, width, _ = frame_cache.shape(path)
  except frame_cache.Damaged:
    return None
  return frames if min(height, width) == resolution else None
