"""Scores of generated videos by named protocols: FVD, FID, Inception Score and relatives.

Names that are useful on their own are available from here. Each is imported at its first use, and
needs neither training nor models.
"""

import importlib

_PUBLIC = {
  "ArrayClips": "clips",
  "Evaluator": "evaluator",
  "METRICS": "metrics.registry",
  "Metric": "metrics.base",
  "Moments": "statistics.moments",
  "Protocol": "protocols.base",
  "RealClips": "clips",
  "bootstrap": "statistics.intervals",
  "density_coverage": "statistics.precision_recall",
  "frechet_by_class": "statistics.frechet",
  "frechet_distance": "statistics.frechet",
  "frechet_distance_of_features": "statistics.frechet",
  "frechet_interval": "statistics.intervals",
  "get_protocol": "protocols.registry",
  "load_extractor": "features.extractor",
  "load_extractors": "evaluator",
  "precision_recall": "statistics.precision_recall",
  "resize": "features.resizing",
}


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
  return getattr(module, name)


def __dir__():
  return sorted([*globals(), *_PUBLIC])
