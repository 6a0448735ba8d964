"""Prepared data sets (docs/data_format.md) as a source: reads and decodes only the frames used."""

import os
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import google_crc32c
import numpy as np

from vidgan_jax.data import preprocessing
from vidgan_jax.data.advice import beside, prepare_command
from vidgan_jax.data.formats import pictures
from vidgan_jax.data.preprocessing import View
from vidgan_jax.data.sources import prepared_folder as folders
from vidgan_jax.data.sources.base import Source, window_span
from vidgan_jax.data.sources.folder_tree import shown
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import composed, find_name, printable

DAMAGED = ("stop", "skip")

_MAX_PIXELS = 2**26  # of a picture, as for videos
_SHOWN_CLASSES = 20
_REPLACEMENTS = 100  # drawn in place of a damaged clip; more are not damage but another folder


# The clips in use: in which folder, which row of its index, and what is needed of that.
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


class DamagedClip(UserError):
  """A clip some of whose frames cannot be used; the message names shard, clip and frame."""


class Fetched(NamedTuple):
  """What is read of a clip for one example.

  Attributes:
    pictures: the encoded frames in the order of showing, T of them.
    view: what is shown of them.
    height: stored, pixels.
    width: stored, pixels.
    label: 0-based.
    clip: row among the clips in use.
  """

  pictures: list[bytes]
  view: View
  height: int
  width: int
  label: int
  clip: int


def _joined_classes(
  opened: Sequence[folders.Folder], wanted: Sequence[str], num_classes: int | None, what: str
) -> tuple[str, ...]:
  """The names of the classes in use, in the order of their labels."""
  spelled = {}
  for folder in opened:
    for name in folder.info.classes:
      spelled.setdefault(composed(name), name)
  found = tuple(spelled.values())
  if found and not all(folder.info.classes for folder in opened):
    if num_classes != 0:
      raise UserError(f"{what}: some have classes, some have none; num_classes should be 0")
    if not wanted:
      return ()
  chosen = {name: find_name(name, found) for name in wanted}
  unknown = [name for name, place in chosen.items() if place is None]
  if unknown:
    raise UserError(
      f"{what}: has no class '{printable(unknown[0])}' (config.data.classes takes names; known are "
      f"{shown(found, _SHOWN_CLASSES)})"
    )
  names = tuple(found[place] for place in dict.fromkeys(chosen.values())) or found
  if num_classes and num_classes != len(names):
    raise UserError(f"{what}: has {len(names)} classes, but num_classes is {num_classes}")
  return names


def _check_split_number(folder: folders.Folder, wanted: int | None) -> None:
  """UserError where a set has the splits of another of UCF-101's lists than is asked for."""
  made = folder.info.settings.get("split_number", 1)
  if wanted not in (None, made):
    raise UserError(
      f"{folder.directory}: has the splits of lists number {made}, config.data.split_number is "
      f"{wanted}"
    )


class Prepared(Source):
  """The clips of one prepared data set, or of several together.

  Nothing is decoded but the frames that an example shows. Clips shorter than an example, or than
  `min_frames`, are left out, and so are those of other classes than `classes`.

  Where a clip turns out to be damaged, `damaged="skip"` takes another in its place, drawn with the
  example's own generator: which one follows from the seed, the example's ordinal and the files, not
  from what was read before, so a resumed run sees the same. Only what cannot be decoded counts as
  damage; a file that cannot be read is fatal always.

  Args:
    directories: the folders; several are one set of all their clips, where classes of equal name
      are one class. A folder given twice has its clips shown twice per epoch.
    frames: frames per example.
    resolution: height and width of an example, pixels.
    stride: distance between an example's frames in stored frames; a clip needs frames * stride.
    split: which split of each; "all" takes all that each has.
    split_number: which of UCF-101's lists their splits should be by; None takes any.
    num_classes: expected number of classes; 0 drops the labels, None takes what is found.
    classes: names of the classes in use, in the order of their labels; empty takes all.
    min_frames: stored frames that a clip needs to be used.
    min_clips: refuse to go on with fewer clips.
    crop: "random" or "center", where pictures are not square.
    horizontal_flip: mirror every second example on average (only where left and right are alike).
    temporal_reversal: play every second example backwards on average.
    damaged: "stop" or "skip".
    prepare: options of the command that makes such a set, to say how a missing one is made.
    report: receives each line about what was found and left out.

  Raises:
    UserError: a folder is missing, of another format or with other features, its files differ from
      what it says, the split is empty, the pictures are smaller than the resolution, the classes
      are other ones or of another number, too few clips are left, or an argument is unknown.
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
    directories = [os.fspath(directory) for directory in directories]
    for directory in directories:
      folders.check_there(directory, resolution, prepare)
    opened = folders.open_files()
    known = {}  # a folder that is named twice is opened once
    for real, directory in {os.path.realpath(path): path for path in directories}.items():
      known[real] = folders.open_folders(directory, split, self._skip, opened, report)
    self._folders = [
      folder for directory in directories for folder in known[os.path.realpath(directory)]
    ]
    for folder in self._folders:
      _check_split_number(folder, split_number)
    self._what = f"{', '.join(directories)} ({split})"
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
    """Joins the folders' rows and keeps the clips of these classes that are long enough."""
    place = {composed(name): label for label, name in enumerate(names)}
    chosen, short, frames = [], 0, 0
    for number, folder in enumerate(self._folders):
      labels = np.array(
        [place.get(composed(name), -1) for name in folder.info.classes] or [-1], np.int32
      )
      if not names:  # labels are dropped, or there are none
        labels[:] = 0
      label = labels[folder.clips["label"]]
      fits = folder.clips["frames"] >= needed
      rows = np.flatnonzero((label >= 0) & fits)
      short += int(np.count_nonzero((label >= 0) & ~fits))
      frames += int(folder.clips["frames"][rows].sum(dtype=np.int64))
      if not len(rows) and len(self._folders) > 1:
        self._report(f"WARNING: {folder.what}: none of its clips is used")
      part = np.empty(len(rows), _CHOSEN)
      part["folder"], part["row"], part["label"] = number, rows, label[rows]
      for name in ("frames", "height", "width"):
        part[name] = folder.clips[name][rows]
      chosen.append(part)
    self._clips = np.concatenate(chosen)
    left_out = f", {short} more have less than {needed} frames" if short else ""
    found = f"{len(self._clips)} clips, {frames} frames{left_out}"
    if len(self._clips) < max(1, least):
      raise UserError(f"{self._what}: {found}; {max(1, least)} clips are needed")
    self._report(f"{self._what}: {found}, {len(names)} classes")
    present = set(self._clips["label"].tolist())
    without = [name for label, name in enumerate(names) if label not in present]
    if without:
      shown = ", ".join(without[:_SHOWN_CLASSES])
      more = f" and {len(without) - _SHOWN_CLASSES} more" if len(without) > _SHOWN_CLASSES else ""
      self._report(f"WARNING: classes without a usable clip: {shown}{more}")

  def _check_pictures(self, resolution: int, prepare: str) -> None:
    """UserError where stored pictures are smaller than what is asked for, or absurdly large."""
    height, width = (self._clips[name].astype(np.int64) for name in ("height", "width"))
    small = int(np.argmin(np.minimum(height, width)))
    if min(height[small], width[small]) < resolution:
      where = self._folders[self._clips["folder"][small]].directory
      other = beside(where, str(resolution))
      raise UserError(
        f"{where}: has pictures of {height[small]}x{width[small]} pixels, the configuration asks "
        f"for resolution {resolution}; make another set with: "
        f"{prepare_command(other, resolution, prepare)}"
      )
    if (height * width).max() > _MAX_PIXELS:
      raise UserError(
        f"{self._what}: its index tells of pictures of more than {_MAX_PIXELS} pixels"
      )

  def identity(self) -> str:
    """See `Source.identity`: the checksums of shards and index, and which clips are in use."""
    lines = [super().identity()]
    for folder in self._folders:
      lines += [shard.sha256 for shard in folder.shards]
      lines.append(f"{zlib.crc32(folder.clips.tobytes()):08x}")
    return "\n".join([*lines, f"{zlib.crc32(self._clips.tobytes()):08x}"])

  def sizes(self) -> set[tuple[int, int, bool]]:
    """(height, width, whether PNG) of the stored pictures, each that occurs."""
    png = np.array([folder.png for folder in self._folders])[self._clips["folder"]]
    rows = np.stack([self._clips["height"], self._clips["width"], png], axis=1)
    return {(int(h), int(w), bool(p)) for h, w, p in np.unique(rows, axis=0)}

  def fetch(self, index: int, generator: np.random.Generator) -> Fetched:
    """Draws what an example shows and reads it, encoded.

    Args:
      index: which clip, 0 <= index < num_examples.
      generator: decides window, crop, flip and reversal, in this order.

    Returns:
      The pictures and what to show of them.

    Raises:
      IndexError: the index is outside the source.
      DamagedClip: what was read is no picture, or of another size.
      UserError: the file cannot be read.
    """
    self.check_index(index)
    folder, row, label, frames, height, width = self._clips[index].item()
    stored = View(range(frames), height, width)
    view = preprocessing.decide(self._operations[folder], stored, generator)
    opened = self._folders[folder]
    found = opened.read(row, view.frames)
    encoded = [picture for picture, _ in found]
    fetched = Fetched(encoded, view, height, width, label if self.num_classes else 0, index)
    for number, (picture, checksum) in enumerate(found):
      try:
        pictures.check(picture, height, width, opened.png)
        # Most flipped bytes leave a picture that decodes, to something else.
        if google_crc32c.value(picture) != checksum:
          raise pictures.PictureError("its checksum differs")
      except pictures.PictureError as error:
        raise self._damaged(fetched, number, error) from error
    return fetched

  def _damaged(self, fetched: Fetched, number: int, error: Exception) -> DamagedClip:
    """The error that names a picture."""
    folder, row = (int(self._clips[name][fetched.clip]) for name in ("folder", "row"))
    frame = fetched.view.frames[number]
    return DamagedClip(f"{self._folders[folder].where(row)}: frame {frame} is damaged: {error}")

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example` and `fill`."""
    clip = np.empty((self.frames, self.resolution, self.resolution, 3), np.uint8)
    return clip, self.fill(clip, index, generator)

  def fill(self, clip: np.ndarray, index: int, generator: np.random.Generator) -> int:
    """See `Source.fill`; see the class for what becomes of damaged clips.

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
            f"{error}; config.data.damaged=skip goes on without such clips"
          ) from error
        if index not in self._reported:
          self._reported.add(index)
          self._report(f"WARNING: {error}; others are shown in its place")
        index = int(generator.integers(self.num_examples))
    raise UserError(f"{self._what}: {_REPLACEMENTS} clips in a row are damaged")

  def _show(self, fetched: Fetched, clip: np.ndarray) -> None:
    try:
      pictures.show(fetched.pictures, fetched.height, fetched.width, fetched.view, clip)
    except pictures.PictureError as error:
      raise self._damaged(fetched, error.frame, error) from error
