"""Analyses of the clips that a run generates: they open the run and write files and pictures.

This package imports neither `sampling` nor `evaluation`. The caller passes the functions that open
a run, make walks and compute features, see `Tools`.
"""

import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

import vidgan_jax.training.state as states
from vidgan_jax.analysis import summary_lines
from vidgan_jax.analysis.samples import darkness, figures, neighbours, power_spectrum, smoothness
from vidgan_jax.data.build import build_source
from vidgan_jax.data.pipeline import epoch_order
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks, log_files, video_writers
from vidgan_jax.runtime.hardware.cores import usable_cores

CLIPS = {"neighbours": 64, "power_spectrum": 300, "darkness": 128, "smoothness": 8}
_CHUNK = 64  # clips generated or read at a time
_PROGRESS_DELAY = 2  # seconds before a progress bar appears
_SHOWN = 8  # generated clips in a picture
_NEAREST = 3  # neighbours per generated clip
_STEPS = 12  # of a walk
Result = tuple[dict, list[pathlib.Path]]  # content of an analysis' JSON file, and the files written


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
      assert tools.conditioning is not None
      config = self._config(request.data_directory)
      self.run.conditioning = tools.conditioning(config, self.run.gan, "test", request.seed, report)

  def _config(self, directory: str | None) -> Any:
    """A copy of the run's config with data in `directory`, unless that is None."""
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
    return self.request.clips or CLIPS[what]

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


def analyze_neighbours(analyzed: AnalyzedRun, folder) -> Result:
  """Writes `neighbours.json` and a picture for each space; see `neighbours`."""
  train = analyzed.source()
  clips, labels = analyzed.draw_all(analyzed.count("neighbours"))
  number, limit = len(clips), analyzed.request.search or None
  order = analyzed.order(train, limit)
  held_out = _held_out(analyzed, train)
  # Queries are the generated clips, then the control: held-out clips that are not searched.
  queries, query_labels = clips, labels
  if held_out is not None:
    held_out_order = analyzed.order(held_out, limit)
    controls = held_out_order[: min(number, len(held_out_order) // 4)]
    held_out_order = held_out_order[len(controls) :]
    for more_clips, more_labels in analyzed.read(held_out, controls):
      queries = np.concatenate([queries, more_clips])
      query_labels = np.concatenate([query_labels, more_labels])
    blocks = analyzed.read(held_out, held_out_order)
    to_held_out = neighbours.search(queries, query_labels, blocks, analyzed.spaces)
  blocks = analyzed.read(train, order)
  to_train = neighbours.search(queries, query_labels, blocks, analyzed.spaces)
  content = analyzed.about("neighbours") | {
    "labels": labels.tolist(),
    "names": [analyzed.name(label) for label in labels],
    "searched": {
      "train": len(order),
      "of": train.num_examples,
      "held_out": 0 if held_out is None else len(held_out_order),
    },
    "spaces": {},
  }
  written = []
  for space, distances in to_train.items():
    nearest = [distances.nearest(query, _NEAREST) for query in range(number)]
    record: dict[str, Any] = {
      "nearest": [[{"index": int(order[p]), "distance": d} for p, d in each] for each in nearest]
    }
    for name, chosen in (("held_out", range(number)), ("control", range(number, len(queries)))):
      record[name] = None
      if held_out is not None:
        pair = neighbours.nearest_of_equally_many(distances, to_held_out[space], chosen)
        record[name] = neighbours.held_out_ratio(*pair)
    with_neighbours = (query for query in range(number) if nearest[query])
    closest = sorted(with_neighbours, key=lambda query: nearest[query][0][1])[:_SHOWN]
    if closest:
      shown = [[analyzed.example(train, order[p])[0] for p, _ in nearest[q]] for q in closest]
      path = folder / f"neighbours_{space}.png"
      captions = [
        [analyzed.name(labels[q]), *(f"distance {distance:#.3g}" for _, distance in nearest[q])]
        for q in closest
      ]
      _write_picture(path, neighbours.picture(clips[closest], shown, captions))
      record |= {"picture": path.name, "shown": closest}
      written.append(path)
    content["spaces"][space] = record
  return content, [figures.write_json(folder / "neighbours.json", content), *written]


def _write_picture(path, image) -> None:
  video_writers.contact_sheet(image[None, None], path)


def _held_out(analyzed: AnalyzedRun, train):
  """Source of clips that the run was not trained on, or None if the data has none."""
  directory = analyzed.request.held_out
  try:
    source = analyzed.source("test", directory)
  except UserError as error:
    if directory:
      raise
    analyzed.report(f"no distances to held-out clips: {error}")
    return None
  index = min(train.num_examples, source.num_examples) - 1
  if np.array_equal(analyzed.example(train, index)[0], analyzed.example(source, index)[0]):
    analyzed.report("no distances to held-out clips: the data has no separate test split")
    return None
  return source


def analyze_power_spectrum(analyzed: AnalyzedRun, folder) -> Result:
  """Writes `power_spectrum.json` and `.png`; see `power_spectrum`."""
  source = analyzed.source()
  count = min(analyzed.count("power_spectrum"), source.num_examples)
  frames = power_spectrum.chosen_frames(analyzed.frames)
  sides = {name: power_spectrum.Spectra(count, frames) for name in ("real", "generated")}
  for clips, _ in analyzed.read(source, analyzed.order(source, count)):
    sides["real"].add(clips)
  for clips, _ in analyzed.draw(count):
    sides["generated"].add(clips)
  size = analyzed.run.gan.resolution
  content = analyzed.about("power_spectrum") | {
    "clips": count,
    "sets": power_spectrum.SETS,
    "frequency": (np.arange(size // 2 + 1) / size).tolist(),
    "records": power_spectrum.compare(sides["real"].means(), sides["generated"].means(), frames),
  }
  return _with_plot(folder / "power_spectrum", content, power_spectrum.plot)


def analyze_darkness(analyzed: AnalyzedRun, folder) -> Result:
  """Writes `darkness.json` and `.png`; see `darkness`."""
  source, count = analyzed.source(), analyzed.count("darkness")
  level = float(analyzed.run.config.guard.dark_level)
  real = analyzed.read(source, analyzed.order(source, count))
  sides = {}
  for name, blocks in (("real", real), ("generated", analyzed.draw(count))):
    clips, labels = (np.concatenate(part) for part in zip(*blocks, strict=True))
    classes = darkness.by_class(clips, labels, level)
    sides[name] = [{**each, "name": analyzed.name(each["label"])} for each in classes]
  content = analyzed.about("darkness") | {
    "dark_level": level,
    "training": darkness.curves(_log(analyzed)),
    **sides,
    "overall": {name: darkness.overall(classes) for name, classes in sides.items()},
  }
  return _with_plot(folder / "darkness", content, darkness.plot)


def _log(analyzed: AnalyzedRun) -> list[dict]:
  """Records of the run's log up to the checkpoint."""
  path = pathlib.Path(analyzed.workdir) / "log.jsonl"
  try:
    records = log_files.read_log(path)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror})") from error
  return [record for record in records if record["step"] <= analyzed.run.step]


def analyze_smoothness(analyzed: AnalyzedRun, folder) -> Result:
  """Writes `smoothness.json`, `.png` and a strip of frames for each kind of walk."""
  count, gan = analyzed.count("smoothness"), analyzed.run.gan
  key = streams.key(analyzed.request.seed, streams.SAMPLING)
  options = dict(frames=analyzed.request.frames, truncation=analyzed.request.truncation)
  records, written = [], []
  for kind, walk in analyzed.tools.walks.items():
    if kind == "class" and analyzed.classes < 2:
      continue
    labels = analyzed.labels(count)
    if kind == "class":
      labels = np.stack([labels, (labels + 1) % analyzed.classes], axis=1).ravel()
    latents, walk_labels = walk(gan, key, labels, _STEPS, **options)
    clips = analyzed.run.generate(
      latents,
      walk_labels,
      key=key,
      batch_size=analyzed.request.batch_size or 16,
      **options,
      **analyzed.given(0, count, _STEPS),
    )
    by_walk = clips.reshape(count, _STEPS, *clips.shape[1:])
    spaces = {}
    for space, embed in analyzed.spaces.items():
      points = np.asarray(embed(clips)).reshape(count, _STEPS, -1)
      walks = [smoothness.walk_record(each) for each in points]
      spaces[space] = {"summary": smoothness.summary(walks), "walks": walks}
    path = folder / f"smoothness_{kind}.png"
    video_writers.contact_sheet(smoothness.strip(by_walk[:_SHOWN]), path)
    records.append(
      {"kind": kind, "labels": labels.tolist(), "picture": path.name, "spaces": spaces}
    )
    written.append(path)
  content = analyzed.about("smoothness") | {"steps": _STEPS, "records": records}
  _, files = _with_plot(folder / "smoothness", content, smoothness.plot)
  return content, [*files, *written]


def _with_plot(stem: pathlib.Path, content: dict, plot) -> Result:
  """Writes `content` to `stem`.json and its plot to `stem`.png."""
  path = figures.write_json(stem.with_suffix(".json"), content)
  plot(content, path.with_suffix(".png"))
  return content, [path, path.with_suffix(".png")]


ANALYSES = {
  "neighbours": analyze_neighbours,
  "power_spectrum": analyze_power_spectrum,
  "darkness": analyze_darkness,
  "smoothness": analyze_smoothness,
}


def fulfil(request, what: list[str], tools: Tools, report) -> list[str]:
  """Runs analyses, writes their files and returns lines for the user.

  The lines contain the most important numbers and the paths of the files.

  Args:
    request: see `analysis.request.Request`.
    what: names of analyses, keys of `ANALYSES`.
    tools: see `Tools`.
    report: receives lines for the user.

  Raises:
    UserError: on bad input, or if a file exists and may not be overwritten.
  """
  if request.every_checkpoint:
    raise UserError(f"--every_checkpoint is not for --what={what[0]}, which reads one checkpoint")
  folder = pathlib.Path(request.output or pathlib.Path(request.workdirs[0]) / "analysis")
  _check_free(what, folder, request.overwrite)
  analyzed = AnalyzedRun(request, tools, report)
  lines = []
  with locks.held(folder, f"analyze into {folder}", report, name=".looks.lock"):
    # Again under the lock: another process may have written while the run was opened.
    _check_free(what, folder, request.overwrite)
    for name in what:
      report(f"analyzing {name.replace('_', ' ')} after iteration {analyzed.run.step}")
      content, written = ANALYSES[name](analyzed, folder)
      lines += [*summary_lines.SAMPLES[name](content), *(f"written: {path}" for path in written)]
  return lines


def _check_free(what, folder, overwrite) -> None:
  """Raises UserError if a file exists that may not be overwritten."""
  for name in what:
    path = folder / f"{name}.json"
    if path.exists() and not overwrite:
      raise UserError(f"{path} exists; --overwrite replaces it, --output writes to another folder")
