"""Measures within each class: distances, scores and accuracies of the clips of one label."""

import numpy as np

from vidgan_jax.evaluation.metrics.measures import FRECHET, accuracy, finite
from vidgan_jax.evaluation.protocols.base import Measure
from vidgan_jax.evaluation.statistics import diversity
from vidgan_jax.evaluation.statistics.frechet import frechet_by_class
from vidgan_jax.evaluation.statistics.inception_score import inception_score


def by_class(measure: Measure, real, real_labels, generated, labels) -> dict[int, dict]:
  """A measure within each class that both sets have twice: {class: {"value", counts}}.

  Args:
    measure: a Frechet distance, "is", "accuracy" or "diversity"; others have no entry. Inception
      Scores are of one split, whatever the measure's: a class has few clips (SSW-GAN, appendix G).
    real, generated: `Gathered` with features.
    real_labels, labels: int of each clip.
  """
  counts = {
    int(label): (int(np.sum(real_labels == label)), int(np.sum(labels == label)))
    for label in np.unique(labels)
  }
  values = {}
  if measure.metric in FRECHET and real.features is not None:
    classes = [label for label, both in counts.items() if min(both) >= 2]
    values = frechet_by_class(
      real.features, real_labels, generated.features, labels, measure.ddof, classes
    )
  elif measure.metric == "is":
    score = lambda own: inception_score(own, 1, None, measure.eps, measure.eps_place)[0]
    values = {
      label: score(generated.features[labels == label])
      for label, both in counts.items()
      if both[1] > 1
    }
  elif measure.metric == "diversity":
    values = {
      label: diversity.mean_distance(generated.features[labels == label])
      for label, both in counts.items()
      if both[1] > 1
    }
  elif measure.metric == "accuracy":
    values = {label: accuracy(generated.features[labels == label], label) for label in counts}
  return {
    label: {
      "value": float(value),
      "count_real": counts[label][0],
      "count_generated": counts[label][1],
    }
    for label, value in values.items()
    if finite(value)
  }
