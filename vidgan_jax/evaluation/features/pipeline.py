"""Computes features of clips: preprocessing and network in one program, split over the devices.

The last batch is padded to the compiled size, and features of the padding are dropped. So each clip
counts exactly once, and no number depends on the batch size. With several processes, each process
reads its own part of the real clips, and all processes receive the features of all clips.
"""

import collections
import contextlib
import typing
from collections.abc import Callable, Sequence

import jax
import numpy as np
from tqdm import tqdm

from vidgan_jax.data.pipeline import Prefetcher
from vidgan_jax.evaluation.features import preprocessing
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import compilation

STORED_BYTES = 2**30  # if the features of one output are larger, only their moments are stored
_BAR_DELAY = 2  # seconds until a progress bar appears
_AHEAD = 2  # batches that are computed before the features of the first one are fetched


class Clips(typing.Protocol):
  """Clips by index, see `evaluation.clips`."""

  @property
  def shape(self) -> tuple[int, ...]:
    """(T, H, W, 3) of each clip."""

  def __call__(self, begin: int, end: int) -> tuple[typing.Any, typing.Any]:
    """(uint8 clips [end - begin, T, H, W, 3], labels int [end - begin])."""


class FeaturePath:
  """Preprocessing and a network, compiled as one program from clips to features.

  Args:
    extractor: the network, see `extractor.Extractor`.
    operations: preprocessing, see `preprocessing.apply`.
    outputs: names of the network outputs to return.
    mesh: devices to compute on.

  Raises:
    UserError: the network has no such output, or lacks a constant that an operation needs.
  """

  def __init__(self, extractor, operations, outputs: Sequence[str], mesh):
    self.extractor, self.operations, self.outputs = extractor, operations, tuple(outputs)
    for output in self.outputs:
      if output not in extractor.outputs:
        raise UserError(
          f"{extractor.name} has no output {output!r}; it has {', '.join(extractor.outputs)}"
        )
    for name in preprocessing.needs(operations):
      if name not in extractor.constants:
        raise UserError(
          f"the weights file of {extractor.name} has no {name} clip, which this protocol subtracts"
        )
    self._variables = meshes.replicate(extractor.variables, mesh)

    def features(variables, clips):
      clips = meshes.split_batch(clips, mesh)
      prepared = preprocessing.apply(clips, operations, extractor.constants)
      outputs = extractor.apply(variables, prepared)
      return {name: outputs[name].astype(np.float32) for name in self.outputs}

    options = compilation.feature_options(mesh.devices.flat[0])
    self._program = jax.jit(features, compiler_options=options)

  @property
  def key(self) -> tuple:
    """(network, operations). Metrics with the same key share features."""
    return (self.extractor.name, self.operations)

  def check_shape(self, shape: Sequence[int]) -> None:
    """Raises a UserError if clips of shape (T, H, W, 3) have too few frames for the network."""
    if shape[0] < self.extractor.min_frames:
      raise UserError(
        f"{self.extractor.name} needs clips of at least {self.extractor.min_frames} frames, these "
        f"have {shape[0]}"
      )

  def __call__(self, clips):
    """Maps uint8 clips [B, T, H, W, 3] to features {output: float32 [B, d]} on the devices."""
    return self._program(self._variables, clips)


class _Collector:
  """Collects the features of one output, batch by batch."""

  def __init__(self, count, width, stored_bytes):
    self._features = None
    if 4 * count * width <= stored_bytes:
      self._features = np.empty((count, width), np.float32)
    self._moments, self._pending, self._added = None, [], 0

  def add(self, features):
    if self._features is not None:
      self._features[self._added : self._added + len(features)] = features
    self._added += len(features)
    self._pending.append(features)
    if sum(map(len, self._pending)) >= 1024:  # a merge costs d * d operations
      self._merge()

  def _merge(self):
    block = Moments.of(np.concatenate(self._pending))
    self._moments = block if self._moments is None else self._moments.merge(block)
    self._pending = []

  def finished(self) -> FeatureSet:
    if self._pending:
      self._merge()
    return FeatureSet(self._moments, self._features)


def _batches(clips, begin: int, end: int, size: int, mesh):
  """Yields batches of the clips begin..end-1.

  Yields:
    (clips uint8 [size, ...] on the devices, labels [n], n). The first n clips are in the range,
    the others are padding.
  """
  part, parts = meshes.part_of_batch(mesh)
  part_size = size // parts

  def batch(index):
    first = begin + index * size
    count = min(size, end - first)
    if not hasattr(clips, "count"):  # generated clips have no end: the whole batch is drawn
      return *clips(first, first + size), count
    low = first + min(part * part_size, count - 1)
    high = max(low + 1, first + min((part + 1) * part_size, count))
    arrays = [np.asarray(array) for array in clips(low, high)]
    padded = [np.concatenate([a, np.repeat(a[-1:], part_size - len(a), axis=0)]) for a in arrays]
    return *meshes.put_batch(padded, mesh, axis=0), count

  indices = range(-(-(end - begin) // size))
  drawn_together = parts > 1 and not hasattr(clips, "count")
  with contextlib.ExitStack() as stack:
    # All processes must start their common programs in the same order, so a program that draws
    # clips on all of them must not run in a thread of its own.
    stream = enumerate(map(batch, indices))
    if not drawn_together:
      stream = stack.enter_context(Prefetcher(batch, depth=_AHEAD, stop=len(indices)))
    for _, (on_devices, labels, count) in stream:
      yield on_devices, np.asarray(processes.local(labels, mesh))[:count], count


def gather(
  feature_paths: Sequence[FeaturePath],
  clips: Clips,
  begin: int,
  end: int,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int = 32,
  description: str = "features",
  stored_bytes: int = STORED_BYTES,
  leaving: Callable[[], bool] = lambda: False,
) -> tuple[dict[tuple, dict[str, FeatureSet]], np.ndarray] | None:
  """Computes features of the clips begin..end-1.

  Args:
    feature_paths: networks with preprocessing; each clip is drawn only once for all of them.
    clips: the clips, see `evaluation.clips`.
    begin: index of the first clip.
    end: index after the last clip.
    mesh: devices to compute on.
    batch_size: clips in a batch, rounded up to a multiple of the number of devices.
    description: text of the progress bar.
    stored_bytes: see STORED_BYTES.
    leaving: called between batches; True stops the computation.

  Returns:
    ({path.key: {output: `FeatureSet`}}, labels int [end - begin]), or None if `leaving` stopped it.

  Raises:
    UserError: clips have too few frames, or features are not finite.
  """
  if batch_size < 1:
    raise UserError(f"batch_size is {batch_size}, must be at least 1")
  for path in feature_paths:
    path.check_shape(clips.shape)
  devices = mesh.devices.size
  size = min(batch_size, end - begin)
  size = -(-size // devices) * devices
  collectors = {
    path.key: {
      o: _Collector(end - begin, path.extractor.outputs[o], stored_bytes) for o in path.outputs
    }
    for path in feature_paths
  }
  # Several processes run one program at a time, see `processes.local`.
  ahead = _AHEAD if jax.process_count() == 1 else 0
  labels, running = [], collections.deque()

  def collect_first():
    on_devices, count = running.popleft()
    for key, outputs in jax.device_get(processes.local(on_devices, mesh)).items():
      for output, features in outputs.items():
        collectors[key][output].add(features[:count])

  bar = tqdm(
    total=end - begin,
    desc=description,
    unit="clip",
    leave=False,
    delay=_BAR_DELAY,
    disable=None if processes.first() else True,
    dynamic_ncols=True,
  )
  with bar:
    for batch, batch_labels, count in _batches(clips, begin, end, size, mesh):
      if leaving():
        return None
      running.append(({path.key: path(batch) for path in feature_paths}, count))
      labels.append(np.asarray(batch_labels))
      if len(running) > ahead:
        collect_first()
      bar.update(count)
    while running:
      collect_first()
  gathered = {
    key: {output: collector.finished() for output, collector in outputs.items()}
    for key, outputs in collectors.items()
  }
  return gathered, np.concatenate(labels)
