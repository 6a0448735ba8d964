"""A prepared set looked at again: every checksum, record, picture, label and row of its index."""

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

_FEATURES = {"frame_rate", "id", "label", "video"}
_FEATURES_FORM = {"featuresDict": {"features": dict}}
_INFO_FORM = {"splits": [{"name": str, "shardLengths": [str]}]}  # protobuf's JSON: int64 as text


@dataclasses.dataclass
class _Findings:
  """What was found in one shard: faults, each one line, and what must be unique in the set."""

  faults: list[str]
  ids: list[bytes]


def verify(directory: str, report: Callable[[str], None] = print) -> None:
  """Compares a prepared set with all that it says of itself.

  Args:
    directory: the set's folder.
    report: receives a line per fault, and a last one where there is none.

  Raises:
    UserError: this is no prepared set, or there are faults; the message says how many.
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
    report(f"{directory}: has no checksums of its small files, for an earlier version made it")
  report(f"{directory}: {clips} clips, {frames} frames in {files} files, no faults")


def _text_faults(directory: str, prepared: index.Prepared) -> Iterator[str]:
  """Yields the faults of the small files: prepared.json, reports, TensorFlow Datasets' own."""
  if index.is_as_written(directory) is False:
    yield f"{directory}/{index.FILE_NAME}: is not as it was written (its checksum differs)"
  for name, checksum in prepared.files.items():
    path = os.path.join(directory, name)
    if name != os.path.basename(name):
      yield f"{directory}/{index.FILE_NAME}: names a file outside the set, {name}"
    elif not os.path.isfile(path):
      yield f"{path}: is not there"
    elif index.file_sha256(path) != checksum:
      yield f"{path}: is not the file that was written (its checksum differs)"


def _faults(directory: str, prepared: index.Prepared) -> Iterator[str]:
  """Yields the faults of a set."""
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
        yield f"{directory}/dataset_info.json: counts other clips of split '{split}' than the index"
    except UserError as error:
      yield str(error)
      clips = frames = None
    # Decoders and checksums work outside of Python's lock.
    with concurrent.futures.ThreadPoolExecutor(cores.usable_cores()) as pool:
      numbers = range(len(part.shards))
      found = pool.map(
        lambda number, part=part, clips=clips, frames=frames: _look_at(
          directory, prepared, part.shards[number], number, clips, frames
        ),
        numbers,
      )
      for findings in tqdm(
        found, desc=f"verifying {split}", total=len(numbers), unit="file", disable=None
      ):
        yield from findings.faults
        times.update(findings.ids)
  for name, count in times.items():
    if count > 1:
      yield f"{directory}: the id '{name.decode(errors='replace')}' is that of {count} clips"


def _look_at(directory, prepared, shard: index.Shard, number: int, clips, frames) -> _Findings:
  """Looks at one shard; without an index its records are compared with nothing else."""
  path = os.path.join(directory, shard.file)
  findings = _Findings([], [])
  if not os.path.isfile(path):
    findings.faults.append(f"{path}: is not there")
    return findings
  rows = None if clips is None else clips[clips["shard"] == number]
  seen = 0
  try:
    if os.path.getsize(path) != shard.bytes:
      size = os.path.getsize(path)
      findings.faults.append(f"{path}: has {size} bytes instead of {shard.bytes}")
    elif index.file_sha256(path) != shard.sha256:
      findings.faults.append(f"{path}: is not the file that was written (its checksum differs)")
    for offset in records.record_offsets(path):
      row = rows[seen] if rows is not None and seen < len(rows) else None
      if rows is not None and (row is None or row["record"] != offset):
        findings.faults.append(f"{path}, record {seen}: is not in the index")
        row = None
      of_clip = frames[int(row["first"]) :][: int(row["frames"])] if row is not None else None
      _look_at_record(path, offset, seen, row, of_clip, prepared, findings)
      seen += 1
  except UserError as error:  # nothing behind such a place can be found
    findings.faults.append(str(error))
  if rows is not None and seen < len(rows):
    findings.faults.append(f"{path}: holds {seen} clips, {len(rows)} are in the index")
  return findings


def _look_at_record(path, offset, number, row, frames, prepared, findings: _Findings) -> None:
  """Adds to the findings what one record has to tell."""
  where = f"{path}, record {number}"
  try:
    with open(path, "rb") as file:
      payload = records.read_record(file, offset, number)
    features = records.parse_example(payload, where)
  except UserError as error:
    findings.faults.append(str(error))
    return
  found = _record_faults(features, payload, offset, row, frames, prepared)
  findings.faults += [f"{where}: {fault}" for fault in found]
  findings.ids += [name for name in features.get("id", []) if isinstance(name, bytes)]


def _record_faults(features, payload, offset, row, frames, prepared) -> Iterator[str]:
  """Yields what is wrong with one clip; `row` and `frames` are its part of the index, or None."""
  wanted = _FEATURES if prepared.classes else _FEATURES - {"label"}
  if set(features) != wanted:
    yield f"has the features {', '.join(sorted(features))} instead of {', '.join(sorted(wanted))}"
    return
  kinds = {"frame_rate": float, "id": bytes, "label": int, "video": bytes}
  for name, values in features.items():
    if not values or any(type(value) is not kinds[name] for value in values):
      yield f"feature '{name}' holds no {kinds[name].__name__}"
      return
    if name != "video" and len(values) != 1:
      yield f"feature '{name}' holds {len(values)} values instead of one"
      return
  label = features["label"][0] if prepared.classes else 0
  if not 0 <= label < max(1, len(prepared.classes)):
    yield f"label {label} is outside the range 0..{len(prepared.classes) - 1}"
  size = None
  if row is not None:
    size = int(row["height"]), int(row["width"])
    if label != row["label"]:
      yield f"label {label}, the index says {row['label']}"
    if np.float32(features["frame_rate"][0]) != row["frame_rate"]:
      yield f"frame rate {features['frame_rate'][0]}, the index says {row['frame_rate']}"
    if len(features["video"]) != row["frames"]:
      yield f"{len(features['video'])} frames, the index says {row['frames']}"
      frames = None
  for number, content in enumerate(features["video"]):
    if frames is not None:
      begin = int(frames[number]["offset"]) - offset - records.HEADER_BYTES
      length = int(frames[number]["length"])
      if begin < 0 or payload[begin : begin + length] != content:
        yield f"frame {number} does not lie where the index says"
        frames = None
      elif google_crc32c.value(content) != frames[number]["crc32c"]:
        yield f"frame {number}: its checksum is not that of the index"
    try:
      size = pictures.decode(content, size).shape[:2]  # all have the size of the first
    except ValueError as error:
      yield f"frame {number}: {error}"
      break
