"""All metrics by name. A new metric needs one module in this folder and an entry here."""

from collections.abc import Mapping

from vidgan_jax.evaluation.metrics.accuracy import Accuracy
from vidgan_jax.evaluation.metrics.base import Metric, Number
from vidgan_jax.evaluation.metrics.diversity import Diversity
from vidgan_jax.evaluation.metrics.frechet import FID, FVD
from vidgan_jax.evaluation.metrics.inception_score import InceptionScore
from vidgan_jax.evaluation.metrics.kernel import KernelDistance
from vidgan_jax.evaluation.metrics.neighbours import PrecisionRecall
from vidgan_jax.evaluation.metrics.prediction import PredictionQuality
from vidgan_jax.evaluation.metrics.unlimited import (
  FIDInfinity,
  FVDInfinity,
  InceptionScoreInfinity,
)
from vidgan_jax.evaluation.metrics.vendi import VendiScore

_ALL: tuple[type[Metric], ...] = (  # in the order of lists
  FVD,
  FID,
  InceptionScore,
  KernelDistance,
  Accuracy,
  PrecisionRecall,
  Diversity,
  VendiScore,
  FVDInfinity,
  FIDInfinity,
  InceptionScoreInfinity,
  PredictionQuality,
)
METRICS: Mapping[str, type[Metric]] = {metric.name: metric for metric in _ALL}
_NUMBERS = {number.name: (number, metric) for metric in _ALL for number in metric.numbers}
_DIRECTIONS = {
  True: ("↑", "higher is better"),
  False: ("↓", "lower is better"),
  None: ("≈", "closer to real clips is better"),
}


def metric_of_number(name: str) -> type[Metric] | None:
  """The metric that computes a number such as "recall"; None for an unknown number."""
  _, metric = _NUMBERS.get(name, (None, None))
  return metric


def number(name: str) -> Number:
  """Name, title and meaning of a number. An unknown number gets a title made from its name."""
  unknown = Number(
    name, str(name).replace("_", " "), "This page has no description of this number."
  )
  return _NUMBERS.get(name, (unknown, None))[0]


def direction(name: str) -> tuple[str, str]:
  """(arrow, words) for which values of a number are better; ("", "") for an unknown number."""
  metric = metric_of_number(name)
  return _DIRECTIONS[metric.higher_is_better] if metric else ("", "")
