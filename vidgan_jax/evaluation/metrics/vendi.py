"""The Vendi score: the effective number of different clips.

Friedman & Dieng 2022, with the orders of Pasarkar & Dieng 2023. Let K be the n x n matrix of a
kernel between the clips' features, with k(x, x) = 1, and l the eigenvalues of K / n, which add up
to 1. The score of order q is exp of their Renyi entropy: exp(-sum l ln l) for order 1, 1 / max l
for order infinity, else (sum l^q)^(1 / (1 - q)). It is 1 where all clips are alike and n where all
are orthogonal. A large order weighs common clips more, a small one rare clips.
"""

import dataclasses
import math

import numpy as np

from vidgan_jax.evaluation.metrics.base import Computed, Floor, Metric, Number, TooFewClips
from vidgan_jax.evaluation.statistics.moments import as_features
from vidgan_jax.runtime.errors import UserError

_ROWS = 4096  # in float64 at a time


@dataclasses.dataclass(frozen=True)
class VendiScore(Metric):
  """The Vendi score of the cosine similarity of features.

  It has no interval: a resample repeats clips, which lowers the score.

  Attributes:
    order: q, above 0; `math.inf` is allowed.

  Raises:
    UserError: another order.
  """

  name = "vendi"
  numbers = (
    Number(
      "vendi",
      "Vendi score",
      "The effective number of different clips: 1 where all are alike, at most the number of clips "
      "or of features; it sees variety, not quality.",
    ),
  )
  higher_is_better = True
  scores_classes = True

  order: float = 1.0

  def __post_init__(self):
    """Checks the order."""
    if not self.order > 0:
      raise UserError(f"the order of a Vendi score must be above 0, not {self.order:g}")

  def fields(self):
    """See `Metric`; JSON has no infinity."""
    order = "infinity" if math.isinf(self.order) else self.order
    return {**super().fields(), "order": order}

  def settings(self):
    """See `Metric`."""
    return [f"order {self.order:g}", "cosine similarity"]

  def has_interval(self, repeats, bootstrap):
    """See `Metric`."""
    return False

  def compute(self, inputs):
    """See `Metric`."""
    features = self.kept(*inputs.generated)
    if min(map(len, features)) < 2:
      raise TooFewClips("it needs 2 clips (--count)")
    return Computed({self.name: [vendi_score(each, self.order) for each in features]})

  def floor(self, inputs):
    """See `Metric`: the score of as many real clips, which are drawn at random."""
    real = self.of(inputs.real)
    if real.features is None:
      return {}
    count = min(real.count, self.of(inputs.generated[0]).count)
    some = np.random.default_rng(inputs.seed).permutation(real.count)[:count]
    value = vendi_score(real.features[some], self.order)
    return {self.name: Floor(value, None, f"{count} real clips")}

  def warnings(self, inputs, floor):
    """See `Metric`."""
    count = self.of(inputs.generated[0]).count
    if not floor or self.of(inputs.real).count >= count:
      return []
    fewer = self.of(inputs.real).count
    return [f"the floor is of {fewer} real clips, the value of {count}: fewer clips make it lower"]

  def values_by_class(self, real, generated, counts):
    """See `Metric`: classes of two clips and more."""
    features = self.of(generated).features
    return {
      label: vendi_score(features[generated.labels == label], self.order)
      for label, (_, count) in counts.items()
      if count > 1
    }


def vendi_score(features, order: float = 1.0) -> float:
  """The Vendi score of the cosine similarity of features.

  Args:
    features: [N, d]. A row of zeros has similarity 1 to other such rows and 0 to all others.
    order: q, above 0; `math.inf` is allowed.

  Returns:
    1 to min(N, d), or one more where some rows are zero.

  Raises:
    UserError: see `moments.as_features`.
  """
  eigenvalues = _eigenvalues(as_features(features))
  if order == math.inf:
    return float(1 / eigenvalues.max())
  logs = np.log(eigenvalues)
  if abs(order - 1) < 1e-3:  # sum l^q - 1 without cancellation; its limit at 1 is the entropy
    change = np.sum(eigenvalues * np.expm1((order - 1) * logs))
    entropy = -np.sum(eigenvalues * logs) if order == 1 else np.log1p(change) / (1 - order)
  else:
    largest = logs.max()  # a high power of all would be 0
    entropy = (order * largest + np.log(np.exp(order * (logs - largest)).sum())) / (1 - order)
  return float(np.exp(entropy))


def _eigenvalues(x) -> np.ndarray:
  """Positive eigenvalues of the cosine similarities of x [N, d], divided by N; they add up to 1.

  X X' of N rows of unit length and X' X, which is d x d, have the same ones.
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
  values = values[values > values.max() * max(len(x), width) * np.finfo(float).eps]  # not rounding
  return values / values.sum()
