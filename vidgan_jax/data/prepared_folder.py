"""One folder of a prepared set: what it says of itself, its index, and its shards, opened."""

import functools
import os
import shlex
from collections.abc import Callable

import numpy as np

from vidgan_jax.data import index as indices
from vidgan_jax.data import pictures
from vidgan_jax.runtime.errors import UserError

_FEATURES = {"frame_rate", "id", "label", "video"}
_OPEN_FILES = 256  # shards kept open at a time; systems allow a process 1024 files or more
_GAP = 64  # bytes: pictures so close together, on average, are read at once
_SNIFFED = 100  # clips looked at for a whole picture


def prepare_command(directory: str, resolution: int, options: str = "") -> str:
  """The command that makes a prepared data set; `options` are the experiment's own."""
  output = shlex.quote(directory or "DIR")
  return (
    f"python -m vidgan_jax.prepare {options or '--source=SOURCE'} --input=VIDEOS "
    f"--output={output} --resolution={resolution}"
  )


def no_such_folder(directory: str, make: str) -> str:
  """The line about a set that is not there; `make` is what `prepare_command` returned for it."""
  if not directory:
    return f"config.data.directory names no folder; make a set with: {make}"
  return f"{directory}: no such folder; make it with: {make}"


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
    length = max(0, min(length, self._size - offset))  # before memory is taken for them
    try:
      return os.pread(self._descriptor, length, offset)
    except OSError as error:
      # Not damage that may be skipped: the next run might read it, and see other batches.
      raise UserError(f"{self.path}: not readable ({error.strerror})") from error


class Folder:
  """One folder: what it says of itself, its index, and its shards.

  Attributes:
    info: what prepared.json says.
    clips: rows of `index.CLIP`.
    png: whether its pictures are PNG, else they are JPEG.
  """

  def __init__(
    self, directory: str, split: str, make: str, tolerant: bool, report: Callable[[str], None]
  ):
    if not os.path.isdir(directory):
      raise UserError(no_such_folder(directory, make))
    if not os.path.isfile(os.path.join(directory, indices.FILE_NAME)):
      raise UserError(
        f"{directory}: is no prepared data set (has no {indices.FILE_NAME}); make one with: {make}"
      )
    self.info = indices.read_prepared(directory)
    _check_features(directory, bool(self.info.classes))
    clips, frames = indices.read_index(directory, self.info, split)
    if not len(clips):
      raise UserError(f"{directory}: its split '{split}' is empty")
    self.clips, self._frames = np.asarray(clips), np.asarray(frames)
    self._directory = directory
    self.shards = self.info.splits[split].shards
    for shard in self.shards:
      self._check_shard(shard, tolerant, report)
    self._open = functools.lru_cache(_OPEN_FILES)(
      lambda number: _Shard(os.path.join(directory, self.shards[number].file))
    )
    self.png = self._holds_png()

  def _check_shard(self, shard: indices.Shard, tolerant: bool, report) -> None:
    """Compares a file's size with what it was."""
    path = os.path.join(self._directory, shard.file)
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
      picture = self.read(row, range(1))[0]
      if pictures.is_png(picture) or picture.startswith(b"\xff\xd8"):
        return pictures.is_png(picture)
    raise UserError(f"{self._directory}: its records hold neither JPEG nor PNG pictures")

  def where(self, row: int) -> str:
    """Words for a clip."""
    clip = self.clips[row]
    path = os.path.join(self._directory, self.shards[clip["shard"]].file)
    return f"{path}: clip {row} (byte {clip['record']})"

  def read(self, row: int, frames: range) -> list[bytes]:
    """Reads the encoded frames of a clip, cut short where the file ends.

    Args:
      row: of `clips`.
      frames: numbers of its frames, at least one.

    Raises:
      UserError: the file cannot be read.
    """
    backwards = frames.step < 0
    frames = frames[::-1] if backwards else frames
    clip = self.clips[row]
    first = int(clip["first"])
    places = self._frames[first + frames.start : first + frames[-1] + 1 : frames.step].tolist()
    shard = self._open(int(clip["shard"]))
    begin, end = places[0][0], places[-1][0] + places[-1][1]
    if end - begin <= sum(length for _, length in places) + _GAP * (len(places) - 1):
      data = shard.read(begin, end - begin)
      found = [data[offset - begin : offset - begin + length] for offset, length in places]
    else:
      found = [shard.read(offset, length) for offset, length in places]
    return found[::-1] if backwards else found


def _check_features(directory: str, has_classes: bool) -> None:
  """UserError where features.json tells of other features than docs/data_format.md does."""
  path = os.path.join(directory, "features.json")
  content = indices.read_json(path)
  try:
    found = set(content["featuresDict"]["features"])
  except (KeyError, TypeError) as error:
    raise UserError(f"{path}: names no features") from error
  expected = _FEATURES if has_classes else _FEATURES - {"label"}
  if found != expected:
    raise UserError(
      f"{path}: its features are {', '.join(sorted(found))}; expected {', '.join(sorted(expected))}"
    )
