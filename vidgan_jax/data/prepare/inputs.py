"""The clips of a source, listed before any is decoded."""

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator

from vidgan_jax.data import advice
from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare.pictures import Frame
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import split_lists
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import composed, file_text, printable


@dataclasses.dataclass(frozen=True)
class Input:
  """One clip that can be tried.

  Attributes:
    id: what it is called, unique within a listing that `checked` returned.
    label: 0-based; 0 where there are no classes.
    path: what is named where it cannot be used, relative to the input folder.
    stamp: what tells it from another file in its place, such as its size.
    frames: opens it; iterating raises VideoError where it cannot be used.
  """

  id: str
  label: int
  path: str
  stamp: str
  frames: Callable[[], Iterator[Frame]]


@dataclasses.dataclass(frozen=True)
class Unusable:
  """An input that is known to be of no use before it is opened: its path and why."""

  path: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
  """The inputs of a source.

  Attributes:
    classes: names in label order, empty where there are none.
    splits: inputs by split.
    unusable: by split.
    aside: number of files that are no inputs by their names.
    remarks: lines for the user about folders: which are splits, which cannot be read, which give
      no clips.
  """

  classes: tuple[str, ...]
  splits: dict[str, list[Input]]
  unusable: dict[str, list[Unusable]] = dataclasses.field(default_factory=dict)
  aside: int = 0
  remarks: tuple[str, ...] = ()

  def digest(self) -> str:
    """A checksum of classes, inputs and their order."""
    state = hashlib.sha256("\0".join(self.classes).encode())
    for split, clips in self.splits.items():
      for clip in clips:
        state.update(f"\n{split}\0{clip.id}\0{clip.label}\0{clip.stamp}".encode())
    return state.hexdigest()


def checked(listing: Listing, request: Request) -> Listing:
  """Chooses splits, makes names unique, and puts the inputs in their order.

  The order is that of the checksums of their names, so that any stretch of it, and the first of it
  that a trial takes, is a fair sample.

  Raises:
    UserError: a split is not there or empty, or there are none.
  """
  found = {split: clips for split, clips in listing.splits.items() if clips}
  for split in request.splits:
    if split not in listing.splits:
      known = ", ".join(listing.splits) or "none"
      raise UserError(f"{request.input}: has no split '{split}', known are: {known}")
    if split not in found:
      raise UserError(
        f"{request.input}: split '{split}' is empty{_example(listing.unusable.get(split, []))}"
      )
  splits = {split: found[split] for split in request.splits or found}
  if not splits:
    unusable = [one for ones in listing.unusable.values() for one in ones]
    what = advice.advice(request.input, request.resolution)
    what = f"; it {what}" if what else ""
    raise UserError(f"{request.input}: holds no {request.source} clips{_example(unusable)}{what}")
  for split in splits:
    if not index.NAME.fullmatch(split):
      raise UserError(f"the split '{split}' must be small letters, digits and underscores")
  if not request.class_level:
    listing = dataclasses.replace(listing, classes=())
    splits = {
      split: [dataclasses.replace(clip, label=0) for clip in clips]
      for split, clips in splits.items()
    }
  splits, refused = _sound(splits, len(listing.classes))
  splits = {
    split: sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest())[
      : request.limit
    ]
    for split, clips in splits.items()
  }
  # What is missing of a split without any clips is told too.
  unusable = {
    split: listing.unusable.get(split, []) + refused.get(split, [])
    for split in request.splits or listing.splits
  }
  return dataclasses.replace(listing, splits=splits, unusable=unusable)


def _example(unusable: list[Unusable]) -> str:
  if not unusable:
    return ""
  return f" ({len(unusable)} unusable, such as {unusable[0].path}: {unusable[0].reason})"


def _sound(splits: dict[str, list[Input]], num_classes: int):
  """Adds the ending where names differ in it alone; refuses what is there twice or has no class."""
  named = [(clip.id, _with_ending(clip)) for clips in splits.values() for clip in clips]
  times = collections.Counter(name for name, _ in named)
  taken, new = set(), {name for name, count in times.items() if count > 1}
  while new:  # a name with its ending may be another's without it
    taken |= new
    new = {longer for name, longer in named if name in taken} & times.keys() - taken
  seen, kept, refused = set(), {}, {}
  for split, clips in splits.items():
    kept[split], refused[split] = [], []
    for clip in clips:
      if clip.id in taken:
        clip = dataclasses.replace(clip, id=_with_ending(clip))
      if num_classes and not 0 <= clip.label < num_classes:
        reason = f"label {clip.label} is outside the range 0..{num_classes - 1}"
        refused[split].append(Unusable(clip.path, reason))
      elif clip.id in seen:
        refused[split].append(Unusable(clip.path, "listed more than once"))
      else:
        seen.add(clip.id)
        kept[split].append(clip)
  return kept, refused


def _with_ending(clip: Input) -> str:
  return clip.id + os.path.splitext(clip.path)[1]


def identifier(*parts: str) -> str:
  """A clip's name of the parts of its path: one line of text, whatever bytes they are made of."""
  return printable(file_text("/".join(part for part in parts if part)).replace(os.sep, "/"))


def file_stamp(path: str) -> str:
  """A file's size as its stamp; times change when data is copied. "gone" where there is none."""
  try:
    return str(os.stat(path).st_size)
  except OSError:
    return "gone"


def read_class_names(path: str) -> tuple[str, ...]:
  """Reads a file with the name of a class per line, in label order.

  Raises:
    UserError: the file cannot be read, names a class twice, or none.
  """
  names = tuple(line for _, line in split_lists.read_lines(path))
  if not names:
    raise UserError(f"{path}: names no classes")
  times_named = collections.Counter(map(composed, names))
  repeated = [name for name, times in times_named.items() if times > 1]
  if repeated:
    raise UserError(f"{path}: names the class '{repeated[0]}' more than once")
  return names


def natural(name: str) -> list:
  """A key that sorts frame2 before frame10."""
  return [
    (0, int(part), "") if part.isascii() and part.isdecimal() else (1, 0, part)
    for part in re.split(r"([0-9]{1,18})", name)
    if part
  ]
