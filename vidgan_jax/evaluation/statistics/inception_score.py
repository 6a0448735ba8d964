"""Inception score (Salimans et al. 2016): exp of the mean of KL(p(y|x) || p(y)).

ln IS = E[sum_y p ln p] - sum_y q ln q with q = E[p], so that three sums over the samples are all
it takes, and these add up exactly over blocks and processes. All in float64, by log_softmax and
without an epsilon unless a protocol's code had one.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_features, from_words, to_words
from vidgan_jax.runtime.errors import UserError

KINDS = ("logits", "probabilities")
EPS_PLACES = ("logs", "probabilities")


@dataclasses.dataclass(frozen=True)
class Epsilon:
  """What a protocol's code adds against ln 0.

  Attributes:
    value: 0 is the score itself.
    place: "logs" is p (ln(p + eps) - ln(q + eps)), as in TGAN's code (1e-7); "probabilities" puts
      p + eps in the place of p throughout, as in TGANv2's (1e-20).
  """

  value: float = 0.0
  place: str = "logs"

  def __post_init__(self):
    if not 0 <= self.value < 1:
      raise UserError(f"an epsilon must be at least 0 and below 1, not {self.value}")
    if self.place not in EPS_PLACES:
      raise UserError(f"unknown place of epsilon {self.place!r}; known: {', '.join(EPS_PLACES)}")

  def logs(self, p):
    """ln of probabilities in which the epsilon's place is "probabilities" or "logs"."""
    inside = p + self.value if self.place == "logs" else p
    return np.log(inside, out=np.zeros_like(inside), where=inside > 0)  # 0 ln 0 is 0


def probabilities_of(values, kind: str = "logits", least: int = 1):
  """Class probabilities and their logarithms.

  Args:
    values: [N, C], C at least 2: logits, or probabilities that add up to 1 within 1e-3.
    kind: one of KINDS.
    least: the fewest samples that will do.

  Returns:
    (p, ln p) float64 [N, C]; ln p is None of probabilities. Probabilities are taken as they are.

  Raises:
    UserError: another shape or kind, values that are not finite, or that are no probabilities.
  """
  if kind not in KINDS:
    raise UserError(f"unknown kind of scores {kind!r}; known: {', '.join(KINDS)}")
  values = as_features(values, kind, least)
  if values.shape[1] < 2:
    raise UserError("an inception score needs at least 2 classes")
  if kind == "probabilities":
    if values.size and (values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > 1e-3):
      raise UserError("these are no probabilities: negative, or not adding up to 1; logits, maybe?")
    return values, None
  shifted = values - values.max(axis=1, keepdims=True)
  logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
  return np.exp(logs), logs


def terms_of(values, kind: str = "logits", epsilon: Epsilon | None = None, least: int = 1):
  """What one sample adds to the sums.

  Args:
    values: [N, C], see `probabilities_of`.
    kind: one of KINDS.
    epsilon: None is without one.
    least: the fewest samples that will do.

  Returns:
    (p float64 [N, C], sum_y p ln p float64 [N]), with the epsilon where it belongs.

  Raises:
    UserError: see `probabilities_of`.
  """
  epsilon = epsilon or Epsilon()
  p, logs = probabilities_of(values, kind, least)
  if epsilon.value and epsilon.place == "probabilities":
    p, logs = p + epsilon.value, None
  if logs is None or epsilon.value:
    logs = epsilon.logs(p)
  return p, (p * logs).sum(axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreSums:
  """Sums that the score is made of.

  Attributes:
    count: samples.
    probabilities: float64 [C], sum of p.
    entropy: sum of p ln p over samples and classes.
    epsilon: as the sums were made, see `Epsilon`.
  """

  count: int
  probabilities: np.ndarray
  entropy: float
  epsilon: Epsilon = Epsilon()

  @classmethod
  def of(cls, values, kind: str = "logits", epsilon: Epsilon | None = None) -> "ScoreSums":
    """Sums of one block [N, C].

    Raises:
      UserError: see `probabilities_of`.
    """
    epsilon = epsilon or Epsilon()
    p, terms = terms_of(values, kind, epsilon)
    return cls(len(p), p.sum(axis=0), float(terms.sum()), epsilon)

  def merge(self, other: "ScoreSums") -> "ScoreSums":
    """Sums of both sets together.

    Raises:
      UserError: other classes, or another epsilon.
    """
    if self.probabilities.shape != other.probabilities.shape or self.epsilon != other.epsilon:
      raise UserError("sums of different classes or of a different epsilon do not mix")
    return dataclasses.replace(
      self,
      count=self.count + other.count,
      probabilities=self.probabilities + other.probabilities,
      entropy=self.entropy + other.entropy,
    )

  def score(self) -> float:
    """The inception score, 1 to the number of classes."""
    q = self.probabilities / self.count
    return float(np.exp(self.entropy / self.count - q @ self.epsilon.logs(q)))

  def to_words(self) -> np.ndarray:
    """uint32 [2 (5 + C)], for JAX's collectives (see `moments.to_words`)."""
    place = EPS_PLACES.index(self.epsilon.place)
    head = (self.count, self.entropy, self.epsilon.value, place)
    return to_words(*head, self.probabilities)

  @classmethod
  def from_words(cls, words) -> "ScoreSums":
    """Undoes `to_words`.

    Raises:
      UserError: not the words of sums.
    """
    numbers = from_words(words)
    if len(numbers) < 6 or numbers[3] not in (0, 1):
      raise UserError(f"{len(numbers)} packed numbers are no sums of a score")
    epsilon = Epsilon(float(numbers[2]), EPS_PLACES[int(numbers[3])])
    return cls(int(numbers[0]), numbers[4:].copy(), float(numbers[1]), epsilon)


def merge_all(parts: Iterable[ScoreSums]) -> ScoreSums:
  """Sums of all parts together, for instance one per process.

  Raises:
    UserError: no parts, or see `ScoreSums.merge`.
  """
  parts = list(parts)
  if not parts:
    raise UserError("no sums to merge")
  total = parts[0]
  for part in parts[1:]:
    total = total.merge(part)
  return total


def inception_score(
  values,
  splits: int = 1,
  seed: int | None = None,
  eps: float = 0.0,
  eps_place: str = "logs",
  kind: str = "logits",
) -> tuple[float, float]:
  """Inception score of samples: mean and spread over splits.

  Splits of few samples bias the mean downwards: 10 splits of 2048 samples cost about 5 %.

  Args:
    values: [N, C], see `probabilities_of`.
    splits: parts of consecutive samples, split i from i N // splits to (i + 1) N // splits.
    seed: None leaves the samples as they are ordered; a number shuffles them first. Samples that
      are ordered by class need it wherever there is more than one split.
    eps: what a protocol's code adds against ln 0; 0 is the score itself.
    eps_place: see `Epsilon`.
    kind: one of KINDS.

  Returns:
    (mean over splits, standard deviation over splits with divisor `splits`).

  Raises:
    UserError: fewer samples than splits, or see `probabilities_of`.
  """
  if splits < 1:
    raise UserError(f"splits must be at least 1, not {splits}")
  epsilon = Epsilon(eps, eps_place)
  p, terms = terms_of(values, kind, epsilon, least=splits)
  if seed is not None:
    order = np.random.default_rng(seed).permutation(len(p))
    p, terms = p[order], terms[order]
  edges = [i * len(p) // splits for i in range(splits + 1)]
  scores = [
    ScoreSums(end - begin, p[begin:end].sum(0), float(terms[begin:end].sum()), epsilon).score()
    for begin, end in itertools.pairwise(edges)
  ]
  return float(np.mean(scores)), float(np.std(scores))
