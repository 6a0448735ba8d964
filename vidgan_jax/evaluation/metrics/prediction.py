"""Measures of frame prediction: PSNR and SSIM against the true frames, and the best of K futures.

Each given clip is continued K times. A measure of a given clip is the mean over its K futures, or
the best of them; the number that is reported is the mean over the given clips. Intervals are of
this mean, over given clips. Numbers that end with "_repeat" are of clips that repeat the last given
frame. Those that end with "_gain" are the differences from these, clip by clip, so their intervals
are those of paired differences.
"""

import dataclasses

import numpy as np

from vidgan_jax.evaluation.metrics.base import (
  QUANTILE,
  Computed,
  Inputs,
  Metric,
  MetricLeftOut,
  Number,
  Score,
)

PIXELS = "pixels"  # the "network" of measures that compare pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
  """What `statistics.prediction.quality` computed of predicted clips.

  Attributes:
    values: {name: float [N]} of the clips in their order; clip i continues the given clip i modulo
      `given_clips`.
    given_clips: number of different given clips.
  """

  values: dict[str, np.ndarray]
  given_clips: int

  def by_given(self, name: str, begin: int, count: int) -> np.ndarray:
    """Values of the clips begin..begin+count-1 by given clip and future, [clips, K]."""
    clips = min(self.given_clips, count)
    futures = count // clips
    values = self.values[name][begin : begin + clips * futures].astype(np.float64)
    return values.reshape(futures, clips).T


@dataclasses.dataclass(frozen=True)
class PredictionQuality(Metric):
  """PSNR and SSIM of predicted frames; see the module's docstring."""

  name = "prediction"
  numbers = (
    Number("psnr", "PSNR", "Nearness to the true frames in dB, mean over the predicted frames."),
    Number("ssim", "SSIM", "Structural similarity with the true frames (Wang et al. 2004)."),
    Number("psnr_best", "PSNR, best of K", "PSNR of the best of the K futures of each clip."),
    Number("ssim_best", "SSIM, best of K", "SSIM of the best of the K futures of each clip."),
    Number("psnr_repeat", "PSNR, repeated", "PSNR of repeating the last given frame."),
    Number("ssim_repeat", "SSIM, repeated", "SSIM of repeating the last given frame."),
    Number("psnr_gain", "PSNR gain", "PSNR above that of repeating the last given frame."),
    Number("ssim_gain", "SSIM gain", "SSIM above that of repeating the last given frame."),
  )
  higher_is_better = True
  input = PIXELS
  compares = False

  network: str = PIXELS
  output: str = "frames"

  def settings(self) -> list[str]:
    """See `Metric`."""
    return ["without the given frames"]

  def compute(self, inputs: Inputs) -> Computed:
    """See `Metric`. Each repeat has the futures of its own clips."""
    tables = self._tables(inputs)
    names = [number.name for number in self.numbers]
    values = {name: [float(np.mean(table[name])) for table in tables] for name in names}
    return Computed(values, extra_fields={"futures": tables[0]["futures"]})

  def score(self, inputs: Inputs) -> list[Score]:
    """See `Metric`. Every number has an interval of its own."""
    computed, first = self.compute(inputs), self._tables(inputs)[0]
    single = len(inputs.generated) == 1
    has_interval = self.has_interval(len(inputs.generated), inputs.bootstrap)
    scores = []
    for name, values in computed.values.items():
      of_clips = first[name]
      error = float(np.std(of_clips, ddof=1) / np.sqrt(len(of_clips))) if len(of_clips) > 1 else 0.0
      interval = (values[0] - QUANTILE * error, values[0] + QUANTILE * error)
      scores.append(
        Score(
          name,
          tuple(values),
          interval if has_interval and len(of_clips) > 1 else None,
          error if single else float(np.std(values)),
          None,
          (),
          computed.extra_fields,
        )
      )
    return scores

  def _tables(self, inputs: Inputs) -> list[dict]:
    """{name of a number: values of the given clips} of each repeat.

    Raises:
      MetricLeftOut: the clips continue no given frames.
    """
    predictions = inputs.predictions
    if predictions is None:
      raise MetricLeftOut("only clips that a run generates from given frames have true frames")
    tables, begin = [], 0
    for clips in inputs.generated:
      count = clips.count
      table: dict = {}
      for name in ("psnr", "ssim"):
        values = predictions.by_given(name, begin, count)
        repeat = predictions.by_given(f"{name}_repeat", begin, count)[:, 0]
        table[name], table[f"{name}_best"] = values.mean(axis=1), values.max(axis=1)
        table[f"{name}_repeat"], table[f"{name}_gain"] = repeat, table[name] - repeat
        table["futures"] = values.shape[1]
      tables.append(table)
      begin += count
    return tables
