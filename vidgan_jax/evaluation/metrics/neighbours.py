"""Precision, recall, density and coverage: fidelity and variety, from nearest neighbours."""

import dataclasses
from collections.abc import Mapping

from vidgan_jax.evaluation.metrics.accuracy import wilson
from vidgan_jax.evaluation.metrics.base import (
  Computed,
  Floor,
  Inputs,
  Metric,
  MetricLeftOut,
  Number,
  describe_halves,
  floor_halves,
)
from vidgan_jax.evaluation.statistics import precision_recall
from vidgan_jax.evaluation.statistics.halving import half_intervals


@dataclasses.dataclass(frozen=True)
class PrecisionRecall(Metric):
  """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

  Their intervals are from halves of both sets, see `statistics.halving`.

  Attributes:
    neighbours: (k of precision and recall, k of density and coverage).
  """

  name = "prdc"
  numbers = (
    Number(
      "precision",
      "Precision",
      "The share of generated clips that lie among real clips: fidelity.",
    ),
    Number("recall", "Recall", "The share of real clips that lie among generated clips: variety."),
    Number(
      "density",
      "Density",
      "The number of real clips near a generated clip, relative to the number near a real clip: "
      "fidelity; may exceed 1.",
    ),
    Number(
      "coverage", "Coverage", "The share of real clips with a generated clip nearby: variety."
    ),
  )
  higher_is_better = True
  compares = True

  neighbours: tuple[int, int] = (3, 5)

  def settings(self) -> list[str]:
    """See `Metric`."""
    return ["k {} and {}".format(*self.neighbours)]

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    real, *generated = self.stored_features(inputs.real_clips, *inputs.generated)
    k, count = max(self.neighbours), min(map(len, generated))
    if min(len(real), count) <= k:
      raise MetricLeftOut(
        f"distances to {k} nearest neighbours need more than {k} clips, got {count} generated and "
        f"{len(real)} real clips (--count, --real_count)"
      )
    repeats = [self._numbers(real, features) for features in generated]
    return Computed({name: [repeat[name] for repeat in repeats] for name in repeats[0]})

  def intervals(
    self, inputs: Inputs, computed: Computed
  ) -> Mapping[str, tuple[float, float] | None]:
    """See `Metric`."""
    values = {name: of_repeats[0] for name, of_repeats in computed.values.items()}
    real, generated = self.stored_features(inputs.real_clips, inputs.generated[0])
    return self._intervals(values, real, generated, inputs)

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the numbers between two halves of the real clips."""
    real, generated = self.output_of(inputs.real_clips), self.output_of(inputs.generated[0])
    (features,) = self.stored_features(inputs.real_clips)
    x, y = (features[half] for half in floor_halves(real, generated, inputs.seed))
    if len(x) <= max(self.neighbours):
      return {}
    values = self._numbers(x, y)
    found = self._intervals(values, x, y, inputs)
    return {
      name: Floor(value, found.get(name), describe_halves(len(x))) for name, value in values.items()
    }

  def _intervals(self, values, real, generated, inputs) -> dict[str, tuple[float, float]]:
    """{} if half of a set is too small; a density of 0 has none."""

    def numbers(of_real, of_generated):
      if min(len(of_real), len(of_generated)) <= max(self.neighbours):
        return None
      return self._numbers(real[of_real], generated[of_generated])

    counts = len(real), len(generated)
    found = {}
    ends = half_intervals(numbers, values, counts, inputs.bootstrap, inputs.seed)
    for name, (low, high) in ends.items():
      if name != "density":  # a share of one set's clips: at 0 and 1 the halves do not differ
        least, most = wilson(values[name], counts[name == "precision"])
        low, high = min(low, least), min(max(high, most), 1.0)
      if low < high:
        found[name] = max(low, 0.0), high
    return found

  def _numbers(self, real, generated) -> dict[str, float]:
    k_precision, k_density = self.neighbours
    return {
      **precision_recall.precision_recall(real, generated, k=k_precision),
      **precision_recall.density_coverage(real, generated, k=k_density),
    }
