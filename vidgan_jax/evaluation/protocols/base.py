"""Named protocols: everything that a score depends on besides the clips, frozen.

A protocol says how clips are taken (frames, stride, windows, how many, of which split), what is
done to them before a network sees them, which of its outputs is used and what is computed of it.
What its source leaves open is told in its notes. `published_protocols` has the protocols, and here
are their parts and the registry.
"""

import dataclasses

from vidgan_jax.runtime.errors import UserError

HIGHER = ("is", "is_infinity", "accuracy", "precision", "recall", "density", "coverage")  # better
BY_CLASS = ("fvd", "fid", "is", "accuracy", "diversity")  # what `Protocol.per_class` adds


@dataclasses.dataclass(frozen=True)
class Measure:
  """One number, or with "prdc" four, of a protocol.

  Attributes:
    metric: "fvd", "fid" (both Frechet distances; the name is the source's), "is", these with
      "_infinity" (extrapolated to unlimited clips), "kvd", "prdc" (precision, recall, density,
      coverage), "accuracy" or "diversity" (mean distance of two clips of a class).
    network: name of an extractor.
    output: of the network: what distances are taken between, or logits for "is" and "accuracy".
    preprocess: operations, see `preprocessing.apply`.
    ddof: covariances are divided by N - ddof.
    splits: of the Inception Score.
    eps: added to the probabilities of the Inception Score against ln 0; 0 is the score itself.
    eps_place: "logs" or "probabilities", see `inception_score.Epsilon`.
    subsets: of the kernel distance, each of `subset_size` clips; None takes all clips at once.
    subset_size: see `subsets`; of fewer clips they are smaller, which the number's field
      `subset_size_used` says.
    estimator: of the kernel distance: "unbiased", as published (KID, KVD), or "classes", which is
      0 on average for equal sets whose classes come in equal numbers too; see `kernel_distance`.
    neighbours: k of precision and recall, k of density and coverage.
  """

  metric: str
  network: str
  output: str
  preprocess: tuple = ()
  ddof: int = 1
  splits: int = 1
  eps: float = 0.0
  eps_place: str = "logs"
  subsets: int | None = None
  subset_size: int = 1000
  estimator: str = "classes"
  neighbours: tuple[int, int] = (3, 5)

  def settings(self) -> dict:
    """What of it the number depends on."""
    found = {
      "metric": self.metric,
      "network": self.network,
      "output": self.output,
      "preprocess": self.preprocess,
    }
    if self.metric.startswith(("fvd", "fid")):
      found["ddof"] = self.ddof
    if self.metric.startswith("is"):
      found |= {"splits": self.splits, "eps": self.eps, "eps_place": self.eps_place}
    if self.metric == "kvd":
      found |= {"subsets": self.subsets, "subset_size": self.subset_size}
      found["estimator"] = self.estimator
    if self.metric == "prdc":
      found["neighbours"] = self.neighbours
    return found


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A number that a paper reports, for reading beside one's own: metric, value, where from."""

  metric: str
  value: str
  source: str


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How clips are judged.

  Attributes:
    name: in the registry.
    source: paper or code it follows.
    measures: what is computed.
    frames: of a clip, real or generated; None is as the model was trained.
    stride: between a real clip's frames; None is as the model was trained.
    windows: of real videos, "random" or "first".
    windows_per_video: real clips taken from each video.
    crop: of larger real pictures, "random" or "center".
    flip: whether every second real clip is mirrored, on average.
    real_count: real clips; None is all of the split, times `windows_per_video`.
    generated_count: generated clips of one repeat.
    split: of the data that the real clips are of.
    repeats: sets of generated clips; the value is their mean, with its spread.
    quantisation: what happens to generated clips before anything looks at them.
    resolutions: heights of clips that the source states; others warn. Empty is any.
    per_class: whether numbers by class are added, of metrics BY_CLASS.
    bootstrap: resamplings behind an interval, 0 where repeats tell the spread.
    notes: what the source leaves open, and what was chosen.
    paper: numbers reported with it.
  """

  name: str
  source: str
  measures: tuple[Measure, ...]
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
    """Names of the networks it needs, each once."""
    return tuple(dict.fromkeys(measure.network for measure in self.measures))

  def taking(self) -> dict:
    """How real clips are taken: what a reference depends on besides data and network."""
    names = ("windows", "windows_per_video", "crop", "flip", "split")
    return {name: getattr(self, name) for name in names}

  def describe(self) -> dict:
    """All of it as plain values, for the file of results."""
    found = dataclasses.asdict(self)
    found["paper"] = [dataclasses.asdict(row) for row in self.paper]
    return found


def get_protocol(name: str) -> Protocol:
  """The protocol of a name; UserError with the list of those known where there is none."""
  found = known()
  if name not in found:
    raise UserError(f"unknown protocol {name!r}; known: {', '.join(found)}")
  return found[name]


def known() -> dict[str, Protocol]:
  """All protocols by name, the embedded set's and the recommended one first."""
  from vidgan_jax.evaluation.protocols import published  # it needs the classes above

  return {protocol.name: protocol for protocol in published.ALL}


def metrics(protocol: Protocol) -> tuple[str, ...]:
  """Names of the numbers that a protocol gives."""
  found = []
  for measure in protocol.measures:
    names = ("precision", "recall", "density", "coverage")
    found += names if measure.metric == "prdc" else (measure.metric,)
  return tuple(dict.fromkeys(found))


def has_interval(measure: Measure, repeats: int, bootstrap: int) -> bool:
  """Whether numbers of a measure have an interval: about the value at this count of clips.

  Several repeats, splits and subsets have their deviation instead. Precision, recall, density,
  coverage and diversity have none: what counts neighbours is not to be resampled.
  """
  if repeats > 1 or not bootstrap or measure.metric in ("prdc", "diversity"):
    return False
  if measure.metric == "is":
    return measure.splits == 1
  return measure.metric != "kvd" or measure.subsets is None


def lines() -> list[str]:
  """A list of the protocols for reading: all that they fix, and what their sources leave open."""
  found = []
  for protocol in known().values():
    found += [f"{protocol.name}: {protocol.source}", *_clip_lines(protocol)]
    found += [line for measure in protocol.measures for line in _measure_lines(protocol, measure)]
    found += [f"  - {note}" for note in protocol.notes]
  return found


def _clip_lines(protocol) -> list[str]:
  frames = f"{protocol.frames} frames" if protocol.frames else "frames as trained"
  stride = f"stride {protocol.stride}" if protocol.stride else "stride as trained"
  real = f"{protocol.real_count:,}" if protocol.real_count else "all"
  windows = f"{protocol.windows} windows"
  if protocol.windows_per_video > 1:
    windows += f", {protocol.windows_per_video} of each video"
  mirrored = ", every second mirrored" if protocol.flip else ""
  repeats = f", {protocol.repeats} times" if protocol.repeats > 1 else ""
  sides = f"; of {' or '.join(f'{side}x{side}' for side in protocol.resolutions)}"
  return [
    f"  clips: {frames}{sides if protocol.resolutions else ''}; {protocol.quantisation}",
    f"  real: {real} of the {protocol.split} split; {windows}, {stride}, {protocol.crop} crop"
    f"{mirrored}",
    f"  generated: {protocol.generated_count:,}{repeats}; {_floor(protocol)}",
  ]


def _floor(protocol) -> str:
  """At how many clips a side real ones are compared with each other."""
  if protocol.real_count is None:
    return "floor at as many, or at half of the real clips where these are fewer"
  count = min(protocol.generated_count, protocol.real_count // 2)
  return f"floor at {count:,} clips a side"


def _measure_lines(protocol, measure) -> list[str]:
  settings = []
  if measure.metric.startswith(("fvd", "fid")):
    settings.append(f"ddof {measure.ddof}")
  if measure.metric.startswith("is"):
    settings.append(f"{measure.splits} split{'s' if measure.splits > 1 else ''}")
    if measure.eps:
      settings.append(f"eps {measure.eps:g} in its {measure.eps_place}")
  if measure.metric == "kvd":
    some = f"{measure.subsets} subsets of {measure.subset_size}"
    settings += [some if measure.subsets else "all clips at once", f"estimator {measure.estimator}"]
  if measure.metric == "prdc":
    settings.append("k {} and {}".format(*measure.neighbours))
  if protocol.per_class and measure.metric in BY_CLASS:
    settings.append("by class too")
  interval = has_interval(measure, protocol.repeats, protocol.bootstrap)
  settings.append("95 % interval" if interval else "no interval")
  prepared = "; ".join(map(_operation, measure.preprocess))
  return [
    f"  {measure.metric} of {measure.network}.{measure.output}: {', '.join(settings)}",
    f"    after {prepared}",
  ]


def _operation(operation) -> str:
  """Of pixels in 0..255, see `preprocessing.apply`."""
  name, *arguments = operation
  if name == "scale":
    return "times {:.6g}, plus {:.6g}".format(*arguments)
  return " ".join([name, *map(_plain, arguments)])


def _plain(value) -> str:
  """Of an operation's argument."""
  if isinstance(value, tuple):
    return ",".join(map(_plain, value))
  return f"{value:.6g}" if isinstance(value, float) else str(value)
