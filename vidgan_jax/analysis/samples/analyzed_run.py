"""The run that analyses of generated clips read: it generates clips and opens the run's data.

This package imports neither `sampling` nor `evaluation`. The caller passes the functions that open
a run, make walks and compute features, see `Tools`.
"""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

import vidgan_jax.training.state as states
from vidgan_jax.data.build import build_source
from vidgan_jax.data.pipeline import epoch_order
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.hardware.cores import usable_cores

_CLIPS = {"neighbours": 64, "power_spectrum": 300, "darkness": 128, "smoothness": 8}
_CHUNK = 64  # clips generated or read at a time
_PROGRESS_DELAY = 2  # seconds before a progress bar appears


@dataclasses.dataclass(frozen=True)
class Tools:
  """Functions of `sampling` and `evaluation` that the analyses use.

  Attributes:
    open_run: called as (workdir, step=, report=); returns the same as `sampling.run.load`.
    walks: {"latent" or "class": function like those of `sampling.interpolation`}.
    features: {name: function from uint8 clips [N, T, H, W, 3] to features [N, d]}.
    conditioning: `sampling.conditioning.of_split`, for runs that continue given frames.
  """

  open_run: Callable[..., Any]
  walks: dict[str, Callable] = dataclasses.field(default_factory=dict)
  features: dict[str, Callable] = dataclasses.field(default_factory=dict)
  conditioning: Callable[..., Any] | None = None


class AnalyzedRun:
  """The run that a request names: generates its clips and reads its data.

  Args:
    request: see `analysis.request.Request`.
    tools: see `Tools`.
    report: receives lines for the user.
  """

  def __init__(self, request, tools: Tools, report):
    (self.workdir,) = request.workdirs
    self.request, self.tools, self.report = request, tools, report
    self.run = tools.open_run(self.workdir, step=request.checkpoint, report=report)
    self.classes = self.run.gan.num_classes
    self.frames = request.frames or self.run.gan.frames
    self.spaces = {"pixel": lambda clips: clips, **tools.features}
    if self.run.gan.needs_conditioning:
      # Not of the training data: its given frames would be copies of training clips.
      self.run.conditioning = self._conditioning("test")

  def _conditioning(self, split: str) -> Any:
    """The clips of a split, which a run that continues given frames continues."""
    assert self.tools.conditioning is not None
    config = self._config(self.request.data_directory)
    return self.tools.conditioning(config, self.run.gan, split, self.request.seed, self.report)

  def _config(self, directory: str | None) -> Any:
    """A copy of the run's config, with data in `directory` unless that is None."""
    config = self.run.config.copy_and_resolve_references()
    states.check_data_named(self.workdir, config, directory)
    with config.unlocked():
      config.data.directory = directory or config.data.directory
    return config

  def given(self, begin: int, end: int, times: int = 1) -> dict:
    """The argument `conditioning` of the run for clips begin..end-1, each repeated; {} if none."""
    if not self.run.gan.needs_conditioning:
      return {}
    clips = self.run.conditioning(begin, end)
    return {"conditioning": {"clip": np.repeat(clips, times, axis=0)}}

  def count(self, what: str) -> int:
    """Number of clips to generate for the analysis `what`."""
    return self.request.clips or _CLIPS[what]

  def labels(self, count: int) -> np.ndarray:
    """Labels for `count` clips, int [count].

    The labels go through all classes in turn. With fewer clips than classes, each clip has another
    class, evenly spaced among all classes.
    """
    if count >= self.classes:
      return np.arange(count) % max(1, self.classes)
    return np.arange(count) * self.classes // count

  def name(self, label: int) -> str:
    """Name of a class."""
    names = self.run.class_names
    return names[label] if label < len(names) else str(label) if self.classes else "all clips"

  def draw(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Generates `count` clips in chunks; yields (clips uint8 [n, T, H, W, 3], labels int [n])."""
    labels = self.labels(count)
    for begin in self._progress(range(0, count, _CHUNK), "generating"):
      of_chunk = labels[begin : begin + _CHUNK]
      clips = self.run.sample(
        streams.key(self.request.seed, streams.SAMPLING, begin // _CHUNK),
        labels=of_chunk,
        truncation=self.request.truncation,
        frames=self.request.frames,
        batch_size=self.request.batch_size or 16,
        **self.given(begin, begin + len(of_chunk)),
      )
      yield clips, of_chunk

  def draw_all(self, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Generates `count` clips; returns them and their labels, see `draw`."""
    clips, labels = zip(*self.draw(count), strict=True)
    return np.concatenate(clips), np.concatenate(labels)

  def source(self, split: str = "train", directory: str | None = None):
    """Opens a split of the run's data, or of the data in another `directory`.

    Raises:
      UserError: the split cannot be opened, or is not the data that the run was trained on.
    """
    config = self._config(directory or self.request.data_directory)
    source = build_source(
      config.data,
      frames=self.frames,
      resolution=self.run.gan.resolution,
      num_classes=self.classes,
      split=split,
      report=self.report,
    )
    if split == "train":
      states.check_data(self.workdir, source.description())
    return source

  def order(self, source, limit: int | None) -> np.ndarray:
    """Indices of clips of a source in random order, at most `limit` of them (None: all)."""
    return epoch_order(self.request.seed, 0, source.num_examples)[:limit]

  def read(self, source, order) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads the clips with the indices `order` in chunks, cut and augmented as in training.

    Yields:
      (clips uint8 [n, T, H, W, 3], labels int [n]).
    """
    with concurrent.futures.ThreadPoolExecutor(min(16, usable_cores())) as pool:
      for begin in self._progress(range(0, len(order), _CHUNK), "reading"):
        examples = pool.map(lambda i: self.example(source, i), order[begin : begin + _CHUNK])
        clips, labels = zip(*examples, strict=True)
        yield np.stack(clips), np.array(labels)

  def example(self, source, index: int) -> tuple[np.ndarray, int]:
    """One clip of a source and its label. Every call makes the same window, crop and flip."""
    sequence = np.random.SeedSequence(self.request.seed, spawn_key=(int(index),))
    return source.example(int(index), np.random.Generator(np.random.Philox(sequence)))

  def about(self, what: str) -> dict:
    """First fields of the JSON file of the analysis `what`: its format and settings."""
    return {
      "format": 1,
      "what": what,
      "step": self.run.step,
      "truncation": self.request.truncation,
      "seed": self.request.seed,
      "frames": self.frames,
      "resolution": self.run.gan.resolution,
    }

  @staticmethod
  def _progress(items, what):
    return tqdm(items, desc=what, unit="block", leave=False, delay=_PROGRESS_DELAY, disable=None)
