"""A run that continues given frames, from training over previews and scores to its end."""

import jax
import numpy as np
import pytest

import vidgan_jax
import vidgan_jax.training.state as states
from tests.training.test_loop import check_same, start, wait_for_steps
from vidgan_jax.evaluation import cli, hook
from vidgan_jax.evaluation.metrics.prediction import PredictionQuality
from vidgan_jax.evaluation.report import results
from vidgan_jax.sampling import run as runs
from vidgan_jax.sampling import stream
from vidgan_jax.sampling.preview import PreviewHook
from vidgan_jax.training import loop

# SSIM needs frames of 11 pixels or more.
AT_16 = {
  "model.resolution": 16,
  "model.generator.multipliers": (2, 2, 1),
  "model.discriminator.multipliers": (1, 2, 2),
  "model.discriminator.temporal": False,
  "model.savings": False,
  "batch_size": 2,
  "num_iterations": 4,
  "evaluation.every": 2,
  "evaluation.protocol": "moving_shapes_prediction",
  "evaluation.best": "psnr",
  "evaluation.count": 6,
  "evaluation.real_count": 3,
}


@pytest.fixture(scope="module")
def config(tiny_prediction_config):
  return tiny_prediction_config(**AT_16)


def train(config, workdir):
  scores = hook.EvaluationHook(config.evaluation, stream.from_hook_context, lambda line: None)
  hooks = [PreviewHook(2, clips=2, standing_passes=1), scores]
  trainer = loop.Trainer(
    config, workdir, hooks, devices=jax.devices()[:1], report=lambda line: None
  )
  return trainer.run()


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
  """The folder of a run of 4 iterations, and its last state."""
  folder = tmp_path_factory.mktemp("trained") / "run"
  return folder, train(config, folder)


def test_a_run_previews_and_is_scored(trained):
  folder, state = trained
  assert int(state.step) == 4
  assert (folder / "samples" / "00000004.png").exists()
  records = results.read(folder / "evaluation" / "moving_shapes_prediction" / results.FILE)
  names = {record["metric"] for record in records["records"]}
  assert names == {"fid", *(number.name for number in PredictionQuality.numbers)}
  (best,) = [r for r in records["records"] if r["metric"] == "psnr_best" and r["step"] == 4]
  assert best["fields"]["futures"] == 2 and best["fields"]["conditioning"].startswith("3 clips ")
  assert (folder / "best" / states.CONFIG).exists()


def test_a_killed_run_ends_with_the_same_bits(config, trained, tmp_path):
  """kill -9 in iteration 4; then the run continues from its checkpoint at iteration 2."""
  process = start(tmp_path, config)
  wait_for_steps(tmp_path, 3, process)
  process.kill()
  process.communicate()
  process = start(tmp_path, config)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  check_same(tmp_path, trained)


def test_the_command_scores_it_as_its_predictions_say(trained, tmp_path):
  folder, _ = trained
  request = cli.Request(
    protocol="moving_shapes_prediction",
    workdir=folder,
    output=tmp_path / "scores",
    count=8,
    real_count=4,
    batch_size=3,  # so that the last batch has clips beyond the last one
    standing_passes=0,
    seed=5,
  )
  opener = cli.Opener(runs.load, stream.Stream, stream.of_conditioned)
  cli.fulfil(request, opener, report=lambda line: None)
  records = results.read(tmp_path / "scores" / results.FILE)["records"]
  values = {record["metric"]: record["value"] for record in records}
  # The same clips once more, by the Python interface.
  run = vidgan_jax.load(folder, standing_passes=0)
  given = _real_clips(run, count=4, seed=5)
  clips = run.sample(5, count=8, conditioning={"clip": np.concatenate([given, given])})
  error = lambda a, b: np.mean((a.astype(float) - b) ** 2, axis=(-1, -2, -3))
  psnr = np.mean(
    10 * np.log10(255**2 / error(clips[:, 2:], np.tile(given, (2, 1, 1, 1, 1))[:, 2:])), 1
  )
  psnr = psnr.reshape(2, 4)
  repeat = np.mean(
    10 * np.log10(255**2 / np.maximum(error(given[:, 1:2], given[:, 2:]), 1 / 12)), 1
  )
  np.testing.assert_allclose(values["psnr"], psnr.mean(), rtol=1e-3)
  np.testing.assert_allclose(values["psnr_best"], psnr.max(0).mean(), rtol=1e-3)
  np.testing.assert_allclose(values["psnr_gain"], (psnr.mean(0) - repeat).mean(), atol=0.02)


def _real_clips(run, count, seed):
  from vidgan_jax.evaluation import clips
  from vidgan_jax.evaluation.protocols import registry

  real = clips.of_run(
    run.config.copy_and_resolve_references().data,
    registry.get_protocol("moving_shapes_prediction"),
    frames=5,
    resolution=16,
    num_classes=0,
    stride=None,
    seed=seed,
    count=count,
    report=lambda line: None,
  )
  return real(0, count)[0]
