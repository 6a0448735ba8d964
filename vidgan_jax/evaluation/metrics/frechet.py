"""Frechet distances between features: FVD and FID.

Both are the same computation. Papers say FVD or FID depending on the network of the features.
"""

import dataclasses
from collections.abc import Mapping

from vidgan_jax.evaluation.metrics.base import (
  LEVEL,
  ClipSet,
  Computed,
  Floor,
  Inputs,
  Metric,
  Number,
  copy_warnings,
  describe_halves,
  floor_halves,
)
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.frechet import (
  Gaussian,
  frechet_by_class,
  frechet_distance_of_features,
  gaussian_distance,
)
from vidgan_jax.evaluation.statistics.moments import FeatureSet

_MIN_CLIPS_FOR_FLOOR = 8  # real clips


@dataclasses.dataclass(frozen=True)
class FrechetDistance(Metric):
  """The squared Frechet distance between Gaussians fitted to real and to generated features.

  Attributes:
    ddof: the divisor of covariances is N - ddof.
  """

  higher_is_better = False
  compares = True
  scores_classes = True

  ddof: int = 1

  def settings(self) -> list[str]:
    """See `Metric`."""
    return [f"ddof {self.ddof}"]

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    real = self._gaussian(self.output_of(inputs.real_clips))
    values = [
      gaussian_distance(real, self._gaussian(self.output_of(clips))) for clips in inputs.generated
    ]
    return Computed({self.name: values})

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`. If the real clips have only moments, these are treated as exact."""
    real, generated = self.output_of(inputs.real_clips), self.output_of(inputs.generated[0])
    if generated.features is None:
      return None
    reference = self._gaussian(real) if real.features is None else real.features
    return self._interval(reference, generated.features, inputs)

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the distance between two halves of the real clips."""
    real = self.output_of(inputs.real_clips)
    if real.features is None or real.count < _MIN_CLIPS_FOR_FLOOR:
      return {}
    generated = self.output_of(inputs.generated[0])
    x, y = (real.features[half] for half in floor_halves(real, generated, inputs.seed))
    value = frechet_distance_of_features(x, y, self.ddof)
    return {self.name: Floor(value, self._interval(x, y, inputs), describe_halves(len(x)))}

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """See `Metric`."""
    real, generated = self.output_of(inputs.real_clips), self.output_of(inputs.generated[0])
    fewest, d = min(real.count, generated.count), generated.moments.mean.size
    lines = []
    if fewest <= d:
      lines.append(f"{fewest} clips span fewer than the {d} dimensions: biased upwards")
    elif fewest < 10 * d:
      lines.append(f"{fewest} clips for {d} dimensions: biased upwards, see real against real")
    if floor and real.count < 2 * generated.count:
      lines.append(
        f"real against real uses {real.count // 2} clips on each side, the value "
        f"{generated.count}: fewer clips make it higher"
      )
    return lines + copy_warnings(generated)

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """See `Metric`: for classes that have two clips in both sets."""
    x, y = self.output_of(real).features, self.output_of(generated).features
    if x is None or y is None:
      return {}
    classes = [label for label, both in counts.items() if min(both) >= 2]
    labels_x, labels_y = real.required_labels, generated.required_labels
    return frechet_by_class(x, labels_x, y, labels_y, self.ddof, classes)

  def _interval(self, x, y, inputs):
    """Interval of the distance between x (features, or a `Gaussian`) and the features y.

    None if none was requested or a set has fewer than 4 clips.
    """
    too_few = len(y) < 4 or (not isinstance(x, Gaussian) and len(x) < 4)
    if inputs.bootstrap < 2 or too_few:
      return None
    return intervals.frechet_interval(x, y, LEVEL, inputs.bootstrap, inputs.seed, self.ddof)

  def _gaussian(self, clips: FeatureSet) -> Gaussian:
    """Uses the features if there are not more of them than dimensions, which is cheaper."""
    if clips.features is not None and clips.count <= clips.moments.mean.size:
      return Gaussian.of_features(clips.features, self.ddof)
    return Gaussian.of_moments(clips.moments, self.ddof)


@dataclasses.dataclass(frozen=True)
class FVD(FrechetDistance):
  """Frechet video distance (Unterthiner et al. 2018)."""

  name = "fvd"
  numbers = (
    Number(
      "fvd",
      "FVD",
      "The Fréchet distance between the features of generated and of real clips: how far their "
      "means and spreads are apart; it responds to frames more than to motion.",
    ),
  )


@dataclasses.dataclass(frozen=True)
class FID(FrechetDistance):
  """Frechet inception distance (Heusel et al. 2017), applied to video features."""

  name = "fid"
  numbers = (
    Number(
      "fid",
      "FID",
      "The Fréchet distance between the features of generated and of real clips: how far their "
      "means and spreads are apart.",
    ),
  )
