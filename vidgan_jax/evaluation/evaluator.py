"""Judges clips by a protocol: one object for a door's request and for a training hook.

An `Evaluator` has its networks compiled for its devices. It gathers the real clips' features once,
or finds them in a file, and then scores as many sets of generated clips as are handed in.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np

from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.features import pipeline, references
from vidgan_jax.evaluation.features.extractor import (
  NETWORKS,
  PACKAGED,
  load_extractor,
  unverified,
)
from vidgan_jax.evaluation.features.references import Reference
from vidgan_jax.evaluation.metrics import by_class, measures
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError

FORMAT = 1
# Attributes of clips, kept with a reference:
_OF_REAL = ("population", "stride", "trained_stride", "split", "data")


@dataclasses.dataclass(frozen=True)
class Scores:
  """What one set of generated clips scored: records and per-class entries, plain values."""

  records: list[dict]
  per_class: list[dict]


def load_extractors(protocol: Protocol, weights=None) -> dict:
  """The networks of a protocol by name; UserError where a file is missing or wrong.

  Args:
    protocol: see `protocols.get_protocol`.
    weights: folder of converted weights, or None for the default one.
  """
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
    for measure in protocol.measures:
      if measure.network not in extractors:
        raise UserError(f"protocol {protocol.name} needs the network {measure.network}")
      wanted.setdefault((measure.network, measure.preprocess), []).append(measure.output)
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
      reference: from `reference`; None where no measure needs it.
      count: clips of one repeat; None is the protocol's.
      labelled: whether the clips' labels mean the reference's classes; else what needs labels is
        left out.
      seed: of bootstrap and subsets.
      repeats: sets of clips; None is the protocol's.
      description: of the progress bar.
      leaving: asked between batches whether to give up.
      floor: see `measures.score`.

    Returns:
      `Scores`, of several processes empty ones in all but the first, or None where it was given up.

    Raises:
      UserError: where clips and reference differ in shape, or are too few.
    """
    protocol = self.protocol
    count, repeats = count or protocol.generated_count, repeats or protocol.repeats
    self._check(generated, reference, count, repeats)
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
    if not processes.first():
      return Scores([], [])
    if reference is None or reference.labels is None:
      labelled = False
    records, per_class = [], []
    for measure in protocol.measures:
      if measure.metric in measures.LABELLED and not labelled:
        self._report(f"{measure.metric} is left out: the clips have no labels of known classes")
        continue
      try:
        new, classes = self._measure(
          measure, generated, reference, sets, count, labelled, seed, floor
        )
      except measures.TooFewClips as error:
        prdc = measure.metric == "prdc"
        names = "precision, recall, density, coverage are" if prdc else f"{measure.metric} is"
        self._report(f"{names} left out: {error}")
        continue
      records += new
      per_class += classes
    return Scores(records, per_class)

  def _check(self, generated, reference, count, repeats):
    if count < 2:
      raise UserError(f"{count} generated clip(s); at least 2 are needed")
    self.check_shape(generated.shape)
    if reference is not None and tuple(generated.shape) != reference.shape:
      words = lambda shape: f"{shape[0]} frames of {shape[1]}x{shape[2]}"
      raise UserError(
        f"the reference has {words(reference.shape)}, the generated clips {words(generated.shape)}"
      )
    needed, has = count * repeats, getattr(generated, "count", None)
    if has is not None and has < needed:
      raise UserError(
        f"{has} clips are too few for protocol {self.protocol.name}: it takes {count}"
        f"{f' x {repeats}' if repeats > 1 else ''}; --count=N evaluates "
        "fewer, and the fingerprint says so"
      )
    splits = max((m.splits for m in self.protocol.measures if m.metric == "is"), default=1)
    if count < splits:
      raise UserError(f"{count} clips are too few for {splits} splits of the Inception Score")

  def _measure(self, measure, generated, reference, sets, count, labelled, seed, floor):
    key = (measure.network, measure.preprocess)
    own = [gathered[key][measure.output] for gathered, _ in sets]
    real = reference and reference.gathered[key][measure.output]
    scores = measures.score(
      measure,
      real,
      own,
      real_labels=reference and reference.labels,
      labels=[labels for _, labels in sets],
      bootstrap=self.protocol.bootstrap,
      seed=seed,
      floor=floor,
      population=reference and reference.population,
    )
    fields = self._fields(measure, generated, reference, count, len(sets), seed)
    records, per_class = [], []
    for found in scores:
      if not measures.finite(found.value):
        self._report(
          f"WARNING: {found.metric} is left out: its value is {found.value:g}, out of range; are "
          f"the weights of {measure.network} the right ones, or damaged?"
        )
        continue
      found = measures.without_overflow(found)
      fields_of_it = {**fields, "metric": found.metric, **found.used}
      records.append(self._record(measure, found, fields_of_it, generated, reference, count))
    if self.protocol.per_class and labelled and records:
      first, labels = own[0], sets[0][1]
      if first.features is not None:
        found = by_class.by_class(measure, real, reference.labels, first, labels)
        step = generated.about.get("step")
        names = reference.class_names
        for label, entry in found.items():
          named = {"class": label, "name": names[label] if label < len(names) else str(label)}
          truncation = generated.about.get("truncation")
          told = {"step": step, "truncation": truncation, "metric": measure.metric}
          per_class.append({**told, **named, **entry, "fingerprint": records[0]["fingerprint"]})
    return records, per_class

  def _fields(self, measure, generated, reference, count, repeats, seed) -> dict:
    """All that a number is made of."""
    protocol, extractor = self.protocol, self.extractors[measure.network]
    frames, height, width, _ = generated.shape
    constants = {n: a for n, a in sorted(extractor.constants.items())}
    found = {
      "format": FORMAT,
      "protocol": protocol.name,
      **measure.settings(),
      "weights": extractor.weights_hash,
      "constants": fingerprint.of_arrays(constants) if constants else None,
      "frames": frames,
      "resolution": [height, width],
      "quantisation": protocol.quantisation,
      "count_generated": count,
      "repeats": repeats,
      "trial": (count, repeats) != (protocol.generated_count, protocol.repeats),
      "seed": seed,
      **generated.about,
    }
    if found["seed"] != seed:  # subsets and splits are drawn apart from the clips
      found["seed_of_draws"] = seed
    if measure.metric in measures.DISTANCES:
      found["reference"] = reference.hashes[(measure.network, measure.preprocess)]
      found["count_real"] = reference.count
      # Left out where they equal what older results had: numbers stay comparable with those.
      taken = {"stride": reference.stride, "split": reference.split}
      found |= {name: value for name, value in taken.items() if value not in (None, "train")}
      if protocol.real_count not in (None, reference.count):
        found["trial"] = True
    return fingerprint.plain(found)

  def _record(self, measure, found, fields, generated, reference, count) -> dict:
    about = generated.about
    return {
      "step": about.get("step"),
      "metric": found.metric,
      "network": measure.network,
      "output": measure.output,
      "value": found.value,
      "values": list(found.values),
      "std": found.std,
      "interval": found.interval and list(found.interval),
      "level": measures.LEVEL,
      "count_real": reference.count if measure.metric in measures.DISTANCES else None,
      "count_generated": count,
      "truncation": about.get("truncation"),
      "ema": about.get("ema"),
      "floor": found.floor and {**found.floor, "interval": _listed(found.floor["interval"])},
      "fingerprint": fingerprint.of_column(fields),
      "number": fingerprint.of_number(fields),
      "fields": fields,
      "warnings": [
        *found.warnings,
        *self._unusual(generated.shape[1]),
        *clips.other_stride(reference),
        *clips.other_data(reference, [measure.network]),
        *unverified(self.extractors[measure.network]),
      ],
    }

  def _unusual(self, side: int) -> list[str]:
    """A warning where the protocol's source judged clips of other sizes."""
    usual = self.protocol.resolutions
    if not usual or side in usual:
      return []
    sizes = " and ".join(f"{size}x{size}" for size in usual)
    return [f"clips of {side}x{side}; the protocol's source judged {sizes}"]

  def heading(self, reference: Reference | None, run: Mapping) -> dict:
    """What stands above the records of a file of results; see `results`."""
    reference = reference and {
      "description": reference.description,
      "hash": fingerprint.digest(sorted(reference.hashes.values())),
      "count": reference.count,
    }
    return {
      "format": FORMAT,
      "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
      "versions": _versions(),
      "run": dict(run),
      "protocol": fingerprint.plain(self.protocol.describe()),
      "reference": reference,
    }


def _listed(interval):
  return interval and list(interval)


def _versions() -> dict:
  import vidgan_jax

  return {
    "vidgan_jax": vidgan_jax.__version__,
    "jax": jax.__version__,
    "numpy": np.__version__,
    "device": jax.devices()[0].device_kind,
  }
