"""Scores of generated videos by named protocols: FVD, FID, Inception Score and relatives.

What is used on its own can be had from here; it is imported when it is first asked for, and depends
on neither training nor models.
"""

import importlib

_PUBLIC = {
  "ArrayClips": "clips",
  "Evaluator": "evaluator",
  "Measure": "protocols",
  "Moments": "moments",
  "Protocol": "protocols",
  "RealClips": "clips",
  "bootstrap": "intervals",
  "density_coverage": "manifold",
  "frechet_by_class": "frechet",
  "frechet_distance": "frechet",
  "frechet_distance_of_features": "frechet",
  "frechet_interval": "intervals",
  "get_protocol": "protocols",
  "load_extractor": "extractor",
  "load_extractors": "evaluator",
  "precision_recall": "manifold",
  "resize": "resizing",
}


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
  return getattr(module, name)


def __dir__():
  return sorted([*globals(), *_PUBLIC])
