"""Frechet distances and Inception Scores extrapolated to unlimited clips (Chong & Forsyth 2020)."""

import abc
import dataclasses
from collections.abc import Mapping

import numpy as np

from vidgan_jax.evaluation.metrics.base import (
  QUANTILE,
  Computed,
  Floor,
  Inputs,
  Metric,
  MetricLeftOut,
  Number,
)
from vidgan_jax.evaluation.statistics import extrapolation
from vidgan_jax.evaluation.statistics.inception_score import Epsilon

_METHOD = "extrapolated from the values of smaller sets."


class Unlimited(Metric):
  """A value at unlimited clips, extrapolated from the values of subsets. It has no floor."""

  @abc.abstractmethod
  def fit(
    self, real: np.ndarray | None, generated: np.ndarray, seed: int, **options
  ) -> extrapolation.Extrapolation:
    """Extrapolates the value.

    Args:
      real, generated: features [N, d]; `real` is None if the metric uses no real clips.
      seed: seed of the subsets.
      **options: passed on to `extrapolation`.
    """

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`. The deviation of a single repeat is the standard error of its value."""
    real = self.stored_features(inputs.real_clips)[0] if self.compares else None
    generated = self.stored_features(*inputs.generated)
    fewest = min(map(len, generated if real is None else [real, *generated]))
    if fewest < 4:
      raise MetricLeftOut(f"it needs at least 4 clips, got {fewest} (--count, --real_count)")
    with_error = self.has_interval(len(generated), inputs.bootstrap)
    options = {} if with_error else {"halvings": 0}
    fits = [self.fit(real, features, inputs.seed, **options) for features in generated]
    return Computed({self.name: [fit.value for fit in fits]}, fits[0].error)

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`."""
    value, error = computed.values[self.name][0], computed.deviation
    return None if error is None else (value - QUANTILE * error, value + QUANTILE * error)


@dataclasses.dataclass(frozen=True)
class FrechetInfinity(Unlimited):
  """A Frechet distance, extrapolated to unlimited numbers of both real and generated clips.

  Attributes:
    ddof: see `FrechetDistance`.
  """

  higher_is_better = False
  compares = True

  ddof: int = 1

  def settings(self) -> list[str]:
    """See `Metric`."""
    return [f"ddof {self.ddof}"]

  def fit(
    self, real: np.ndarray | None, generated: np.ndarray, seed: int, **options
  ) -> extrapolation.Extrapolation:
    """See `Unlimited`."""
    assert real is not None
    return extrapolation.frechet_infinity(
      real, generated, seed=seed, ddof=self.ddof, both=True, **options
    )

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """See `Metric`. The bias is c / N only if the smallest subsets have at least 2 d clips."""
    real, generated = self.output_of(inputs.real_clips), self.output_of(inputs.generated[0])
    fewest, d = min(real.count, generated.count), generated.moments.mean.size
    line = f"{fewest} clips for {d} dimensions: too few to extrapolate from"
    return [line] if fewest < 4 * d else []


@dataclasses.dataclass(frozen=True)
class FVDInfinity(FrechetInfinity):
  """FVD at unlimited clips."""

  name = "fvd_infinity"
  numbers = (Number("fvd_infinity", "FVD∞", f"FVD at unlimited numbers of clips, {_METHOD}"),)


@dataclasses.dataclass(frozen=True)
class FIDInfinity(FrechetInfinity):
  """FID at unlimited clips."""

  name = "fid_infinity"
  numbers = (Number("fid_infinity", "FID∞", f"FID at unlimited numbers of clips, {_METHOD}"),)


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
      f"The Inception Score at unlimited numbers of clips, {_METHOD}",
    ),
  )
  higher_is_better = True
  input = "logits"

  eps: float = 0.0
  eps_place: str = "logs"

  def fields(self) -> dict:
    """See `Metric`. Adds the number of splits, because stored fingerprints contain it."""
    fields = super().fields()
    last = {name: fields.pop(name) for name in ("eps", "eps_place")}
    return {**fields, "splits": 1, **last}

  def settings(self) -> list[str]:
    """See `Metric`."""
    return [f"eps {self.eps:g} added to {self.eps_place}"] if self.eps else []

  def fit(
    self, real: np.ndarray | None, generated: np.ndarray, seed: int, **options
  ) -> extrapolation.Extrapolation:
    """See `Unlimited`."""
    epsilon = Epsilon(self.eps, self.eps_place)
    return extrapolation.inception_score_infinity(generated, seed=seed, epsilon=epsilon, **options)
