"""Fixtures of the sampling tests: a tiny run, made without training."""

import pytest

import vidgan_jax
from tests.runs import write_run

CLASS_NAMES = ("Disk", "square", "tri/angle", "../cross", "a,b", "6", "..", "pulsing cross.mp4")


@pytest.fixture(scope="session")
def workdir(tiny_config, tmp_path_factory):
  """The folder of a run with checkpoints at iterations 2 and 4.

  The live weights and averages of both checkpoints all differ.
  """
  # Statistics per time step, as in the paper, depend on the number of frames.
  config = tiny_config(**{"model.generator.statistics": "per_step"})
  return write_run(tmp_path_factory.mktemp("trained"), config, CLASS_NAMES)


@pytest.fixture(scope="session")
def predicting(tiny_prediction_config, tmp_path_factory):
  """The folder of a run that continues 2 given frames of 8x8 pixels by 3."""
  config = tiny_prediction_config(**{"model.generator.statistics": "per_step"})
  return write_run(tmp_path_factory.mktemp("predicting"), config, ())


@pytest.fixture(scope="session")
def run(workdir):
  """The run of `workdir`, opened: 8 classes, 8x8 pixels, 4 frames."""
  return vidgan_jax.load(workdir)
