"""Fixtures of the evaluation's tests: a stand-in for a network, and clips."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.data.sources.base import InMemorySource
from vidgan_jax.evaluation.features.extractor import Extractor, weights_hash
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols.base import Protocol

FRAMES, SIDE, CLASSES, WIDTH = 4, 8, 3, 10


def _apply(variables, clips):
  """Two matrix products with a tanh in between, for clips of any size."""
  flat = clips.reshape(clips.shape[0], -1)
  hidden = jnp.tanh(jnp.matmul(flat, variables["in"][: flat.shape[1]], precision="highest"))
  logits = jnp.matmul(hidden, variables["out"], precision="highest")
  return {"features": hidden, "logits": logits}


@pytest.fixture(scope="session")
def stand_in():
  """A function (seed, **fields) that returns an `Extractor` with random weights."""

  def build(seed=0, **fields):
    generator = np.random.default_rng(seed)
    size = FRAMES * SIDE * SIDE * 3
    variables = {
      "in": generator.normal(size=(size, WIDTH)).astype(np.float32) / np.sqrt(size),
      "out": 3 * generator.normal(size=(WIDTH, CLASSES)).astype(np.float32),
    }
    extractor = Extractor(
      name="stand_in",
      weights_hash=weights_hash(variables),
      outputs={"features": WIDTH, "logits": CLASSES},
      min_frames=2,
      input_size=None,
      variables=variables,
      apply=_apply,
      constants={},
      class_names=("a", "b", "c"),  # those of `source`
    )
    return dataclasses.replace(extractor, **fields)

  return build


SCALE = ("scale", 2 / 255, -1.0)


@pytest.fixture
def protocol():
  """Five metrics on the stand-in; 60 real clips, 30 generated."""
  kinds = {"is": "logits", "fid": "features", "accuracy": "logits", "kvd": "features"}
  measures = [METRICS[metric]("stand_in", output, (SCALE,)) for metric, output in kinds.items()]
  return Protocol(
    "tiny",
    "a test",
    (*measures, METRICS["prdc"]("stand_in", "features", (SCALE,))),
    real_count=60,
    generated_count=30,
    per_class=True,
    bootstrap=10,
  )


@pytest.fixture(scope="session")
def some_clips():
  """A function (count, seed, bias) that returns uint8 clips [N, 4, 8, 8, 3] and labels [N]."""

  def draw(count, seed=0, bias=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    base = generator.integers(0, 150, (CLASSES, FRAMES, SIDE, SIDE, 3))
    clips = base[labels] + generator.integers(0, 100, (count, FRAMES, SIDE, SIDE, 3))
    return np.clip(clips + bias, 0, 255).astype(np.uint8), labels.astype(np.int32)

  return draw


@pytest.fixture
def source(some_clips):
  """A source of 70 clips of three classes."""
  return InMemorySource(*some_clips(70), ("a", "b", "c"), FRAMES)
