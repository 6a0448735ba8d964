"""Frechet distances and Inception Scores extrapolated to unlimited clips (Chong & Forsyth 2020)."""

import abc
import dataclasses

from vidgan_jax.evaluation.metrics.base import QUANTILE, Computed, Metric, Number, TooFewClips
from vidgan_jax.evaluation.statistics import extrapolation
from vidgan_jax.evaluation.statistics.inception_score import Epsilon

_LINE = "by a line through the values of fewer"


class Unlimited(Metric):
  """A value at unlimited clips, from a line through the values of subsets; it has no floor."""

  @abc.abstractmethod
  def fit(self, real, generated, seed: int, **options) -> extrapolation.Extrapolation:
    """Extrapolates; `real` and `generated` are features [N, d], `real` may be None."""

  def compute(self, inputs):
    """See `Metric`. One repeat has the standard error of its value as its deviation."""
    real = self.kept(inputs.real)[0] if self.compares else None
    generated = self.kept(*inputs.generated)
    fewest = min(map(len, generated if real is None else [real, *generated]))
    if fewest < 4:
      raise TooFewClips(f"its subsets need 4 clips, not {fewest} (--count, --real_count)")
    single = self.has_interval(len(generated), inputs.bootstrap)
    options = {} if single else {"halvings": 0}
    found = [self.fit(real, each, inputs.seed, **options) for each in generated]
    return Computed({self.name: [each.value for each in found]}, found[0].error)

  def interval(self, inputs, computed):
    """See `Metric`."""
    value, error = computed.values[self.name][0], computed.deviation
    return None if error is None else (value - QUANTILE * error, value + QUANTILE * error)


@dataclasses.dataclass(frozen=True)
class FrechetInfinity(Unlimited):
  """A Frechet distance; real and generated clips go to unlimited numbers together.

  Attributes:
    ddof: see `FrechetDistance`.
  """

  higher_is_better = False
  compares = True

  ddof: int = 1

  def settings(self):
    """See `Metric`."""
    return [f"ddof {self.ddof}"]

  def fit(self, real, generated, seed, **options):
    """See `Unlimited`."""
    return extrapolation.frechet_infinity(
      real, generated, seed=seed, ddof=self.ddof, both=True, **options
    )

  def warnings(self, inputs, floor):
    """See `Metric`. The smallest subsets need 2 d clips for a bias of c / N."""
    generated = self.of(inputs.generated[0])
    fewest, d = min(self.of(inputs.real).count, generated.count), generated.moments.mean.size
    few = f"{fewest} clips for {d} dimensions: too few to extrapolate from"
    return [few] if fewest < 4 * d else []


@dataclasses.dataclass(frozen=True)
class FVDInfinity(FrechetInfinity):
  """FVD at unlimited clips."""

  name = "fvd_infinity"
  numbers = (
    Number("fvd_infinity", "FVD∞", f"FVD as it would be with unlimited clips, {_LINE} and fewer."),
  )


@dataclasses.dataclass(frozen=True)
class FIDInfinity(FrechetInfinity):
  """FID at unlimited clips."""

  name = "fid_infinity"
  numbers = (
    Number("fid_infinity", "FID∞", f"FID as it would be with unlimited clips, {_LINE} and fewer."),
  )


@dataclasses.dataclass(frozen=True)
class InceptionScoreInfinity(Unlimited):
  """The Inception Score at unlimited clips, in one split.

  Attributes:
    eps, eps_place: see `InceptionScore`.
  """

  name = "is_infinity"
  numbers = (
    Number(
      "is_infinity",
      "Inception Score∞",
      f"The score as it would be with unlimited clips, {_LINE} clips.",
    ),
  )
  higher_is_better = True
  input = "logits"

  eps: float = 0.0
  eps_place: str = "logs"

  def fields(self):
    """See `Metric`, with the number of splits, which older fingerprints hold."""
    own = super().fields()
    after = {name: own.pop(name) for name in ("eps", "eps_place")}
    return {**own, "splits": 1, **after}

  def settings(self):
    """See `Metric`."""
    return [f"eps {self.eps:g} in its {self.eps_place}"] if self.eps else []

  def fit(self, real, generated, seed, **options):
    """See `Unlimited`."""
    epsilon = Epsilon(self.eps, self.eps_place)
    return extrapolation.inception_score_infinity(generated, seed=seed, epsilon=epsilon, **options)
