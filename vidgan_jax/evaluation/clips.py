"""Sources of the clips to evaluate: the data of a run, or an array.

Anything that is called as `clips(begin, end)` and returns uint8 [end - begin, T, H, W, 3] (of NumPy
or on the devices) with labels int [end - begin] will do, if it has `shape`, (T, H, W, 3), and
`about`, a dictionary of plain values that goes into the fingerprint.
"""

import concurrent.futures
import hashlib
import os

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

_PROBES = 8  # examples whose bytes stand for all of a source's, to know a cached reference again


class _FirstWindow:
  """In place of a random generator: the first window and corner, and no mirroring."""

  def integers(self, *bounds, **options):
    """Zero."""
    del bounds, options
    return 0

  def random(self):
    """No chance is taken."""
    return 0.5


class RealClips:
  """The real clips of a protocol.

  Clips come in a fixed shuffled order of the videos, one window of each; further windows follow
  once every video has had one, so that the first so many are always of as many videos as can be.

  Args:
    source: see `data.sources.Source`.
    protocol: which windows and how many of them.
    count: clips; None is all.
    seed: of order and windows.
    stride: between their frames, where the source has it; it is set there already.
    trained_stride: that of the run they are compared with.
    data: `config.data.name` of that run; None where it is not known.

  Attributes:
    population: clips that there are, of which these are a random part.
    split: of the data.

  Raises:
    UserError: where the source has fewer clips than asked for.
  """

  def __init__(
    self,
    source,
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
    self._first = protocol.windows == "first"
    available = source.num_examples * protocol.windows_per_video
    self.count, self.population = available if count is None else count, available
    if self.count > available:
      raise UserError(
        f"{self.count} real clips are asked for, the {protocol.split} split has {available}; "
        "--real_count=N takes fewer"
      )
    self.shape = (source.frames, source.resolution, source.resolution, 3)
    self.num_classes, self.class_names = source.num_classes, tuple(source.class_names)
    self._order = pipeline.epoch_order(seed, 0, source.num_examples)
    self._pool = concurrent.futures.ThreadPoolExecutor(min(16, cores.usable_cores()))

  @property
  def stored(self) -> str:
    """A remark on how their pictures are kept; generated ones were never compressed."""
    sizes = getattr(self._source, "sizes", set)()
    return "" if all(png for _, _, png in sizes) else ", stored as JPEG"

  @property
  def about(self) -> dict:
    """What tells these clips from others."""
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
    """What a run knows its data by; see `data.sources.Source.description`."""
    return self._source.description()

  def _example(self, ordinal):
    index = int(self._order[ordinal % len(self._order)])
    if self._first:
      return self._source.example(index, _FirstWindow())
    return self._source.example(index, pipeline.augmentation_generator(self._seed, ordinal))

  def __call__(self, begin: int, end: int):
    """Clips begin..end-1 and their labels; see the module."""
    return self.take(range(begin, end))

  def take(self, numbers):
    """The clips of these numbers, uint8 [N, T, H, W, 3], and their labels int32 [N]."""
    found = list(self._pool.map(self._example, map(int, numbers)))
    return np.stack([clip for clip, _ in found]), np.array([label for _, label in found], np.int32)


def of_run(data, protocol, *, frames, resolution, num_classes, stride, seed, count, report):
  """The real clips of a protocol from the data of a run.

  Args:
    data: `config.data` of the run, a copy; crop and mirroring are set in it as the protocol says.
    protocol: see `protocols.Protocol`.
    frames, resolution, num_classes: of the clips.
    stride: between frames; None is the data's own.
    seed: of order and windows.
    count: clips; None is all.
    report: called with lines for the user.

  Raises:
    UserError: where the data is not there or does not fit.
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
  drawn = data.name == "moving_shapes"  # not stored: there are no frames to leave out
  found = RealClips(
    source,
    protocol,
    count,
    seed,
    stride=None if drawn else data.stride,
    trained_stride=None if drawn else trained,
    data=data.name,
  )
  notes = other_stride(found) + other_data(found, protocol.networks)
  for line in notes:
    report(f"note: {line}")
  return found


def labels_fit(protocol, reference) -> bool:
  """Whether the labels of the data are the embedded classifier's, where that is asked."""
  if not any(metric.labels_are_classes for metric in protocol.metrics):
    return True
  return of_embedded_set(reference.class_names)


def other_stride(real) -> list[str]:
  """A warning where real clips' frames are not as far apart as those the run was trained on.

  Args:
    real: clips or a `Reference`, with `stride` and `trained_stride`; or None.
  """
  own, trained = (getattr(real, name, None) for name in ("stride", "trained_stride"))
  if None in (own, trained) or own == trained:
    return []
  return [
    f"real clips are at stride {own}, the run was trained at stride {trained}: real motion is "
    f"{own / trained:.3g} times as fast as in training; evaluate --stride={trained} takes them as "
    "trained"
  ]


def of_embedded_set(class_names) -> bool:
  """Whether classes are the first of the embedded moving shapes', in their order."""
  names = tuple(class_names)
  return bool(names) and names == moving_shapes.CLASS_NAMES[: len(names)]


def other_data(real, networks) -> list[str]:
  """A warning where the embedded set's classifier scores a run that was trained on other data.

  Args:
    real: clips or a `Reference`, with `data` and `class_names`; or None.
    networks: names of those that score.
  """
  data = getattr(real, "data", None)
  if PACKAGED not in networks or data in (None, "moving_shapes"):
    return []
  if of_embedded_set(real.class_names):  # the embedded set, stored
    return []
  return [
    f"{PACKAGED} knows only the embedded moving shapes, and this run was trained on other data "
    f"({data}): take the protocol recommended, or another of evaluate --list"
  ]


class ArrayClips:
  """Clips that lie in memory.

  Args:
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or None.
    name: where they are from.

  Raises:
    UserError: on other types and shapes, labels outside 0..MAX_CLASSES - 1, or clips whose range is
      not 0..255.
  """

  def __init__(self, clips: np.ndarray, labels=None, name: str = "clips"):
    check_clips(clips, name)
    self._clips, self.name = clips, name
    self.count, self.shape = len(clips), clips.shape[1:]
    self.population = self.count  # of which `shuffled` takes a random part
    self.labelled = labels is not None
    if self.labelled:
      labels = np.asarray(labels)
      sources.check_labels_header(labels.shape, labels.dtype, len(clips), name)
      sources.check_labels(labels, sources.MAX_CLASSES, name)
    self._labels = labels if self.labelled else np.zeros(len(clips), np.int32)
    self.num_classes = int(self._labels.max()) + 1 if self.labelled else 0
    self.class_names = tuple(str(label) for label in range(self.num_classes))
    self.about = {
      "checkpoint": f"clips {hashlib.sha256(np.ascontiguousarray(clips)).hexdigest()[:12]}"
    }

  def some(self, count: int | None, seed: int = 0) -> "ArrayClips":
    """So many of them, drawn at random, since files are often ordered by class; None is all.

    Raises:
      UserError: where there are fewer.
    """
    if count is None or count == self.count:
      return self
    if count > self.count:
      raise UserError(f"{self.name} has {self.count} clips, {count} are asked for")
    return self.shuffled(seed, count)

  def shuffled(self, seed: int = 0, count: int | None = None) -> "ArrayClips":
    """All of them, or the first so many, in random order."""
    order = np.random.default_rng(seed).permutation(self.count)[:count]
    labels = self._labels[order] if self.labelled else None
    found = ArrayClips(self._clips[order], labels, self.name)
    found.num_classes, found.class_names = self.num_classes, self.class_names
    found.population = self.population
    return found

  def __call__(self, begin: int, end: int):
    """Clips begin..end-1 and their labels."""
    return self._clips[begin:end], self._labels[begin:end]

  def take(self, numbers):
    """The clips of these numbers and their labels."""
    return self._clips[numbers], self._labels[numbers]


def check_clips_header(shape, dtype, what: str) -> None:
  """UserError unless clips are uint8 [N, T, H, W, 3] by their shape and type alone."""
  if dtype != np.uint8 and np.issubdtype(dtype, np.number):
    raise UserError(
      f"{what}: clips must be uint8 in 0..255, found {dtype} {list(shape)}{sources.to_bytes(dtype)}"
    )
  if dtype != np.uint8 or len(shape) != 5 or shape[-1] != 3 or 0 in shape:
    raise UserError(f"{what}: expected uint8 clips [N, T, H, W, 3], found {dtype} {list(shape)}")


def check_clips(clips, what: str) -> None:
  """UserError unless `clips` are uint8 [N, T, H, W, 3] whose values are those of pictures."""
  if clips.dtype != np.uint8 and np.issubdtype(clips.dtype, np.number) and clips.size:
    low, high = clips.min(), clips.max()
    raise UserError(
      f"{what}: clips must be uint8 in 0..255, found {clips.dtype} in {low:.4g}..{high:.4g}"
      f"{sources.to_bytes(clips.dtype)}"
    )
  check_clips_header(clips.shape, clips.dtype, what)
  sources.check_pixels(clips, what)


def read(path) -> ArrayClips:
  """Reads a `.npz` of `clips` and, where it has them, `labels`; nothing is unpickled.

  Raises:
    UserError: where there is no such file, or it does not hold clips.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise UserError(f"{path}: no such file")
  with npz.open_npz(path, sources.DEFAULT_MAX_BYTES) as archive:  # other arrays are left alone
    header, labels = archive.header("clips"), None
    check_clips_header(header.shape, header.dtype, path)
    if "labels" in archive:
      of_labels = archive.header("labels")
      sources.check_labels_header(of_labels.shape, of_labels.dtype, header.shape[0], path)
      labels = archive.read("labels")
      sources.check_labels(labels, sources.MAX_CLASSES, path)
    return ArrayClips(archive.read("clips"), labels, path)
