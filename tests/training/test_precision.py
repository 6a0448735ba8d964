"""Runs in bfloat16 and float32 differ by no more than runs with different seeds."""

import functools

import jax
import numpy as np
import optax
import pytest

from vidgan_jax.data.build import build_source
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.models import registry
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration

ITERATIONS = 200
STARTS = (0, 1, 2)


@pytest.fixture(scope="module")
def runs(lean_config):
  """Returns a function (precision) -> results of runs on moving shapes, one for each seed.

  The metrics of all iterations as {name: [ITERATIONS]} and the last state. A start is a draw of the
  parameters and an order of the data; the program is one.
  """

  @functools.cache
  def train(precision):
    config = lean_config(precision=precision, **{"model.savings": True})
    gan = registry.build(config)
    transforms = optimizers.build(config, gan.discriminators)
    create = jax.jit(functools.partial(states.create, gan, transforms))
    program = jax.jit(Iteration(gan, transforms, config).__call__, donate_argnums=0)
    source = build_source(
      config.data, frames=gan.frames, resolution=gan.resolution, num_classes=gan.num_classes
    )
    runs = []
    for start in STARTS:
      state, metrics = create(start), []
      batches = Batches(source, config.batch_size, 1, start)
      for step in range(ITERATIONS):
        state, values = program(state, batches(step))
        metrics.append(values)
      metrics = jax.device_get(metrics)
      runs.append(({n: np.array([m[n] for m in metrics]) for n in metrics[0]}, state))
    return runs

  return train


def _late(run):
  """Means of a run's metrics over its second half, and norms of its last state."""
  metrics, state = run
  names = ("loss/", "score/", "sigma_max/", "pixel/", "gradient_norm/")
  late = {n: np.mean(v[ITERATIONS // 2 :]) for n, v in metrics.items() if n.startswith(names)}
  generator = state.generator
  for name, tree in (("moments", generator.batch_stats), ("parameters", generator.params)):
    late[name] = float(optax.global_norm(tree))
  return late


def test_the_first_iteration_differs_by_rounding(runs):
  for (wide, _), (narrow, _) in zip(runs("float32"), runs("bfloat16"), strict=True):
    for name, values in wide.items():
      if name.startswith(("sigma_max/spatial", "pixel/real")):
        assert narrow[name][0] == values[0]  # float32 under either policy
      elif name.startswith(("loss/", "score/", "gradient_norm/", "pixel/generated")):
        assert abs(narrow[name][0] - values[0]) < 0.1 * max(1, abs(values[0])), name
    assert narrow["loss/generator"][0] != wide["loss/generator"][0]  # not the same program


def test_bfloat16_stays_within_the_noise_of_float32(runs):
  """The distance of the means over all seeds, in standard errors."""
  wide, narrow = (([_late(run) for run in runs(p)]) for p in ("float32", "bfloat16"))
  far = {}
  for name in wide[0]:
    a, b = (np.array([late[name] for late in of]) for of in (wide, narrow))
    noise = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / len(STARTS))
    distance = abs(np.mean(a) - np.mean(b)) / max(noise, 1e-3 * abs(np.mean(a)), 1e-6)
    if distance > 4:
      far[name] = (distance, a, b)
  assert not far, far
