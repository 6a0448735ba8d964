"""Judges clips by a protocol: one object for a door's request and for a training hook.

An `Evaluator` has its networks compiled for its devices. It gathers the real clips' features once,
or finds them in a file, and then scores as many sets of generated clips as are handed in.
"""

import pathlib
from collections.abc import Callable, Mapping

from vidgan_jax.evaluation.features import pipeline, references
from vidgan_jax.evaluation.features.extractor import (
  NETWORKS,
  PACKAGED,
  load_extractor,
)
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
    if name in NETWORKS:
      least = NETWORKS[name].build().min_frames
      if frames < least:
        raise UserError(f"{name} needs clips of at least {least} frames, these have {frames}")


class Evaluator:
  """Judges clips by a protocol.

  Where the devices of its mesh are several processes', all have to call it alike: all run the
  networks, and the first alone has the kept features of real clips and computes scores.

  Args:
    protocol: see `protocols.get_protocol`.
    extractors: {name: `extractor.Extractor`} of the networks that it needs.
    mesh: devices; by default all.
    batch_size: clips at a time, rounded up to a multiple of the devices; no number depends on it.
    report: called with lines for the user.

  Raises:
    UserError: where a network is missing or lacks an output.
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
    self.ways = [
      pipeline.Way(extractors[name], operations, dict.fromkeys(outputs), self.mesh)
      for (name, operations), outputs in wanted.items()
    ]

  def check_shape(self, shape) -> None:
    """UserError where clips (T, H, W, 3) cannot be judged by this protocol's networks."""
    for way in self.ways:
      way.check_shape(shape)

  def reference(
    self, real, *, file=None, folder=None, leaving: Callable[[], bool] = lambda: False
  ) -> Reference | None:
    """Features of all clips of `real`, from a file where they are known.

    Args:
      real: clips, see `evaluation.clips`, with `count`.
      file: of the features; it is refused where it holds others, and written where it is not there.
        For protocols of one network and preprocessing.
      folder: where files are kept otherwise; None keeps none.
      leaving: asked between batches whether to give up.

    Returns:
      a `Reference`, or None where it was given up.

    Raises:
      UserError: on a file of something else, or clips that will not do.
    """
    self.check_shape(real.shape)
    if file is not None and len(self.ways) > 1:
      raise UserError(f"--reference is one file; {self.protocol.name} needs {len(self.ways)}")
    count, about_clips = real.count, real.about
    if count < 2:
      raise UserError(f"{count} real clip(s); at least 2 are needed")
    gathered, labels, hashes, missing = {}, None, {}, {}
    for way in self.ways:
      told = references.about(way, self.protocol, real.shape, about_clips, count)
      hashes[way.key] = fingerprint.digest(told)
      place = references.Place.of(way, self.protocol, told, file, folder)
      known = place.load(self._report) if processes.first() else None
      if processes.from_first(known is None):
        missing[way] = place
      elif known:
        gathered[way.key], labels = known
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
      for way, place in missing.items():
        gathered[way.key] = new[way.key]
        if processes.first():
          place.save(new[way.key], labels, self._report)
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
      generated: clips, see `evaluation.clips`; repeat r is of the clips r * count and on.
      reference: from `reference`; None where no metric compares with it.
      count: clips of one repeat; None is the protocol's.
      labelled: whether the clips' labels mean the reference's classes; else what needs labels is
        left out.
      seed: of bootstrap and subsets.
      repeats: sets of clips; None is the protocol's.
      description: of the progress bar.
      leaving: asked between batches whether to give up.
      floor: see `Inputs.with_floor`.

    Returns:
      `Scores`, of several processes empty ones in all but the first, or None where it was given up.

    Raises:
      UserError: where clips and reference differ in shape, or are too few.
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
      if protocol.per_class and labelled and records and metric.of(first).features is not None:
        by_class, digits = metric.by_class(inputs.real, first), records[0]["fingerprint"]
        scores.per_class.extend(about.class_records(metric, by_class, digits))
    return scores

  def _check(self, generated, reference, count, repeats):
    """UserError where these clips cannot be scored."""
    if count < 2:
      raise UserError(f"{count} generated clip(s); at least 2 are needed")
    self.check_shape(generated.shape)
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
    if count < self.protocol.least_clips:
      raise UserError(
        f"{count} clips are too few for protocol {self.protocol.name}: its metrics need at least "
        f"{self.protocol.least_clips}"
      )

  def _features(self, generated, count, repeats, description, leaving):
    """[({path: {output: `FeatureSet`}}, labels) of each repeat], or None where it was given up."""
    sets = []
    for repeat in range(repeats):
      found = pipeline.gather(
        self.ways,
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
