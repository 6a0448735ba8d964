"""Protocols: frozen objects with all that scores depend on besides the model and the data.

A protocol defines how clips are sampled (frames, stride, windows, count, split) and a list of
metrics, each with its network, preprocessing and settings. `published` defines the protocols,
`registry` finds them by name.
"""

import dataclasses

from vidgan_jax.evaluation.metrics.base import Metric

# Format 1 of results.json lists all of these settings for every metric, in this order. Settings
# that a metric does not have are listed with these values.
_SETTINGS_OF_ALL = {
  "metric": "",
  "network": "",
  "output": "",
  "preprocess": (),
  "ddof": 1,
  "splits": 1,
  "eps": 0.0,
  "eps_place": "logs",
  "subsets": None,
  "subset_size": 1000,
  "estimator": "classes",
  "neighbours": (3, 5),
}


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A number that a paper reports: the metric, the value as printed, and the table and row."""

  metric: str
  value: str
  source: str


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How clips are evaluated.

  Attributes:
    name: name in the registry.
    source: the paper or code that the protocol follows.
    metrics: the metrics to compute.
    frames: frames of a clip, real or generated; None for the length that the model was trained on.
    stride: distance between the frames of a real clip in its video; None as in training.
    windows: which frames of real videos are used: "random" or "first" windows, or "each": the
      first, then the second window of all videos, and so on.
    windows_per_video: number of real clips from each video.
    crop: part of larger real pictures that is used: "random" or "center".
    flip: whether real clips are mirrored with a probability of 1/2.
    real_count: number of real clips; None for `windows_per_video` of each video of the split.
    generated_count: number of generated clips in one repeat.
    split: the split of the data with the real clips.
    repeats: number of sets of generated clips. The reported value is the mean over the sets, with
      their standard deviation.
    quantisation: how generated clips are converted to uint8.
    resolutions: heights of clips that the source uses; other heights cause a warning. If empty, any
      height is allowed.
    per_class: whether to add numbers of single classes, for metrics that have them.
    bootstrap: number of resamples for an interval; 0 if repeats give a standard deviation.
    notes: what the source does not state, and what this project chose.
    paper: numbers that papers report under this protocol.
  """

  name: str
  source: str
  metrics: tuple[Metric, ...]
  frames: int | None = None
  stride: int | None = None
  windows: str = "random"
  windows_per_video: int = 1
  crop: str = "center"
  flip: bool = False
  real_count: int | None = None
  generated_count: int = 2048
  split: str = "train"
  repeats: int = 1
  quantisation: str = "uint8, rounded to nearest"
  resolutions: tuple[int, ...] = ()
  per_class: bool = False
  bootstrap: int = 40
  notes: tuple[str, ...] = ()
  paper: tuple[PaperRow, ...] = ()

  @property
  def networks(self) -> tuple[str, ...]:
    """Names of the networks that the metrics use, without repetition."""
    return tuple(dict.fromkeys(m.network for m in self.metrics if m.input != "pixels"))

  @property
  def numbers(self) -> tuple[str, ...]:
    """Names of the numbers that the metrics compute, without repetition."""
    return tuple(dict.fromkeys(number.name for metric in self.metrics for number in metric.numbers))

  @property
  def min_clips(self) -> int:
    """The smallest number of clips that all metrics can be computed for."""
    return max((metric.min_clips for metric in self.metrics), default=1)

  def sampling_of_real_clips(self) -> dict:
    """How real clips are sampled; cached features depend on it, on the data and on the network."""
    names = ("windows", "windows_per_video", "crop", "flip", "split")
    return {name: getattr(self, name) for name in names}

  def describe(self) -> dict:
    """The whole protocol as plain values, for results files."""
    plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    plain["metrics"] = [{**_SETTINGS_OF_ALL, **metric.fields()} for metric in self.metrics]
    plain["paper"] = [dataclasses.asdict(row) for row in self.paper]
    return {"measures" if name == "metrics" else name: plain[name] for name in plain}
