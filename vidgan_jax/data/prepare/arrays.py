"""Inputs that are arrays or records: Moving MNIST, BAIR robot pushing, TensorFlow Datasets."""

import functools
import itertools
import os
from collections.abc import Iterator

import numpy as np

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import inputs
from vidgan_jax.data.prepare.inputs import Input, Listing, Unusable
from vidgan_jax.data.prepare.pictures import ArrayFrame
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import base as sources
from vidgan_jax.data.sources import split_folders
from vidgan_jax.data.sources.folder_tree import read_tree
from vidgan_jax.data.tensorflow_import import quietly
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.files.video_files import VideoError

_BAIR_SHAPE = (64, 64, 3)
_MNIST_FRAMES = 20
_SOME = 64  # frames and clips that are compared
_CLEARLY = 1.5  # so much more alike are frames than clips


def list_moving_mnist(request: Request) -> Listing:
  """Moving MNIST: `mnist_test_seq.npy`, uint8 [20, 10000, 64, 64], a test set.

  Copies have clips first; see `_frames_first`.
  """
  path = request.input
  if os.path.isdir(path):
    path = os.path.join(path, "mnist_test_seq.npy")
  if not os.path.exists(path):
    raise UserError(f"{path}: no such file")
  clips = npz.map_npy(path)
  if clips.dtype != np.uint8 or clips.ndim not in (4, 5):
    raise UserError(
      f"{path}: is not uint8 [frames, clips, height, width] or [clips, frames, height, width], but "
      f"{clips.dtype} {list(clips.shape)}{sources.to_bytes(clips.dtype)}"
    )
  if 0 in clips.shape:
    raise UserError(f"{path}: is empty, {list(clips.shape)}")
  if clips.ndim == 5:  # one channel, before or behind the pixels
    channel = next((axis for axis in (4, 2) if clips.shape[axis] == 1), None)
    if channel is None:
      raise UserError(f"{path}: is {list(clips.shape)}, not of one channel")
    clips = clips.squeeze(channel)
  if clips.shape[2] != clips.shape[3]:
    raise UserError(
      f"{path}: pictures of {clips.shape[2]}x{clips.shape[3]} are not square; the last two axes "
      "must be height and width"
    )
  clips = _frames_first(clips, path)
  name = os.path.basename(path)
  stamp = f"{clips.shape} {index.file_sha256(path)}"
  return Listing(
    (),
    {
      "test": [
        Input(
          f"{number:05d}",
          0,
          f"{name}, clip {number}",
          stamp,
          functools.partial(_gray_frames, path, clips, number),
        )
        for number in range(clips.shape[1])
      ]
    },
  )


def _frames_first(clips: np.ndarray, path: str) -> np.ndarray:
  """Returns uint8 [T, N, H, W] of that or of [N, T, H, W].

  Clips of Moving MNIST have 20 frames: where one of the two axes alone is as long, it is time. Else
  the axis is along which neighbours are more alike, which frames are and clips are not.

  Raises:
    UserError: neither tells.
  """
  lengths = clips.shape[:2]
  if lengths.count(_MNIST_FRAMES) == 1:
    return clips if lengths[0] == _MNIST_FRAMES else clips.swapaxes(0, 1)
  some = clips[:_SOME, :_SOME].astype(np.int16)
  first, second = (np.abs(np.diff(some, axis=axis)).mean() if lengths[axis] > 1 else 0
                   for axis in (0, 1))  # fmt: skip
  if first * _CLEARLY <= second:
    return clips
  if second * _CLEARLY <= first:
    return clips.swapaxes(0, 1)
  raise UserError(
    f"{path}: is {list(clips.shape)}, which tells frames and clips apart neither by their number "
    f"(clips of Moving MNIST have {_MNIST_FRAMES} frames) nor by their likeness; "
    f"a file with {_MNIST_FRAMES} frames a clip, and another number of clips, does"
  )


def _gray_frames(path: str, clips: np.ndarray, number: int) -> Iterator[ArrayFrame]:
  """Yields the frames of a clip of [T, N, H, W] in three equal channels."""
  if clips[:, number].max() == 1:
    raise VideoError(path, "no pixel is above 1; they must be in 0..255: multiply them by 255")
  for frame, image in enumerate(clips[:, number]):
    yield ArrayFrame(path, frame, np.repeat(image[..., None], 3, axis=-1))


def list_bair(request: Request) -> Listing:
  """BAIR robot pushing (small): TFRecords in folders train and test, one clip per record.

  The frames are those of the main camera, `{i}/image_main/encoded`: 64x64x3 bytes each.
  """
  splits, unusable, aside, used = {}, {}, 0, []
  tree = read_tree(request.input)
  for folder, files in tree.folders:
    split = split_folders.split_of(os.path.basename(folder))
    found = [name for name in files if split and name.endswith((".tfrecords", ".tfrecord"))]
    aside += len(files) - len(found)
    for name in found:
      path = os.path.join(folder, name)
      used.append(path)
      stem = inputs.identifier(split, os.path.splitext(name)[0])
      clips = splits.setdefault(split, [])
      offsets, fault = _record_offsets(os.path.join(request.input, path))
      stamps = _record_stamps(os.path.join(request.input, path), offsets)
      for number, offset in enumerate(offsets):
        read = functools.partial(_bair_frames, os.path.join(request.input, path), number, offset)
        clips.append(
          Input(f"{stem}/{number:03d}", 0, f"{path}, record {number}", stamps[number], read)
        )
      if fault:
        unusable.setdefault(split, []).append(Unusable(path, fault))
  return Listing((), splits, unusable, aside, tuple(tree.remarks(used, "record file")))


def _record_offsets(path: str) -> tuple[list[int], str | None]:
  """Returns where the records of a file begin, and what ends them before the file does."""
  offsets = []
  try:
    for offset in records.record_offsets(path):
      offsets.append(offset)
  except UserError as error:
    return offsets, str(error).removeprefix(f"{path}, ")
  return offsets, None


def _record_stamps(path: str, offsets: list[int]) -> list[str]:
  """Where each record begins and the checksum of its payload that is stored behind it."""
  stamps = []
  try:
    with open(path, "rb") as file:
      size = os.fstat(file.fileno()).st_size
      # Where the file is damaged behind its last sound record, that one gets the file's last bytes.
      for offset, end in itertools.pairwise([*offsets, size]):
        file.seek(end - records.FOOTER_BYTES)
        stamps.append(f"{offset} {file.read(records.FOOTER_BYTES).hex()}")
  except OSError:
    stamps += [f"{offset} gone" for offset in offsets[len(stamps) :]]
  return stamps


def _bair_frames(path: str, number: int, offset: int) -> Iterator[ArrayFrame]:
  features = records.parse_example(_read_payload(path, number, offset), "this record")
  frame = 0
  while f"{frame}/image_main/encoded" in features:
    values = features[f"{frame}/image_main/encoded"]
    content = values[0] if len(values) == 1 and isinstance(values[0], bytes) else b""
    if len(content) != np.prod(_BAIR_SHAPE):
      raise VideoError(path, f"frame {frame} has {len(content)} bytes, not 64x64x3")
    yield ArrayFrame(path, frame, np.frombuffer(content, np.uint8).reshape(_BAIR_SHAPE))
    frame += 1


def _read_payload(path: str, number: int, offset: int) -> bytes:
  """Reads a record; raises VideoError where it is damaged."""
  try:
    with open(path, "rb") as file:
      return records.read_record(file, offset, number)
  except UserError as error:
    raise VideoError(path, str(error).removeprefix(f"{path}, record {number}: ")) from error
  except OSError as error:
    raise VideoError(path, f"not readable ({error.strerror})") from error


def list_tfds(request: Request) -> Listing:
  """A folder that TensorFlow Datasets prepared, read by its own description.

  The first feature that is a video, or a sequence of images, is the clip; the first class label is
  its label.
  """
  builder, tensorflow_datasets = _open_builder(request.input)
  features = builder.info.features
  video, label = _find_features(features, tensorflow_datasets, request.input)
  label = label if request.class_level else None
  kind = builder.info.file_format.value
  if kind not in _TFDS_FILES:
    known = ", ".join(_TFDS_FILES)
    raise UserError(f"{request.input}: holds {kind} files; {known} can be read")
  places_of, stamps_of, payload_at = _TFDS_FILES[kind]
  splits, unusable = {}, {}
  for split, info in builder.info.splits.items():
    splits[split], unusable[split] = [], []
    for path in map(os.fspath, info.filepaths):
      name = os.path.relpath(path, request.input)
      places, fault = places_of(path)
      stamps = stamps_of(path, places)
      for number, place in enumerate(places):
        where = f"{name}, record {number}"
        payload = functools.partial(payload_at, path, number, place)
        try:
          value = _tfds_label(label, payload()) if label else 0
        except UserError as error:
          reason = error.reason if isinstance(error, VideoError) else str(error)
          unusable[split].append(Unusable(where, reason))
          continue
        name_of_clip = f"{split}/{len(splits[split]) + len(unusable[split]):06d}"
        frames = functools.partial(_tfds_frames, features, video, path, payload)
        splits[split].append(Input(name_of_clip, value, where, stamps[number], frames))
      if fault:
        unusable[split].append(Unusable(name, fault))
  classes = tuple(features[label].names) if label else ()
  return Listing(classes, splits, unusable)


def _array_record_places(path: str) -> tuple[list[int], str | None]:
  """As `_record_offsets`, of an ArrayRecord file: the numbers of its records."""
  from array_record.python import array_record_module  # TensorFlow Datasets needs it too

  try:
    return list(range(array_record_module.ArrayRecordReader(path).num_records())), None
  except Exception as error:  # of the library's own kinds
    return [], f"is no ArrayRecord file that can be read ({_first_line(error)})"


def _array_record_stamps(path: str, places: list[int]) -> list[str]:
  """The number of each record and the checksum of the file, which has none per record."""
  checksum = index.file_sha256(path) if places else ""
  return [f"{place} {checksum}" for place in places]


def _array_record_payload(path: str, number: int, place: int) -> bytes:
  del number
  from array_record.python import array_record_module

  try:
    return array_record_module.ArrayRecordReader(path).read([place])[0]
  except Exception as error:
    raise VideoError(path, f"not readable ({_first_line(error)})") from error


_TFDS_FILES = {
  "tfrecord": (_record_offsets, _record_stamps, _read_payload),
  "array_record": (_array_record_places, _array_record_stamps, _array_record_payload),
}


def _first_line(error: Exception) -> str:
  """The first line of what an error says, or its kind."""
  return str(error).splitlines()[0] if str(error) else type(error).__name__


def _open_builder(directory: str):
  with quietly():
    try:
      import tensorflow
      import tensorflow_datasets
    except ImportError as error:
      raise UserError(
        f"source tfds needs TensorFlow Datasets: pip install -r requirements-data.txt ({error})"
      ) from error
    tensorflow.config.set_visible_devices([], "GPU")
  try:
    return tensorflow_datasets.builder_from_directory(directory), tensorflow_datasets
  except Exception as error:  # it raises what its files make Python raise
    reason = _first_line(error)
    raise UserError(f"{directory}: TensorFlow Datasets cannot open it ({reason})") from error


def _find_features(features, tensorflow_datasets, directory: str) -> tuple[str, str | None]:
  """Returns the names of the video and of the label; None where there is no label."""
  video = label = None
  kinds = tensorflow_datasets.features
  for name, feature in features.items():
    sequence = isinstance(feature, kinds.Sequence) and isinstance(feature.feature, kinds.Image)
    if video is None and (sequence or isinstance(feature, kinds.Video)):
      video = name
    if label is None and isinstance(feature, kinds.ClassLabel):
      label = name
  if video is None:
    raise UserError(f"{directory}: none of its features ({', '.join(features)}) is a video")
  return video, label


def _tfds_label(label: str, payload: bytes) -> int:
  """The label in a record; -1, which no class has, where there is none."""
  values = records.parse_example(payload, "this record").get(label, [])
  return values[0] if len(values) == 1 and isinstance(values[0], int) else -1


def _tfds_frames(features, video: str, path: str, payload) -> Iterator[ArrayFrame]:
  try:
    clip = features.deserialize_example(payload())[video].numpy()
  except VideoError:
    raise
  except Exception as error:  # tensorflow's own, of many kinds
    raise VideoError(
      path, f"TensorFlow Datasets cannot decode it ({_first_line(error)})"
    ) from error
  if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] not in (1, 3):
    raise VideoError(path, f"is {clip.dtype} {list(clip.shape)}, not uint8 [T, H, W, 1 or 3]")
  for frame, image in enumerate(clip):
    yield ArrayFrame(path, frame, np.broadcast_to(image, (*image.shape[:2], 3)))
