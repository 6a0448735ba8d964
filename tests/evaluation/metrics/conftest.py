"""Sets of clips that consist of random features, without videos or networks."""

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.base import ClipSet, Inputs
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
  return lambda metric, real, generated, **fields: metric.score(Inputs(real, generated, **fields))


@pytest.fixture(scope="session")
def features():
  """A function (real, generated, width) that returns two arrays of normal features."""

  def draw(real=40, generated=24, width=6):
    random = np.random.default_rng(0)
    return random.standard_normal((real, width)), 1.3 * random.standard_normal(
      (generated, width)
    ) + 1

  return draw
