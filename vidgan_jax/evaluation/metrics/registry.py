"""All metrics by name. A new metric needs one module in this folder and one line here."""

import importlib
from collections.abc import Mapping

from vidgan_jax.evaluation.metrics.base import Metric, Number

_CLASSES = (  # module and class, in the order of lists
  "frechet.FVD",
  "frechet.FID",
  "inception_score.InceptionScore",
  "kernel.KernelDistance",
  "accuracy.Accuracy",
  "neighbours.PrecisionRecall",
  "diversity.Diversity",
  "vendi.VendiScore",
  "unlimited.FVDInfinity",
  "unlimited.FIDInfinity",
  "unlimited.InceptionScoreInfinity",
)


def _load(path: str) -> type[Metric]:
  module, name = path.split(".")
  return getattr(importlib.import_module(f"{__package__}.{module}"), name)


_ALL = tuple(map(_load, _CLASSES))
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
