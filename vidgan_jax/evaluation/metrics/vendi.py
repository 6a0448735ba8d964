"""The Vendi score: the effective number of different clips.

Friedman & Dieng 2022, with the orders of Pasarkar & Dieng 2023. Let K be the n x n kernel matrix of
the features of n clips, with k(x, x) = 1, and l the eigenvalues of K / n, which add up to 1. The
score of order q is exp of their Renyi entropy: exp(-sum l ln l) for q = 1, 1 / max l for infinite
q, else (sum l^q)^(1 / (1 - q)). The score is 1 if all clips are equal, and n if their features are
orthogonal. A large order gives more weight to common clips, a small order to rare clips.
"""

import dataclasses
import math
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
from vidgan_jax.evaluation.statistics.halving import half_intervals
from vidgan_jax.evaluation.statistics.moments import as_features
from vidgan_jax.runtime.errors import UserError

_ROWS = 4096  # rows that are normalised in float64 at a time


@dataclasses.dataclass(frozen=True)
class VendiScore(Metric):
  """The Vendi score of the cosine similarity of features.

  Its interval is from halves, see `statistics.halving`. It is about the value at this number of
  clips; more clips give a higher score.

  Attributes:
    order: q, above 0; `math.inf` is allowed.

  Raises:
    UserError: the order is not above 0.
  """

  name = "vendi"
  numbers = (
    Number(
      "vendi",
      "Vendi score",
      "The effective number of different clips: 1 if all are equal, at most the number of clips or "
      "of features; it measures variety, not quality.",
    ),
  )
  higher_is_better = None  # noise scores higher than real clips
  scores_classes = True

  order: float = 1.0

  def __post_init__(self):
    """Checks the order."""
    if not self.order > 0:
      raise UserError(f"the order of a Vendi score must be above 0, not {self.order:g}")

  def fields(self) -> dict:
    """See `Metric`. An infinite order becomes a string, because JSON has no infinity."""
    order = "infinity" if math.isinf(self.order) else self.order
    return {**super().fields(), "order": order}

  def settings(self) -> list[str]:
    """See `Metric`."""
    return [f"order {self.order:g}", "cosine similarity"]

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    features = self.stored_features(*inputs.generated)
    if min(map(len, features)) < 2:
      raise MetricLeftOut("it needs at least 2 clips (--count)")
    return Computed({self.name: [vendi_score(of_set, self.order) for of_set in features]})

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`."""
    (features,) = self.stored_features(inputs.generated[0])
    return self._interval(computed.values[self.name][0], features, inputs)

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the score of a random sample of as many real clips."""
    real = self.output_of(inputs.real_clips)
    if real.features is None:
      return {}
    count = min(real.count, self.output_of(inputs.generated[0]).count)
    sample = np.random.default_rng(inputs.seed).permutation(real.count)[:count]
    value = vendi_score(real.features[sample], self.order)
    interval = self._interval(value, real.features[sample], inputs)
    return {self.name: Floor(value, interval, f"{count} real clips")}

  def _interval(self, value, features, inputs) -> tuple[float, float] | None:
    """In logarithms: a score that grows with the number of clips varies in proportion to itself."""

    def log_score(chosen):
      if len(chosen) < 2:
        return None
      return {self.name: math.log(vendi_score(features[chosen], self.order))}

    logs, count = {self.name: math.log(value)}, len(features)
    found = half_intervals(log_score, logs, [count], inputs.bootstrap, inputs.seed)
    if not found:
      return None
    low, high = map(math.exp, found[self.name])
    return max(low, 1.0), min(high, float(count))

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """See `Metric`."""
    count = self.output_of(inputs.generated[0]).count
    if not floor or self.output_of(inputs.real_clips).count >= count:
      return []
    fewer = self.output_of(inputs.real_clips).count
    return [
      f"real against real uses {fewer} real clips, the value {count}: fewer clips make it lower"
    ]

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """See `Metric`: for classes with at least two clips."""
    (features,) = self.stored_features(generated)
    return {
      label: vendi_score(features[generated.required_labels == label], self.order)
      for label, (_, count) in counts.items()
      if count > 1
    }


def vendi_score(features: np.ndarray, order: float = 1.0) -> float:
  """The Vendi score of the cosine similarity of features.

  Args:
    features: [N, d]. A row of zeros has similarity 1 to other rows of zeros and 0 to all others.
    order: q, above 0; `math.inf` is allowed.

  Returns:
    The score, between 1 and min(N, d); the upper bound is one higher if there are rows of zeros.

  Raises:
    UserError: see `moments.as_features`.
  """
  eigenvalues = _eigenvalues(as_features(features))
  if order == math.inf:
    return float(1 / eigenvalues.max())
  logs = np.log(eigenvalues)
  if abs(order - 1) < 1e-3:  # computes sum l^q - 1 without cancellation
    change = np.sum(eigenvalues * np.expm1((order - 1) * logs))
    entropy = -np.sum(eigenvalues * logs) if order == 1 else np.log1p(change) / (1 - order)
  else:
    largest = logs.max()  # taken out of the sum, in which all terms could underflow to 0
    entropy = (order * largest + np.log(np.exp(order * (logs - largest)).sum())) / (1 - order)
  return float(np.exp(entropy))


def _eigenvalues(x) -> np.ndarray:
  """Positive eigenvalues of K / N for the cosine similarities K of x [N, d]; they add up to 1.

  If X has rows of unit length, K = X X' (N x N) has the same positive eigenvalues as X' X (d x d).
  The smaller of the two is used.
  """
  width = x.shape[1]
  norms = np.linalg.norm(x, axis=1)
  zeros = int(np.sum(norms == 0))
  x, norms = x[norms > 0], norms[norms > 0, None]
  if len(x) <= width:
    unit = x / norms
    products = unit @ unit.T
  else:
    products = np.zeros((width, width))
    for begin in range(0, len(x), _ROWS):
      unit = x[begin : begin + _ROWS] / norms[begin : begin + _ROWS]
      products += unit.T @ unit
  values = np.append(np.linalg.eigvalsh(products), zeros)
  rounding = values.max() * max(len(x), width) * np.finfo(float).eps
  values = values[values > rounding]
  return values / values.sum()
