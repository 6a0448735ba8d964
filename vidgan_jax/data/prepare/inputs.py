"""Lists of the clips of a source, made before any clip is decoded."""

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
  """One clip of a source, not yet decoded.

  Attributes:
    id: name of the clip, unique in a listing that `select` returned.
    label: 0-based; 0 without classes.
    path: path relative to the input folder, for messages.
    stamp: text that changes if the file changes, such as its size.
    frames: returns an iterator over the frames; it raises VideoError if the clip is not usable.
  """

  id: str
  label: int
  path: str
  stamp: str
  frames: Callable[[], Iterator[Frame]]


@dataclasses.dataclass(frozen=True)
class Unusable:
  """An input that is not usable even without opening it: its path and the reason."""

  path: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
  """The inputs of a source.

  classes: names in label order, empty without classes.
  splits: inputs by split.
  unusable: unusable inputs by split.
  ignored: number of files whose names are not those of inputs.
  remarks: lines of text for the user: which folders are splits, which cannot be read, which
    contain no clips.
  """

  classes: tuple[str, ...]
  splits: dict[str, list[Input]]
  unusable: dict[str, list[Unusable]] = dataclasses.field(default_factory=dict)
  ignored: int = 0
  remarks: tuple[str, ...] = ()

  def digest(self) -> str:
    """SHA-256 of classes and inputs in their order, in hexadecimal."""
    state = hashlib.sha256("\0".join(self.classes).encode())
    for split, clips in self.splits.items():
      for clip in clips:
        state.update(f"\n{split}\0{clip.id}\0{clip.label}\0{clip.stamp}".encode())
    return state.hexdigest()


def select(listing: Listing, request: Request) -> Listing:
  """Selects the requested splits, makes names unique, sorts the inputs and applies the limit.

  Inputs are sorted by the checksums of their names, so that each shard, and the first clips that a
  limit keeps, are a random sample.

  Raises:
    UserError: a split is missing or empty, or there are no splits.
  """
  available = {split: clips for split, clips in listing.splits.items() if clips}
  for split in request.splits:
    if split not in listing.splits:
      known = ", ".join(listing.splits) or "none"
      raise UserError(f"{request.input}: has no split '{split}', known are: {known}")
    if split not in available:
      raise UserError(
        f"{request.input}: split '{split}' is empty{_example(listing.unusable.get(split, []))}"
      )
  splits = {split: available[split] for split in request.splits or available}
  if not splits:
    unusable = [item for items in listing.unusable.values() for item in items]
    content = advice.advice(request.input, request.resolution)
    content = f"; it {content}" if content else ""
    raise UserError(
      f"{request.input}: contains no clips for --source={request.source}{_example(unusable)}"
      f"{content}"
    )
  for split in splits:
    if not index.NAME.fullmatch(split):
      raise UserError(
        f"the split '{split}' must consist of lower-case letters, digits and underscores"
      )
  if not request.class_level:
    listing = dataclasses.replace(listing, classes=())
    splits = {
      split: [dataclasses.replace(clip, label=0) for clip in clips]
      for split, clips in splits.items()
    }
  splits, refused = _unique(splits, len(listing.classes))
  splits = {
    split: sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest())[
      : request.limit
    ]
    for split, clips in splits.items()
  }
  # Also lists unusable inputs of splits without any clips.
  unusable = {
    split: listing.unusable.get(split, []) + refused.get(split, [])
    for split in request.splits or listing.splits
  }
  return dataclasses.replace(listing, splits=splits, unusable=unusable)


def _example(unusable: list[Unusable]) -> str:
  """The number of unusable inputs and the first of them, in parentheses; "" if there are none."""
  if not unusable:
    return ""
  return f" ({len(unusable)} unusable, such as {unusable[0].path}: {unusable[0].reason})"


def _unique(
  splits: dict[str, list[Input]], num_classes: int
) -> tuple[dict[str, list[Input]], dict[str, list[Unusable]]]:
  """Makes the names of inputs unique, and refuses repeated inputs and invalid labels.

  Names that differ only in the file's ending get the ending.

  Returns:
    The inputs and the refused ones, both by split.
  """
  named = [(clip.id, _with_ending(clip)) for clips in splits.values() for clip in clips]
  times = collections.Counter(name for name, _ in named)
  ambiguous, new = set(), {name for name, count in times.items() if count > 1}
  while new:  # a name with its ending may equal another clip's name without one
    ambiguous |= new
    new = {longer for name, longer in named if name in ambiguous} & times.keys() - ambiguous
  seen, kept, refused = set(), {}, {}
  for split, clips in splits.items():
    kept[split], refused[split] = [], []
    for clip in clips:
      if clip.id in ambiguous:
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
  """A clip's name from parts of its path: one printable line, for any bytes in the path."""
  return printable(file_text("/".join(part for part in parts if part)).replace(os.sep, "/"))


def file_stamp(path: str) -> str:
  """The size of a file as its stamp, because copying changes times; "gone" if it is missing."""
  try:
    return str(os.stat(path).st_size)
  except OSError:
    return "gone"


def read_class_names(path: str) -> tuple[str, ...]:
  """Reads a file with one class name per line, in label order.

  Raises:
    UserError: the file cannot be read, contains no names, or contains a name twice.
  """
  names = tuple(line for _, line in split_lists.read_lines(path))
  if not names:
    raise UserError(f"{path}: contains no class names")
  times_named = collections.Counter(map(composed, names))
  repeated = [name for name, times in times_named.items() if times > 1]
  if repeated:
    raise UserError(f"{path}: contains the class '{repeated[0]}' more than once")
  return names


def natural(name: str) -> list:
  """A sort key that puts frame2 before frame10."""
  return [
    (0, int(part), "") if part.isascii() and part.isdecimal() else (1, 0, part)
    for part in re.split(r"([0-9]{1,18})", name)
    if part
  ]
