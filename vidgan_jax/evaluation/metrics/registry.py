"""All metrics by name. A new metric is one module of this folder and one line here."""

import importlib
from collections.abc import Mapping

from vidgan_jax.evaluation.metrics.base import Metric, Number

_CLASSES = (  # module and class, in the order in which lists show them
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
  None: ("≈", "nearer to real is better"),
}


def of_number(name: str) -> type[Metric] | None:
  """The metric that gives a number, "recall" for example; None where it is not known."""
  _, metric = _NUMBERS.get(name, (None, None))
  return metric


def number(name: str) -> Number:
  """How a report presents a number, also one of a metric that is not known here."""
  unknown = Number(name, str(name).replace("_", " "), "A number this page has no words for.")
  return _NUMBERS.get(name, (unknown, None))[0]


def direction(name: str) -> tuple[str, str]:
  """A sign and words that say which values of a number are good; empty where it is not known."""
  metric = of_number(name)
  return _DIRECTIONS[metric.higher_is_better] if metric else ("", "")
