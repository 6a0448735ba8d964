"""The kernel distance between features: KVD, and KID of video features."""

import dataclasses
import math

from vidgan_jax.evaluation.metrics.base import (
  LEVEL,
  ClipSet,
  Computed,
  Floor,
  Metric,
  Number,
  halves,
  of_halves,
)
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.kernel_distance import fixed_among, kernel_distance


@dataclasses.dataclass(frozen=True)
class KernelDistance(Metric):
  """The squared maximum mean discrepancy with a cubic kernel.

  Attributes:
    subsets: number of random subsets to average over; None takes all clips at once.
    subset_size: clips in a subset. Where a set has fewer, subsets are smaller, and the number's
      field `subset_size_used` says so.
    estimator: "unbiased", as published (KID, KVD), or "classes", which is 0 on average for equal
      sets whose classes come in equal numbers too; see `statistics.kernel_distance`.
  """

  name = "kvd"
  numbers = (
    Number(
      "kvd",
      "KVD",
      "A kernel distance between features, without bias at any number of clips; around 0, even "
      "below it, where both sets are alike.",
    ),
  )
  higher_is_better = False
  compares = True

  subsets: int | None = None
  subset_size: int = 1000
  estimator: str = "classes"

  def settings(self):
    """See `Metric`."""
    subsets = f"{self.subsets} subsets of {self.subset_size}"
    return [subsets if self.subsets else "all clips at once", f"estimator {self.estimator}"]

  def has_interval(self, repeats, bootstrap):
    """See `Metric`. Subsets have their deviation instead."""
    return super().has_interval(repeats, bootstrap) and self.subsets is None

  def compute(self, inputs):
    """See `Metric`."""
    real, *generated = self.kept(inputs.real, *inputs.generated)
    found = [
      self._distance(real, each, inputs, self.estimator, **self._classes(inputs.real, clips))
      for each, clips in zip(generated, inputs.generated, strict=True)
    ]
    used = {} if self.subsets is None else {"subset_size_used": self._size(inputs)}
    return Computed({self.name: [mean for mean, _ in found]}, found[0][1], used)

  def interval(self, inputs, computed):
    """See `Metric`."""
    both = self.kept(inputs.real, inputs.generated[0])
    return self._interval(*both, inputs, **self._classes(inputs.real, inputs.generated[0]))

  def floor(self, inputs):
    """See `Metric`: the distance between two halves of the real clips.

    Halves are drawn at random: the published estimate is 0 on average, whatever their classes.
    """
    if not self._has_floor(inputs):
      return {}
    real, generated = self.of(inputs.real), self.of(inputs.generated[0])
    one, other = (real.features[half] for half in halves(real, generated, inputs.seed))
    value, _ = self._distance(one, other, inputs, "unbiased")
    interval = self._interval(one, other, inputs) if self.subsets is None else None
    return {self.name: Floor(value, interval, of_halves(len(one)))}

  def warnings(self, inputs, floor):
    """See `Metric`."""
    size = self._size(inputs)
    if self.subsets is None or size == self.subset_size:
      return []
    wanted = f"the protocol asks for subsets of {self.subset_size}"
    return [f"{self.subsets} subsets of {size} clips: {wanted}"]

  def _has_floor(self, inputs) -> bool:
    """Whether each half of the real clips has two clips."""
    return inputs.with_floor and self.of(inputs.real).count >= 4

  def _size(self, inputs) -> int:
    """Clips in a subset; as many for the value as for the floor."""
    real = self.of(inputs.real).count
    most = real // 2 if self._has_floor(inputs) else real
    return min(self.subset_size, most, self.of(inputs.generated[0]).count)

  def _distance(self, one, other, inputs, estimator, **classes):
    """(value, deviation over subsets or None)."""
    return kernel_distance(
      one,
      other,
      subsets=self.subsets,
      subset_size=self._size(inputs),
      seed=inputs.seed,
      estimator=estimator,
      **classes,
    )

  def _classes(self, real: ClipSet, generated: ClipSet) -> dict:
    """What `kernel_distance` needs of both sets for the estimator "classes"."""
    if self.estimator != "classes":
      return {}
    drawn = None if generated.labels is None else fixed_among(generated.labels)
    population = math.inf if real.population is None else real.population
    return {
      "labels": (real.labels, generated.labels),
      "populations": (population, drawn),
    }

  def _interval(self, one, other, inputs, **classes):
    if inputs.bootstrap < 2 or min(len(one), len(other)) < 4:
      return None
    return intervals.kernel_interval(one, other, LEVEL, inputs.bootstrap, inputs.seed, **classes)
