"""Sets of clips that consist of random features, without videos or networks."""

import dataclasses

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.base import ClipSet, Inputs
from vidgan_jax.evaluation.metrics.prediction import Predictions
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments


@pytest.fixture(scope="session")
def clip_set():
  """A function (features [N, d], stored, **fields) that returns a `ClipSet` with an output "any".

  If `stored` is False, it has only the moments of the features.
  """

  def build(features, stored=True, **fields):
    features = np.asarray(features)
    of_any = FeatureSet(Moments.of(features), features if stored else None)
    return ClipSet({"any": of_any}, **fields)

  return build


@pytest.fixture(scope="session")
def score():
  """A function (metric, real, generated sets, **fields of `Inputs`) that returns the scores."""

  def of(metric, real, generated, **fields):
    if metric.input == "pixels":  # compares predicted with true frames instead of features
      values = np.random.default_rng(1).uniform(size=sum(len(s.labels) for s in generated))
      names = ("psnr", "ssim", "psnr_repeat", "ssim_repeat")
      fields["predictions"] = Predictions(dict.fromkeys(names, values), 8)
      generated = [dataclasses.replace(s, count=len(s.labels)) for s in generated]
    return metric.score(Inputs(real, generated, **fields))

  return of


@pytest.fixture(scope="session")
def features():
  """A function (real, generated, width) that returns two arrays of normal features."""

  def draw(real=40, generated=24, width=6):
    random = np.random.default_rng(0)
    return random.standard_normal((real, width)), 1.3 * random.standard_normal(
      (generated, width)
    ) + 1

  return draw
