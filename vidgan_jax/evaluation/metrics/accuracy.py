"""Accuracy: how often a classifier predicts the class that a clip was generated for."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from vidgan_jax.evaluation.metrics.base import (
  QUANTILE,
  ClipSet,
  Computed,
  Floor,
  Inputs,
  Metric,
  Number,
)


@dataclasses.dataclass(frozen=True)
class Accuracy(Metric):
  """The share of clips whose largest logit belongs to their label."""

  name = "accuracy"
  numbers = (
    Number(
      "accuracy",
      "Accuracy",
      "The share of generated clips that the classifier assigns to the class they were generated "
      "for.",
    ),
  )
  higher_is_better = True
  input = "logits"
  needs_labels = True
  labels_are_classes = True
  scores_classes = True

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`."""
    logits = self.stored_features(*inputs.generated)
    values = [
      accuracy(of_set, clips.required_labels)
      for of_set, clips in zip(logits, inputs.generated, strict=True)
    ]
    return Computed({self.name: values})

  def interval(self, inputs: Inputs, computed: Computed) -> tuple[float, float] | None:
    """See `Metric`."""
    return wilson(computed.values[self.name][0], self.output_of(inputs.generated[0]).count)

  def floor(self, inputs: Inputs) -> dict[str, Floor]:
    """See `Metric`: the accuracy on all real clips."""
    real = self.output_of(inputs.real_clips)
    if real.features is None:
      return {}
    value = accuracy(real.features, inputs.real_clips.required_labels)
    interval = wilson(value, real.count) if inputs.bootstrap else None
    return {self.name: Floor(value, interval, f"{real.count} real clips")}

  def values_by_class(
    self, real: ClipSet, generated: ClipSet, counts: Mapping[int, tuple[int, int]]
  ) -> dict[int, float]:
    """See `Metric`."""
    (logits,) = self.stored_features(generated)
    return {label: accuracy(logits[generated.required_labels == label], label) for label in counts}


def accuracy(logits: np.ndarray, labels: np.ndarray | int) -> float:
  """The share of clips, logits [N, C], whose largest logit belongs to their label."""
  return float(np.mean(np.argmax(logits, axis=1) == labels))


def wilson(share: float, count: int) -> tuple[float, float]:
  """Wilson's score interval of a share; unlike a bootstrap, it is valid for shares near 0 and 1."""
  z = QUANTILE
  middle = share + z * z / (2 * count)
  margin = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
  scale = 1 + z * z / count
  low, high = (middle - margin) / scale, (middle + margin) / scale
  return (low if share > 0 else 0.0, high if share < 1 else 1.0)
