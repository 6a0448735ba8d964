"""The Inception Score of a classifier's logits (Salimans et al. 2016)."""

import dataclasses

from vidgan_jax.evaluation.metrics.base import LEVEL, Computed, Floor, Metric, Number, copies
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class InceptionScore(Metric):
  """How sure a classifier is of each clip, and how evenly all classes come up.

  Attributes:
    splits: the clips are divided into as many parts; the score is the mean over the parts.
    eps: added to the probabilities against ln 0; 0 is the score itself.
    eps_place: "logs" or "probabilities", see `inception_score.Epsilon`.
  """

  name = "is"
  numbers = (
    Number(
      "is",
      "Inception Score",
      "How surely a classifier names each clip's class, and how evenly all classes come up; at "
      "most the number of classes, and blind to copies.",
    ),
  )
  higher_is_better = True
  input = "logits"
  scores_classes = True

  splits: int = 1
  eps: float = 0.0
  eps_place: str = "logs"

  def settings(self):
    """See `Metric`."""
    words = [f"{self.splits} split{'s' if self.splits > 1 else ''}"]
    return words + ([f"eps {self.eps:g} in its {self.eps_place}"] if self.eps else [])

  @property
  def least_clips(self):
    """See `Metric`: one clip in each split."""
    return self.splits

  def has_interval(self, repeats, bootstrap):
    """See `Metric`. Several splits have their deviation instead."""
    return super().has_interval(repeats, bootstrap) and self.splits == 1

  def compute(self, inputs):
    """See `Metric`."""
    logits = [self.of(each).features for each in inputs.generated]
    if any(each is None for each in logits):
      raise UserError("the logits of so many clips are too large to keep; --count=N takes fewer")
    scores = [self._score(each, inputs.seed) for each in logits]
    deviation = scores[0][1] if self.splits > 1 else None
    return Computed({self.name: [mean for mean, _ in scores]}, deviation)

  def interval(self, inputs, computed):
    """See `Metric`."""
    return self._interval(self.of(inputs.generated[0]).features, inputs)

  def floor(self, inputs):
    """See `Metric`: the score of as many real clips."""
    real = self.of(inputs.real)
    if real.features is None or real.count < self.splits:
      return {}
    logits = real.features[: self.of(inputs.generated[0]).count]
    value, _ = self._score(logits, inputs.seed)
    interval = self._interval(logits, inputs) if self.splits == 1 else None
    return {self.name: Floor(value, interval, f"{len(logits)} real clips")}

  def warnings(self, inputs, floor):
    """See `Metric`."""
    generated, lines = self.of(inputs.generated[0]), []
    classes = generated.moments.mean.size
    if generated.count < 10 * classes * self.splits:
      per_split = generated.count // self.splits
      lines.append(f"{per_split} clips in a split of {classes} classes: biased downwards")
    return lines + copies(generated)

  def values_by_class(self, real, generated, counts):
    """See `Metric`: in one split, for a class has few clips (SSW-GAN, appendix G)."""
    logits = self.of(generated).features
    return {
      label: inception_score(logits[generated.labels == label], 1, None, self.eps, self.eps_place)[
        0
      ]
      for label, (_, count) in counts.items()
      if count > 1
    }

  def _score(self, logits, seed):
    """(mean, deviation) over the splits."""
    shuffled = seed if self.splits > 1 else None  # clips may be ordered by class
    return inception_score(logits, self.splits, shuffled, self.eps, self.eps_place)

  def _interval(self, logits, inputs):
    if inputs.bootstrap < 2 or len(logits) < 4:
      return None
    epsilon = Epsilon(self.eps, self.eps_place)
    return intervals.score_interval(logits, LEVEL, inputs.bootstrap, inputs.seed, epsilon=epsilon)
