"""Prepared data sets (docs/data_format.md) as a source.

A stored clip may be longer than an example. Only the frames that an example uses are decoded.
"""

import os
import re
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import google_crc32c
import numpy as np

from vidgan_jax.data import preprocessing
from vidgan_jax.data.advice import prepare_command, sibling_folder
from vidgan_jax.data.formats import pictures
from vidgan_jax.data.preprocessing import View
from vidgan_jax.data.sources import prepared_folder as folders
from vidgan_jax.data.sources.base import Source, scarce_classes, window_span
from vidgan_jax.data.sources.folder_tree import abbreviated
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import composed, find_name, printable

DAMAGED = ("stop", "skip")

_MAX_PIXELS = 2**26  # of a picture, as for videos
_SHOWN_CLASSES = 20
_REPLACEMENTS = 100  # clips tried in place of a damaged one; then the folder as a whole is damaged


# A clip in use: the number of its folder, its row in the folder's index, and fields of that row.
_CHOSEN = np.dtype(
  [
    ("folder", "<u4"),
    ("row", "<u4"),
    ("label", "<i4"),
    ("frames", "<u4"),
    ("height", "<u2"),
    ("width", "<u2"),
  ]
)


def _check_camera(folder: folders.Folder, prepare: str) -> None:
  """Raises UserError if a set of BAIR shows another camera than `prepare`, the config's options."""
  expected = re.search(r"--camera=(\w+)", prepare)
  if expected is None or folder.info.settings.get("source") != "bair":
    return
  # Sets without this setting were prepared when there was no choice.
  camera = folder.info.settings.get("camera", "main")
  if camera != expected[1]:
    raise UserError(
      f"{folder.directory}: was prepared from camera {camera}, but the config is for camera "
      f"{expected[1]} (config.data.prepare); the two show the scene from different sides, so that "
      "their scores do not compare"
    )


class DamagedClip(UserError):
  """A clip with a frame that cannot be used; the message names shard, clip and frame."""


class Fetched(NamedTuple):
  """The encoded frames of one example.

  Attributes:
    pictures: the T encoded frames, in the order of the view.
    view: the frames and pixels that the example shows.
    height: stored height, pixels.
    width: stored width, pixels.
    label: 0-based.
    clip: number of the clip among those in use.
  """

  pictures: list[bytes]
  view: View
  height: int
  width: int
  label: int
  clip: int


def _joined_classes(
  opened: Sequence[folders.Folder], selected: Sequence[str], num_classes: int | None, what: str
) -> tuple[str, ...]:
  """Joins the classes of several folders.

  Args:
    opened: the folders.
    selected: names of the classes to use; empty uses all.
    num_classes: expected number; 0 ignores classes, None accepts any number.
    what: the folders, for error messages.

  Returns:
    The names of the classes in use, in label order.

  Raises:
    UserError: only some folders have classes, a selected class is unknown, or the number differs.
  """
  spelled = {}
  for folder in opened:
    for name in folder.info.classes:
      spelled.setdefault(composed(name), name)
  available = tuple(spelled.values())
  if available and not all(folder.info.classes for folder in opened):
    if num_classes != 0:
      raise UserError(
        f"{what}: some sets have classes and others have none; num_classes should be 0"
      )
    if not selected:
      return ()
  positions = {name: find_name(name, available) for name in selected}
  unknown = [name for name, position in positions.items() if position is None]
  if unknown:
    raise UserError(
      f"{what}: has no class '{printable(unknown[0])}' (config.data.classes takes names; known are "
      f"{abbreviated(available, _SHOWN_CLASSES)})"
    )
  unique = dict.fromkeys(position for position in positions.values() if position is not None)
  names = tuple(available[position] for position in unique) or available
  if num_classes and num_classes != len(names):
    raise UserError(f"{what}: has {len(names)} classes, but num_classes is {num_classes}")
  return names


def _check_split_number(folder: folders.Folder, expected: int | None) -> None:
  """Raises UserError if a set was made with another of UCF-101's numbered lists than expected."""
  number = folder.info.settings.get("split_number", 1)
  if expected not in (None, number):
    raise UserError(
      f"{folder.directory}: was prepared with split_number {number}, but config.data.split_number "
      f"is {expected}"
    )


class Prepared(Source):
  """The clips of one prepared data set, or of several joined.

  Only the frames of an example are decoded. Clips shorter than an example or than `min_frames`, and
  clips of classes that are not in `classes`, are left out.

  `damaged="skip"` replaces a damaged clip by another one, drawn with the generator of the example.
  The replacement depends on the seed, the ordinal of the example and the files, not on what was
  read before, so a resumed run sees the same clips. Only a clip that does not decode counts as
  damaged; a file that cannot be read always ends the run.

  Args:
    directories: the folders. The clips of several folders form one set, in which classes of equal
      name are one class. The clips of a folder given twice appear twice per epoch.
    frames: frames per example.
    resolution: height and width of an example, pixels.
    stride: distance between frames of an example, in stored frames; a clip needs frames * stride.
    split: name of the split; "all" joins all splits of each folder.
    split_number: expected number of UCF-101's lists; None accepts any.
    num_classes: expected number of classes; 0 drops the labels, None accepts any number.
    classes: names of the classes in use, in label order; empty uses all.
    min_frames: smallest number of stored frames of a clip in use.
    min_clips: smallest number of clips in use.
    crop: "random" or "center", for pictures that are not square.
    horizontal_flip: mirror examples with probability 1/2; only for data without a preferred side.
    temporal_reversal: reverse the order of frames with probability 1/2.
    damaged: "stop" or "skip".
    prepare: options of the command that prepares such a set, for error messages.
    report: called with each line of text about clips in use and left out.

  Raises:
    UserError: a folder is missing or of another format, its files do not match its description, the
      split is empty, the pictures are smaller than the resolution, the classes or their number
      differ, too few clips remain, or an argument is unknown.
  """

  def __init__(
    self,
    directories: Sequence[str | os.PathLike],
    *,
    frames: int,
    resolution: int,
    stride: int = 1,
    split: str = "train",
    split_number: int | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] = (),
    min_frames: int = 0,
    min_clips: int = 1,
    crop: str = "random",
    horizontal_flip: bool = False,
    temporal_reversal: bool = False,
    damaged: str = "stop",
    prepare: str = "",
    report: Callable[[str], None] = print,
  ):
    if damaged not in DAMAGED:
      raise UserError(f"damaged is '{damaged}', known are: {', '.join(DAMAGED)}")
    self._skip = damaged == "skip"
    self._report = report
    self._reported: set[int] = set()
    folder_paths = [os.fspath(directory) for directory in directories]
    for directory in folder_paths:
      folders.check_prepared(directory, resolution, prepare)
    open_shard = folders.open_files()
    by_path = {}  # a folder that is given twice is opened once
    for real, directory in {os.path.realpath(path): path for path in folder_paths}.items():
      by_path[real] = folders.open_folders(directory, split, self._skip, open_shard, report)
    self._folders = [
      folder for directory in folder_paths for folder in by_path[os.path.realpath(directory)]
    ]
    for folder in self._folders:
      _check_split_number(folder, split_number)
      _check_camera(folder, prepare)
    self._what = f"{', '.join(folder_paths)} ({split})"
    names = _joined_classes(self._folders, classes, num_classes, self._what)
    span = window_span(frames, stride)
    self._select(names, max(min_frames, span), min_clips)
    self._check_pictures(resolution, prepare)
    self.frames, self.resolution = frames, resolution
    self.class_names = names if num_classes != 0 else ()
    self.num_classes = len(self.class_names)
    self.num_examples = len(self._clips)
    self._operations = [
      preprocessing.training_operations(
        frames=frames,
        stride=stride,
        resolution=resolution,
        reducible=not folder.png,
        crop=crop,
        horizontal_flip=horizontal_flip,
        temporal_reversal=temporal_reversal,
      )
      for folder in self._folders
    ]

  def _select(self, names: tuple[str, ...], needed: int, least: int) -> None:
    """Joins the rows of all folders, and selects the clips of these classes that are long enough.

    Args:
      names: classes in use, in label order; empty drops the labels.
      needed: smallest number of stored frames of a clip.
      least: smallest number of selected clips.

    Raises:
      UserError: too few clips are selected.
    """
    label_of = {composed(name): label for label, name in enumerate(names)}
    chosen, short, frames = [], 0, 0
    for number, folder in enumerate(self._folders):
      labels = np.array(
        [label_of.get(composed(name), -1) for name in folder.info.classes] or [-1], np.int32
      )
      if not names:  # labels are dropped, or there are none
        labels[:] = 0
      label = labels[folder.clips["label"]]
      fits = folder.clips["frames"] >= needed
      rows = np.flatnonzero((label >= 0) & fits)
      short += int(np.count_nonzero((label >= 0) & ~fits))
      frames += int(folder.clips["frames"][rows].sum(dtype=np.int64))
      if not len(rows) and len(self._folders) > 1:
        self._report(f"WARNING: {folder.what}: none of its clips is in use")
      part = np.empty(len(rows), _CHOSEN)
      part["folder"], part["row"], part["label"] = number, rows, label[rows]
      for name in ("frames", "height", "width"):
        part[name] = folder.clips[name][rows]
      chosen.append(part)
    self._clips = np.concatenate(chosen)
    left_out = f", {short} shorter than {needed} frames are left out" if short else ""
    summary = f"{len(self._clips)} clips, {frames} frames{left_out}"
    if len(self._clips) < max(1, least):
      raise UserError(f"{self._what}: {summary}; {max(1, least)} clips are needed")
    self._report(f"{self._what}: {summary}, {len(names)} classes")
    present = set(self._clips["label"].tolist())
    without = [name for label, name in enumerate(names) if label not in present]
    if without:
      listed = ", ".join(without[:_SHOWN_CLASSES])
      more = f" and {len(without) - _SHOWN_CLASSES} more" if len(without) > _SHOWN_CLASSES else ""
      self._report(f"WARNING: classes without a usable clip: {listed}{more}")
    for line in scarce_classes(self._clips["label"], names):
      self._report(f"{self._what}: {line}")

  def _check_pictures(self, resolution: int, prepare: str) -> None:
    """Raises UserError if stored pictures are smaller than the resolution, or absurdly large."""
    height, width = (self._clips[name].astype(np.int64) for name in ("height", "width"))
    small = int(np.argmin(np.minimum(height, width)))
    if min(height[small], width[small]) < resolution:
      directory = self._folders[self._clips["folder"][small]].directory
      output = sibling_folder(directory, str(resolution))
      raise UserError(
        f"{directory}: has pictures of {height[small]}x{width[small]} pixels, the configuration "
        f"asks for resolution {resolution}; make another set, for example with: "
        f"{prepare_command(output, resolution, prepare)}"
      )
    if (height * width).max() > _MAX_PIXELS:
      raise UserError(
        f"{self._what}: its index has pictures of more than {_MAX_PIXELS} pixels, which are refused"
      )

  def identity(self) -> str:
    """See `Source.identity`: the checksums of shards and index, and the clips in use."""
    lines = [super().identity()]
    for folder in self._folders:
      lines += [shard.sha256 for shard in folder.shards]
      lines.append(f"{zlib.crc32(folder.clips.tobytes()):08x}")
    return "\n".join([*lines, f"{zlib.crc32(self._clips.tobytes()):08x}"])

  def sizes(self) -> set[tuple[int, int, bool]]:
    """(height, width, whether PNG) of all stored pictures, each combination once."""
    png = np.array([folder.png for folder in self._folders])[self._clips["folder"]]
    rows = np.stack([self._clips["height"], self._clips["width"], png], axis=1)
    return {(int(h), int(w), bool(p)) for h, w, p in np.unique(rows, axis=0)}

  def fetch(self, index: int, generator: np.random.Generator) -> Fetched:
    """Draws the view of an example and reads its encoded frames.

    Args:
      index: number of the clip, 0 <= index < num_examples.
      generator: decides window, crop, flip and reversal, in this order.

    Returns:
      The encoded frames and their view.

    Raises:
      IndexError: the index is outside the source.
      DamagedClip: a frame is not a picture of the stored size, or its checksum differs.
      UserError: the file cannot be read.
    """
    self.check_index(index)
    folder_number, row, label, frames, height, width = self._clips[index].item()
    stored = View(range(frames), height, width)
    view = preprocessing.decide(self._operations[folder_number], stored, generator)
    folder = self._folders[folder_number]
    frames_read = folder.read(row, view.frames)
    encoded = [picture for picture, _ in frames_read]
    fetched = Fetched(encoded, view, height, width, label if self.num_classes else 0, index)
    for number, (picture, checksum) in enumerate(frames_read):
      try:
        pictures.check(picture, height, width, folder.png)
        # Most flipped bytes leave a picture that decodes, but to other pixels.
        if google_crc32c.value(picture) != checksum:
          raise pictures.PictureError("its checksum differs")
      except pictures.PictureError as error:
        raise self._damaged(fetched, number, error) from error
    return fetched

  def _damaged(self, fetched: Fetched, number: int, error: Exception) -> DamagedClip:
    """The error for a damaged frame, with shard, clip and frame in its message."""
    folder, row = (int(self._clips[name][fetched.clip]) for name in ("folder", "row"))
    frame = fetched.view.frames[number]
    return DamagedClip(
      f"{self._folders[folder].describe_clip(row)}: frame {frame} is damaged: {error}"
    )

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example` and `fill`."""
    clip = np.empty((self.frames, self.resolution, self.resolution, 3), np.uint8)
    return clip, self.fill(clip, index, generator)

  def fill(self, clip: np.ndarray, index: int, generator: np.random.Generator) -> int:
    """See `Source.fill`; the docstring of the class describes the handling of damaged clips.

    Raises:
      UserError: the clip is damaged and may not be skipped, or a file cannot be read.
    """
    for _ in range(_REPLACEMENTS):
      try:
        fetched = self.fetch(index, generator)
        self._show(fetched, clip)
        return fetched.label
      except DamagedClip as error:
        if not self._skip:
          raise UserError(
            f"{error}; config.data.damaged=skip replaces damaged clips by others"
          ) from error
        if index not in self._reported:
          self._reported.add(index)
          self._report(f"WARNING: {error}; other clips replace it")
        index = int(generator.integers(self.num_examples))
    raise UserError(f"{self._what}: {_REPLACEMENTS} clips in a row are damaged")

  def _show(self, fetched: Fetched, clip: np.ndarray) -> None:
    try:
      pictures.decode_view(fetched.pictures, fetched.height, fetched.width, fetched.view, clip)
    except pictures.PictureError as error:
      raise self._damaged(fetched, error.frame, error) from error
