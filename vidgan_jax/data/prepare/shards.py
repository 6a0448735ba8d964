"""Shards of a prepared set: planned, written one after the other, and never written twice.

Each shard holds the clips of a fixed stretch of its split's inputs. It is written under a temporary
name in the workspace, renamed into place when it is whole, and then described by a file beside its
name there: a shard with such a file is finished.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator

import google_crc32c
import numpy as np

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import pictures
from vidgan_jax.data.prepare.inputs import Input
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz
from vidgan_jax.runtime.files.video_files import VideoError

_COUNT = range(0, 2**63)
_ABOUT = {"bytes": _COUNT, "sha256": str, "skipped": [[str]], "enlarged": [_COUNT]}
_MAX_CLIP_BYTES = 2**30  # of encoded pictures
_MAX_WAITING_BYTES = 2**30  # of encoded clips that wait for those before them


@dataclasses.dataclass(frozen=True)
class Plan:
  """One shard: its split, its number in it, its file's name, and the inputs it is made of."""

  split: str
  number: int
  file: str
  inputs: list[Input]


@dataclasses.dataclass(frozen=True)
class Written:
  """A finished shard.

  Attributes:
    shard: its file.
    clips: index.CLIP [number of clips], whose `first` is not set before `join`.
    frames: index.FRAME [number of frames].
    skipped: (path, reason) of the inputs that could not be used.
    enlarged: `EncodedClip.enlarged_from` of the clips that were made larger.
  """

  shard: index.Shard
  clips: np.ndarray
  frames: np.ndarray
  skipped: tuple[tuple[str, str], ...]
  enlarged: tuple[int, ...] = ()


def plan(name: str, splits: dict[str, list[Input]], clips_per_shard: int) -> list[Plan]:
  """Cuts the inputs of each split into stretches of `clips_per_shard`."""
  plans = []
  for split, inputs in splits.items():
    begins = range(0, len(inputs), clips_per_shard)
    for number, begin in enumerate(begins):
      file = index.shard_name(name, split, number, len(begins))
      plans.append(Plan(split, number, file, inputs[begin : begin + clips_per_shard]))
  return plans


@dataclasses.dataclass(frozen=True)
class EncodedClip:
  """A clip as it is stored.

  Attributes:
    payload: its `tf.train.Example`.
    frames: index.FRAME [number of frames], `offset` from the payload's beginning.
    size: height and width in pixels.
    frame_rate: stored frames per second, 0 where it is unknown.
    enlarged_from: see `pictures.Geometry.enlarged_from`.
  """

  payload: bytes
  frames: np.ndarray
  size: tuple[int, int]
  frame_rate: float
  enlarged_from: int | None = None


def encode_clip(item: Input, request: Request, labelled: bool) -> EncodedClip | str:
  """Decodes, chooses, resizes and encodes the frames of an input.

  Returns:
    The clip, or the reason why it cannot be used.
  """
  selection = pictures.Selection(request.stride, request.frame_rate)
  video, size, rate, total, small = [], None, 0.0, 0, None

  def resize(image, square_size):
    nonlocal small
    small = request.geometry.enlarged_from(square_size)
    return request.geometry(image, square_size)

  try:
    for frame in item.frames():
      rate = selection.rate(frame.frame_rate)
      if not selection.keeps(frame):
        continue
      image = frame.picture(resize)
      size = image.shape[:2]
      video.append(pictures.encode(image, request.quality))
      total += len(video[-1])
      if total > _MAX_CLIP_BYTES:
        return f"takes more than {_MAX_CLIP_BYTES} bytes"
  except VideoError as error:
    return error.reason
  except (UserError, ValueError) as error:
    return str(error)
  except MemoryError:
    return "needs more memory than there is"
  except Exception as error:  # one odd file ends no job
    return f"cannot be read ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
  if not video:
    return "holds no frames"
  features = {"frame_rate": [rate], "id": [item.id.encode()], "video": video}
  if labelled:
    features["label"] = [item.label]
  payload, offsets = records.encode_example(features)
  rows = np.empty(len(video), index.FRAME)
  rows["offset"], rows["length"] = offsets["video"], list(map(len, video))
  rows["crc32c"] = list(map(google_crc32c.value, video))
  return EncodedClip(payload, rows, size, rate, small)


class _Turns:
  """Lets workers go on while few encoded bytes wait, and always the one that is waited for.

  What is being encoded comes on top: a clip per worker.
  """

  def __init__(self):
    self._changed = threading.Condition()
    self._bytes = 0
    self._next = 0

  def encode(self, number: int, encode: Callable[[], EncodedClip | str]) -> EncodedClip | str:
    """Encodes clip `number`, when it may."""
    with self._changed:
      self._changed.wait_for(lambda: self._bytes <= _MAX_WAITING_BYTES or number <= self._next)
    clip = encode()
    with self._changed:
      self._bytes += _payload_bytes(clip)
    return clip

  def took(self, clip: EncodedClip | str) -> None:
    """The clip waits no more, the one behind it is waited for."""
    with self._changed:
      self._bytes -= _payload_bytes(clip)
      self._next += 1
      self._changed.notify_all()

  def end(self) -> None:
    """Lets all go on."""
    with self._changed:
      self._next = float("inf")
      self._changed.notify_all()


def _payload_bytes(clip: EncodedClip | str) -> int:
  return 0 if isinstance(clip, str) else len(clip.payload)


class Writer:
  """Writes the shards of a request.

  Args:
    output: folder of the shards.
    workspace: folder of what is not finished and of the descriptions of what is, on the same disk.
    request: how clips are encoded.
    labelled: whether clips have labels.
    workers: how many clips are encoded at once.
  """

  def __init__(self, output: str, workspace: str, request: Request, labelled: bool, workers: int):
    self._output = output
    self._workspace = workspace
    self._encode = functools.partial(encode_clip, request=request, labelled=labelled)
    self._workers = workers

  def finished(self, plan: Plan) -> Written | None:
    """A shard that is finished; None where it has to be written."""
    try:
      with npz.open_npz(self._description(plan)) as archive:
        about = json_files.parse(archive.read("about").tobytes(), archive.path, _ABOUT)
        clips, frames = (archive.read(name, structured=True) for name in ("clips", "frames"))
      size = os.path.getsize(os.path.join(self._output, plan.file))
    except (OSError, UserError):  # not there, or damaged
      return None
    if (clips.dtype, frames.dtype) != (index.CLIP, index.FRAME) or clips.ndim != 1:
      return None  # of an earlier version
    if any(len(pair) != 2 for pair in about["skipped"]):
      return None
    shard = index.Shard(plan.file, about["bytes"], about["sha256"])
    skipped = tuple((path, reason) for path, reason in about["skipped"])
    written = Written(shard, clips, frames, skipped, tuple(about["enlarged"]))
    return written if size == shard.bytes else None

  def write(self, plans: list[Plan]) -> Iterator[str | None]:
    """Writes shards, and yields for each of their inputs the reason why it was skipped, or None.

    Raises:
      UserError: a file cannot be written; finished shards stay.
    """
    encoded = self._in_order(item for plan in plans for item in plan.inputs)
    with contextlib.closing(encoded):
      for plan in plans:
        path = os.path.join(self._output, plan.file)
        try:
          yield from self._write_shard(plan, path, encoded)
        except OSError as error:
          raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error

  def _in_order(self, inputs: Iterable[Input]) -> Iterator[EncodedClip | str]:
    """Encodes inputs, several at once, and yields the results in the inputs' order."""
    # Threads suffice: decoder, resizing and encoder work outside of Python's lock.
    with concurrent.futures.ThreadPoolExecutor(self._workers) as pool:
      waiting, turns = collections.deque(), _Turns()

      def next_one():
        clip = waiting.popleft().result()
        turns.took(clip)
        return clip

      try:
        for number, item in enumerate(inputs):
          encode = functools.partial(self._encode, item)
          waiting.append(pool.submit(turns.encode, number, encode))
          if len(waiting) > 2 * self._workers:
            yield next_one()
        while waiting:
          yield next_one()
      finally:
        for future in waiting:
          future.cancel()
        turns.end()

  def _write_shard(self, plan: Plan, path: str, encoded: Iterator) -> Iterator[str | None]:
    temporary = os.path.join(self._workspace, plan.file)
    clips, frames, skipped, enlarged = [], [], [], []
    digest, position = hashlib.sha256(), 0
    with open(temporary, "wb") as file:
      for item in plan.inputs:
        clip = next(encoded)
        if isinstance(clip, str):
          skipped.append((item.path, clip))
          yield clip
          continue
        content = records.frame_record(clip.payload)
        file.write(content)
        digest.update(content)
        rows = clip.frames
        rows["offset"] += np.uint64(position + records.HEADER_BYTES)
        row = (plan.number, position, 0, len(rows), item.label, *clip.size, clip.frame_rate)
        clips.append(row)
        frames.append(rows)
        enlarged += [clip.enlarged_from] if clip.enlarged_from is not None else []
        position += len(content)
        yield None
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
    about = {"bytes": position, "sha256": digest.hexdigest()}
    self._describe(plan, clips, frames, {**about, "skipped": skipped, "enlarged": enlarged})

  def _describe(self, plan: Plan, clips, frames, about: dict) -> None:
    """Writes what the index and the report need of a shard, which makes it finished."""
    content = io.BytesIO()
    np.savez(
      content,
      clips=np.array(clips, index.CLIP),
      frames=np.concatenate([np.empty(0, index.FRAME), *frames]),
      about=np.frombuffer(json.dumps(about).encode(), np.uint8),
    )
    temporary = os.path.join(self._workspace, "description")
    with open(temporary, "wb") as file:
      file.write(content.getvalue())
    os.replace(temporary, self._description(plan))

  def _description(self, plan: Plan) -> str:
    return os.path.join(self._workspace, f"{plan.split}-{plan.number:05d}.npz")


def join(shards: list[Written]) -> tuple[np.ndarray, np.ndarray]:
  """Joins what is known of the shards of a split to its index: index.CLIP [N], index.FRAME [M]."""
  clips = np.concatenate([np.empty(0, index.CLIP), *(shard.clips for shard in shards)])
  clips["first"] = np.cumsum(clips["frames"], dtype=np.uint64) - clips["frames"]
  return clips, np.concatenate([np.empty(0, index.FRAME), *(shard.frames for shard in shards)])
