"""Diversity: how much clips of one class differ from each other."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from vidgan_jax.evaluation.metrics.base import (
  ClipSet,
  Computed,
  Floor,
  Inputs,
  Metric,
  MetricLeftOut,
  Number,
)
from vidgan_jax.evaluation.statistics import diversity
from vidgan_jax.evaluation.statistics.halving import half_intervals


@dataclasses.dataclass(frozen=True)
class Diversity(Metric):
  """Mean Euclidean distance between the features of two clips of a class, averaged over classes.

  Its interval is from halves of each class, see `statistics.halving`.
  """

  name = "diversity"
  numbers = (
    Number("diversity", "Diversity", "How much clips of one class differ from each other."),
  )
  higher_is_better = None
  needs_labels = True
  needs_pairs = True
  scores_classes = True

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    features = self.stored_features(*inputs.generated)
    values = []
    for of_set, clips in zip(features, inputs.generated, strict=True):
      value = diversity.mean_within_classes(of_set, clips.required_labels)
      if value is None:
        raise MetricLeftOut("no class has two clips (--count, --real_count)")
      values.append(value)
    return Computed({self.name: values})

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`."""
    generated, value = inputs.generated[0], computed.values[self.name][0]
    (features,) = self.stored_features(generated)
    return self._interval(value, features, generated.required_labels, inputs)

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the diversity of all real clips."""
    real = self.output_of(inputs.real_clips)
    if real.features is None:
      return {}
    value = diversity.mean_within_classes(real.features, inputs.real_clips.required_labels)
    if value is None:
      return {}
    interval = self._interval(value, real.features, inputs.real_clips.required_labels, inputs)
    return {self.name: Floor(value, interval, f"{real.count} real clips")}

  def _interval(self, value, features, labels, inputs) -> tuple[float, float] | None:
    """None if a class has two or three clips, whose halves have no pairs."""
    _, counts = np.unique(labels, return_counts=True)
    if np.any((counts == 2) | (counts == 3)):
      return None

    def of_half(chosen: np.ndarray) -> dict[str, float] | None:
      mean = diversity.mean_within_classes(features[chosen], labels[chosen])
      return None if mean is None else {self.name: mean}

    found = half_intervals(
      of_half, {self.name: value}, [len(features)], inputs.bootstrap, inputs.seed, [labels]
    )
    if not found:
      return None
    low, high = found[self.name]
    return max(low, 0.0), high

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """See `Metric`."""
    if not inputs.with_floor or inputs.real is None or floor:
      return []
    if self.output_of(inputs.real_clips).features is None:
      return []
    return ["real against real is left out: no class has two real clips (--real_count)"]

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """See `Metric`."""
    (features,) = self.stored_features(generated)
    return {
      label: diversity.mean_distance(features[generated.required_labels == label])
      for label, (_, count) in counts.items()
      if count > 1
    }
