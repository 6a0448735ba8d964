"""What a source of training clips is, and the sources that hold their clips in memory."""

import abc
import os
import zlib

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.text import composed

DEFAULT_MAX_BYTES = 16 * 2**30
_SOME = 64  # examples of a source that are looked into
MAX_CLASSES = 100_000  # more are no classes: a slip, or damage, in the labels


class Source(abc.ABC):
  """A finite set of labelled clips, addressed by index.

  Attributes:
    num_examples: number of clips, at least 1.
    num_classes: number of classes; 0 means unlabelled, and every label is then 0.
    class_names: one name per class, in the order of the labels; empty when unlabelled.
    frames: frames T of the clips handed out.
    resolution: height and width of the clips handed out, in pixels.
  """

  num_examples: int
  num_classes: int
  class_names: tuple[str, ...]
  frames: int
  resolution: int

  @abc.abstractmethod
  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """Returns one clip and its label.

    The same index and a generator in the same state give the same bytes, so a batch is known from
    the seed and the iteration alone.

    Args:
      index: which clip, 0 <= index < num_examples.
      generator: decides temporal window, crop and flip.

    Returns:
      The clip, uint8 [T, H, W, 3] (not to be written to, it may be a view), and its label, an int.

    Raises:
      IndexError: the index is outside the source.
    """

  def fill(self, clip: np.ndarray, index: int, generator: np.random.Generator) -> int:
    """Writes what `example` returns into a place of a batch.

    Args:
      clip: uint8 [T, H, W, 3], written to.
      index: which clip.
      generator: see `example`.

    Returns:
      The label.
    """
    clip[...], label = self.example(index, generator)
    return label

  def identity(self) -> str:
    """Text that differs where the clips or their order do; sources with outside data extend it."""
    return f"{type(self).__name__} {self.num_examples} {' '.join(self.class_names)}"

  def description(self) -> dict:
    """What a run keeps of its data to know it again: number, classes, and a checksum."""
    # A copy of the data may have its names in another of Unicode's forms, or in no encoding.
    text = self.identity()
    checksums = [
      f"{zlib.crc32(one.encode(errors='backslashreplace')):08x}" for one in (composed(text), text)
    ]
    found = {
      "num_examples": self.num_examples,
      "class_names": list(self.class_names),
      "checksum": checksums[0],
    }
    if checksums[1] != checksums[0]:  # runs of earlier versions know such data by this one
      found["checksum_of_plain_names"] = checksums[1]
    return found

  def check_index(self, index: int) -> None:
    """Raises IndexError unless 0 <= index < num_examples: a negative index is a bug, no wrap."""
    if not 0 <= index < self.num_examples:
      raise IndexError(f"example {index} of a source with {self.num_examples} examples")


def window_span(frames: int, stride: int) -> int:
  """Number of stored frames a clip of `frames` frames at `stride` takes up: frames * stride.

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
    generator: one integer is drawn from it, whatever the length.
    available: stored frames, at least window_span(frames, stride).
    frames: frames of the clip.
    stride: distance between the clip's frames, in stored frames.

  Returns:
    The slice that cuts the `frames` frames out of the stored ones.
  """
  span = window_span(frames, stride)
  start = int(generator.integers(available - span + 1))
  return slice(start, start + span, stride)


def check_labels(labels: np.ndarray, num_classes: int, what: str) -> None:
  """Checks that every label is in 0..num_classes-1.

  Args:
    labels: int [N].
    num_classes: number of classes, at least 1.
    what: the file or folder the labels came from, for the message.

  Raises:
    UserError: some label is outside the range; the message names the first one.
  """
  outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
  if outside.size:
    first = int(outside[0])
    asked = "" if num_classes >= MAX_CLASSES else f" (num_classes={num_classes})"
    raise UserError(
      f"{what}: label {int(labels[first])} of clip {first} is outside the range "
      f"0..{num_classes - 1}{asked}"
    )


class InMemorySource(Source):
  """Clips held in one array; every example is a random temporal window of its clip.

  Args:
    clips: uint8 [N, T0, H, W, 3] with H == W.
    labels: int [N], or None for an unlabelled set.
    class_names: names in label order; their number is the number of classes. None with labels
      takes max(labels) + 1 classes, named by their numbers.
    frames: frames T of an example.
    stride: distance between an example's frames in stored frames; T0 >= frames * stride.
    horizontal_flip: mirror every second example on average (only where left and right are alike).

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
    self._labels = labels
    self._stride = stride
    self._horizontal_flip = horizontal_flip

  def identity(self) -> str:
    """See `Source.identity`; a few frames stand for all, so that large files open quickly."""
    frames = self._clips[:: max(1, self.num_examples // 64), 0, ::8, ::8]
    labels = zlib.crc32(np.asarray(self._labels, np.int64).tobytes())
    return f"{super().identity()} {self._clips.shape} {labels} {zlib.crc32(frames.tobytes())}"

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example`; draws the window first, then the flip."""
    self.check_index(index)
    stored = self._clips[index]
    clip = stored[random_window(generator, len(stored), self.frames, self._stride)]
    if self._horizontal_flip and generator.random() < 0.5:
      clip = clip[:, :, ::-1]
    return clip, int(self._labels[index])


def check_clips_header(
  shape: tuple[int, ...], dtype: np.dtype, frames: int, stride: int, what: str
) -> None:
  """Checks an array of clips by its shape and dtype alone, before it is read.

  Raises:
    UserError: not uint8 [N, T, H, W, 3] with N > 0 and H == W, or T < frames * stride.
  """
  if dtype != np.uint8 or len(shape) != 5 or shape[-1] != 3:
    raise UserError(
      f"{what}: expected uint8 clips [N, T, H, W, 3], found {dtype} {list(shape)}{to_bytes(dtype)}"
    )
  if 0 in shape:
    raise UserError(f"{what}: holds no clips, its shape is {list(shape)}")
  if shape[2] != shape[3]:
    raise UserError(f"{what}: clips must be square, found {shape[2]}x{shape[3]} (HxW)")
  span = window_span(frames, stride)
  if shape[1] < span:
    raise UserError(
      f"{what}: clips have {shape[1]} frames, but {frames} frames at stride {stride} need {span}"
    )


def to_bytes(dtype: np.dtype) -> str:
  """Words that say how numbers become pixels; "" for bytes, and for what are no numbers."""
  if dtype == np.bool_:
    return "; pixels that are true or false become bytes by np.uint8(clips) * 255"
  if dtype == np.uint8 or not np.issubdtype(dtype, np.number):
    return ""
  return (
    "; pixels in 0..1 become bytes by np.uint8(np.round(clips * 255)), in -1..1 by "
    "np.uint8(np.round(clips * 127.5 + 127.5)), in 0..255 by np.uint8(np.round(clips))"
  )


def check_pixels(clips: np.ndarray, what: str) -> None:
  """Checks that bytes are pixels in 0..255: not in 0..1, where all pictures are black.

  Args:
    clips: uint8 [N, ...]; the first clip that is a picture ends the search.
    what: the file or array, for the message.

  Raises:
    UserError: no pixel is above 1.
  """
  if all(clip.max() <= 1 for clip in clips):
    raise UserError(
      f"{what}: no pixel is above 1; clips must be in 0..255, not in 0..1: multiply them by 255"
    )


def check_examples(source: Source, what: str) -> None:
  """Checks as `check_pixels` some examples of a source that is not in memory.

  Examples that cannot be read are left to whoever reads them.

  Args:
    source: the first example that is a picture ends the search.
    what: the folder, for the message.

  Raises:
    UserError: no pixel of 64 examples, spread over the source, is above 1.
  """
  count = min(source.num_examples, _SOME)
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
    "multiply them by 255 where the videos or pictures are made"
  )


def check_labels_header(shape: tuple[int, ...], dtype: np.dtype, clips: int, what: str) -> None:
  """Checks an array of labels by its shape and dtype alone, before it is read.

  Raises:
    UserError: not integers, or not one per clip.
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

  Nothing is unpickled, and shapes, dtypes and sizes are judged from the headers in the archive
  before memory is taken for the arrays.

  Args:
    path: the file, as written by numpy.savez or numpy.savez_compressed.
    frames: frames of an example.
    stride: distance between an example's frames, in stored frames.
    resolution: expected height and width in pixels; None accepts what the file has.
    num_classes: expected number of classes; 0 drops the labels, None takes max(labels) + 1.
    horizontal_flip: see `InMemorySource`.
    max_bytes: refuse files whose arrays would take more memory than this.

  Returns:
    The source.

  Raises:
    UserError: the file is missing, is no such archive, is damaged, too large, has no pixel above 1,
      or its arrays do not fit what is asked for.
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
    labels = _read_labels(archive, count, num_classes)  # before the far larger clips
    clips = archive.read("clips")
  check_pixels(clips, path)
  class_names = tuple(map(str, range(num_classes))) if num_classes else None
  return InMemorySource(clips, labels, class_names, frames, stride, horizontal_flip, what=path)


def _read_labels(archive: npz.Archive, clips: int, num_classes: int | None) -> np.ndarray | None:
  """Reads and checks `labels`; None where they are not wanted."""
  if num_classes == 0 or (num_classes is None and "labels" not in archive):
    return None
  if "labels" not in archive:
    raise UserError(f"{archive.path}: has no array 'labels', but num_classes is {num_classes}")
  header = archive.header("labels")
  check_labels_header(header.shape, header.dtype, clips, archive.path)
  labels = archive.read("labels")
  check_labels(labels, MAX_CLASSES if num_classes is None else num_classes, archive.path)
  return labels
