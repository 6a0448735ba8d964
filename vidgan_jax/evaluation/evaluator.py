"""Evaluates clips by a protocol, for the command and for the training hook.

An `Evaluator` compiles its networks for its devices. It computes the features of the real clips
once, or reads them from a file, and then scores any number of sets of generated clips.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from vidgan_jax.evaluation import predictions
from vidgan_jax.evaluation.features import pipeline, random_weights, references
from vidgan_jax.evaluation.features.extractor import (
  NETWORKS,
  PACKAGED,
  Extractor,
  find,
  load_extractor,
)
from vidgan_jax.evaluation.features.references import Reference
from vidgan_jax.evaluation.metrics.base import (
  ClipSet,
  Inputs,
  Metric,
  MetricLeftOut,
  Score,
  finite,
)
from vidgan_jax.evaluation.metrics.prediction import PIXELS
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.records import Circumstances, Scores, heading
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError

# For metrics that compare pixels, which have no network.
_NO_NETWORK = Extractor(PIXELS, "", {}, 1, None, {}, lambda variables, clips: {}, {})
# Attributes of real clips that a reference copies:
_COPIED = ("population", "stride", "trained_stride", "split", "data")


def load_extractors(
  protocol: Protocol, weights: str | pathlib.Path | None = None
) -> dict[str, Extractor]:
  """Loads the networks of a protocol.

  Args:
    protocol: see `protocols.get_protocol`.
    weights: folder of converted weights; None is the default folder. "random" takes random
      weights, for a trial; the scores state it.

  Returns:
    {name: network}.

  Raises:
    UserError: a file is missing or not the right one, or `weights` is given but not needed.
  """
  if weights is not None and set(protocol.networks) <= {PACKAGED}:
    raise UserError(
      f"--weights: protocol {protocol.name} needs no file of weights; its network is part of the "
      "package"
    )
  extractors = {}
  for name in protocol.networks:
    if name != PACKAGED and str(weights) == random_weights.RANDOM:
      extractors[name] = random_weights.load(name)
      continue
    path = None  # of the package, or the default one
    if name != PACKAGED and weights is not None:
      path = pathlib.Path(weights) / f"{name}.npz"
    extractors[name] = load_extractor(name, path)
  return extractors


def check_frames(protocol: Protocol, frames: int) -> None:
  """UserError if clips have too few frames for a network of the protocol; reads no weights."""
  for name in protocol.networks:
    if name in (*NETWORKS, PACKAGED):
      least = find(name).build().min_frames
      if frames < least:
        raise UserError(f"{name} needs clips of at least {least} frames, these have {frames}")


def check_count(protocol: Protocol, generated: Any, count: int, repeats: int) -> None:
  """UserError if there are fewer generated clips than `repeats` sets of `count` clips need."""
  available = getattr(generated, "count", None)
  if available is not None and available < count * repeats:
    raise UserError(
      f"{available} clips are too few for protocol {protocol.name}: it takes {count}"
      f"{f' x {repeats}' if repeats > 1 else ''}; --count=N evaluates fewer and enters the "
      "fingerprint"
    )


def _described(real: Any, about: Mapping, split: str) -> str:
  """Real clips in words: the path of given clips, or the split of a run's data.

  Args:
    real: the clips.
    about: `real.about`, which may take long to compute.
    split: split of the data.
  """
  name = getattr(real, "name", None)  # clips of a run's data have none
  if name is not None:
    return f"{real.count} clips of {name}"
  data = about.get("data", "given clips")
  return f"{real.count} clips of {split} data ({data}{getattr(real, 'stored', '')})"


class Evaluator:
  """Evaluates clips by a protocol.

  With several processes, all must make the same calls. All run the networks; only process 0 reads
  cached features of real clips and computes scores.

  Args:
    protocol: see `protocols.get_protocol`.
    extractors: {name: `extractor.Extractor`} of the protocol's networks.
    mesh: devices; by default all.
    batch_size: clips per batch, rounded up to a multiple of the number of devices; scores do not
      depend on it.
    report: called with lines for the user.

  Raises:
    UserError: a network is missing or lacks an output.
  """

  def __init__(
    self,
    protocol: Protocol,
    extractors: Mapping[str, Extractor],
    *,
    mesh: jax.sharding.Mesh | None = None,
    batch_size: int = 32,
    report: Callable[[str], None] = print,
  ):
    self.protocol, self.extractors = protocol, extractors
    self.mesh = mesh or meshes.make_mesh()
    self.batch_size, self._report = batch_size, report
    outputs_of: dict[tuple, list[str]] = {}  # by network and preprocessing
    for metric in protocol.metrics:
      if metric.input == PIXELS:
        continue
      if metric.network not in extractors:
        raise UserError(f"protocol {protocol.name} needs the network {metric.network}")
      outputs_of.setdefault((metric.network, metric.preprocess), []).append(metric.output)
    self.feature_paths = [
      pipeline.FeaturePath(extractors[name], operations, list(dict.fromkeys(outputs)), self.mesh)
      for (name, operations), outputs in outputs_of.items()
    ]

  def reference(
    self,
    real: Any,
    *,
    file: str | pathlib.Path | None = None,
    folder: str | pathlib.Path | None = None,
    leaving: Callable[[], bool] = lambda: False,
  ) -> Reference | None:
    """Features of all clips of `real`, computed or read from a file.

    Args:
      real: clips, see `evaluation.clips`, with `count`.
      file: path of the features, for protocols with one network and preprocessing. A file of other
        features is refused; a missing one is written.
      folder: folder of cached features if `file` is None; None caches no features.
      leaving: called between batches; True stops the computation.

    Returns:
      a `Reference`, or None if `leaving` stopped the computation.

    Raises:
      UserError: the file contains other features, or the clips do not fit the networks.
    """
    if file is not None and len(self.feature_paths) > 1:
      raise UserError(
        f"--reference is one file; protocol {self.protocol.name} needs {len(self.feature_paths)}"
      )
    count, about_clips = real.count, real.about
    if count < 2:
      raise UserError(f"{count} real clip(s); at least 2 are needed")
    gathered, labels = {}, None
    hashes, missing = {}, {}
    for path in self.feature_paths:
      about = references.about(path, self.protocol, real.shape, about_clips, count)
      hashes[path.key] = fingerprint.digest(about)
      feature_file = references.ReferenceFile.of(path, self.protocol, about, file, folder)
      cached = feature_file.load(self._report) if processes.first() else None
      if processes.from_first(cached is None):
        missing[path] = feature_file
      elif cached:
        gathered[path.key], labels = cached
    if missing:
      computed = pipeline.gather(
        [*missing],
        real,
        0,
        count,
        mesh=self.mesh,
        batch_size=self.batch_size,
        description="real clips",
        leaving=leaving,
      )
      if computed is None:
        return None
      new, labels = computed
      for path, feature_file in missing.items():
        gathered[path.key] = new[path.key]
        if processes.first():
          feature_file.save(new[path.key], labels, self._report)
    # Features are cached for equal pixels, which may have been given with other labels.
    labels = getattr(real, "labels", labels)
    return Reference(
      gathered,
      labels if getattr(real, "num_classes", 0) else None,
      hashes,
      tuple(real.shape),
      count,
      _described(real, about_clips, self.protocol.split),
      tuple(getattr(real, "class_names", ())),
      **{name: getattr(real, name, None) for name in _COPIED},
    )

  def score(
    self,
    generated: Any,
    reference: Reference | None,
    *,
    count: int | None = None,
    labelled: bool = True,
    seed: int = 0,
    repeats: int | None = None,
    description: str = "generated clips",
    leaving: Callable[[], bool] = lambda: False,
    floor: bool = True,
  ) -> Scores | None:
    """Scores generated clips.

    Args:
      generated: clips, see `evaluation.clips`; repeat r takes the clips from r * count on.
      reference: result of `reference`; None if no metric compares with real clips.
      count: number of clips of one repeat; None is the protocol's.
      labelled: whether the clips have labels; if not, metrics that need labels are left out.
      seed: seed of bootstrap and subsets.
      repeats: number of sets of clips; None is the protocol's.
      description: text of the progress bar.
      leaving: called between batches; True stops the computation.
      floor: see `Inputs.with_floor`.

    Returns:
      `Scores`, which are empty in all processes but process 0; None if `leaving` stopped the
      computation.

    Raises:
      UserError: clips and reference differ in shape, or there are too few clips.
    """
    protocol = self.protocol
    count, repeats = count or protocol.generated_count, repeats or protocol.repeats
    self._check(generated, reference, count, repeats)
    compared = None
    if getattr(generated, "given_count", 0) and any(m.input == PIXELS for m in protocol.metrics):
      generated = compared = predictions.Compared(generated, self.mesh)
    sets = self._features(generated, count, repeats, description, leaving)
    if sets is None:
      return None
    predicted = compared and compared.predictions(count * repeats)
    if not processes.first():
      return Scores([], [])
    labelled = labelled and reference is not None and reference.labels is not None
    about = Circumstances(
      protocol, tuple(generated.shape), generated.about, reference, count, repeats, seed
    )
    scores = Scores([], [])
    for metric in protocol.metrics:
      fault = self.label_fault(metric, reference, labelled)
      if fault:
        self._report(f"{metric.name} is left out: {fault}")
        continue
      inputs = self._inputs(metric, reference, sets, seed, floor)
      inputs = dataclasses.replace(inputs, predictions=predicted)
      try:
        values = metric.score(inputs)
      except MetricLeftOut as error:
        names = [number.name for number in metric.numbers]
        verb = "is" if len(names) == 1 else "are"
        self._report(f"{', '.join(names)} {verb} left out: {error}")
        continue
      extractor = self.extractors.get(metric.network, _NO_NETWORK)
      records = about.records(metric, extractor, self._finite(metric, values))
      scores.records.extend(records)
      real, first = inputs.real, inputs.generated[0]
      if not (protocol.per_class and labelled and records) or real is None or not first.outputs:
        continue
      if metric.output_of(first).features is not None:
        by_class = metric.by_class(real, first)
        fingerprint_of_all = records[0]["fingerprint"]
        scores.per_class.extend(about.class_records(metric, by_class, fingerprint_of_all))
    return scores

  def label_fault(self, metric: Metric, reference: Reference | None, labelled: bool) -> str | None:
    """Why a metric cannot use the labels of the clips; None if it can, or needs no labels.

    Args:
      metric: one of the protocol's metrics.
      reference: the real clips.
      labelled: whether all clips have labels.
    """
    if metric.needs_labels and not labelled:
      return "the clips have no labels"
    if not metric.labels_are_classes or reference is None:
      return None
    of_network, of_data = self.extractors[metric.network].class_names, reference.class_names
    if not of_network:
      return f"the names of the classes of {metric.network} are not known"
    if not of_data or of_data != of_network[: len(of_data)]:
      return f"the data does not have the classes of {metric.network}"
    return None

  def _check(self, generated: Any, reference: Reference | None, count: int, repeats: int) -> None:
    """UserError if these clips cannot be scored."""
    if count < 2:
      raise UserError(f"{count} generated clip(s); at least 2 are needed")
    if reference is not None and tuple(generated.shape) != reference.shape:
      words = lambda shape: f"{shape[0]} frames of {shape[1]}x{shape[2]}"
      raise UserError(
        f"the reference has {words(reference.shape)}, the generated clips {words(generated.shape)}"
      )
    if reference is None and any(metric.compares for metric in self.protocol.metrics):
      raise UserError(f"protocol {self.protocol.name} compares with real clips, but there are none")
    check_count(self.protocol, generated, count, repeats)
    if count < self.protocol.min_clips:
      raise UserError(
        f"{count} clips are too few for protocol {self.protocol.name}: its metrics need at least "
        f"{self.protocol.min_clips}"
      )

  def _features(
    self,
    generated: Any,
    count: int,
    repeats: int,
    description: str,
    leaving: Callable[[], bool],
  ) -> list[tuple] | None:
    """({path: {output: `FeatureSet`}}, labels) of each repeat; None if `leaving` stopped it."""
    sets = []
    for repeat in range(repeats):
      features = pipeline.gather(
        self.feature_paths,
        generated,
        repeat * count,
        (repeat + 1) * count,
        mesh=self.mesh,
        batch_size=self.batch_size,
        description=f"{description} {repeat + 1}/{repeats}" if repeats > 1 else description,
        leaving=leaving,
      )
      if features is None:
        return None
      sets.append(features)
    return sets

  def _inputs(
    self, metric: Metric, reference: Reference | None, sets: list[tuple], seed: int, floor: bool
  ) -> Inputs:
    """Inputs of a metric: the outputs of its network, behind its preprocessing."""
    path = (metric.network, metric.preprocess)
    real = None
    if reference is not None:
      outputs = reference.gathered.get(path, {})
      real = ClipSet(outputs, reference.labels, reference.population, "--real_count")
    generated = [
      ClipSet(gathered.get(path, {}), labels, count=len(labels)) for gathered, labels in sets
    ]
    return Inputs(real, generated, self.protocol.bootstrap, seed, floor)

  def _finite(self, metric: Metric, scores: Sequence[Score]) -> list[Score]:
    """The finite scores, which JSON can store; reports a warning for each other score."""
    finite_scores = []
    for score in scores:
      if finite(score.value):
        finite_scores.append(score.without_overflow())
        continue
      self._report(
        f"WARNING: {score.metric} is left out: its value is {score.value:g}, out of range; are "
        f"the weights of {metric.network} the right ones, or damaged?"
      )
    return finite_scores

  def heading(self, reference: Reference | None, run: Mapping[str, str]) -> dict[str, Any]:
    """The part of results.json above the records; see `records.heading`."""
    return heading(self.protocol, reference, run)
