"""The contract of a metric: a frozen object that turns features of clips into numbers.

A protocol lists metrics. Each names a network, one of its outputs and the preprocessing before it;
the evaluator hands it the features of the real and the generated clips. A new metric is one module
of this folder and one line in `registry`.
"""

import abc
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.moments import FeatureSet
from vidgan_jax.runtime.errors import UserError

LEVEL = 0.95  # of all intervals
QUANTILE = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
_LARGEST = 1e100  # a file of results has no larger numbers, see `json_files`


class TooFewClips(UserError):
  """A metric has too few clips; other metrics of the protocol may have enough."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClipSet:
  """What a metric knows of one set of clips.

  Attributes:
    outputs: features by name of the network's output.
    labels: int [N], or None where the clips have no classes.
    population: number of clips of which these are a random part; None where labels are independent.
  """

  outputs: Mapping[str, FeatureSet]
  labels: np.ndarray | None = None
  population: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """What a metric computes from.

  Attributes:
    real: the real clips; None for metrics that do not compare with them.
    generated: the generated clips, one set for each repeat.
    bootstrap: resamplings behind an interval; 0 computes no interval.
    seed: seed of splits, subsets and resamplings.
    with_floor: whether to compute what real clips score; False where `real` is half of them.
  """

  real: ClipSet | None
  generated: Sequence[ClipSet]
  bootstrap: int = 0
  seed: int = 0
  with_floor: bool = True


@dataclasses.dataclass(frozen=True)
class Computed:
  """Values of a metric, before its intervals and floors.

  Attributes:
    values: {number: (value of each repeat, ...)}.
    deviation: standard deviation within the first set (over splits or subsets), or the standard
      error of its value; None where there is neither.
    used: what the numbers depend on besides the metric's fields, for their fingerprint.
  """

  values: Mapping[str, Sequence[float]]
  deviation: float | None = None
  used: Mapping = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Floor:
  """What real clips score.

  Attributes:
    value: the number.
    interval: (low, high) about it, or None.
    what: which real clips these are, in words.
  """

  value: float
  interval: tuple[float, float] | None
  what: str


@dataclasses.dataclass(frozen=True)
class Score:
  """One number with all that is reported beside it.

  Attributes:
    metric: its name.
    values: of each repeat.
    interval: (low, high) about the value, see `intervals`; None where the metric has none.
    std: deviation over repeats; of one repeat see `Computed.deviation`.
    floor: what real clips score, or None.
    warnings: lines for the user.
    used: see `Computed.used`.
  """

  metric: str
  values: Sequence[float]
  interval: tuple[float, float] | None = None
  std: float | None = None
  floor: Floor | None = None
  warnings: tuple[str, ...] = ()
  used: Mapping = dataclasses.field(default_factory=dict)

  @property
  def value(self) -> float:
    """Mean over the repeats."""
    return float(np.mean(self.values))

  def without_overflow(self) -> "Score":
    """The score without a deviation, interval or floor that is not finite, and a warning."""
    std = self.std if self.std is None or finite(self.std) else None
    floor = self.floor if self.floor and finite(self.floor.value) else None
    if floor:
      floor = dataclasses.replace(floor, interval=_finite_or_none(floor.interval))
    interval = _finite_or_none(self.interval)
    kept = dataclasses.replace(self, interval=interval, std=std, floor=floor)
    if kept == self:
      return self
    line = "a deviation, interval or floor is left out: it is out of range"
    return dataclasses.replace(kept, warnings=(*self.warnings, line))


@dataclasses.dataclass(frozen=True)
class Number:
  """One number of a metric: its name, its title in reports, and one sentence on its meaning."""

  name: str
  title: str
  meaning: str


@dataclasses.dataclass(frozen=True)
class Metric(abc.ABC):
  """One metric of a protocol.

  A subclass is a frozen dataclass. Its fields are all settings that its numbers depend on; they
  enter the fingerprint. Class attributes say what kind of metric it is:

    name: as users write it.
    numbers: what it gives; most metrics give one number, of their own name.
    higher_is_better: None where a number close to the real clips' is better.
    input: "features" or "logits", which the output must hold.
    compares: whether it compares with real clips, which are then part of the fingerprint.
    needs_labels: whether it needs the clips' labels.
    labels_are_classes: whether these labels must be the classes that the network knows.
    needs_pairs: whether it needs two clips of one class.
    scores_classes: whether it also gives numbers of single classes, see `values_by_class`.

  Attributes:
    network: name of an extractor, see `extractor.NETWORKS`.
    output: name of the network's output that it reads.
    preprocess: operations before the network, see `preprocessing.apply`.
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
    """All that the numbers depend on besides the clips, by name, for the fingerprint."""
    own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return {"metric": self.name, **own}

  def settings(self) -> list[str]:
    """The settings of its own, in words, for a list of protocols."""
    return []

  @property
  def least_clips(self) -> int:
    """Clips that it needs at least."""
    return 1

  def has_interval(self, repeats: int, bootstrap: int) -> bool:
    """Whether its numbers have an interval, which is about the value at this count of clips.

    Several repeats have their deviation instead.
    """
    return repeats == 1 and bootstrap > 0

  @abc.abstractmethod
  def compute(self, inputs: Inputs) -> Computed:
    """The values of all repeats.

    Raises:
      TooFewClips: there are too few clips, or too few of a class.
      UserError: the features are needed, but were too many to keep.
    """

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """The interval about the value of the only repeat; called where `has_interval` is true."""
    del inputs, computed
    return None

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """What real clips score, by number; empty where there are too few real clips."""
    del inputs
    return {}

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """Lines on what makes the numbers doubtful."""
    del inputs, floor
    return []

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """The number of each class that has enough clips.

    Args:
      real, generated: with labels.
      counts: {class: (real clips, generated clips)}.
    """
    del real, generated, counts
    return {}

  def score(self, inputs: Inputs) -> list[Score]:
    """All numbers with their intervals, floors and warnings, in the order of `numbers`.

    Raises:
      see `compute`.
    """
    computed = self.compute(inputs)
    floor = self.floor(inputs) if inputs.with_floor and inputs.real is not None else {}
    single = len(inputs.generated) == 1
    interval = None
    if self.has_interval(len(inputs.generated), inputs.bootstrap):
      interval = self.interval(inputs, computed)
    warnings = tuple(self.warnings(inputs, floor))
    return [
      Score(
        name,
        tuple(values),
        interval,
        computed.deviation if single else float(np.std(values)),  # ddof 0, as TGAN's code
        floor.get(name),
        warnings,
        computed.used,
      )
      for name, values in computed.values.items()
    ]

  def by_class(self, real: ClipSet, generated: ClipSet) -> dict[int, dict]:
    """{class: {"value", "count_real", "count_generated"}} of classes that have enough clips."""
    counts = {
      int(label): (int(np.sum(real.labels == label)), int(np.sum(generated.labels == label)))
      for label in np.unique(generated.labels)
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

  def of(self, clips: ClipSet) -> FeatureSet:
    """The output that it reads."""
    return clips.outputs[self.output]

  def kept(self, *sets: ClipSet) -> list[np.ndarray]:
    """The features [N, d] of some sets; UserError where they were too many to keep."""
    found = [self.of(each).features for each in sets]
    if any(features is None for features in found):
      raise UserError(
        "the features of so many clips are too large to keep; --real_count=N takes fewer"
      )
    return found


def finite(*values: float) -> bool:
  """Whether numbers can be written to a file of results and read again."""
  return all(abs(value) <= _LARGEST for value in values)


def _finite_or_none(interval):
  return interval if interval is None or finite(*interval) else None


def halves(real: FeatureSet, generated: FeatureSet, seed: int):
  """Two disjoint random sets of real clips, for a floor.

  Returns:
    two arrays of indices. Each is as large as the generated set, or half of the real one.
  """
  count = min(generated.count, real.count // 2)
  return intervals.disjoint_halves(real.count, count, seed)


def of_halves(count: int) -> str:
  """How a floor names the clips that it compares."""
  return f"two disjoint sets of {count} real clips"


def copies(generated: FeatureSet) -> list[str]:
  """A warning where some generated clips have the very same features."""
  if generated.features is None:
    return []
  repeated = generated.count - len({row.tobytes() for row in generated.features})
  if not repeated:
    return []
  return [f"{repeated} of the {generated.count} generated clips are copies of others"]
