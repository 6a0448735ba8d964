"""The measures of frame prediction: best of K, gains, and their intervals."""

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics.base import QUANTILE, ClipSet, Inputs, MetricLeftOut
from vidgan_jax.evaluation.metrics.prediction import PredictionQuality, Predictions


def inputs(predictions, *counts):
  sets = [ClipSet({}, count=count) for count in counts]
  return Inputs(None, sets, bootstrap=40, predictions=predictions)


@pytest.fixture(scope="module")
def table():
  """4 given clips with 3 futures each; clip i continues the given clip i modulo 4."""
  generator = np.random.default_rng(0)
  psnr, ssim = generator.uniform(10, 30, (4, 3)), generator.uniform(0, 1, (4, 3))
  repeat = generator.uniform(10, 30, 4)
  flat = lambda values: values.T.reshape(-1)
  values = {
    "psnr": flat(psnr),
    "ssim": flat(ssim),
    "psnr_repeat": np.tile(repeat, 3),
    "ssim_repeat": np.tile(repeat / 40, 3),
  }
  return psnr, ssim, repeat, Predictions(values, 4)


def test_numbers_are_means_over_given_clips_of_the_mean_or_best_future(table):
  psnr, ssim, repeat, predictions = table
  scores = {s.metric: s for s in PredictionQuality().score(inputs(predictions, 12))}
  expected = {
    "psnr": psnr.mean(1),
    "ssim": ssim.mean(1),
    "psnr_best": psnr.max(1),
    "ssim_best": ssim.max(1),
    "psnr_repeat": repeat,
    "ssim_repeat": repeat / 40,
    "psnr_gain": psnr.mean(1) - repeat,
    "ssim_gain": ssim.mean(1) - repeat / 40,
  }
  assert list(scores) == list(expected)
  for name, values in expected.items():
    score, error = scores[name], QUANTILE * values.std(ddof=1) / 2
    np.testing.assert_allclose(score.values, [values.mean()])
    np.testing.assert_allclose(score.interval, (values.mean() - error, values.mean() + error))
    assert score.extra_fields == {"futures": 3} and score.floor is None


def test_repeats_and_counts_that_do_not_divide(table):
  psnr, _, _, predictions = table
  scores = {s.metric: s for s in PredictionQuality().score(inputs(predictions, 4, 4, 4))}
  np.testing.assert_allclose(scores["psnr"].values, psnr.mean(0))
  assert scores["psnr"].interval is None and scores["psnr"].extra_fields == {"futures": 1}
  some = {s.metric: s for s in PredictionQuality().score(inputs(predictions, 11))}
  np.testing.assert_allclose(some["psnr_best"].values, [psnr[:, :2].max(1).mean()])
  few = {s.metric: s for s in PredictionQuality().score(inputs(predictions, 3))}
  np.testing.assert_allclose(few["psnr"].values, [psnr[:3, 0].mean()])


def test_clips_that_continue_nothing_are_left_out():
  with pytest.raises(MetricLeftOut, match="generates from given frames"):
    PredictionQuality().score(inputs(None, 3))
