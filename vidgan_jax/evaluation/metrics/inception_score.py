"""The Inception Score, computed from the logits of a classifier (Salimans et al. 2016)."""

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
)
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score


@dataclasses.dataclass(frozen=True)
class InceptionScore(Metric):
  """How confidently a classifier recognises each clip, and how evenly the classes occur.

  Attributes:
    splits: number of parts into which the clips are divided; the score is the mean over the parts.
    eps: small number added to avoid ln 0; 0 gives the score as defined.
    eps_place: what `eps` is added to: "logs" or "probabilities", see `inception_score.Epsilon`.
  """

  name = "is"
  numbers = (
    Number(
      "is",
      "Inception Score",
      "How confidently a classifier recognises each clip, and how evenly the classes occur; at "
      "most the number of classes. Copies of clips do not lower it.",
    ),
  )
  higher_is_better = True
  input = "logits"
  scores_classes = True

  splits: int = 1
  eps: float = 0.0
  eps_place: str = "logs"

  def settings(self) -> list[str]:
    """See `Metric`."""
    words = [f"{self.splits} split{'s' if self.splits > 1 else ''}"]
    return words + ([f"eps {self.eps:g} added to {self.eps_place}"] if self.eps else [])

  @property
  def min_clips(self) -> int:
    """See `Metric`: one clip in each split."""
    return self.splits

  def has_interval(self, repeats: int, bootstrap: int) -> bool:
    """See `Metric`. With several splits, their standard deviation is reported instead."""
    return super().has_interval(repeats, bootstrap) and self.splits == 1

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    logits = self.stored_features(*inputs.generated)
    scores = [self._score(of_set, inputs.seed) for of_set in logits]
    deviation = scores[0][1] if self.splits > 1 else None
    return Computed({self.name: [mean for mean, _ in scores]}, deviation)

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`."""
    return self._interval(self.output_of(inputs.generated[0]).features, inputs)

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the score of as many real clips as there are generated clips."""
    real = self.output_of(inputs.real_clips)
    if real.features is None or real.count < self.splits:
      return {}
    logits = real.features[: self.output_of(inputs.generated[0]).count]
    value, _ = self._score(logits, inputs.seed)
    interval = self._interval(logits, inputs) if self.splits == 1 else None
    return {self.name: Floor(value, interval, f"{len(logits)} real clips")}

  def warnings(self, inputs: Inputs, floor: Mapping[str, Floor]) -> list[str]:
    """See `Metric`."""
    generated, lines = self.output_of(inputs.generated[0]), []
    classes = generated.moments.mean.size
    if generated.count < 10 * classes * self.splits:
      per_split = generated.count // self.splits
      lines.append(f"{per_split} clips per split for {classes} classes: biased downwards")
    return lines + copy_warnings(generated)

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """See `Metric`: in a single split, because a class has few clips (SSW-GAN, Appendix G)."""
    (logits,) = self.stored_features(generated)
    return {
      label: inception_score(
        logits[generated.required_labels == label], 1, None, self.eps, self.eps_place
      )[0]
      for label, (_, count) in counts.items()
      if count > 1
    }

  def _score(self, logits, seed):
    """(mean, standard deviation) over the splits."""
    shuffle_seed = seed if self.splits > 1 else None  # clips may be ordered by class
    return inception_score(logits, self.splits, shuffle_seed, self.eps, self.eps_place)

  def _interval(self, logits, inputs):
    if inputs.bootstrap < 2 or len(logits) < 4:
      return None
    epsilon = Epsilon(self.eps, self.eps_place)
    return intervals.score_interval(logits, LEVEL, inputs.bootstrap, inputs.seed, epsilon=epsilon)
