"""What a protocol is: all that a score depends on besides the clips, in one frozen object.

A protocol fixes how clips are taken (frames, stride, windows, how many, of which split) and a list
of metrics, each with its network, the preprocessing before it and its settings. `published` has the
protocols, `registry` finds them by name.
"""

import dataclasses

from vidgan_jax.evaluation.metrics.base import Metric

# Format 1 of results.json lists all of these settings for every metric, in this order. A setting
# that a metric does not have stands at its default.
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
  """A number that a paper reports: the metric, the value as printed, and the paper's table."""

  metric: str
  value: str
  source: str


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How clips are evaluated.

  Attributes:
    name: in the registry.
    source: paper or code it follows.
    metrics: what is computed.
    frames: of a clip, real or generated; None is as the model was trained.
    stride: between a real clip's frames; None is as the model was trained.
    windows: of real videos, "random" or "first".
    windows_per_video: real clips taken from each video.
    crop: of larger real pictures, "random" or "center".
    flip: whether every second real clip is mirrored, on average.
    real_count: real clips; None is all of the split, times `windows_per_video`.
    generated_count: generated clips of one repeat.
    split: of the data that the real clips are taken from.
    repeats: sets of generated clips; the value is their mean, with its deviation.
    quantisation: how generated clips become uint8.
    resolutions: heights of clips that the source states; others warn. Empty is any.
    per_class: whether numbers of single classes are added, of metrics that have them.
    bootstrap: resamplings behind an interval; 0 where repeats give a deviation.
    notes: what the source leaves open, and what was chosen.
    paper: numbers reported with it.
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
    """Names of the networks that its metrics use, each once."""
    return tuple(dict.fromkeys(metric.network for metric in self.metrics))

  @property
  def numbers(self) -> tuple[str, ...]:
    """Names of the numbers that its metrics give, each once."""
    return tuple(dict.fromkeys(number.name for metric in self.metrics for number in metric.numbers))

  @property
  def least_clips(self) -> int:
    """Clips that all its metrics need at least."""
    return max((metric.least_clips for metric in self.metrics), default=1)

  def taking(self) -> dict:
    """How real clips are taken: what kept features depend on besides data and network."""
    names = ("windows", "windows_per_video", "crop", "flip", "split")
    return {name: getattr(self, name) for name in names}

  def describe(self) -> dict:
    """All of it as plain values, for the file of results."""
    plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    plain["metrics"] = [{**_SETTINGS_OF_ALL, **metric.fields()} for metric in self.metrics]
    plain["paper"] = [dataclasses.asdict(row) for row in self.paper]
    return {"measures" if name == "metrics" else name: plain[name] for name in plain}
