"""Verifies a prepared set: checksums, records, pictures, labels, and every row of its index."""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator

import google_crc32c
import numpy as np
from tqdm import tqdm

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import pictures
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.hardware import cores
from vidgan_jax.runtime.text import printable

_FEATURES = {"frame_rate", "id", "label", "video"}  # of a record; no label without classes
_FEATURES_FORM = {"featuresDict": {"features": dict}}
_INFO_FORM = {"splits": [{"name": str, "shardLengths": [str]}]}  # protobuf writes int64 as text


@dataclasses.dataclass
class _ShardResult:
  """The result for one shard: its faults, one line each, and the ids of its clips."""

  faults: list[str]
  ids: list[bytes]


def verify(directory: str, report: Callable[[str], None] = print) -> None:
  """Checks a prepared set against its description, its index and its checksums.

  Args:
    directory: the set's folder.
    report: called with a line per fault; if there is none, with a line that says so.

  Raises:
    UserError: the folder is not a prepared set, or has faults; the message gives their number.
  """
  directory = paths.local(directory, "--output")
  prepared = index.read_prepared(directory)
  faults = 0
  for fault in itertools.chain(_text_faults(directory, prepared), _faults(directory, prepared)):
    report(printable(fault))
    faults += 1
  if faults:
    raise UserError(f"{directory}: {faults} fault{'s' if faults > 1 else ''} found")
  parts = prepared.splits.values()
  clips, frames, files = (
    sum(counts) for counts in zip(*((p.clips, p.frames, len(p.shards)) for p in parts), strict=True)
  )
  if not prepared.files:
    report(f"{directory}: its small files have no checksums, as an earlier version prepared it")
  report(f"{directory}: {clips} clips, {frames} frames in {files} files, no faults")


def _text_faults(directory: str, prepared: index.Prepared) -> Iterator[str]:
  """Yields the faults of the small files: prepared.json, reports, files for TensorFlow Datasets."""
  if index.checksum_matches(directory) is False:
    yield f"{directory}/{index.FILE_NAME}: has changed since it was written (its checksum differs)"
  for name, checksum in prepared.files.items():
    path = os.path.join(directory, name)
    if name != os.path.basename(name):
      yield f"{directory}/{index.FILE_NAME}: names a file outside the set, {name}"
    elif not os.path.isfile(path):
      yield f"{path}: is missing"
    elif index.file_sha256(path) != checksum:
      yield f"{path}: has changed since it was written (its checksum differs)"


def _faults(directory: str, prepared: index.Prepared) -> Iterator[str]:
  """Yields the faults of the index, of the shards, and of ids that are not unique."""
  shard_lengths = {}
  try:
    index.read_json(os.path.join(directory, "features.json"), _FEATURES_FORM)
    info = index.read_json(os.path.join(directory, "dataset_info.json"), _INFO_FORM)
    shard_lengths = {part["name"]: part["shardLengths"] for part in info["splits"]}
  except UserError as error:
    yield str(error)
  times = collections.Counter()
  for split, part in prepared.splits.items():
    try:
      clips, frames = index.read_index(directory, prepared, split)
      lengths = np.bincount(clips["shard"], minlength=len(part.shards))
      lengths = [str(length) for length in lengths]
      if shard_lengths and lengths != shard_lengths.get(split):
        yield f"{directory}/dataset_info.json: the index has other numbers of clips in '{split}'"
    except UserError as error:
      yield str(error)
      clips = frames = None
    # Threads suffice, because decoders and checksums release Python's lock.
    with concurrent.futures.ThreadPoolExecutor(cores.usable_cores()) as pool:
      numbers = range(len(part.shards))
      results = pool.map(
        lambda number, part=part, clips=clips, frames=frames: _check_shard(
          directory, prepared, part.shards[number], number, clips, frames
        ),
        numbers,
      )
      for result in tqdm(
        results, desc=f"verifying {split}", total=len(numbers), unit="file", disable=None
      ):
        yield from result.faults
        times.update(result.ids)
  for name, count in times.items():
    if count > 1:
      yield f"{directory}: {count} clips have the same id '{name.decode(errors='replace')}'"


def _check_shard(
  directory: str,
  prepared: index.Prepared,
  shard: index.Shard,
  number: int,
  clips: np.ndarray | None,
  frames: np.ndarray | None,
) -> _ShardResult:
  """Checks one shard; without an index (None), only its records by themselves."""
  path = os.path.join(directory, shard.file)
  result = _ShardResult([], [])
  if not os.path.isfile(path):
    result.faults.append(f"{path}: is missing")
    return result
  rows = None if clips is None else clips[clips["shard"] == number]
  count = 0
  try:
    if os.path.getsize(path) != shard.bytes:
      size = os.path.getsize(path)
      result.faults.append(f"{path}: has {size} bytes instead of {shard.bytes}")
    elif index.file_sha256(path) != shard.sha256:
      result.faults.append(f"{path}: has changed since it was written (its checksum differs)")
    for offset in records.record_offsets(path):
      row = rows[count] if rows is not None and count < len(rows) else None
      if rows is not None and (row is None or row["record"] != offset):
        result.faults.append(f"{path}, record {count}: is not in the index")
        row = None
      of_clip = None
      if row is not None and frames is not None:
        of_clip = frames[int(row["first"]) :][: int(row["frames"])]
      _check_record(path, offset, count, row, of_clip, prepared, result)
      count += 1
  except UserError as error:  # the records behind a damaged length cannot be located
    result.faults.append(str(error))
  if rows is not None and count < len(rows):
    result.faults.append(f"{path}: contains {count} clips, the index has {len(rows)}")
  return result


def _check_record(
  path: str,
  offset: int,
  number: int,
  row: np.void | None,
  frames: np.ndarray | None,
  prepared: index.Prepared,
  result: _ShardResult,
) -> None:
  """Checks one record, and adds its faults and its id to the result."""
  where = f"{path}, record {number}"
  try:
    with open(path, "rb") as file:
      payload = records.read_record(file, offset, number)
    features = records.parse_example(payload, where)
  except UserError as error:
    result.faults.append(str(error))
    return
  faults = _record_faults(features, payload, offset, row, frames, prepared)
  result.faults += [f"{where}: {fault}" for fault in faults]
  result.ids += [name for name in features.get("id", []) if isinstance(name, bytes)]


def _record_faults(
  features: dict[str, list],
  payload: bytes,
  offset: int,
  row: np.void | None,
  frames: np.ndarray | None,
  prepared: index.Prepared,
) -> Iterator[str]:
  """Yields the faults of one clip; `row` and `frames` are its part of the index, or None."""
  expected = _FEATURES if prepared.classes else _FEATURES - {"label"}
  if set(features) != expected:
    yield f"has the features {', '.join(sorted(features))} instead of {', '.join(sorted(expected))}"
    return
  kinds = {"frame_rate": float, "id": bytes, "label": int, "video": bytes}
  for name, values in features.items():
    if not values or any(type(value) is not kinds[name] for value in values):
      yield f"the values of feature '{name}' are not {kinds[name].__name__}"
      return
    if name != "video" and len(values) != 1:
      yield f"feature '{name}' has {len(values)} values instead of one"
      return
  label = features["label"][0] if prepared.classes else 0
  if not 0 <= label < max(1, len(prepared.classes)):
    yield f"label {label} is outside the range 0..{len(prepared.classes) - 1}"
  size = None
  if row is not None:
    size = int(row["height"]), int(row["width"])
    if label != row["label"]:
      yield f"label {label}, the index has {row['label']}"
    if np.float32(features["frame_rate"][0]) != row["frame_rate"]:
      yield f"frame rate {features['frame_rate'][0]}, the index has {row['frame_rate']}"
    if len(features["video"]) != row["frames"]:
      yield f"{len(features['video'])} frames, the index has {row['frames']}"
      frames = None
  for number, content in enumerate(features["video"]):
    if frames is not None:
      begin = int(frames[number]["offset"]) - offset - records.HEADER_BYTES
      length = int(frames[number]["length"])
      if begin < 0 or payload[begin : begin + length] != content:
        yield f"frame {number} is not at the position in the index"
        frames = None
      elif google_crc32c.value(content) != frames[number]["crc32c"]:
        yield f"frame {number}: its checksum is not the one in the index"
    try:
      size = pictures.decode(content, size).shape[:2]  # all frames have the size of the first
    except ValueError as error:
      yield f"frame {number}: {error}"
      break
