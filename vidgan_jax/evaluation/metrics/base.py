"""The interface of metrics: frozen objects that compute numbers from features of clips.

A protocol lists metrics. Each metric names a network, one of its outputs and the preprocessing of
clips. The evaluator computes these features of the real and the generated clips and passes them to
the metric. A new metric needs one module in this folder and an entry in `registry`.
"""

import abc
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.moments import FeatureSet
from vidgan_jax.runtime.errors import UserError

LEVEL = 0.95  # confidence level of all intervals
QUANTILE = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
_LARGEST = 1e100  # the largest number that results files may contain, see `json_files`


class MetricLeftOut(UserError):
  """This metric cannot be computed from these clips; other metrics of the protocol may be."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClipSet:
  """One set of clips, as a metric receives it.

  Attributes:
    outputs: {output of the network: its features}.
    labels: int [N], or None if the clips have no classes.
    population: number of clips in the data set that these clips are a random part of; None if
      their labels are independent of each other.
    count_flag: flag of the command that sets the number of these clips.
    count: number of these clips; 0 if unknown.
  """

  outputs: Mapping[str, FeatureSet]
  labels: np.ndarray | None = None
  population: int | None = None
  count_flag: str = "--count"
  count: int = 0

  @property
  def required_labels(self) -> np.ndarray:
    """The labels [N], for metrics that need labels."""
    assert self.labels is not None
    return self.labels


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """The inputs of a metric.

  Attributes:
    real: the real clips; None for metrics that do not compare with them.
    generated: the generated clips, one set for each repeat.
    bootstrap: number of resamples for an interval, of which some metrics use the first 16; 0
      computes no interval.
    seed: seed of splits, subsets and resamples.
    with_floor: whether to compute the floor. False if `real` is already one half of the real clips.
    predictions: how near the clips are to those that they continue, see `metrics.prediction`; None
      if they continue none.
  """

  real: ClipSet | None
  generated: Sequence[ClipSet]
  bootstrap: int = 0
  seed: int = 0
  with_floor: bool = True
  predictions: Any = None

  @property
  def real_clips(self) -> ClipSet:
    """The real clips, for metrics that compare and for floors."""
    assert self.real is not None
    return self.real


@dataclasses.dataclass(frozen=True)
class Computed:
  """Values of a metric, before its intervals and floors.

  Attributes:
    values: {name of the number: (value of each repeat, ...)}.
    deviation: standard deviation over the splits or subsets of the first repeat, or the standard
      error of its value; None if the metric has neither.
    extra_fields: what the numbers depend on besides the metric's fields; part of their fingerprint.
  """

  values: Mapping[str, Sequence[float]]
  deviation: float | None = None
  extra_fields: Mapping = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Floor:
  """The floor of a number: its value for real clips in place of generated ones.

  Attributes:
    value: the number.
    interval: (low, high) about the value, or None.
    what: description of the real clips that were used.
  """

  value: float
  interval: tuple[float, float] | None
  what: str


@dataclasses.dataclass(frozen=True)
class Score:
  """One number with all that is reported beside it.

  Attributes:
    metric: name of the number.
    values: value of each repeat.
    interval: (low, high) about the value, see `intervals`; None if the metric has no interval.
    std: standard deviation over repeats; for a single repeat, `Computed.deviation`.
    floor: the number for real clips, or None.
    warnings: lines for the user.
    extra_fields: see `Computed.extra_fields`.
  """

  metric: str
  values: Sequence[float]
  interval: tuple[float, float] | None = None
  std: float | None = None
  floor: Floor | None = None
  warnings: tuple[str, ...] = ()
  extra_fields: Mapping = dataclasses.field(default_factory=dict)

  @property
  def value(self) -> float:
    """Mean over the repeats."""
    return float(np.mean(self.values))

  def without_overflow(self) -> "Score":
    """Removes a deviation, interval or floor that a results file cannot store; adds a warning."""
    std = self.std if self.std is None or finite(self.std) else None
    floor = self.floor if self.floor and finite(self.floor.value) else None
    if floor:
      floor = dataclasses.replace(floor, interval=_finite_or_none(floor.interval))
    interval = _finite_or_none(self.interval)
    storable = dataclasses.replace(self, interval=interval, std=std, floor=floor)
    if storable == self:
      return self
    line = "a deviation, interval or score of real clips is left out: it is out of range"
    return dataclasses.replace(storable, warnings=(*self.warnings, line))


@dataclasses.dataclass(frozen=True)
class Number:
  """A number that a metric computes: its name, its title in reports, and its meaning in words."""

  name: str
  title: str
  meaning: str


@dataclasses.dataclass(frozen=True)
class Metric(abc.ABC):
  """One metric of a protocol.

  A subclass is a frozen dataclass. Its fields are all settings that its numbers depend on, and they
  are part of the fingerprint. Class attributes describe the metric:

    name: its name in protocols and flags.
    numbers: the numbers that it computes. Most metrics compute one, with the name of the metric.
    higher_is_better: True, False, or None if a number is better the closer it is to the floor.
    input: "features" or "logits", the kind of network output that it needs; "pixels" if it compares
      predicted with true frames and needs no network.
    compares: whether it compares with real clips. The real clips are then part of the fingerprint.
    needs_labels: whether it needs the labels of the clips.
    labels_are_classes: whether the labels must be the classes of the network, see `Extractor`.
    needs_pairs: whether it needs at least two clips of one class.
    scores_classes: whether it also computes numbers of single classes, see `values_by_class`.

  Attributes:
    network: name of the network, see `extractor.NETWORKS`.
    output: name of the network output that it uses.
    preprocess: operations on clips before the network, see `preprocessing.apply`.
  """

  name: ClassVar[str]
  numbers: ClassVar[tuple[Number, ...]]
  higher_is_better: ClassVar[bool | None]
  input: ClassVar[str] = "features"
  compares: ClassVar[bool] = False
  needs_labels: ClassVar[bool] = False
  labels_are_classes: ClassVar[bool] = False
  needs_pairs: ClassVar[bool] = False
  scores_classes: ClassVar[bool] = False

  network: str
  output: str
  preprocess: tuple = ()

  def fields(self) -> dict:
    """{name: value} of all that the numbers depend on besides the clips, for the fingerprint."""
    fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return {"metric": self.name, **fields}

  def settings(self) -> list[str]:
    """Descriptions of the settings that only this metric has, for the list of protocols."""
    return []

  @property
  def min_clips(self) -> int:
    """The smallest number of clips that the metric can be computed for."""
    return 1

  def has_interval(self, repeats: int, bootstrap: int) -> bool:
    """Whether its numbers get an interval, which is about the value at this count of clips.

    With several repeats, their standard deviation is reported instead.
    """
    return repeats == 1 and bootstrap > 0

  @abc.abstractmethod
  def compute(self, inputs: Inputs) -> Computed:
    """Computes the values of all repeats.

    Raises:
      MetricLeftOut: there are too few clips, or too few of a class; or the features of single clips
        are needed, but were too large to store.
    """

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """The interval about the value of the only repeat; called only if `has_interval` is true."""
    del inputs, computed
    return None

  def intervals(
    self, inputs: Inputs, computed: Computed
  ) -> Mapping[str, tuple[float, float] | None]:
    """{name of a number: its interval}; metrics with one number override `interval` instead."""
    return dict.fromkeys(computed.values, self.interval(inputs, computed))

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """{name of the number: its value for real clips}; empty if there are too few real clips."""
    del inputs
    return {}

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """Lines that explain why the numbers may be unreliable."""
    del inputs, floor
    return []

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """{class: number} for each class that has enough clips.

    Args:
      real, generated: clips with labels.
      counts: {class: (number of real clips, number of generated clips)}.
    """
    del real, generated, counts
    return {}

  def score(self, inputs: Inputs) -> list[Score]:
    """Computes all numbers with intervals, floors and warnings, in the order of `numbers`.

    Raises:
      MetricLeftOut: see `compute`.
    """
    computed = self.compute(inputs)
    floor = self.floor(inputs) if inputs.with_floor and inputs.real is not None else {}
    single = len(inputs.generated) == 1
    found: Mapping[str, tuple[float, float] | None] = {}
    if self.has_interval(len(inputs.generated), inputs.bootstrap):
      found = self.intervals(inputs, computed)
    warnings = tuple(self.warnings(inputs, floor))
    return [
      Score(
        name,
        tuple(values),
        found.get(name),
        computed.deviation if single else float(np.std(values)),  # ddof 0, as in TGAN's code
        floor.get(name),
        warnings,
        computed.extra_fields,
      )
      for name, values in computed.values.items()
    ]

  def by_class(self, real: ClipSet, generated: ClipSet) -> dict[int, dict]:
    """{class: {"value", "count_real", "count_generated"}} of classes that have enough clips.

    Args:
      real, generated: clips with labels.
    """
    of_real, of_generated = real.required_labels, generated.required_labels
    counts = {
      int(label): (int(np.sum(of_real == label)), int(np.sum(of_generated == label)))
      for label in np.unique(of_generated)
    }
    return {
      label: {
        "value": float(value),
        "count_real": counts[label][0],
        "count_generated": counts[label][1],
      }
      for label, value in self.values_by_class(real, generated, counts).items()
      if finite(value)
    }

  def output_of(self, clips: ClipSet) -> FeatureSet:
    """The network output of `clips` that the metric uses."""
    return clips.outputs[self.output]

  def stored_features(self, *sets: ClipSet) -> list[np.ndarray]:
    """The features [N, d] of each set.

    Raises:
      MetricLeftOut: the features of a set were too large to store.
    """
    features = []
    for clips in sets:
      of_set = self.output_of(clips)
      if of_set.features is None:
        raise MetricLeftOut(
          f"the {self.input} of {of_set.count} clips are too large to store; {clips.count_flag}=N "
          "takes fewer clips"
        )
      features.append(of_set.features)
    return features


def finite(*values: float) -> bool:
  """Whether all numbers are finite and small enough for a results file."""
  return all(abs(value) <= _LARGEST for value in values)


def _finite_or_none(interval):
  return interval if interval is None or finite(*interval) else None


def floor_halves(
  real: FeatureSet, generated: FeatureSet, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Draws two disjoint random sets of real clips for a floor.

  Returns:
    two arrays of indices of real clips. Each is as large as the generated set, or half of the real
    set if that is smaller.
  """
  count = min(generated.count, real.count // 2)
  return intervals.disjoint_halves(real.count, count, seed)


def describe_halves(count: int) -> str:
  """The text of `Floor.what` for a floor between two sets of `count` real clips."""
  return f"two disjoint sets of {count} real clips"


def copy_warnings(generated: FeatureSet) -> list[str]:
  """A warning if some generated clips have exactly equal features."""
  if generated.features is None:
    return []
  repeated = generated.count - len({row.tobytes() for row in generated.features})
  if not repeated:
    return []
  return [f"{repeated} of the {generated.count} generated clips are copies of others"]
