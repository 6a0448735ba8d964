"""Inputs in arrays or record files: Moving MNIST, BAIR robot pushing, TensorFlow Datasets."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import inputs
from vidgan_jax.data.prepare.inputs import Input, Listing, Unusable
from vidgan_jax.data.prepare.pictures import ArrayFrame
from vidgan_jax.data.prepare.settings import CAMERAS, Request
from vidgan_jax.data.sources import base as sources
from vidgan_jax.data.sources import split_folders
from vidgan_jax.data.sources.folder_tree import read_tree
from vidgan_jax.data.tensorflow_import import quietly
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.files.video_files import VideoError

_BAIR_SHAPE = (64, 64, 3)
_MNIST_FRAMES = 20
_COMPARED = 64  # frames and clips compared to tell the two axes apart
_CLEARLY = 1.5  # smallest ratio of differences between clips to differences between frames


def list_moving_mnist(request: Request) -> Listing:
  """Lists Moving MNIST: `mnist_test_seq.npy`, uint8 [20, 10000, 64, 64], a test set.

  Some copies have the axis of clips first; see `_frames_first`.
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
      f"{clips.dtype} {list(clips.shape)}{sources.conversion_hint(clips.dtype)}"
    )
  if 0 in clips.shape:
    raise UserError(f"{path}: is empty, {list(clips.shape)}")
  if clips.ndim == 5:  # a channel axis of length 1, before or after height and width
    channel = next((axis for axis in (4, 2) if clips.shape[axis] == 1), None)
    if channel is None:
      raise UserError(f"{path}: its shape {list(clips.shape)} has no channel axis of length 1")
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
  """Returns clips with the axis of frames first, uint8 [T, N, H, W], from that or [N, T, H, W].

  Clips of Moving MNIST have 20 frames: if only one of the two axes has this length, it is time.
  Otherwise time is the axis along which neighbours are clearly more similar.

  Raises:
    UserError: neither criterion decides.
  """
  lengths = clips.shape[:2]
  if lengths.count(_MNIST_FRAMES) == 1:
    return clips if lengths[0] == _MNIST_FRAMES else clips.swapaxes(0, 1)
  sample = clips[:_COMPARED, :_COMPARED].astype(np.int16)
  first, second = (np.abs(np.diff(sample, axis=axis)).mean() if lengths[axis] > 1 else 0
                   for axis in (0, 1))  # fmt: skip
  if first * _CLEARLY <= second:
    return clips
  if second * _CLEARLY <= first:
    return clips.swapaxes(0, 1)
  raise UserError(
    f"{path}: its shape {list(clips.shape)} does not tell frames and clips apart: not exactly one "
    f"axis has the {_MNIST_FRAMES} frames of Moving MNIST, and neighbours along both axes are "
    f"about equally similar; use a file with {_MNIST_FRAMES} frames per clip and another number "
    "of clips"
  )


def _gray_frames(path: str, clips: np.ndarray, number: int) -> Iterator[ArrayFrame]:
  """Yields the frames of one clip of [T, N, H, W], with three equal channels."""
  if clips[:, number].max() == 1:
    raise VideoError(path, "no pixel is above 1; they must be in 0..255: multiply them by 255")
  for frame, image in enumerate(clips[:, number]):
    yield ArrayFrame(path, frame, np.repeat(image[..., None], 3, axis=-1))


def list_bair(request: Request) -> Listing:
  """Lists BAIR robot pushing (small): TFRecords in folders train and test, one clip per record.

  Each record has frames of two cameras, `{i}/image_aux1/encoded` and `{i}/image_main/encoded`,
  64x64x3 bytes each. The benchmark's frames are those of aux1, as SAVP, SVG and Tensor2Tensor use
  them.

  Raises:
    UserError: the first record has no frames of the requested camera.
  """
  camera = request.used_camera
  splits, unusable, ignored, used = {}, {}, 0, []
  tree = read_tree(request.input)
  for folder, files in tree.folders:
    split = split_folders.split_of(os.path.basename(folder))
    if split is None:
      ignored += len(files)
      continue
    names = [name for name in files if name.endswith((".tfrecords", ".tfrecord"))]
    ignored += len(files) - len(names)
    for name in names:
      path = os.path.join(folder, name)
      used.append(path)
      stem = inputs.identifier(split, os.path.splitext(name)[0])
      clips = splits.setdefault(split, [])
      offsets, fault = _record_offsets(os.path.join(request.input, path))
      stamps = _record_stamps(os.path.join(request.input, path), offsets)
      if offsets and not any(splits.values()):
        _check_camera(os.path.join(request.input, path), offsets[0], camera)
      for number, offset in enumerate(offsets):
        read = functools.partial(
          _bair_frames, os.path.join(request.input, path), number, offset, camera
        )
        clips.append(
          Input(f"{stem}/{number:03d}", 0, f"{path}, record {number}", stamps[number], read)
        )
      if fault:
        unusable.setdefault(split, []).append(Unusable(path, fault))
  return Listing((), splits, unusable, ignored, tuple(tree.remarks(used, "record file")))


def _record_offsets(path: str) -> tuple[list[int], str | None]:
  """Returns the first byte of each record, and the fault that ends the file early, or None."""
  offsets = []
  try:
    for offset in records.record_offsets(path):
      offsets.append(offset)
  except UserError as error:
    return offsets, str(error).removeprefix(f"{path}, ")
  return offsets, None


def _record_stamps(path: str, offsets: list[int]) -> list[str]:
  """Stamps of records: first byte, and the stored checksum of the payload, in hexadecimal."""
  stamps = []
  try:
    with open(path, "rb") as file:
      size = os.fstat(file.fileno()).st_size
      # If the file is damaged after its last valid record, that record's stamp has its last bytes.
      for offset, end in itertools.pairwise([*offsets, size]):
        file.seek(end - records.FOOTER_BYTES)
        stamps.append(f"{offset} {file.read(records.FOOTER_BYTES).hex()}")
  except OSError:
    stamps += [f"{offset} gone" for offset in offsets[len(stamps) :]]
  return stamps


def _check_camera(path: str, offset: int, camera: str) -> None:
  """UserError if a record, which can be read, has frames of other cameras only."""
  try:
    features = records.parse_example(_read_payload(path, 0, offset), "this record")
  except UserError:
    return  # a damaged record is reported when it is read
  present = [name for name in CAMERAS if f"0/image_{name}/encoded" in features]
  if present and camera not in present:
    raise UserError(
      f"{path}: its records have no frames of camera {camera}, only of {', '.join(present)}; "
      f"--camera={present[0]} takes these"
      + ("" if camera != CAMERAS[0] else ", but scores on them are not those of the benchmark")
    )


def _bair_frames(path: str, number: int, offset: int, camera: str) -> Iterator[ArrayFrame]:
  """Yields the frames of one camera in one record."""
  features = records.parse_example(_read_payload(path, number, offset), "this record")
  frame = 0
  while f"{frame}/image_{camera}/encoded" in features:
    values = features[f"{frame}/image_{camera}/encoded"]
    content = values[0] if len(values) == 1 and isinstance(values[0], bytes) else b""
    if len(content) != np.prod(_BAIR_SHAPE):
      raise VideoError(path, f"frame {frame} has {len(content)} bytes, not 64x64x3")
    yield ArrayFrame(path, frame, np.frombuffer(content, np.uint8).reshape(_BAIR_SHAPE))
    frame += 1


def _read_payload(path: str, number: int, offset: int) -> bytes:
  """Reads the payload of a record; raises VideoError if it is damaged."""
  try:
    with open(path, "rb") as file:
      return records.read_record(file, offset, number)
  except UserError as error:
    raise VideoError(path, str(error).removeprefix(f"{path}, record {number}: ")) from error
  except OSError as error:
    raise VideoError(path, f"not readable ({error.strerror})") from error


def list_tfds(request: Request) -> Listing:
  """Lists a folder that TensorFlow Datasets prepared, with the features in its description.

  Clips are the first feature that is a video or a sequence of images; labels are the first class
  label.
  """
  builder, tensorflow_datasets = _open_builder(request.input)
  features = builder.info.features
  video, label = _find_features(features, tensorflow_datasets, request.input)
  label = label if request.class_level else None
  kind = builder.info.file_format.value
  if kind not in _TFDS_FILES:
    known = ", ".join(_TFDS_FILES)
    raise UserError(f"{request.input}: contains {kind} files; only {known} can be read")
  positions_of, stamps_of, read_payload = _TFDS_FILES[kind]
  splits, unusable = {}, {}
  for split, info in builder.info.splits.items():
    splits[split], unusable[split] = [], []
    for path in map(os.fspath, info.filepaths):
      name = os.path.relpath(path, request.input)
      positions, fault = positions_of(path)
      stamps = stamps_of(path, positions)
      for number, position in enumerate(positions):
        where = f"{name}, record {number}"
        payload = functools.partial(read_payload, path, number, position)
        try:
          value = _tfds_label(label, payload()) if label else 0
        except UserError as error:
          reason = error.reason if isinstance(error, VideoError) else str(error)
          unusable[split].append(Unusable(where, reason))
          continue
        clip_name = f"{split}/{len(splits[split]) + len(unusable[split]):06d}"
        frames = functools.partial(_tfds_frames, features, video, path, payload)
        splits[split].append(Input(clip_name, value, where, stamps[number], frames))
      if fault:
        unusable[split].append(Unusable(name, fault))
  classes = tuple(features[label].names) if label else ()
  return Listing(classes, splits, unusable)


def _array_record_positions(path: str) -> tuple[list[int], str | None]:
  """Like `_record_offsets`, for an ArrayRecord file: the numbers of its records, and a fault."""
  from array_record.python import array_record_module  # TensorFlow Datasets requires it

  try:
    return list(range(array_record_module.ArrayRecordReader(path).num_records())), None
  except Exception as error:  # the library raises errors of its own
    return [], f"is not a readable ArrayRecord file ({_first_line(error)})"


def _array_record_stamps(path: str, positions: list[int]) -> list[str]:
  """Number of each record and checksum of the whole file; records have no stored checksums."""
  checksum = index.file_sha256(path) if positions else ""
  return [f"{position} {checksum}" for position in positions]


def _array_record_payload(path: str, number: int, position: int) -> bytes:
  """Like `_read_payload`, for an ArrayRecord file."""
  del number
  from array_record.python import array_record_module

  try:
    return array_record_module.ArrayRecordReader(path).read([position])[0]
  except Exception as error:
    raise VideoError(path, f"not readable ({_first_line(error)})") from error


# By file format: functions that return the positions of records, their stamps, and a payload.
_TFDS_FILES = {
  "tfrecord": (_record_offsets, _record_stamps, _read_payload),
  "array_record": (_array_record_positions, _array_record_stamps, _array_record_payload),
}


def _first_line(error: Exception) -> str:
  """The first line of an error's message, or the name of its class."""
  return str(error).splitlines()[0] if str(error) else type(error).__name__


def _open_builder(directory: str) -> tuple[Any, Any]:
  """Returns TensorFlow Datasets' builder of a folder, and the module tensorflow_datasets."""
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
  except Exception as error:  # it raises whatever its files cause, of any class
    reason = _first_line(error)
    raise UserError(f"{directory}: TensorFlow Datasets cannot open it ({reason})") from error


def _find_features(
  features: Any, tensorflow_datasets: Any, directory: str
) -> tuple[str, str | None]:
  """Returns the name of the video feature and that of the label; None without labels."""
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
  """Returns the label of a record; -1, an invalid label, if it has none."""
  values = records.parse_example(payload, "this record").get(label, [])
  return values[0] if len(values) == 1 and isinstance(values[0], int) else -1


def _tfds_frames(
  features: Any, video: str, path: str, payload: Callable[[], bytes]
) -> Iterator[ArrayFrame]:
  """Yields the frames of the record that `payload` returns."""
  try:
    clip = features.deserialize_example(payload())[video].numpy()
  except VideoError:
    raise
  except Exception as error:  # tensorflow raises many kinds of errors
    raise VideoError(
      path, f"TensorFlow Datasets cannot decode it ({_first_line(error)})"
    ) from error
  if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] not in (1, 3):
    raise VideoError(path, f"is {clip.dtype} {list(clip.shape)}, not uint8 [T, H, W, 1 or 3]")
  for frame, image in enumerate(clip):
    yield ArrayFrame(path, frame, np.broadcast_to(image, (*image.shape[:2], 3)))
