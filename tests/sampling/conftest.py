"""Fixtures of the sampling tests: a tiny run, made without training."""

import json

import jax
import numpy as np
import pytest

import vidgan_jax
from vidgan_jax.layers import spectral_norm
from vidgan_jax.models import registry
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states

CLASS_NAMES = ("Disk", "square", "tri/angle", "../cross", "a,b", "6", "..", "pulsing cross.mp4")


def _moved(network, seed):
  """Parameters and running statistics as far from their initial values as after long training.

  Fresh weights draw grey clips that look the same for every label and weight.
  """
  generator = np.random.default_rng(seed)

  def move(path, leaf):
    noise = 0.3 * generator.normal(size=leaf.shape).astype(leaf.dtype)
    return leaf + (np.abs(noise) if "variance" in jax.tree_util.keystr(path) else noise)

  return jax.tree_util.tree_map_with_path(move, network)


def _write_run(folder, config, class_names):
  """Writes a run with checkpoints at iterations 2 and 4, whose weights and averages all differ."""
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  (folder / states.CONFIG).write_text(configuration.to_json(config))
  (folder / states.DATA).write_text(json.dumps({"class_names": class_names}))
  state = jax.jit(lambda: states.create(gan, transforms, config.seed))()
  checkpoints = Checkpoints(folder / states.CHECKPOINTS)
  for step in (2, 4):
    generator = state.generator.replace(
      params=_moved(state.generator.params, step),
      batch_stats=_moved(state.generator.batch_stats, step),
    )
    _, spectral, _ = spectral_norm.normalize(generator.params, generator.spectral, iterations=20)
    average = _moved(states.Average(generator.params, generator.batch_stats), step + 1)
    state = state.replace(
      step=np.int32(step), generator=generator.replace(spectral=spectral), ema=average
    )
    checkpoints.save(step, jax.tree.map(jax.numpy.asarray, state), {"seconds": 0.0})
  checkpoints.close()
  return folder


@pytest.fixture(scope="session")
def workdir(tiny_config, tmp_path_factory):
  """The folder of a run with checkpoints at iterations 2 and 4.

  The live weights and averages of both checkpoints all differ.
  """
  # Statistics per time step, as in the paper, depend on the number of frames.
  config = tiny_config(**{"model.generator.statistics": "per_step"})
  return _write_run(tmp_path_factory.mktemp("trained"), config, CLASS_NAMES)


@pytest.fixture(scope="session")
def predicting(tiny_prediction_config, tmp_path_factory):
  """The folder of a run that continues 2 given frames of 8x8 pixels by 3."""
  config = tiny_prediction_config(**{"model.generator.statistics": "per_step"})
  return _write_run(tmp_path_factory.mktemp("predicting"), config, ())


@pytest.fixture(scope="session")
def run(workdir):
  """The run of `workdir`, opened: 8 classes, 8x8 pixels, 4 frames."""
  return vidgan_jax.load(workdir)
