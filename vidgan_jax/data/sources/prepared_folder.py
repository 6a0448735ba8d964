"""One folder of a prepared set: what it says of itself, its index, and its shards, opened."""

import functools
import os
from collections.abc import Callable

import numpy as np

from vidgan_jax.data.advice import advice, beside, prepare_command
from vidgan_jax.data.formats import index as indices
from vidgan_jax.data.formats import pictures
from vidgan_jax.runtime.errors import UserError

_FEATURES = {"frame_rate", "id", "label", "video"}
ALL_SPLITS = "all"
OPEN_FILES = 128  # shards kept open at a time; some systems allow a process no more than 256 files
_GAP = 64  # bytes: pictures so close together, on average, are read at once
_SNIFFED = 100  # clips looked at for a whole picture


def check_there(directory: str, resolution: int, options: str = "") -> None:
  """Raises UserError, with what to do about it, where a folder holds no finished prepared set."""
  make = functools.partial(prepare_command, resolution=resolution, options=options)
  if not directory:
    raise UserError(f"config.data.directory names no folder; make a set with: {make('')}")
  if os.path.exists(directory) and not os.path.isdir(directory):
    what = advice(directory, resolution, options)
    what = what or f"is a file, not a folder; make a set with: {make('')}"
    raise UserError(f"{directory}: {what}")
  if not os.path.isdir(directory):
    raise UserError(f"{directory}: no such folder; make it with: {make(directory)}")
  if os.path.isfile(os.path.join(directory, indices.FILE_NAME)):
    return
  if is_begun(directory):
    raise UserError(f"{directory}: is not prepared to its end; give its prepare command once more")
  try:
    empty = not os.listdir(directory)
  except OSError as error:
    raise UserError(f"{directory}: not readable ({error.strerror})") from error
  what = advice(directory, resolution, options)
  if what:
    raise UserError(f"{directory}: is no prepared data set (has no {indices.FILE_NAME}); it {what}")
  # Into a folder that is not empty nothing can be prepared.
  place = {} if empty else {"given": directory}
  command = make(directory if empty else beside(directory, "prepared"), **place)
  raise UserError(
    f"{directory}: is no prepared data set (has no {indices.FILE_NAME}); make one with: {command}"
  )


def is_begun(directory: str) -> bool:
  """Whether a folder holds a set that was begun, and not finished."""
  finished = os.path.isfile(os.path.join(directory, indices.FILE_NAME))
  return not finished and os.path.isdir(os.path.join(directory, indices.UNFINISHED))


class _Shard:
  """A file open for reading at any place, closed when nobody holds it any more."""

  def __init__(self, path: str):
    self._descriptor = None
    try:
      self._descriptor = os.open(path, os.O_RDONLY)
      self._size = os.fstat(self._descriptor).st_size
    except OSError as error:
      raise UserError(f"{path}: not readable ({error.strerror})") from error
    self.path = path

  def __del__(self):
    if self._descriptor is not None:
      os.close(self._descriptor)

  def read(self, offset: int, length: int) -> bytes:
    """Returns `length` bytes from `offset` or all there are; UserError where it cannot."""
    length = min(length, self._size - offset)  # before memory is taken for them
    if length <= 0:
      return b""
    try:
      data = os.pread(self._descriptor, length, offset)
      while len(data) < length:  # a system may hand over less than is there
        more = os.pread(self._descriptor, length - len(data), offset + len(data))
        if not more:
          break
        data += more
      return data
    except OSError as error:
      # Not damage that may be skipped: the next run might read it, and see other batches.
      raise UserError(f"{self.path}: not readable ({error.strerror})") from error


def open_files() -> Callable[[str], _Shard]:
  """A function that opens shards, and keeps those open that were used last.

  One for all folders of a source: a process may have only so many files open.
  """
  return functools.lru_cache(OPEN_FILES)(_Shard)


class Folder:
  """One split of one folder: what it says of itself, its index, and its shards.

  Args:
    directory: the folder.
    info: what `prepared.json` says.
    split: which of its splits.
    tolerant: whether shards may be cut short.
    opened: see `open_files`.
    report: receives a line where one is.

  Attributes:
    what: its name, for the user.
    directory: its path.
    info: what prepared.json says.
    clips: rows of `index.CLIP`.
    png: whether its pictures are PNG, else they are JPEG.

  Raises:
    UserError: it has no such split, that is empty, or its files are not what it says.
  """

  def __init__(
    self,
    directory: str,
    info: indices.Prepared,
    split: str,
    tolerant: bool,
    opened: Callable[[str], _Shard],
    report: Callable[[str], None],
  ):
    if split not in info.splits:
      known = ", ".join(info.splits)
      raise UserError(
        f"{directory}: has no split '{split}', known are: {known}; config.data.split chooses, "
        f"'{ALL_SPLITS}' takes all of them"
      )
    self.directory, self.info, self.what = directory, info, f"{directory} ({split})"
    clips, frames = indices.read_index(directory, info, split)
    if not len(clips):
      raise UserError(f"{directory}: its split '{split}' is empty")
    # The small part is copied: a file that is mapped stays open.
    self.clips, self._frames = np.array(clips), np.asarray(frames)
    self.shards = info.splits[split].shards
    for shard in self.shards:
      self._check_shard(shard, tolerant, report)
    self._opened = opened
    self.png = self._holds_png()

  def _path(self, number: int) -> str:
    """Where a shard is."""
    return os.path.join(self.directory, self.shards[number].file)

  def _check_shard(self, shard: indices.Shard, tolerant: bool, report) -> None:
    """Compares a file's size with what it was."""
    path = os.path.join(self.directory, shard.file)
    try:
      size = os.stat(path).st_size
    except OSError as error:
      raise UserError(f"{path}: not readable ({error.strerror})") from error
    if size == shard.bytes:
      return
    line = f"{path}: damaged, it has {size} bytes instead of {shard.bytes}"
    if not tolerant:
      raise UserError(f"{line}; config.data.damaged=skip goes on without what is lost")
    report(f"WARNING: {line}")

  def _holds_png(self) -> bool:
    """Judges by the first picture that has a beginning."""
    for row in range(min(len(self.clips), _SNIFFED)):
      ((picture, _),) = self.read(row, range(1))
      if pictures.is_png(picture) or picture.startswith(b"\xff\xd8"):
        return pictures.is_png(picture)
    raise UserError(f"{self.directory}: its records hold neither JPEG nor PNG pictures")

  def where(self, row: int) -> str:
    """Words for a clip."""
    clip = self.clips[row]
    return f"{self._path(clip['shard'])}: clip {row} (byte {clip['record']})"

  def read(self, row: int, frames: range) -> list[tuple[bytes, int]]:
    """Reads the encoded frames of a clip, cut short where the file ends.

    Args:
      row: of `clips`.
      frames: numbers of its frames, at least one.

    Returns:
      Each of them with the CRC32C that it should have.

    Raises:
      UserError: the file cannot be read.
    """
    backwards = frames.step < 0
    frames = frames[::-1] if backwards else frames
    clip = self.clips[row]
    first = int(clip["first"])
    places = self._frames[first + frames.start : first + frames[-1] + 1 : frames.step].tolist()
    shard = self._opened(self._path(int(clip["shard"])))
    begin, end = places[0][0], places[-1][0] + places[-1][1]
    if end - begin <= sum(length for _, length, _ in places) + _GAP * (len(places) - 1):
      data = shard.read(begin, end - begin)
      found = [(data[o - begin : o - begin + length], crc) for o, length, crc in places]
    else:
      found = [(shard.read(offset, length), crc) for offset, length, crc in places]
    return found[::-1] if backwards else found


def open_folders(
  directory: str,
  split: str,
  tolerant: bool,
  opened: Callable[[str], _Shard],
  report: Callable[[str], None],
) -> list[Folder]:
  """Opens a folder that passed `check_there`: the split asked for, or each of all splits.

  Raises:
    UserError: its files are of another format, hold other features, or see `Folder`.
  """
  info = indices.read_prepared(directory)
  _check_features(directory, bool(info.classes))
  splits = info.splits if split == ALL_SPLITS else [split]
  return [Folder(directory, info, name, tolerant, opened, report) for name in splits]


def _check_features(directory: str, has_classes: bool) -> None:
  """UserError where features.json tells of other features than docs/data_format.md does."""
  path = os.path.join(directory, "features.json")
  content = indices.read_json(path, {"featuresDict": {"features": dict}})
  found = set(content["featuresDict"]["features"])
  expected = _FEATURES if has_classes else _FEATURES - {"label"}
  if found != expected:
    raise UserError(
      f"{path}: its features are {', '.join(sorted(found))}; expected {', '.join(sorted(expected))}"
    )
