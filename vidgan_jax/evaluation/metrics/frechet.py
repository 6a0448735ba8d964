"""Frechet distances between features: FVD and FID.

Both names stand for one computation; which one a source uses depends on its network.
"""

import dataclasses

from vidgan_jax.evaluation.metrics.base import (
  LEVEL,
  Computed,
  Floor,
  Metric,
  Number,
  copies,
  halves,
  of_halves,
)
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.frechet import (
  Gaussian,
  frechet_by_class,
  frechet_distance_of_features,
  gaussian_distance,
)
from vidgan_jax.evaluation.statistics.moments import FeatureSet

_LEAST_FOR_FLOOR = 8  # real clips


@dataclasses.dataclass(frozen=True)
class FrechetDistance(Metric):
  """The squared Frechet distance between Gaussians fitted to real and to generated features.

  Attributes:
    ddof: covariances are divided by N - ddof.
  """

  higher_is_better = False
  compares = True
  scores_classes = True

  ddof: int = 1

  def settings(self):
    """See `Metric`."""
    return [f"ddof {self.ddof}"]

  def compute(self, inputs):
    """See `Metric`."""
    real = self._gaussian(self.of(inputs.real))
    values = [gaussian_distance(real, self._gaussian(self.of(one))) for one in inputs.generated]
    return Computed({self.name: values})

  def interval(self, inputs, computed):
    """See `Metric`. The moments of a reference without features are taken as exact."""
    real, generated = self.of(inputs.real), self.of(inputs.generated[0])
    if generated.features is None:
      return None
    reference = self._gaussian(real) if real.features is None else real.features
    return self._interval(reference, generated.features, inputs)

  def floor(self, inputs):
    """See `Metric`: the distance between two halves of the real clips."""
    real = self.of(inputs.real)
    if real.features is None or real.count < _LEAST_FOR_FLOOR:
      return {}
    generated = self.of(inputs.generated[0])
    one, other = (real.features[half] for half in halves(real, generated, inputs.seed))
    value = frechet_distance_of_features(one, other, self.ddof)
    return {self.name: Floor(value, self._interval(one, other, inputs), of_halves(len(one)))}

  def warnings(self, inputs, floor):
    """See `Metric`."""
    real, generated = self.of(inputs.real), self.of(inputs.generated[0])
    fewest, d = min(real.count, generated.count), generated.moments.mean.size
    lines = []
    if fewest <= d:
      lines.append(f"{fewest} clips span fewer than the {d} dimensions: biased upwards")
    elif fewest < 10 * d:
      lines.append(f"{fewest} clips for {d} dimensions: biased upwards, see the floor")
    if floor and real.count < 2 * generated.count:
      lines.append(
        f"the floor is of {real.count // 2} clips a side, the value of {generated.count}: "
        "fewer clips make it higher"
      )
    return lines + copies(generated)

  def values_by_class(self, real, generated, counts):
    """See `Metric`: classes of which both sets have two clips."""
    one, other = self.of(real).features, self.of(generated).features
    if one is None:
      return {}
    classes = [label for label, both in counts.items() if min(both) >= 2]
    return frechet_by_class(one, real.labels, other, generated.labels, self.ddof, classes)

  def _interval(self, one, other, inputs):
    """About the distance of features `other` from features, or a `Gaussian`, `one`."""
    few = len(other) < 4 or (not isinstance(one, Gaussian) and len(one) < 4)
    if inputs.bootstrap < 2 or few:
      return None
    return intervals.frechet_interval(one, other, LEVEL, inputs.bootstrap, inputs.seed, self.ddof)

  def _gaussian(self, clips: FeatureSet) -> Gaussian:
    """By the moments, or by the features where these are kept and fewer than dimensions."""
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
      "How far the generated clips' features lie from those of real clips, as distance between two "
      "Gaussians; it sees frames well and motion less.",
    ),
  )


@dataclasses.dataclass(frozen=True)
class FID(FrechetDistance):
  """Frechet inception distance (Heusel et al. 2017), of video features."""

  name = "fid"
  numbers = (
    Number(
      "fid",
      "FID",
      "The Fréchet distance between features of generated and of real clips: how far their means "
      "and spreads are apart.",
    ),
  )
