"""Precision, recall, density and coverage: fidelity and variety by nearest neighbours."""

import dataclasses

from vidgan_jax.evaluation.metrics.base import (
  Computed,
  Floor,
  Metric,
  Number,
  TooFewClips,
  halves,
  of_halves,
)
from vidgan_jax.evaluation.statistics import precision_recall


@dataclasses.dataclass(frozen=True)
class PrecisionRecall(Metric):
  """Four numbers (Kynkaanniemi et al. 2019, Naeem et al. 2020).

  They have no interval: a resample repeats clips, which are then each other's neighbours.

  Attributes:
    neighbours: k of precision and recall, k of density and coverage.
  """

  name = "prdc"
  numbers = (
    Number(
      "precision",
      "Precision",
      "The share of generated clips that lie among the real ones: fidelity.",
    ),
    Number(
      "recall", "Recall", "The share of real clips that lie among the generated ones: variety."
    ),
    Number(
      "density",
      "Density",
      "How many real clips surround a generated one, against what is expected: fidelity, may be "
      "above 1.",
    ),
    Number(
      "coverage", "Coverage", "The share of real clips that have a generated one nearby: variety."
    ),
  )
  higher_is_better = True
  compares = True

  neighbours: tuple[int, int] = (3, 5)

  def settings(self):
    """See `Metric`."""
    return ["k {} and {}".format(*self.neighbours)]

  def has_interval(self, repeats, bootstrap):
    """See `Metric`."""
    return False

  def compute(self, inputs):
    """See `Metric`."""
    real, *generated = self.kept(inputs.real, *inputs.generated)
    most, drawn = max(self.neighbours), min(map(len, generated))
    if min(len(real), drawn) <= most:
      raise TooFewClips(
        f"distances to {most} nearest neighbours need more than {most} clips, got {drawn} "
        f"generated and {len(real)} real ones (--count, --real_count)"
      )
    found = [self._numbers(real, each) for each in generated]
    return Computed({name: [each[name] for each in found] for name in found[0]})

  def floor(self, inputs):
    """See `Metric`: one half of the real clips against the other."""
    real, generated = self.of(inputs.real), self.of(inputs.generated[0])
    one, other = (real.features[half] for half in halves(real, generated, inputs.seed))
    if len(one) <= max(self.neighbours):
      return {}
    values = self._numbers(one, other)
    return {name: Floor(value, None, of_halves(len(one))) for name, value in values.items()}

  def _numbers(self, real, generated) -> dict[str, float]:
    first, second = self.neighbours
    return {
      **precision_recall.precision_recall(real, generated, k=first),
      **precision_recall.density_coverage(real, generated, k=second),
    }
