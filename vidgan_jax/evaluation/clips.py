"""Sources of the clips to evaluate: the data of a run, or an array.

A source of clips is any callable with these properties:

  clips(begin, end): uint8 [end - begin, T, H, W, 3] and labels int [end - begin], as NumPy arrays
    or on the devices.
  clips.shape: (T, H, W, 3).
  clips.about: a dictionary of plain values that identify the clips; it enters the fingerprint.
"""

import concurrent.futures
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from vidgan_jax.data import pipeline
from vidgan_jax.data.build import build_source
from vidgan_jax.data.sources import base as sources
from vidgan_jax.data.sources import moving_shapes
from vidgan_jax.evaluation.features.extractor import PACKAGED
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.hardware import cores

_PROBES = 8  # examples whose hash identifies the pixels of a source, for cached features


class FixedWindow:
  """Replaces a random generator: chooses a window by number, the first corner, and no mirroring."""

  def __init__(self, number: int = 0):
    self._next = number

  def integers(self, high: int, *bounds, **options) -> int:
    """The number of the window at the first call, which chooses it; zero at later calls."""
    del bounds, options
    number, self._next = self._next, 0
    return min(number, high - 1)

  def random(self) -> float:
    """0.5, at which a clip is not mirrored."""
    return 0.5


class RealClips:
  """The real clips of a protocol.

  The videos have a fixed shuffled order. Each video gives one window before any gives a second one,
  so that the first N clips are of as many different videos as possible.

  Args:
    source: see `data.sources.Source`.
    protocol: sets which windows are taken, and how many of each video.
    count: number of clips; None takes all.
    seed: of the order and of random windows.
    stride: stride between frames that `source` was built with; None if its videos are not stored.
    trained_stride: stride in the training of the run that the clips are compared with.
    data: `config.data.name` of that run; None if it is not known.

  Attributes:
    population: number of clips that `source` has; these are a random part of them.
    split: split of the data.
    to_continue: number of clips, from the first, that a run which continues given frames continues:
      all random windows, but only the first window of each video otherwise.

  Raises:
    UserError: the source has fewer than `count` clips.
  """

  def __init__(
    self,
    source: sources.Source,
    protocol: Protocol,
    count: int | None = None,
    seed: int = 0,
    *,
    stride: int | None = None,
    trained_stride: int | None = None,
    data: str | None = None,
  ):
    self._source, self._seed = source, seed
    self.stride, self.trained_stride, self.split = stride, trained_stride, protocol.split
    self.data = data
    self._windows = protocol.windows
    available = source.num_examples * protocol.windows_per_video
    self.count, self.population = available if count is None else count, available
    if self.count > available:
      raise UserError(
        f"{self.count} real clips are requested, the {protocol.split} split has {available}; "
        "--real_count=N takes fewer"
      )
    random = protocol.windows == "random"
    self.to_continue = self.count if random else min(self.count, source.num_examples)
    self.shape = (source.frames, source.resolution, source.resolution, 3)
    self.num_classes, self.class_names = source.num_classes, tuple(source.class_names)
    self._order = pipeline.epoch_order(seed, 0, source.num_examples)
    self._pool = concurrent.futures.ThreadPoolExecutor(min(16, cores.usable_cores()))

  @property
  def stored(self) -> str:
    """ ", stored as JPEG" for lossy pictures, which differ from generated ones; "" otherwise."""
    sizes = getattr(self._source, "sizes", set)()
    return "" if all(png for _, _, png in sizes) else ", stored as JPEG"

  @property
  def about(self) -> dict:
    """Values that identify the clips, for the fingerprint."""
    description = self._source.description()
    probes = self(0, min(_PROBES, self.count))
    return {
      "data": type(self._source).__name__,
      "checksum": description["checksum"],
      "num_examples": description["num_examples"],
      "probe": hashlib.sha256(b"".join(a.tobytes() for a in probes)).hexdigest()[:12],
      "seed": self._seed,
      **({} if self.stride is None else {"stride": self.stride}),
    }

  def description(self) -> dict:
    """Values by which a run recognises its data; see `data.sources.Source.description`."""
    return self._source.description()

  def _example(self, ordinal: int):
    """Clip number `ordinal` and its label."""
    index = int(self._order[ordinal % len(self._order)])
    if self._windows in ("first", "each"):
      window: Any = FixedWindow(ordinal // len(self._order) if self._windows == "each" else 0)
      return self._source.example(index, window)
    return self._source.example(index, pipeline.augmentation_generator(self._seed, ordinal))

  def __call__(self, begin: int, end: int):
    """Clips begin..end-1 and their labels; see the module's docstring."""
    return self.take(range(begin, end))

  def take(self, indices: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """The clips of these indices, uint8 [N, T, H, W, 3], and their labels int32 [N]."""
    examples = list(self._pool.map(self._example, map(int, indices)))
    labels = np.array([label for _, label in examples], np.int32)
    return np.stack([clip for clip, _ in examples]), labels


def of_run(
  data: Any,
  protocol: Protocol,
  *,
  frames: int,
  resolution: int,
  num_classes: int,
  stride: int | None,
  seed: int,
  count: int | None,
  report: Callable[[str], None],
) -> RealClips:
  """The real clips of a protocol from the data of a run.

  Args:
    data: a copy of `config.data` of the run. Its stride, crop and mirroring are set here.
    protocol: see `protocols.base.Protocol`.
    frames, resolution, num_classes: size and classes of the clips.
    stride: stride between frames; None is that of `data`.
    seed: of the order and of random windows.
    count: number of clips; None takes all.
    report: called with lines for the user.

  Raises:
    UserError: the data is missing or does not fit.
  """
  trained = data.stride
  with data.unlocked():
    data.stride = stride or trained
    data.crop, data.horizontal_flip, data.temporal_reversal = protocol.crop, protocol.flip, False
  source = build_source(
    data,
    frames=frames,
    resolution=resolution,
    num_classes=num_classes,
    split=protocol.split,
    report=report,
  )
  drawn = data.name == "moving_shapes"  # computed frame by frame, so a stride has no meaning
  real = RealClips(
    source,
    protocol,
    count,
    seed,
    stride=None if drawn else data.stride,
    trained_stride=None if drawn else trained,
    data=data.name,
  )
  notes = other_stride(real) + other_data(real, protocol.networks)
  for line in notes:
    report(f"note: {line}")
  return real


def other_stride(real: Any) -> list[str]:
  """A warning if real clips have another stride between frames than the run was trained on.

  Args:
    real: clips or a `Reference`, with `stride` and `trained_stride`; or None.
  """
  stride, trained = (getattr(real, name, None) for name in ("stride", "trained_stride"))
  if stride is None or trained is None or stride == trained:
    return []
  return [
    f"real clips are at stride {stride}, the run was trained at stride {trained}: real motion is "
    f"{stride / trained:.3g} times as fast as in training; evaluate --stride={trained} takes them "
    "as trained"
  ]


def of_embedded_set(class_names: Iterable[str]) -> bool:
  """Whether class names are the first names of the built-in moving shapes, in the same order."""
  names = tuple(class_names)
  return bool(names) and names == moving_shapes.CLASS_NAMES[: len(names)]


def other_data(real: Any, networks: Iterable[str]) -> list[str]:
  """A warning if the classifier of the moving shapes scores clips that may show something else.

  Args:
    real: clips or a `Reference`, with `data` and `class_names`; or None.
    networks: names of the networks that compute the scores.
  """
  data = getattr(real, "data", None)
  if PACKAGED not in networks or real is None or data == "moving_shapes":
    return []
  if of_embedded_set(real.class_names):  # the built-in moving shapes as stored videos
    return []
  known = f"{PACKAGED} knows only the built-in moving shapes"
  if data is None:  # clips that the user gives
    return [f"{known}: scores of other clips mean little; evaluate --list has other protocols"]
  return [
    f"{known}, and this run was trained on other data ({data}): take the protocol recommended, or "
    "another of evaluate --list"
  ]


class ArrayClips:
  """Clips in memory.

  Args:
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or None.
    name: name of the clips in messages.

  Attributes:
    count: number of clips.
    population: number of clips of which `shuffled` has taken a random part.
    labelled: whether there are labels; without them, calls return zeros.
    labels: int [N].

  Raises:
    UserError: on other types and shapes, labels outside 0..MAX_CLASSES - 1, or pixels that do not
      use the range 0..255.
  """

  def __init__(self, clips: np.ndarray, labels: Any = None, name: str = "an array"):
    check_clips(clips, name)
    self._clips, self.name = clips, name
    self.count, self.shape = len(clips), clips.shape[1:]
    self.population = self.count
    self.labelled = labels is not None
    if self.labelled:
      labels = np.asarray(labels)
      sources.check_labels_header(labels.shape, labels.dtype, len(clips), name)
      sources.check_labels(labels, sources.MAX_CLASSES, name)
    self.labels = labels if self.labelled else np.zeros(len(clips), np.int32)
    self.num_classes = int(self.labels.max()) + 1 if self.labelled else 0
    self.class_names = tuple(str(label) for label in range(self.num_classes))
    content = np.ascontiguousarray(clips).reshape(-1).data
    self.about = {"checkpoint": f"clips {hashlib.sha256(content).hexdigest()[:12]}"}

  def some(self, count: int | None, seed: int = 0) -> "ArrayClips":
    """`count` random clips, because files are often ordered by class; None takes all.

    Raises:
      UserError: there are fewer than `count` clips.
    """
    if count is None or count == self.count:
      return self
    if count > self.count:
      raise UserError(f"{self.name} has {self.count} clips, {count} are requested")
    return self.shuffled(seed, count)

  def shuffled(self, seed: int = 0, count: int | None = None) -> "ArrayClips":
    """The clips in random order: all, or the first `count` of this order."""
    order = np.random.default_rng(seed).permutation(self.count)[:count]
    labels = self.labels[order] if self.labelled else None
    shuffled = ArrayClips(self._clips[order], labels, self.name)
    shuffled.num_classes, shuffled.class_names = self.num_classes, self.class_names
    shuffled.population = self.population
    return shuffled

  def __call__(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips begin..end-1 and their labels."""
    return self._clips[begin:end], self.labels[begin:end]

  def take(self, indices) -> tuple[np.ndarray, np.ndarray]:
    """The clips of these indices and their labels."""
    return self._clips[indices], self.labels[indices]


def check_clips_header(shape: Sequence[int], dtype: Any, what: str) -> None:
  """UserError unless shape and type are those of clips, uint8 [N, T, H, W, 3].

  Args:
    shape, dtype: of the array; its content is not read.
    what: name of the array in messages.
  """
  if dtype != np.uint8 and np.issubdtype(dtype, np.number):
    raise UserError(
      f"{what}: clips must be uint8 in 0..255, found {dtype} {list(shape)}"
      f"{sources.conversion_hint(dtype)}"
    )
  if dtype != np.uint8 or len(shape) != 5 or shape[-1] != 3 or 0 in shape:
    raise UserError(f"{what}: expected uint8 clips [N, T, H, W, 3], found {dtype} {list(shape)}")


def check_clips(clips: np.ndarray, what: str) -> None:
  """UserError unless `clips` are uint8 [N, T, H, W, 3] with plausible pixel values."""
  if clips.dtype != np.uint8 and np.issubdtype(clips.dtype, np.number) and clips.size:
    low, high = clips.min(), clips.max()
    raise UserError(
      f"{what}: clips must be uint8 in 0..255, found {clips.dtype} in {low:.4g}..{high:.4g}"
      f"{sources.conversion_hint(clips.dtype)}"
    )
  check_clips_header(clips.shape, clips.dtype, what)
  sources.check_pixels(clips, what)


def read(path: str | os.PathLike) -> ArrayClips:
  """Reads the arrays `clips` and, if present, `labels` of a `.npz`; nothing is unpickled.

  Raises:
    UserError: the file is missing or contains no valid clips.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise UserError(
      f"{path}: no such file or folder; a folder or zip of videos or of folders of pictures, one "
      "video, or an .npz is read"
    )
  with npz.open_npz(path, sources.DEFAULT_MAX_BYTES) as archive:  # other arrays are not read
    header, labels = archive.header("clips"), None
    check_clips_header(header.shape, header.dtype, path)
    if "labels" in archive:
      labels_header = archive.header("labels")
      sources.check_labels_header(labels_header.shape, labels_header.dtype, header.shape[0], path)
      labels = archive.read("labels")
      sources.check_labels(labels, sources.MAX_CLASSES, path)
    return ArrayClips(archive.read("clips"), labels, path)
