"""The kernel distance between features: KVD, or KID applied to video features."""

import dataclasses
import math
from collections.abc import Mapping

from vidgan_jax.evaluation.metrics.base import (
  LEVEL,
  ClipSet,
  Computed,
  Floor,
  Inputs,
  Metric,
  Number,
  describe_halves,
  floor_halves,
)
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.kernel_distance import balanced_population, kernel_distance


@dataclasses.dataclass(frozen=True)
class KernelDistance(Metric):
  """The squared maximum mean discrepancy with a cubic kernel.

  Attributes:
    subsets: number of random subsets to average over; None uses all clips at once.
    subset_size: clips in each subset. If a set has fewer clips, the subsets are smaller, and the
      field `subset_size_used` of the number gives their size.
    estimator: "unbiased", as published (KID, KVD), or "classes". The mean of "classes" for equal
      distributions is 0 also if the sets have fixed numbers of clips per class; see
      `statistics.kernel_distance`.
  """

  name = "kvd"
  numbers = (
    Number(
      "kvd",
      "KVD",
      "A kernel distance between features, unbiased at any number of clips; near 0, and possibly "
      "negative, if both distributions are equal.",
    ),
  )
  higher_is_better = False
  compares = True

  subsets: int | None = None
  subset_size: int = 1000
  estimator: str = "classes"

  def settings(self) -> list[str]:
    """See `Metric`."""
    subsets = f"{self.subsets} subsets of {self.subset_size}"
    return [subsets if self.subsets else "all clips at once", f"estimator {self.estimator}"]

  def has_interval(self, repeats: int, bootstrap: int) -> bool:
    """See `Metric`. With subsets, their standard deviation is reported instead."""
    return super().has_interval(repeats, bootstrap) and self.subsets is None

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    real, *generated = self.stored_features(inputs.real_clips, *inputs.generated)
    distances = [
      self._distance(
        real, features, inputs, self.estimator, **self._classes(inputs.real_clips, clips)
      )
      for features, clips in zip(generated, inputs.generated, strict=True)
    ]
    extra_fields = {} if self.subsets is None else {"subset_size_used": self._size(inputs)}
    deviation = distances[0][1]
    return Computed({self.name: [mean for mean, _ in distances]}, deviation, extra_fields)

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`."""
    clips = inputs.real_clips, inputs.generated[0]
    real, generated = self.stored_features(*clips)
    return self._interval(real, generated, inputs, **self._classes(*clips))

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the distance between two halves of the real clips.

    The halves are drawn at random, without regard to classes, so the mean of the published
    estimator is 0.
    """
    if not self._has_floor(inputs):
      return {}
    real, generated = self.output_of(inputs.real_clips), self.output_of(inputs.generated[0])
    (features,) = self.stored_features(inputs.real_clips)
    x, y = (features[half] for half in floor_halves(real, generated, inputs.seed))
    value, _ = self._distance(x, y, inputs, "unbiased")
    interval = self._interval(x, y, inputs) if self.subsets is None else None
    return {self.name: Floor(value, interval, describe_halves(len(x)))}

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """See `Metric`."""
    size = self._size(inputs)
    if self.subsets is None or size == self.subset_size:
      return []
    requested = f"the protocol specifies subsets of {self.subset_size}"
    return [f"{self.subsets} subsets of {size} clips: {requested}"]

  def _has_floor(self, inputs) -> bool:
    """Whether each half of the real clips has at least two clips."""
    return inputs.with_floor and self.output_of(inputs.real_clips).count >= 4

  def _size(self, inputs) -> int:
    """Number of clips in a subset; the same for the value and for the floor."""
    real = self.output_of(inputs.real_clips).count
    available = real // 2 if self._has_floor(inputs) else real
    return min(self.subset_size, available, self.output_of(inputs.generated[0]).count)

  def _distance(self, x, y, inputs, estimator, **classes):
    """(value, standard deviation over subsets or None)."""
    return kernel_distance(
      x,
      y,
      subsets=self.subsets,
      subset_size=self._size(inputs),
      seed=inputs.seed,
      estimator=estimator,
      **classes,
    )

  def _classes(self, real: ClipSet, generated: ClipSet) -> dict:
    """Arguments of `kernel_distance` that only the estimator "classes" needs."""
    if self.estimator != "classes":
      return {}
    of_real = math.inf if real.population is None else real.population
    of_generated = None if generated.labels is None else balanced_population(generated.labels)
    return {
      "labels": (real.labels, generated.labels),
      "populations": (of_real, of_generated),
    }

  def _interval(self, x, y, inputs, **classes):
    if inputs.bootstrap < 2 or min(len(x), len(y)) < 4:
      return None
    return intervals.kernel_interval(x, y, LEVEL, inputs.bootstrap, inputs.seed, **classes)
