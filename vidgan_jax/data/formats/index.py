"""The description of a prepared data set: `prepared.json` and the index files.

docs/data_format.md describes the folder. These files are not trusted: a name cannot lead out of the
folder, nothing is unpickled, and every row of the index is compared with the files it refers to.
"""

import dataclasses
import hashlib
import json
import os
import re
from typing import Any

import numpy as np

from vidgan_jax.data.formats import records
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.runtime.text import printable

FORMAT = 1
FILE_NAME = "prepared.json"
UNFINISHED = ".preparing"  # folder of temporary files, removed when the set is finished
NAME = re.compile(
  r"[a-z][a-z0-9_]{0,63}"
)  # of data sets and splits; the rule of TensorFlow Datasets

CLIP = np.dtype(
  [
    ("shard", "<u4"),
    ("record", "<u8"),
    ("first", "<u8"),
    ("frames", "<u4"),
    ("label", "<i4"),
    ("height", "<u2"),
    ("width", "<u2"),
    ("frame_rate", "<f4"),
  ]
)
FRAME = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc32c", "<u4")])

_COUNT = range(0, 2**63)
_SPLIT_FORM = {
  "clips": _COUNT,
  "frames": _COUNT,
  "shards": [{"file": str, "bytes": int, "sha256": str}],
  "index": {"clips": str, "frames": str},
}
_FORM = {
  "name": str,
  "classes": [str],
  "settings": dict,
  "versions": {str: str},
  "splits": {str: _SPLIT_FORM},
  "skipped": _COUNT,
  "files?": {str: str},
}
_CHECKSUM = "checksum"  # of the other members of prepared.json


@dataclasses.dataclass(frozen=True)
class Shard:
  """One TFRecord file: its name in the folder, its size in bytes, its SHA-256 in hexadecimal."""

  file: str
  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
  """One split: numbers of clips and frames, TFRecord files, SHA-256 of the index files by kind."""

  clips: int
  frames: int
  shards: tuple[Shard, ...]
  index: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Prepared:
  """The content of `prepared.json`; see docs/data_format.md.

  Attributes:
    name: name of the data set.
    classes: names in label order, empty in sets without classes.
    settings: all settings that determine the bytes of the set.
    versions: versions of the programs that wrote it.
    splits: by name.
    skipped: number of inputs that could not be used.
    files: SHA-256 of the other small files (reports, files for TensorFlow Datasets) by name; empty
      in sets of an earlier version.
  """

  name: str
  classes: tuple[str, ...]
  settings: dict[str, Any]
  versions: dict[str, str]
  splits: dict[str, Split]
  skipped: int
  files: dict[str, str] = dataclasses.field(default_factory=dict)


def shard_name(name: str, split: str, number: int, total: int) -> str:
  """The file name of a shard in the form that TensorFlow Datasets expects."""
  return f"{name}-{split}.tfrecord-{number:05d}-of-{total:05d}"


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes a text file as a whole or not at all: under a temporary name, then renamed to `path`.

  Raises:
    UserError: the file cannot be written.
  """
  with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
    file.write(text)


def write_json(path: str | os.PathLike, content: Any) -> None:
  """Writes a JSON file as a whole or not at all; UserError as for `write_text`."""
  write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike, form: Any = None) -> Any:
  """Reads a JSON file of at most 64 MiB; see `json_files.read` for `form`.

  Raises:
    UserError: the file is missing, too large, not JSON, or does not have the form.
  """
  try:
    return json_files.read(path, form)
  except FileNotFoundError as error:
    raise UserError(f"{os.fspath(path)}: not readable ({error.strerror})") from error


def write_prepared(directory: str | os.PathLike, prepared: Prepared) -> None:
  """Writes `prepared.json`, which makes the folder a finished data set.

  Raises:
    UserError: the file cannot be written.
  """
  content = {"format": FORMAT, **dataclasses.asdict(prepared)}
  write_json(os.path.join(directory, FILE_NAME), {**content, _CHECKSUM: _checksum(content)})


def _checksum(content: dict[str, Any]) -> str:
  """SHA-256 of the members of an object except the checksum, for any order and layout."""
  text = json.dumps({n: v for n, v in content.items() if n != _CHECKSUM}, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def checksum_matches(directory: str | os.PathLike) -> bool | None:
  """Whether `prepared.json` is unchanged, by the checksum in it.

  Returns:
    None for a set of an earlier version, which has no checksum.

  Raises:
    UserError: the file cannot be read.
  """
  content = read_json(os.path.join(directory, FILE_NAME), {_CHECKSUM + "?": str})
  if _CHECKSUM not in content and "files" not in content:
    return None
  return content.get(_CHECKSUM) == _checksum(content)


def read_prepared(directory: str | os.PathLike) -> Prepared:
  """Reads `prepared.json`.

  Raises:
    UserError: the file is missing, malformed, or of another format.
  """
  path = os.path.join(directory, FILE_NAME)
  if not os.path.isfile(path):
    if os.path.isdir(os.path.join(directory, UNFINISHED)):
      raise UserError(
        f"{os.fspath(directory)}: preparation was not finished; run its prepare command again"
      )
    raise UserError(f"{os.fspath(directory)}: is not a prepared data set (has no {FILE_NAME})")
  content = read_json(path, {"format": int})
  if content["format"] != FORMAT:
    raise UserError(f"{path}: has format {content['format']}, this version reads only {FORMAT}")
  json_files.check(content, _FORM, path)
  try:
    name = _checked_name(content["name"])
    splits = {
      _checked_name(split): _parse_split(name, split, part)
      for split, part in content["splits"].items()
    }
    if not splits:
      raise ValueError("has no splits")
  except ValueError as error:
    raise UserError(f"{path}: malformed ({error})") from error
  return Prepared(
    name=name,
    classes=tuple(content["classes"]),
    settings=content["settings"],
    versions=content["versions"],
    splits=splits,
    skipped=content["skipped"],
    files=content.get("files", {}),
  )


def _parse_split(name: str, split: str, part: dict) -> Split:
  shards = tuple(Shard(s["file"], s["bytes"], s["sha256"]) for s in part["shards"])
  if any(shard.bytes < 0 for shard in shards):
    raise ValueError(f"a shard of split '{split}' has an impossible size")
  # Any other name could lead out of the folder.
  for number, shard in enumerate(shards):
    if shard.file != shard_name(name, split, number, len(shards)):
      raise ValueError(f"shard {number} of split '{split}' has an unexpected name")
  checksums = {kind: part["index"][kind] for kind in ("clips", "frames")}
  return Split(part["clips"], part["frames"], shards, checksums)


def _checked_name(value: str) -> str:
  if not NAME.fullmatch(value):
    raise ValueError(f"the name {printable(value)!r} is not of the form {NAME.pattern}")
  return value


def file_sha256(path: str | os.PathLike) -> str:
  """SHA-256 of a file's content, in hexadecimal.

  Raises:
    UserError: the file cannot be read.
  """
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise UserError(f"{os.fspath(path)}: not readable ({error.strerror})") from error


def index_path(directory: str | os.PathLike, split: str, kind: str) -> str:
  """Path of an index file; `kind` is "clips" or "frames"."""
  return os.path.join(directory, "index", f"{split}-{kind}.npy")


def write_index(
  directory: str | os.PathLike, split: str, clips: np.ndarray, frames: np.ndarray
) -> dict[str, str]:
  """Writes the two index files of a split.

  Args:
    directory: the data set's folder.
    split: the split's name.
    clips: CLIP [number of clips].
    frames: FRAME [number of frames].

  Returns:
    SHA-256 of the two files by kind, for `Split.index`.

  Raises:
    UserError: a file cannot be written.
  """
  checksums = {}
  for kind, array in (("clips", clips), ("frames", frames)):
    path = index_path(directory, split, kind)
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
      np.save(file, array, allow_pickle=False)
    checksums[kind] = file_sha256(path)
  return checksums


def read_index(
  directory: str | os.PathLike, prepared: Prepared, split: str
) -> tuple[np.ndarray, np.ndarray]:
  """Opens the index of a split and checks it against its checksums and the sizes of the shards.

  Args:
    directory: the data set's folder.
    prepared: the result of `read_prepared` for this folder.
    split: name of the split.

  Returns:
    CLIP [number of clips] and FRAME [number of frames], memory-mapped and read-only.

  Raises:
    UserError: there is no such split, a file is missing or does not match `prepared.json`, or a row
      refers to bytes, frames or classes that do not exist.
  """
  if split not in prepared.splits:
    known = ", ".join(prepared.splits)
    raise UserError(f"{os.fspath(directory)}: has no split '{split}', known are: {known}")
  part = prepared.splits[split]
  arrays = []
  for kind, dtype, rows in (("clips", CLIP, part.clips), ("frames", FRAME, part.frames)):
    path = index_path(directory, split, kind)
    if file_sha256(path) != part.index[kind]:
      raise UserError(f"{path}: its checksum is not the one in {FILE_NAME}")
    array = npz.map_npy(path, structured=True)
    if array.dtype != dtype or array.shape != (rows,):
      raise UserError(
        f"{path}: contains {array.dtype} {list(array.shape)}, expected {dtype} [{rows}]; a set of "
        "an earlier version must be prepared again"
      )
    arrays.append(array)
  clips, frames = arrays
  _check_rows(index_path(directory, split, "clips"), clips, frames, prepared, part)
  return clips, frames


def _check_rows(
  path: str, clips: np.ndarray, frames: np.ndarray, prepared: Prepared, part: Split
) -> None:
  """Raises UserError if a row refers to a shard, bytes, frames or a class that does not exist."""
  sizes = np.array([shard.bytes for shard in part.shards] or [0], np.uint64)
  shard = np.minimum(clips["shard"], len(sizes) - 1)
  firsts = np.concatenate([[0], np.cumsum(clips["frames"], dtype=np.uint64)]).astype(np.uint64)
  faults = {
    "its shard does not exist": clips["shard"] >= len(part.shards),
    "its record is outside its shard": _outside(
      clips["record"], np.uint64(records.HEADER_BYTES), sizes[shard]
    ),
    "it has no frames": clips["frames"] == 0,
    "its frames do not follow those of the clip before it": clips["first"] != firsts[:-1],
    "its label is outside the range of the classes": (clips["label"] < 0)
    | (clips["label"] >= max(1, len(prepared.classes))),
  }
  for fault, rows in faults.items():
    if rows.any():
      raise UserError(f"{path}: row {int(np.argmax(rows))}: {fault}")
  if firsts[-1] != len(frames):
    raise UserError(f"{path}: counts {firsts[-1]} frames, the index has {len(frames)}")
  if len(clips):
    # Checks the last frame of each clip; `prepare --verify` checks every frame of whole records.
    last = frames[firsts[1:] - np.uint64(1)]
    outside = _outside(last["offset"], last["length"], sizes[shard])
    if outside.any():
      raise UserError(f"{path}: row {int(np.argmax(outside))}: its frames are outside its shard")


def _outside(offset: np.ndarray, length: np.ndarray | np.uint64, size: np.ndarray) -> np.ndarray:
  """Whether ranges exceed a file; uint64 without sums, because a sum could overflow."""
  return (length > size) | (offset > size - np.minimum(length, size))
