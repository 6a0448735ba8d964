"""One folder of a prepared set: its description, its index, and its open shards."""

import functools
import os
from collections.abc import Callable

import numpy as np

from vidgan_jax.data.advice import advice, prepare_command, sibling_folder
from vidgan_jax.data.formats import index as indices
from vidgan_jax.data.formats import pictures
from vidgan_jax.runtime.errors import UserError

_FEATURES = {"frame_rate", "id", "label", "video"}  # of features.json; no label without classes
ALL_SPLITS = "all"
OPEN_FILES = 128  # shards that stay open; some systems allow a process only 256 files
_GAP = 64  # bytes: frames whose average gap is at most this are read with one call
_SIGNATURE_CLIPS = 100  # clips whose first frame is read to detect the picture format


def check_prepared(directory: str, resolution: int, options: str = "") -> None:
  """Raises UserError, with the command that helps, unless a folder is a finished prepared set.

  Args:
    directory: the folder.
    resolution: resolution of the model's clips, pixels.
    options: options of `vidgan prepare` for this experiment.
  """
  make = functools.partial(prepare_command, resolution=resolution, options=options)
  if not directory:
    raise UserError(f"config.data.directory is empty; make a set with: {make('')}")
  if os.path.exists(directory) and not os.path.isdir(directory):
    content = advice(directory, resolution, options)
    content = content or f"is a file, not a folder; make a set with: {make('')}"
    raise UserError(f"{directory}: {content}")
  if not os.path.isdir(directory):
    raise UserError(f"{directory}: no such folder; make it, for example with: {make(directory)}")
  if os.path.isfile(os.path.join(directory, indices.FILE_NAME)):
    return
  if is_unfinished(directory):
    raise UserError(f"{directory}: preparation was not finished; run its prepare command again")
  try:
    empty = not os.listdir(directory)
  except OSError as error:
    raise UserError(f"{directory}: not readable ({error.strerror})") from error
  content = advice(directory, resolution, options)
  missing = f"is not a prepared data set (has no {indices.FILE_NAME})"
  if content:
    raise UserError(f"{directory}: {missing}; it {content}")
  if empty:
    raise UserError(f"{directory}: {missing}; make one with: {make(directory)}")
  # `prepare` refuses an output folder that is not empty.
  command = make(sibling_folder(directory, "prepared"), input_path=directory)
  raise UserError(f"{directory}: {missing}; make one with: {command}")


def is_unfinished(directory: str) -> bool:
  """Whether the preparation of a set in this folder began but did not finish."""
  finished = os.path.isfile(os.path.join(directory, indices.FILE_NAME))
  return not finished and os.path.isdir(os.path.join(directory, indices.UNFINISHED))


class _Shard:
  """A file open for reading at any position; closes when the last reference is gone."""

  def __init__(self, path: str):
    self._descriptor = -1  # not open
    try:
      self._descriptor = os.open(path, os.O_RDONLY)
      self._size = os.fstat(self._descriptor).st_size
    except OSError as error:
      raise UserError(f"{path}: not readable ({error.strerror})") from error
    self.path = path

  def __del__(self):
    if self._descriptor >= 0:
      os.close(self._descriptor)

  def read(self, offset: int, length: int) -> bytes:
    """Returns `length` bytes from `offset`, or those before the end; UserError if not readable."""
    length = min(length, self._size - offset)  # bounds the memory by the size of the file
    if length <= 0:
      return b""
    try:
      data = os.pread(self._descriptor, length, offset)
      while len(data) < length:  # a system may return fewer bytes than requested
        more = os.pread(self._descriptor, length - len(data), offset + len(data))
        if not more:
          break
        data += more
      return data
    except OSError as error:
      # Not a damaged clip that may be skipped: a later run might read it and see other batches.
      raise UserError(f"{self.path}: not readable ({error.strerror})") from error


def open_files() -> Callable[[str], _Shard]:
  """Returns a function that opens shards, and keeps the most recently used ones open.

  All folders of a source share one such function, because a process may open only so many files.
  """
  return functools.lru_cache(OPEN_FILES)(_Shard)


class Folder:
  """One split of one folder: its description, its index, and its shards.

  Args:
    directory: the folder.
    info: content of `prepared.json`.
    split: name of the split.
    tolerant: whether to accept truncated shards.
    open_shard: see `open_files`.
    report: called with a line of text for each truncated shard.

  Attributes:
    what: folder and split, for messages.
    directory: path of the folder.
    info: content of `prepared.json`.
    clips: `index.CLIP` [number of clips].
    png: True if its pictures are PNG, False if they are JPEG.

  Raises:
    UserError: it has no such split, the split is empty, or a file does not match its description.
  """

  def __init__(
    self,
    directory: str,
    info: indices.Prepared,
    split: str,
    tolerant: bool,
    open_shard: Callable[[str], _Shard],
    report: Callable[[str], None],
  ):
    if split not in info.splits:
      known = ", ".join(info.splits)
      raise UserError(
        f"{directory}: has no split '{split}', known are: {known}; set config.data.split, where "
        f"'{ALL_SPLITS}' joins all of them"
      )
    self.directory, self.info, self.what = directory, info, f"{directory} ({split})"
    clips, frames = indices.read_index(directory, info, split)
    if not len(clips):
      raise UserError(f"{directory}: its split '{split}' is empty")
    # The array of clips is small: a copy lets its file be closed, a memory map keeps it open.
    self.clips, self._frames = np.array(clips), np.asarray(frames)
    self.shards = info.splits[split].shards
    for shard in self.shards:
      self._check_shard(shard, tolerant, report)
    self._open_shard = open_shard
    self.png = self._holds_png()

  def _path(self, number: int) -> str:
    """Path of a shard."""
    return os.path.join(self.directory, self.shards[number].file)

  def _check_shard(
    self, shard: indices.Shard, tolerant: bool, report: Callable[[str], None]
  ) -> None:
    """Compares the size of a shard with the size in the description."""
    path = os.path.join(self.directory, shard.file)
    try:
      size = os.stat(path).st_size
    except OSError as error:
      raise UserError(f"{path}: not readable ({error.strerror})") from error
    if size == shard.bytes:
      return
    line = f"{path}: damaged, it has {size} bytes instead of {shard.bytes}"
    if not tolerant:
      raise UserError(f"{line}; config.data.damaged=skip continues without the lost clips")
    report(f"WARNING: {line}")

  def _holds_png(self) -> bool:
    """Whether the first picture with a known signature is a PNG."""
    for row in range(min(len(self.clips), _SIGNATURE_CLIPS)):
      ((picture, _),) = self.read(row, range(1))
      if pictures.is_png(picture) or picture.startswith(b"\xff\xd8"):
        return pictures.is_png(picture)
    raise UserError(f"{self.directory}: its records contain neither JPEG nor PNG pictures")

  def describe_clip(self, row: int) -> str:
    """Shard, number and position of a clip, for error messages."""
    clip = self.clips[row]
    return f"{self._path(clip['shard'])}: clip {row} (byte {clip['record']})"

  def read(self, row: int, frames: range) -> list[tuple[bytes, int]]:
    """Reads encoded frames of a clip; frames beyond the end of the file are cut off or empty.

    Args:
      row: row of the clip in `clips`.
      frames: numbers of the frames, at least one.

    Returns:
      The bytes and the expected CRC32C of each frame.

    Raises:
      UserError: the file cannot be read.
    """
    backwards = frames.step < 0
    frames = frames[::-1] if backwards else frames
    clip = self.clips[row]
    first = int(clip["first"])
    rows = self._frames[first + frames.start : first + frames[-1] + 1 : frames.step].tolist()
    shard = self._open_shard(self._path(int(clip["shard"])))
    begin, end = rows[0][0], rows[-1][0] + rows[-1][1]
    if end - begin <= sum(length for _, length, _ in rows) + _GAP * (len(rows) - 1):
      data = shard.read(begin, end - begin)
      encoded = [(data[o - begin : o - begin + length], crc) for o, length, crc in rows]
    else:
      encoded = [(shard.read(offset, length), crc) for offset, length, crc in rows]
    return encoded[::-1] if backwards else encoded


def open_folders(
  directory: str,
  split: str,
  tolerant: bool,
  open_shard: Callable[[str], _Shard],
  report: Callable[[str], None],
) -> list[Folder]:
  """Opens one split, or each of all splits, of a folder that passed `check_prepared`.

  Raises:
    UserError: a file is of another format or has other features, or see `Folder`.
  """
  info = indices.read_prepared(directory)
  _check_features(directory, bool(info.classes))
  splits = list(info.splits) if split == ALL_SPLITS else [split]
  return [Folder(directory, info, name, tolerant, open_shard, report) for name in splits]


def _check_features(directory: str, has_classes: bool) -> None:
  """Raises UserError if the features in features.json are not those of docs/data_format.md."""
  path = os.path.join(directory, "features.json")
  content = indices.read_json(path, {"featuresDict": {"features": dict}})
  features = set(content["featuresDict"]["features"])
  expected = _FEATURES if has_classes else _FEATURES - {"label"}
  if features != expected:
    raise UserError(
      f"{path}: its features are {', '.join(sorted(features))}; "
      f"expected {', '.join(sorted(expected))}"
    )
