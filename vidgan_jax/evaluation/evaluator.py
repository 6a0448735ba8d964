"""Evaluates clips by a protocol, for the command and for the training hook.

An `Evaluator` compiles its networks for its devices. It computes the features of the real clips
once, or reads them from a file, and then scores any number of sets of generated clips.
"""

import pathlib
from collections.abc import Callable, Mapping

from vidgan_jax.evaluation.features import pipeline, references
from vidgan_jax.evaluation.features.extractor import NETWORKS, PACKAGED, find, load_extractor
from vidgan_jax.evaluation.features.references import Reference
from vidgan_jax.evaluation.metrics.base import ClipSet, Inputs, Score, TooFewClips, finite
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.records import Circumstances, Scores, heading
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError

# Attributes of clips, kept with a reference:
_OF_REAL = ("population", "stride", "trained_stride", "split", "data")


def load_extractors(protocol: Protocol, weights=None) -> dict:
  """The networks of a protocol by name; UserError where a file is missing, wrong or not needed.

  Args:
    protocol: see `protocols.get_protocol`.
    weights: folder of converted weights, or None for the default one.
  """
  if weights is not None and set(protocol.networks) <= {PACKAGED}:
    raise UserError(
      f"--weights: protocol {protocol.name} needs no file of weights; its network comes with the "
      "package"
    )
  found = {}
  for name in protocol.networks:
    packaged = name == PACKAGED or weights is None
    path = None if packaged else pathlib.Path(weights) / f"{name}.npz"
    found[name] = load_extractor(name, path)
  return found


def check_frames(protocol: Protocol, frames: int) -> None:
  """UserError where clips have too few frames for a network of the protocol; opens no weights."""
  for name in protocol.networks:
    if name in (*NETWORKS, PACKAGED):
      least = find(name).build().min_frames
      if frames < least:
        raise UserError(f"{name} needs clips of at least {least} frames, these have {frames}")


class Evaluator:
  """Evaluates clips by a protocol.

  With several processes, all must make the same calls: all run the networks; process 0 alone reads
  stored features of real clips and computes scores.

  Args:
    protocol: see `protocols.get_protocol`.
    extractors: {name: `extractor.Extractor`} of the protocol's networks.
    mesh: devices; by default all.
    batch_size: clips at a time, rounded up to a multiple of the devices; no number depends on it.
    report: called with lines for the user.

  Raises:
    UserError: a network is missing or lacks an output.
  """

  def __init__(
    self, protocol: Protocol, extractors, *, mesh=None, batch_size: int = 32, report=print
  ):
    self.protocol, self.extractors = protocol, extractors
    self.mesh = mesh or meshes.make_mesh()
    self.batch_size, self._report = batch_size, report
    wanted = {}
    for metric in protocol.metrics:
      if metric.network not in extractors:
        raise UserError(f"protocol {protocol.name} needs the network {metric.network}")
      wanted.setdefault((metric.network, metric.preprocess), []).append(metric.output)
    self.feature_paths = [
      pipeline.FeaturePath(extractors[name], operations, dict.fromkeys(outputs), self.mesh)
      for (name, operations), outputs in wanted.items()
    ]

  def reference(
    self, real, *, file=None, folder=None, leaving: Callable[[], bool] = lambda: False
  ) -> Reference | None:
    """Features of all clips of `real`, computed or read from a file.

    Args:
      real: clips, see `evaluation.clips`, with `count`.
      file: path of the features, for protocols of one network and preprocessing. A file of other
        features is refused; a missing one is written.
      folder: folder of such files where `file` is None; None stores no features.
      leaving: called between batches; True stops the computation.

    Returns:
      a `Reference`, or None where `leaving` stopped it.

    Raises:
      UserError: the file holds other features, or the clips do not fit the networks.
    """
    if file is not None and len(self.feature_paths) > 1:
      raise UserError(
        f"--reference is one file; {self.protocol.name} needs {len(self.feature_paths)}"
      )
    count, about_clips = real.count, real.about
    if count < 2:
      raise UserError(f"{count} real clip(s); at least 2 are needed")
    gathered, labels, hashes, missing = {}, None, {}, {}
    for path in self.feature_paths:
      about = references.about(path, self.protocol, real.shape, about_clips, count)
      hashes[path.key] = fingerprint.digest(about)
      feature_file = references.ReferenceFile.of(path, self.protocol, about, file, folder)
      known = feature_file.load(self._report) if processes.first() else None
      if processes.from_first(known is None):
        missing[path] = feature_file
      elif known:
        gathered[path.key], labels = known
    if missing:
      found = pipeline.gather(
        [*missing],
        real,
        0,
        count,
        mesh=self.mesh,
        batch_size=self.batch_size,
        description="real clips",
        leaving=leaving,
      )
      if found is None:
        return None
      new, labels = found
      for path, feature_file in missing.items():
        gathered[path.key] = new[path.key]
        if processes.first():
          feature_file.save(new[path.key], labels, self._report)
    return Reference(
      gathered,
      labels if getattr(real, "num_classes", 0) else None,
      hashes,
      tuple(real.shape),
      count,
      f"{count} clips of {self.protocol.split} data ({about_clips.get('data', 'given clips')}"
      f"{getattr(real, 'stored', '')})",
      tuple(getattr(real, "class_names", ())),
      **{name: getattr(real, name, None) for name in _OF_REAL},
    )

  def score(
    self,
    generated,
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
      reference: from `reference`; None if no metric compares with real clips.
      count: clips of one repeat; None is the protocol's.
      labelled: whether the clips' labels are the reference's classes; if not, metrics that need
        labels are left out.
      seed: of bootstrap and subsets.
      repeats: sets of clips; None is the protocol's.
      description: of the progress bar.
      leaving: called between batches; True stops the computation.
      floor: see `Inputs.with_floor`.

    Returns:
      `Scores`, empty ones in all processes but process 0; None where `leaving` stopped it.

    Raises:
      UserError: clips and reference differ in shape, or there are too few clips.
    """
    protocol = self.protocol
    count, repeats = count or protocol.generated_count, repeats or protocol.repeats
    self._check(generated, reference, count, repeats)
    sets = self._features(generated, count, repeats, description, leaving)
    if sets is None:
      return None
    if not processes.first():
      return Scores([], [])
    labelled = labelled and reference is not None and reference.labels is not None
    about = Circumstances(
      protocol, tuple(generated.shape), generated.about, reference, count, repeats, seed
    )
    scores = Scores([], [])
    for metric in protocol.metrics:
      if metric.needs_labels and not labelled:
        self._report(f"{metric.name} is left out: the clips have no labels of known classes")
        continue
      inputs = self._inputs(metric, reference, sets, seed, floor)
      try:
        found = metric.score(inputs)
      except TooFewClips as error:
        names = [number.name for number in metric.numbers]
        verb = "is" if len(names) == 1 else "are"
        self._report(f"{', '.join(names)} {verb} left out: {error}")
        continue
      records = about.records(metric, self.extractors[metric.network], self._finite(metric, found))
      scores.records.extend(records)
      first = inputs.generated[0]
      stored = metric.output_of(first).features is not None
      if protocol.per_class and labelled and records and stored:
        by_class, digits = metric.by_class(inputs.real, first), records[0]["fingerprint"]
        scores.per_class.extend(about.class_records(metric, by_class, digits))
    return scores

  def _check(self, generated, reference, count, repeats):
    """UserError where these clips cannot be scored."""
    if count < 2:
      raise UserError(f"{count} generated clip(s); at least 2 are needed")
    if reference is not None and tuple(generated.shape) != reference.shape:
      words = lambda shape: f"{shape[0]} frames of {shape[1]}x{shape[2]}"
      raise UserError(
        f"the reference has {words(reference.shape)}, the generated clips {words(generated.shape)}"
      )
    if reference is None and any(metric.compares for metric in self.protocol.metrics):
      raise UserError(f"protocol {self.protocol.name} compares with real clips: it needs some")
    needed, has = count * repeats, getattr(generated, "count", None)
    if has is not None and has < needed:
      raise UserError(
        f"{has} clips are too few for protocol {self.protocol.name}: it takes {count}"
        f"{f' x {repeats}' if repeats > 1 else ''}; --count=N evaluates "
        "fewer, and the fingerprint says so"
      )
    if count < self.protocol.min_clips:
      raise UserError(
        f"{count} clips are too few for protocol {self.protocol.name}: its metrics need at least "
        f"{self.protocol.min_clips}"
      )

  def _features(self, generated, count, repeats, description, leaving):
    """[({path: {output: `FeatureSet`}}, labels) of each repeat], or None where it was given up."""
    sets = []
    for repeat in range(repeats):
      found = pipeline.gather(
        self.feature_paths,
        generated,
        repeat * count,
        (repeat + 1) * count,
        mesh=self.mesh,
        batch_size=self.batch_size,
        description=f"{description} {repeat + 1}/{repeats}" if repeats > 1 else description,
        leaving=leaving,
      )
      if found is None:
        return None
      sets.append(found)
    return sets

  def _inputs(self, metric, reference, sets, seed, floor) -> Inputs:
    """What a metric computes from: the outputs of its network behind its preprocessing."""
    path = (metric.network, metric.preprocess)
    real = reference and ClipSet(reference.gathered[path], reference.labels, reference.population)
    generated = [ClipSet(gathered[path], labels) for gathered, labels in sets]
    return Inputs(real, generated, self.protocol.bootstrap, seed, floor)

  def _finite(self, metric, scores) -> list[Score]:
    """The scores that a file of results can hold; of others a warning is reported."""
    kept = []
    for score in scores:
      if finite(score.value):
        kept.append(score.without_overflow())
        continue
      self._report(
        f"WARNING: {score.metric} is left out: its value is {score.value:g}, out of range; are "
        f"the weights of {metric.network} the right ones, or damaged?"
      )
    return kept

  def heading(self, reference: Reference | None, run: Mapping) -> dict:
    """What stands above the records of a file of results; see `results`."""
    return heading(self.protocol, reference, run)
