"""The interface of a source of training clips, and the source that holds its clips in memory."""

import abc
import os
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidgan_jax.data.sources.folder_tree import abbreviated
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.text import composed

DEFAULT_MAX_BYTES = 16 * 2**30
_CHECKED_EXAMPLES = 64  # examples of a source that `check_examples` reads
_FEW_CLIPS, _NAMED_CLASSES = 4, 20  # see `scarce_classes`
MAX_CLASSES = 100_000  # a larger number means that the labels are wrong or damaged


class Source(abc.ABC):
  """A finite set of labelled clips, addressed by index.

  Attributes:
    num_examples: number of clips, at least 1.
    num_classes: number of classes; 0 means unlabelled, and then every label is 0.
    class_names: one name per class, in label order; empty if unlabelled.
    frames: frames T of an example.
    resolution: height and width of an example, in pixels.
  """

  num_examples: int
  num_classes: int
  class_names: tuple[str, ...]
  frames: int
  resolution: int

  @abc.abstractmethod
  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """Returns one clip and its label.

    The same index and a generator in the same state give the same bytes, so the seed and the
    iteration determine a batch.

    Args:
      index: number of the clip, 0 <= index < num_examples.
      generator: decides temporal window, crop and flip.

    Returns:
      The clip, uint8 [T, H, W, 3], and its label. The clip may be a view: do not write to it.

    Raises:
      IndexError: the index is outside the source.
    """

  def fill(self, clip: np.ndarray, index: int, generator: np.random.Generator) -> int:
    """Writes the clip that `example` returns into an array, such as a part of a batch.

    Args:
      clip: uint8 [T, H, W, 3], written to.
      index: number of the clip.
      generator: see `example`.

    Returns:
      The label.
    """
    clip[...], label = self.example(index, generator)
    return label

  def identity(self) -> str:
    """Text that differs if the clips or their order differ; sources of files add to it."""
    return f"{type(self).__name__} {self.num_examples} {' '.join(self.class_names)}"

  def description(self) -> dict[str, Any]:
    """What a run stores to recognise its data: number of clips, class names, a checksum."""
    # A copy of the data may spell names in another Unicode normal form, or in no valid encoding.
    text = self.identity()
    composed_checksum, plain_checksum = (
      f"{zlib.crc32(form.encode(errors='backslashreplace')):08x}" for form in (composed(text), text)
    )
    description = {
      "num_examples": self.num_examples,
      "class_names": list(self.class_names),
      "checksum": composed_checksum,
    }
    if plain_checksum != composed_checksum:  # the checksum that runs of earlier versions stored
      description["checksum_of_plain_names"] = plain_checksum
    return description

  def check_index(self, index: int) -> None:
    """Raises IndexError unless 0 <= index < num_examples; negative indices do not wrap around."""
    if not 0 <= index < self.num_examples:
      raise IndexError(f"example {index} of a source with {self.num_examples} examples")


def window_span(frames: int, stride: int) -> int:
  """Number of stored frames that a clip of `frames` frames at `stride` covers: frames * stride.

  Raises:
    UserError: frames or stride is below 1.
  """
  if frames < 1 or stride < 1:
    raise UserError(f"frames and stride must be at least 1, not {frames} and {stride}")
  return frames * stride


def random_window(
  generator: np.random.Generator, available: int, frames: int, stride: int
) -> slice:
  """Draws a temporal window uniformly from a video of `available` frames.

  Args:
    generator: exactly one integer is drawn from it.
    available: number of stored frames, at least window_span(frames, stride).
    frames: frames of the clip.
    stride: distance between frames of the clip, in stored frames.

  Returns:
    The slice of the stored frames.
  """
  span = window_span(frames, stride)
  start = int(generator.integers(available - span + 1))
  return slice(start, start + span, stride)


def scarce_classes(labels: Any, class_names: Sequence[str], least: int = 1) -> list[str]:
  """A line that names the classes with very few clips; an empty list if there are none.

  Scores of one class need two clips on each side. Real against real takes both sides from the real
  clips, which makes four.

  Args:
    labels: int [N], the label of each clip.
    class_names: names in label order; empty without classes.
    least: classes with fewer clips are not named: 1 leaves out those without clips.
  """
  if not len(class_names):
    return []
  counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names)).tolist()
  few = [
    f"{name} ({count})"
    for name, count in zip(class_names, counts, strict=True)
    if least <= count < _FEW_CLIPS
  ]
  if not few:
    return []
  return [
    f"note: {len(few)} of {len(counts)} classes have fewer than {_FEW_CLIPS} clips, too few for "
    f"scores of one class: {abbreviated(few, _NAMED_CLASSES)}"
  ]


def check_labels(labels: np.ndarray, num_classes: int, what: str) -> None:
  """Checks that every label is in 0..num_classes-1.

  Args:
    labels: int [N].
    num_classes: number of classes, at least 1.
    what: the file or folder of the labels, for error messages.

  Raises:
    UserError: a label is outside the range; the message gives the first one.
  """
  outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
  if outside.size:
    first = int(outside[0])
    expected = "" if num_classes >= MAX_CLASSES else f" (num_classes={num_classes})"
    raise UserError(
      f"{what}: label {int(labels[first])} of clip {first} is outside the range "
      f"0..{num_classes - 1}{expected}"
    )


class InMemorySource(Source):
  """Clips stored in one array; every example is a random temporal window of its clip.

  Args:
    clips: uint8 [N, T0, H, W, 3] with H == W.
    labels: int [N], or None for an unlabelled set.
    class_names: names in label order, which determine the number of classes. If None and there are
      labels, there are max(labels) + 1 classes, named by their numbers.
    frames: frames T of an example.
    stride: distance between frames of an example, in stored frames; T0 >= frames * stride.
    horizontal_flip: mirror examples with probability 1/2; only for data without a preferred side.
    what: the file of the clips, for error messages.

  Raises:
    UserError: wrong dtype or shape, no clips, clips too short, or a label outside the classes.
  """

  def __init__(
    self,
    clips: np.ndarray,
    labels: np.ndarray | None,
    class_names: tuple[str, ...] | None,
    frames: int,
    stride: int = 1,
    horizontal_flip: bool = False,
    what: str = "clips",
  ):
    check_clips_header(clips.shape, clips.dtype, frames, stride, what)
    if labels is None:
      class_names = ()
      labels = np.zeros(len(clips), np.int32)
    else:
      labels = np.asarray(labels)
      check_labels_header(labels.shape, labels.dtype, len(clips), what)
      if class_names is None:
        check_labels(labels, MAX_CLASSES, what)
        class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
      check_labels(labels, len(class_names), what)
    self.num_examples = len(clips)
    self.num_classes = len(class_names)
    self.class_names = tuple(class_names)
    self.frames = frames
    self.resolution = clips.shape[2]
    self._clips = clips
    self.labels = labels
    self._stride = stride
    self._horizontal_flip = horizontal_flip

  def identity(self) -> str:
    """See `Source.identity`; hashes a sample of the pixels, so that large files open quickly."""
    frames = self._clips[:: max(1, self.num_examples // 64), 0, ::8, ::8]
    labels = zlib.crc32(np.asarray(self.labels, np.int64).tobytes())
    return f"{super().identity()} {self._clips.shape} {labels} {zlib.crc32(frames.tobytes())}"

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example`; draws the window first, then the flip."""
    self.check_index(index)
    stored = self._clips[index]
    clip = stored[random_window(generator, len(stored), self.frames, self._stride)]
    if self._horizontal_flip and generator.random() < 0.5:
      clip = clip[:, :, ::-1]
    return clip, int(self.labels[index])


def check_clips_header(
  shape: tuple[int, ...], dtype: np.dtype, frames: int, stride: int, what: str
) -> None:
  """Checks an array of clips by shape and dtype, before its content is read.

  Raises:
    UserError: not uint8 [N, T, H, W, 3] with N > 0 and H == W, or T < frames * stride.
  """
  if dtype != np.uint8 or len(shape) != 5 or shape[-1] != 3:
    raise UserError(
      f"{what}: expected uint8 clips [N, T, H, W, 3], found {dtype} {list(shape)}"
      f"{conversion_hint(dtype)}"
    )
  if 0 in shape:
    raise UserError(f"{what}: contains no clips, its shape is {list(shape)}")
  if shape[2] != shape[3]:
    raise UserError(f"{what}: clips must be square, found {shape[2]}x{shape[3]} (HxW)")
  span = window_span(frames, stride)
  if shape[1] < span:
    raise UserError(
      f"{what}: clips have {shape[1]} frames, but {frames} frames at stride {stride} need {span}"
    )


def conversion_hint(dtype: np.dtype) -> str:
  """The end of an error message: how to convert pixels of this dtype to bytes; "" for bytes."""
  if dtype == np.bool_:
    return "; convert boolean pixels by np.uint8(clips) * 255"
  if dtype == np.uint8 or not np.issubdtype(dtype, np.number):
    return ""
  return (
    "; convert pixels in 0..1 by np.uint8(np.round(clips * 255)), in -1..1 by "
    "np.uint8(np.round(clips * 127.5 + 127.5)), in 0..255 by np.uint8(np.round(clips))"
  )


def check_pixels(clips: np.ndarray, what: str) -> None:
  """Checks that pixels are in 0..255 and not in 0..1, where all pictures would be black.

  Args:
    clips: uint8 [N, ...]; the check ends at the first clip with a pixel above 1.
    what: the file or array, for error messages.

  Raises:
    UserError: no pixel is above 1.
  """
  if all(clip.max() <= 1 for clip in clips):
    raise UserError(
      f"{what}: no pixel is above 1; clips must be in 0..255, not in 0..1: multiply them by 255"
    )


def check_examples(source: Source, what: str) -> None:
  """Applies `check_pixels` to some examples of a source that is not in memory.

  It ignores examples that cannot be read, because training reports them.

  Args:
    source: the check ends at the first example with a pixel above 1.
    what: the folder, for error messages.

  Raises:
    UserError: no pixel of 64 examples, spread over the source, is above 1.
  """
  count = min(source.num_examples, _CHECKED_EXAMPLES)
  for number in range(count):
    index = number * source.num_examples // count
    try:
      clip, _ = source.example(index, np.random.default_rng(0))
    except UserError:
      return
    if clip.max() > 1:
      return
  raise UserError(
    f"{what}: no pixel of {count} clips is above 1; pictures must be in 0..255, not in 0..1: "
    "multiply them by 255 when you create the videos or pictures"
  )


def check_labels_header(shape: tuple[int, ...], dtype: np.dtype, clips: int, what: str) -> None:
  """Checks an array of labels by shape and dtype, before its content is read.

  Raises:
    UserError: the labels are not integers, or there is not one per clip.
  """
  if not np.issubdtype(dtype, np.integer) or tuple(shape) != (clips,):
    raise UserError(f"{what}: expected {clips} integer labels, found {dtype} {list(shape)}")


def load_npz(
  path: str | os.PathLike,
  *,
  frames: int,
  stride: int = 1,
  resolution: int | None = None,
  num_classes: int | None = None,
  horizontal_flip: bool = False,
  max_bytes: int = DEFAULT_MAX_BYTES,
) -> InMemorySource:
  """Reads a `.npz` with `clips` (uint8 [N, T, H, W, 3]) and optional `labels` (int [N]).

  Nothing is unpickled. Shapes, dtypes and sizes are checked in the headers of the archive before
  memory is allocated for the arrays.

  Args:
    path: the file, as written by numpy.savez or numpy.savez_compressed.
    frames: frames of an example.
    stride: distance between frames of an example, in stored frames.
    resolution: expected height and width in pixels; None accepts any.
    num_classes: expected number of classes; 0 drops the labels, None takes max(labels) + 1.
    horizontal_flip: see `InMemorySource`.
    max_bytes: largest size of the arrays in memory, in bytes.

  Returns:
    The source.

  Raises:
    UserError: the file is missing, not an .npz archive, damaged or too large, has no pixel above 1,
      or its arrays do not fit the arguments.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise UserError(f"{path}: no such file")
  if num_classes is not None and not 0 <= num_classes <= MAX_CLASSES:
    raise UserError(f"num_classes={num_classes} is outside the range 0..{MAX_CLASSES}")
  with npz.open_npz(path, max_bytes) as archive:
    header = archive.header("clips")
    check_clips_header(header.shape, header.dtype, frames, stride, path)
    count, _, height, width, _ = header.shape
    if resolution is not None and height != resolution:
      raise UserError(
        f"{path}: clips are {height}x{width} pixels, the configuration asks for "
        f"resolution {resolution}"
      )
    labels = _read_labels(archive, count, num_classes)  # first, because clips are far larger
    clips = archive.read("clips")
  check_pixels(clips, path)
  class_names = tuple(map(str, range(num_classes))) if num_classes else None
  return InMemorySource(clips, labels, class_names, frames, stride, horizontal_flip, what=path)


def _read_labels(archive: npz.Archive, clips: int, num_classes: int | None) -> np.ndarray | None:
  """Reads and checks `labels`; returns None if they are absent or dropped."""
  if num_classes == 0 or (num_classes is None and "labels" not in archive):
    return None
  if "labels" not in archive:
    raise UserError(f"{archive.path}: has no array 'labels', but num_classes is {num_classes}")
  header = archive.header("labels")
  check_labels_header(header.shape, header.dtype, clips, archive.path)
  labels = archive.read("labels")
  check_labels(labels, MAX_CLASSES if num_classes is None else num_classes, archive.path)
  return labels
