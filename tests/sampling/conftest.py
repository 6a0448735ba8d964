"""A tiny trained run that the sampling tests share."""

import jax
import pytest

import vidgan_jax
from vidgan_jax.training import loop


@pytest.fixture(scope="session")
def workdir(tiny_config, tmp_path_factory):
  """The folder of a run of 4 iterations with checkpoints at 2 and 4.

  Its steps are so large that clips of different iterations, and of the moving average and the live
  weights, look different.
  """
  changes = {"optimizer.generator_lr": 0.02, "ema.decay": 0.5, "ema.start": 0}
  folder = tmp_path_factory.mktemp("trained")
  trainer = loop.Trainer(
    tiny_config(**changes), folder, devices=jax.devices()[:1], report=lambda line: None
  )
  trainer.run()
  return folder


@pytest.fixture(scope="session")
def run(workdir):
  """That run opened: 8 classes, 8x8 pixels, 4 frames."""
  return vidgan_jax.load(workdir)
