"""Plans and writes the shards of a prepared set; a finished shard is never written again.

Each shard contains a fixed range of the inputs of its split. It is written under a temporary name
in the workspace and renamed into place when it is complete. Then a description is written to the
workspace: a shard with a description is finished.
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
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

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
_DESCRIPTION_FORM = {"bytes": _COUNT, "sha256": str, "skipped": [[str]], "enlarged": [_COUNT]}
_MAX_CLIP_BYTES = 2**30  # of the encoded pictures of a clip
_MAX_WAITING_BYTES = 2**30  # of encoded clips that wait for earlier ones to be written


@dataclasses.dataclass(frozen=True)
class ShardPlan:
  """A shard to write: its split, its number in the split, its file name, and its inputs."""

  split: str
  number: int
  file: str
  inputs: list[Input]


@dataclasses.dataclass(frozen=True)
class FinishedShard:
  """A finished shard.

  Attributes:
    shard: its file.
    clips: index.CLIP [number of clips]; `join` sets the field `first`.
    frames: index.FRAME [number of frames].
    skipped: (path, reason) of the inputs that could not be used.
    enlarged: `EncodedClip.enlarged_from` of the clips that were enlarged.
  """

  shard: index.Shard
  clips: np.ndarray
  frames: np.ndarray
  skipped: tuple[tuple[str, str], ...]
  enlarged: tuple[int, ...] = ()


def plan_shards(name: str, splits: dict[str, list[Input]], clips_per_shard: int) -> list[ShardPlan]:
  """Divides the inputs of each split into shards of `clips_per_shard`."""
  plans = []
  for split, inputs in splits.items():
    begins = range(0, len(inputs), clips_per_shard)
    for number, begin in enumerate(begins):
      file = index.shard_name(name, split, number, len(begins))
      plans.append(ShardPlan(split, number, file, inputs[begin : begin + clips_per_shard]))
  return plans


@dataclasses.dataclass(frozen=True)
class EncodedClip:
  """An encoded clip.

  Attributes:
    payload: its `tf.train.Example`.
    frames: index.FRAME [number of frames]; `offset` counts from the first byte of the payload.
    size: height and width in pixels.
    frame_rate: stored frames per second, 0 if unknown.
    enlarged_from: see `pictures.Geometry.enlarged_from`.
  """

  payload: bytes
  frames: np.ndarray
  size: tuple[int, int]
  frame_rate: float
  enlarged_from: int | None = None


def encode_clip(item: Input, request: Request, labelled: bool) -> EncodedClip | str:
  """Decodes, selects, resizes and encodes the frames of an input.

  Args:
    item: the input.
    request: settings of frames and pictures.
    labelled: whether to store a label.

  Returns:
    The clip, or the reason why it cannot be used.
  """
  selection = pictures.Selection(request.stride, request.frame_rate)
  video, size, rate, total, small = [], (0, 0), 0.0, 0, None

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
        return f"needs more than {_MAX_CLIP_BYTES} bytes"
  except VideoError as error:
    return error.reason
  except (UserError, ValueError) as error:
    return str(error)
  except MemoryError:
    return "needs more memory than is available"
  except Exception as error:  # one broken file must not end the whole preparation
    return f"cannot be read ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
  if not video:
    return "contains no frames"
  features: dict[str, records.Values] = {
    "frame_rate": [rate],
    "id": [item.id.encode()],
    "video": video,
  }
  if labelled:
    features["label"] = [item.label]
  payload, offsets = records.encode_example(features)
  rows = np.empty(len(video), index.FRAME)
  rows["offset"], rows["length"] = offsets["video"], list(map(len, video))
  rows["crc32c"] = list(map(google_crc32c.value, video))
  return EncodedClip(payload, rows, size, rate, small)


class _WaitingLimit:
  """Makes workers wait while too many encoded bytes wait to be written.

  The clip that is written next is always encoded. Clips that are being encoded are not counted;
  there is at most one per worker.
  """

  def __init__(self):
    self._changed = threading.Condition()
    self._bytes = 0
    self._next = 0

  def encode(self, number: int, encode: Callable[[], EncodedClip | str]) -> EncodedClip | str:
    """Encodes clip `number`, after waiting if necessary."""
    with self._changed:
      self._changed.wait_for(lambda: self._bytes <= _MAX_WAITING_BYTES or number <= self._next)
    clip = encode()
    with self._changed:
      self._bytes += _payload_bytes(clip)
    return clip

  def release(self, clip: EncodedClip | str) -> None:
    """Subtracts a clip that is written; the next clip becomes the one to write."""
    with self._changed:
      self._bytes -= _payload_bytes(clip)
      self._next += 1
      self._changed.notify_all()

  def stop(self) -> None:
    """Lets all workers continue without a limit."""
    with self._changed:
      self._next = float("inf")
      self._changed.notify_all()


def _payload_bytes(clip: EncodedClip | str) -> int:
  return 0 if isinstance(clip, str) else len(clip.payload)


class Writer:
  """Writes the shards of a request.

  Args:
    output: folder of the shards.
    workspace: folder of unfinished shards and of descriptions, on the same disk.
    request: settings of the preparation.
    labelled: whether to store labels.
    workers: number of clips that are encoded at once.
  """

  def __init__(self, output: str, workspace: str, request: Request, labelled: bool, workers: int):
    self._output = output
    self._workspace = workspace
    self._encode = functools.partial(encode_clip, request=request, labelled=labelled)
    self._workers = workers

  def finished(self, plan: ShardPlan) -> FinishedShard | None:
    """Returns a finished shard; None if it has to be written."""
    try:
      with npz.open_npz(self._description(plan)) as archive:
        about = json_files.parse(archive.read("about").tobytes(), archive.path, _DESCRIPTION_FORM)
        clips, frames = (archive.read(name, structured=True) for name in ("clips", "frames"))
      size = os.path.getsize(os.path.join(self._output, plan.file))
    except (OSError, UserError):  # missing or damaged
      return None
    if (clips.dtype, frames.dtype) != (index.CLIP, index.FRAME) or clips.ndim != 1:
      return None  # written by an earlier version
    if any(len(pair) != 2 for pair in about["skipped"]):
      return None
    shard = index.Shard(plan.file, about["bytes"], about["sha256"])
    skipped = tuple((path, reason) for path, reason in about["skipped"])
    written = FinishedShard(shard, clips, frames, skipped, tuple(about["enlarged"]))
    return written if size == shard.bytes else None

  def write(self, plans: list[ShardPlan]) -> Iterator[str | None]:
    """Writes shards; yields for each of their inputs the reason why it was skipped, or None.

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

  def _in_order(self, inputs: Iterable[Input]) -> Generator[EncodedClip | str]:
    """Encodes several inputs at once, and yields the results in the order of the inputs."""
    # Threads suffice, because decoder, resizing and encoder release Python's lock.
    with concurrent.futures.ThreadPoolExecutor(self._workers) as pool:
      waiting, limit = collections.deque(), _WaitingLimit()

      def next_clip():
        clip = waiting.popleft().result()
        limit.release(clip)
        return clip

      try:
        for number, item in enumerate(inputs):
          encode = functools.partial(self._encode, item)
          waiting.append(pool.submit(limit.encode, number, encode))
          if len(waiting) > 2 * self._workers:
            yield next_clip()
        while waiting:
          yield next_clip()
      finally:
        for future in waiting:
          future.cancel()
        limit.stop()

  def _write_shard(
    self, plan: ShardPlan, path: str, encoded: Iterator[EncodedClip | str]
  ) -> Iterator[str | None]:
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

  def _describe(
    self, plan: ShardPlan, clips: list[tuple], frames: list[np.ndarray], about: dict[str, Any]
  ) -> None:
    """Writes what index and report need of a shard; after that, the shard is finished."""
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

  def _description(self, plan: ShardPlan) -> str:
    return os.path.join(self._workspace, f"{plan.split}-{plan.number:05d}.npz")


def join(shards: list[FinishedShard]) -> tuple[np.ndarray, np.ndarray]:
  """Joins the shards of a split; returns its index: index.CLIP [N] and index.FRAME [M]."""
  clips = np.concatenate([np.empty(0, index.CLIP), *(shard.clips for shard in shards)])
  clips["first"] = np.cumsum(clips["frames"], dtype=np.uint64) - clips["frames"]
  return clips, np.concatenate([np.empty(0, index.FRAME), *(shard.frames for shard in shards)])
