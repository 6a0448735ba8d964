"""Computes features of clips: preprocessing and network in one program, split over the devices.

The last batch is filled up to the compiled size, and the filling is never counted: every clip
counts once, and no number depends on the batch size. With several processes, each reads its own
part of the real clips, and all receive the features of all clips.
"""

import collections
import contextlib
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

KEPT_BYTES = 2**30  # features of one output that are kept; of more, moments alone
_PATIENCE = 2  # seconds without a progress bar
_AHEAD = 2  # batches computed before the features of the first are fetched


class FeaturePath:
  """Preprocessing and a network, compiled as one program: clips to features.

  Args:
    extractor: see `extractor.Extractor`.
    operations: see `preprocessing.apply`.
    outputs: names of the network's outputs to return.
    mesh: devices.

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
        raise UserError(f"{extractor.name} lacks its {name} file, which this protocol subtracts")
    self._variables = meshes.replicate(extractor.variables, mesh)

    def features(variables, clips):
      clips = meshes.split_batch(clips, mesh)
      prepared = preprocessing.apply(clips, operations, extractor.constants)
      found = extractor.apply(variables, prepared)
      return {name: found[name].astype(np.float32) for name in self.outputs}

    options = compilation.feature_options(mesh.devices.flat[0])
    self._program = jax.jit(features, compiler_options=options)

  @property
  def key(self) -> tuple:
    """(network, operations): metrics that share it share the features."""
    return (self.extractor.name, self.operations)

  def check_shape(self, shape) -> None:
    """UserError where clips (T, H, W, 3) have too few frames for the network."""
    if shape[0] < self.extractor.min_frames:
      raise UserError(
        f"{self.extractor.name} needs clips of at least {self.extractor.min_frames} frames, these "
        f"have {shape[0]}"
      )

  def __call__(self, clips):
    """Features {output: float32 [B, d]}, on the devices, of uint8 clips [B, T, H, W, 3]."""
    return self._program(self._variables, clips)


class _Collector:
  """Collects batches of the features of one output."""

  def __init__(self, count, width, keep_bytes):
    self._features = None
    if 4 * count * width <= keep_bytes:
      self._features = np.empty((count, width), np.float32)
    self._moments, self._waiting, self._filled = None, [], 0

  def add(self, features):
    if self._features is not None:
      self._features[self._filled : self._filled + len(features)] = features
    self._filled += len(features)
    self._waiting.append(features)
    if sum(map(len, self._waiting)) >= 1024:  # a merge touches d * d numbers
      self._merge()

  def _merge(self):
    block = Moments.of(np.concatenate(self._waiting))
    self._moments = block if self._moments is None else self._moments.merge(block)
    self._waiting = []

  def finished(self) -> FeatureSet:
    if self._waiting:
      self._merge()
    return FeatureSet(self._moments, self._features)


def _batches(clips, begin: int, end: int, size: int, mesh):
  """Yields (clips uint8 [size, ...] on the devices, labels [n], n), n of them asked for."""
  place, parts = meshes.part_of_batch(mesh)
  own = size // parts

  def batch(number):
    first = begin + number * size
    count = min(size, end - first)
    if not hasattr(clips, "count"):  # without an end: the batch is drawn whole
      return *clips(first, first + size), count
    low = first + min(place * own, count - 1)
    high = max(low + 1, first + min((place + 1) * own, count))
    found = [np.asarray(each) for each in clips(low, high)]
    filled = [np.concatenate([a, np.repeat(a[-1:], own - len(a), axis=0)]) for a in found]
    return *meshes.put_batch(filled, mesh, axis=0), count

  numbers = range(-(-(end - begin) // size))
  drawn_together = parts > 1 and not hasattr(clips, "count")
  with contextlib.ExitStack() as stack:
    # What several processes compute together they must begin in one order: not in another thread.
    stream = enumerate(map(batch, numbers))
    if not drawn_together:
      stream = stack.enter_context(Prefetcher(batch, depth=_AHEAD, stop=len(numbers)))
    for _, (found, labels, count) in stream:
      yield found, np.asarray(processes.local(labels, mesh))[:count], count


def gather(
  feature_paths: Sequence[FeaturePath],
  clips: Callable,
  begin: int,
  end: int,
  *,
  mesh,
  batch_size: int = 32,
  description: str = "features",
  keep_bytes: int = KEPT_BYTES,
  leaving: Callable[[], bool] = lambda: False,
):
  """Runs clips begin..end-1 through networks.

  Args:
    feature_paths: what to compute; each clip is drawn once for all of them.
    clips: see `evaluation.clips`.
    begin: number of the first clip.
    end: number after the last.
    mesh: devices.
    batch_size: clips at a time, rounded up to a multiple of the devices.
    description: of the progress bar.
    keep_bytes: see KEPT_BYTES.
    leaving: asked between batches whether to give up.

  Returns:
    ({path.key: {output: `FeatureSet`}}, labels int [end - begin]), or None where it was given up.

  Raises:
    UserError: on too few frames, or features that are not finite.
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
      o: _Collector(end - begin, path.extractor.outputs[o], keep_bytes) for o in path.outputs
    }
    for path in feature_paths
  }
  # Of several processes one program at a time: see `processes.local`.
  ahead = _AHEAD if jax.process_count() == 1 else 0
  labels, waiting = [], collections.deque()

  def settle():
    found, count = waiting.popleft()
    for key, outputs in jax.device_get(processes.local(found, mesh)).items():
      for output, features in outputs.items():
        collectors[key][output].add(features[:count])

  bar = tqdm(
    total=end - begin,
    desc=description,
    unit="clip",
    leave=False,
    delay=_PATIENCE,
    disable=None if processes.first() else True,
    dynamic_ncols=True,
  )
  with bar:
    for batch, own, count in _batches(clips, begin, end, size, mesh):
      if leaving():
        return None
      waiting.append(({path.key: path(batch) for path in feature_paths}, count))
      labels.append(np.asarray(own))
      if len(waiting) > ahead:
        settle()
      bar.update(count)
    while waiting:
      settle()
  gathered = {
    key: {output: each.finished() for output, each in outputs.items()}
    for key, outputs in collectors.items()
  }
  return gathered, np.concatenate(labels)
