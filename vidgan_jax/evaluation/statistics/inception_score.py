"""Inception score (Salimans et al. 2016): exp of the mean of KL(p(y|x) || p(y)).

ln IS = E[sum_y p ln p] - sum_y q ln q with q = E[p]. The score therefore needs only the count, the
sum of p and the sum of p ln p over the samples, and these sums can be added over blocks and
processes. Everything is computed in float64 from log_softmax, without an epsilon unless the code
of a protocol adds one.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from vidgan_jax.evaluation.statistics.moments import as_features, from_words, to_words
from vidgan_jax.runtime.errors import UserError

KINDS = ("logits", "probabilities")
EPSILON_TARGETS = ("logs", "probabilities")


@dataclasses.dataclass(frozen=True)
class Epsilon:
  """The small number that some published code adds to avoid ln 0.

  Attributes:
    value: the number; 0 gives the score as defined.
    added_to: "logs" computes p (ln(p + eps) - ln(q + eps)), as TGAN's code does with 1e-7;
      "probabilities" replaces p by p + eps everywhere, as TGANv2's code does with 1e-20.
  """

  value: float = 0.0
  added_to: str = "logs"

  def __post_init__(self):
    if not 0 <= self.value < 1:
      raise UserError(f"an epsilon must be at least 0 and below 1, not {self.value}")
    if self.added_to not in EPSILON_TARGETS:
      targets = " or ".join(EPSILON_TARGETS)
      raise UserError(f"an epsilon can be added to {targets}, not to {self.added_to!r}")

  def logs(self, p: np.ndarray) -> np.ndarray:
    """ln(p + eps) if the epsilon is added to logs, else ln p; 0 where the argument is 0."""
    inside = p + self.value if self.added_to == "logs" else p
    return np.log(inside, out=np.zeros_like(inside), where=inside > 0)  # 0 ln 0 is 0


def probabilities_of(
  values: np.ndarray, kind: str = "logits", minimum: int = 1
) -> tuple[np.ndarray, np.ndarray | None]:
  """Class probabilities and their logarithms.

  Args:
    values: [N, C], C at least 2: logits, or probabilities that add up to 1 within 1e-3.
    kind: one of KINDS.
    minimum: the smallest number of samples allowed.

  Returns:
    (p, ln p), both float64 [N, C]. For kind "probabilities", p is the input and ln p is None.

  Raises:
    UserError: the shape or the kind is wrong, values are not finite, or `values` should be
      probabilities but are not.
  """
  if kind not in KINDS:
    raise UserError(f"unknown kind of scores {kind!r}; known: {', '.join(KINDS)}")
  values = as_features(values, kind, minimum)
  if values.shape[1] < 2:
    raise UserError("an inception score needs at least 2 classes")
  if kind == "probabilities":
    if values.size and (values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > 1e-3):
      raise UserError("probabilities must be at least 0 and add up to 1; are these values logits?")
    return values, None
  shifted = values - values.max(axis=1, keepdims=True)
  logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
  return np.exp(logs), logs


def terms_of(
  values: np.ndarray, kind: str = "logits", epsilon: Epsilon | None = None, minimum: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """The contribution of each sample to the sums of the score.

  Args:
    values: [N, C], see `probabilities_of`.
    kind: one of KINDS.
    epsilon: None adds no epsilon.
    minimum: the smallest number of samples allowed.

  Returns:
    (p float64 [N, C], sum_y p ln p float64 [N]), both with the epsilon added where it applies.

  Raises:
    UserError: see `probabilities_of`.
  """
  epsilon = epsilon or Epsilon()
  p, logs = probabilities_of(values, kind, minimum)
  if epsilon.value and epsilon.added_to == "probabilities":
    p, logs = p + epsilon.value, None
  if logs is None or epsilon.value:
    logs = epsilon.logs(p)
  return p, (p * logs).sum(axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreSums:
  """The sums over samples from which the score is computed.

  Attributes:
    count: number of samples.
    probabilities: float64 [C], sum of p over samples.
    entropy: sum of p ln p over samples and classes.
    epsilon: the epsilon that the sums contain.
  """

  count: int
  probabilities: np.ndarray
  entropy: float
  epsilon: Epsilon = Epsilon()

  @classmethod
  def of(
    cls, values: np.ndarray, kind: str = "logits", epsilon: Epsilon | None = None
  ) -> "ScoreSums":
    """Sums over one block of logits or probabilities [N, C].

    Raises:
      UserError: see `probabilities_of`.
    """
    epsilon = epsilon or Epsilon()
    p, terms = terms_of(values, kind, epsilon)
    return cls(len(p), p.sum(axis=0), float(terms.sum()), epsilon)

  def merge(self, other: "ScoreSums") -> "ScoreSums":
    """Sums over the union of both sets.

    Raises:
      UserError: the numbers of classes or the epsilons differ.
    """
    if self.probabilities.shape != other.probabilities.shape or self.epsilon != other.epsilon:
      raise UserError("sums with different classes or different epsilons cannot be combined")
    return dataclasses.replace(
      self,
      count=self.count + other.count,
      probabilities=self.probabilities + other.probabilities,
      entropy=self.entropy + other.entropy,
    )

  def score(self) -> float:
    """The inception score, between 1 and the number of classes."""
    q = self.probabilities / self.count
    return float(np.exp(self.entropy / self.count - q @ self.epsilon.logs(q)))

  def to_words(self) -> np.ndarray:
    """uint32 [2 (5 + C)], for JAX's collectives (see `moments.to_words`)."""
    target = EPSILON_TARGETS.index(self.epsilon.added_to)
    head = (self.count, self.entropy, self.epsilon.value, target)
    return to_words(*head, self.probabilities)

  @classmethod
  def from_words(cls, words: np.ndarray) -> "ScoreSums":
    """Unpacks what `to_words` packed.

    Raises:
      UserError: the words are not those of such sums.
    """
    numbers = from_words(words)
    if len(numbers) < 6 or numbers[3] not in (0, 1):
      raise UserError(f"these {len(numbers)} packed numbers are not the sums of an inception score")
    epsilon = Epsilon(float(numbers[2]), EPSILON_TARGETS[int(numbers[3])])
    return cls(int(numbers[0]), numbers[4:].copy(), float(numbers[1]), epsilon)


def merge_all(parts: Iterable[ScoreSums]) -> ScoreSums:
  """Sums over the union of all parts, for instance of one part per process.

  Raises:
    UserError: there are no parts, or see `ScoreSums.merge`.
  """
  parts = list(parts)
  if not parts:
    raise UserError("no sums of inception scores to merge")
  total = parts[0]
  for part in parts[1:]:
    total = total.merge(part)
  return total


def inception_score(
  values: np.ndarray,
  splits: int = 1,
  seed: int | None = None,
  eps: float = 0.0,
  eps_place: str = "logs",
  kind: str = "logits",
) -> tuple[float, float]:
  """Inception score of samples: mean and standard deviation over splits.

  Small splits bias the mean downwards: 10 splits of 2048 samples lower it by about 5 %.

  Args:
    values: [N, C], see `probabilities_of`.
    splits: number of parts of consecutive samples; split i holds the samples from i N // splits to
      (i + 1) N // splits.
    seed: a number shuffles the samples with that seed before splitting; None keeps their order.
      Samples that are ordered by class must be shuffled if there is more than one split.
    eps: small number added to avoid ln 0; 0 gives the score as defined.
    eps_place: what `eps` is added to, see `Epsilon.added_to`.
    kind: one of KINDS.

  Returns:
    (mean over splits, standard deviation over splits with divisor `splits`).

  Raises:
    UserError: there are fewer samples than splits, or see `probabilities_of`.
  """
  if splits < 1:
    raise UserError(f"splits must be at least 1, not {splits}")
  epsilon = Epsilon(eps, eps_place)
  p, terms = terms_of(values, kind, epsilon, minimum=splits)
  if seed is not None:
    order = np.random.default_rng(seed).permutation(len(p))
    p, terms = p[order], terms[order]
  edges = [i * len(p) // splits for i in range(splits + 1)]
  scores = [
    ScoreSums(end - begin, p[begin:end].sum(0), float(terms[begin:end].sum()), epsilon).score()
    for begin, end in itertools.pairwise(edges)
  ]
  return float(np.mean(scores)), float(np.std(scores))
