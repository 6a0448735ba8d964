"""What can be told of the clips a run draws: from its folder to files and pictures.

Whoever asks hands in how a run is opened, how walks are made and what maps clips to features
(`Tools`): this room knows neither sampling nor evaluation.
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
_CHUNK = 64  # clips drawn or read at a time
_PATIENCE = 2  # seconds without a progress bar
_SHOWN = 8  # generated clips in a picture
_NEAREST = 3  # neighbours of each
_STEPS = 12  # of a walk
Found = tuple[dict, list[pathlib.Path]]  # what a look's JSON holds, and the files it wrote


@dataclasses.dataclass(frozen=True)
class Tools:
  """What other rooms do for this one.

  Attributes:
    open_run: called as (workdir, step=, report=), returns what `sampling.run.load` does.
    walks: {"latent" or "class": function like those of `sampling.interpolation`}.
    features: {name: function from uint8 [N, T, H, W, 3] to vectors [N, d]}.
  """

  open_run: Callable[..., Any]
  walks: dict[str, Callable] = dataclasses.field(default_factory=dict)
  features: dict[str, Callable] = dataclasses.field(default_factory=dict)


class Look:
  """A run, its data and what was asked for.

  Args:
    request: see `requests.Request`.
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

  def count(self, what: str) -> int:
    """Clips to draw."""
    return self.request.clips or CLIPS[what]

  def labels(self, count: int) -> np.ndarray:
    """Classes in turn, int [count]; where there are more of them, evenly chosen."""
    if count >= self.classes:
      return np.arange(count) % max(1, self.classes)
    return np.arange(count) * self.classes // count

  def name(self, label: int) -> str:
    """The name of a class."""
    names = self.run.class_names
    return names[label] if label < len(names) else str(label) if self.classes else "all clips"

  def draw(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields `count` drawn clips and their labels, some at a time."""
    labels = self.labels(count)
    for begin in self._ticking(range(0, count, _CHUNK), "drawing"):
      own = labels[begin : begin + _CHUNK]
      clips = self.run.sample(
        streams.key(self.request.seed, streams.SAMPLING, begin // _CHUNK),
        labels=own,
        truncation=self.request.truncation,
        frames=self.request.frames,
        batch_size=self.request.batch_size or 16,
      )
      yield clips, own

  def draw_all(self, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same at once."""
    clips, labels = zip(*self.draw(count), strict=True)
    return np.concatenate(clips), np.concatenate(labels)

  def source(self, split: str = "train", directory: str | None = None):
    """The data of the run, or a split of it that was held out."""
    config = self.run.config.copy_and_resolve_references()
    with config.unlocked():
      config.data.directory = directory or self.request.data_directory or config.data.directory
    found = build_source(
      config.data,
      frames=self.frames,
      resolution=self.run.gan.resolution,
      num_classes=self.classes,
      split=split,
      report=self.report,
    )
    if split == "train":
      states.check_data(self.workdir, found.description())
    return found

  def order(self, source, limit: int | None) -> np.ndarray:
    """Numbers of clips of a source in random order, `limit` of them at most; None is all."""
    return epoch_order(self.request.seed, 0, source.num_examples)[:limit]

  def read(self, source, order) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields clips of a source and their labels, some at a time; windows as training draws them."""
    with concurrent.futures.ThreadPoolExecutor(min(16, usable_cores())) as pool:
      for begin in self._ticking(range(0, len(order), _CHUNK), "reading"):
        found = pool.map(lambda i: self.example(source, i), order[begin : begin + _CHUNK])
        clips, labels = zip(*found, strict=True)
        yield np.stack(clips), np.array(labels)

  def example(self, source, index: int) -> tuple[np.ndarray, int]:
    """One clip of a source; the same window, crop and flip whenever it is asked for."""
    sequence = np.random.SeedSequence(self.request.seed, spawn_key=(int(index),))
    return source.example(int(index), np.random.Generator(np.random.Philox(sequence)))

  def about(self, what: str) -> dict:
    """What a file says of itself first."""
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
  def _ticking(items, what):
    return tqdm(items, desc=what, unit="block", leave=False, delay=_PATIENCE, disable=None)


def find_neighbours(look: Look, folder) -> Found:
  """Writes `neighbours.json` and a picture for each space; see `neighbours`."""
  train = look.source()
  clips, labels = look.draw_all(look.count("neighbours"))
  number, limit = len(clips), look.request.search or None
  order = look.order(train, limit)
  held_out = _held_out(look, train)
  queries, own = clips, labels
  if held_out is not None:
    held_order = look.order(held_out, limit)
    controls = held_order[: min(number, len(held_order) // 4)]
    held_order = held_order[len(controls) :]
    for some, theirs in look.read(held_out, controls):
      queries, own = np.concatenate([queries, some]), np.concatenate([own, theirs])
    against = neighbours.search(queries, own, look.read(held_out, held_order), look.spaces)
  near = neighbours.search(queries, own, look.read(train, order), look.spaces)
  told = look.about("neighbours") | {
    "labels": labels.tolist(),
    "names": [look.name(label) for label in labels],
    "searched": {
      "train": len(order),
      "of": train.num_examples,
      "held_out": 0 if held_out is None else len(held_order),
    },
    "spaces": {},
  }
  written = []
  for space, found in near.items():
    lists = [found.nearest(query, _NEAREST) for query in range(number)]
    record: dict[str, Any] = {
      "nearest": [[{"index": int(order[p]), "distance": d} for p, d in each] for each in lists]
    }
    for name, chosen in (("held_out", range(number)), ("control", range(number, len(queries)))):
      record[name] = None
      if held_out is not None:
        pair = neighbours.nearest_of_equally_many(found, against[space], chosen)
        record[name] = neighbours.held_out_ratio(*pair)
    closest = sorted((q for q in range(number) if lists[q]), key=lambda q: lists[q][0][1])[:_SHOWN]
    if closest:
      shown = [[look.example(train, order[p])[0] for p, _ in lists[q]] for q in closest]
      path = folder / f"neighbours_{space}.png"
      captions = [
        [look.name(labels[q]), *(f"distance {distance:#.3g}" for _, distance in lists[q])]
        for q in closest
      ]
      _write_picture(path, neighbours.picture(clips[closest], shown, captions))
      record |= {"picture": path.name, "shown": closest}
      written.append(path)
    told["spaces"][space] = record
  return told, [figures.write_json(folder / "neighbours.json", told), *written]


def _write_picture(path, image) -> None:
  video_writers.contact_sheet(image[None, None], path)


def _held_out(look: Look, train):
  """The held-out clips of a run's data, or None where there are none that were not trained on."""
  asked = look.request.held_out
  try:
    found = look.source("test", asked)
  except UserError as error:
    if asked:
      raise
    look.report(f"no distances to held-out clips: {error}")
    return None
  index = min(train.num_examples, found.num_examples) - 1
  if np.array_equal(look.example(train, index)[0], look.example(found, index)[0]):
    look.report("no distances to held-out clips: the data has no split of its own for them")
    return None
  return found


def look_at_spectra(look: Look, folder) -> Found:
  """Writes `power_spectrum.json` and `.png`; see `power_spectrum`."""
  source = look.source()
  count = min(look.count("power_spectrum"), source.num_examples)
  frames = power_spectrum.chosen_frames(look.frames)
  sides = {name: power_spectrum.Spectra(count, frames) for name in ("real", "generated")}
  for clips, _ in look.read(source, look.order(source, count)):
    sides["real"].add(clips)
  for clips, _ in look.draw(count):
    sides["generated"].add(clips)
  size = look.run.gan.resolution
  told = look.about("power_spectrum") | {
    "clips": count,
    "sets": power_spectrum.SETS,
    "frequency": (np.arange(size // 2 + 1) / size).tolist(),
    "records": power_spectrum.compare(sides["real"].means(), sides["generated"].means(), frames),
  }
  return _with_plot(folder / "power_spectrum", told, power_spectrum.plot)


def look_for_darkness(look: Look, folder) -> Found:
  """Writes `darkness.json` and `.png`; see `darkness`."""
  source, count = look.source(), look.count("darkness")
  level = float(look.run.config.guard.dark_level)
  read = look.read(source, look.order(source, count))
  sides = {}
  for name, blocks in (("real", read), ("generated", look.draw(count))):
    clips, labels = (np.concatenate(part) for part in zip(*blocks, strict=True))
    found = darkness.by_class(clips, labels, level)
    sides[name] = [{**each, "name": look.name(each["label"])} for each in found]
  told = look.about("darkness") | {
    "dark_level": level,
    "training": darkness.curves(_log(look)),
    **sides,
    "overall": {name: darkness.overall(found) for name, found in sides.items()},
  }
  return _with_plot(folder / "darkness", told, darkness.plot)


def _log(look: Look) -> list[dict]:
  """Records of the run's log up to the checkpoint."""
  path = pathlib.Path(look.workdir) / "log.jsonl"
  try:
    records = log_files.read_log(path)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror})") from error
  return [record for record in records if record["step"] <= look.run.step]


def look_at_smoothness(look: Look, folder) -> Found:
  """Writes `smoothness.json`, `.png` and a strip of frames for each kind of walk."""
  count, gan = look.count("smoothness"), look.run.gan
  key = streams.key(look.request.seed, streams.SAMPLING)
  options = dict(frames=look.request.frames, truncation=look.request.truncation)
  records, written = [], []
  for kind, walk in look.tools.walks.items():
    if kind == "class" and look.classes < 2:
      continue
    labels = look.labels(count)
    if kind == "class":
      labels = np.stack([labels, (labels + 1) % look.classes], axis=1).ravel()
    latents, along = walk(gan, key, labels, _STEPS, **options)
    clips = look.run.generate(
      latents, along, key=key, batch_size=look.request.batch_size or 16, **options
    )
    shaped = clips.reshape(count, _STEPS, *clips.shape[1:])
    spaces = {}
    for space, embed in look.spaces.items():
      points = np.asarray(embed(clips)).reshape(count, _STEPS, -1)
      walks = [smoothness.walk_record(each) for each in points]
      spaces[space] = {"summary": smoothness.summary(walks), "walks": walks}
    path = folder / f"smoothness_{kind}.png"
    video_writers.contact_sheet(smoothness.strip(shaped[:_SHOWN]), path)
    records.append(
      {"kind": kind, "labels": labels.tolist(), "picture": path.name, "spaces": spaces}
    )
    written.append(path)
  told = look.about("smoothness") | {"steps": _STEPS, "records": records}
  _, files = _with_plot(folder / "smoothness", told, smoothness.plot)
  return told, [*files, *written]


def _with_plot(stem: pathlib.Path, told: dict, plot) -> Found:
  path = figures.write_json(stem.with_suffix(".json"), told)
  plot(told, path.with_suffix(".png"))
  return told, [path, path.with_suffix(".png")]


LOOKS = {
  "neighbours": find_neighbours,
  "power_spectrum": look_at_spectra,
  "darkness": look_for_darkness,
  "smoothness": look_at_smoothness,
}


def fulfil(request, what: list[str], tools: Tools, report) -> list[str]:
  """Looks and writes; returns lines with the numbers that matter most, and where the files are.

  Args:
    request: see `requests.Request`.
    what: of `LOOKS`.
    tools: see `Tools`.
    report: receives lines for the user.

  Raises:
    UserError: on bad input, or files that are there already.
  """
  if request.every_checkpoint:
    raise UserError(f"--every_checkpoint is not for --what={what[0]}, which reads one checkpoint")
  folder = pathlib.Path(request.output or pathlib.Path(request.workdirs[0]) / "analysis")
  _check_free(what, folder, request.overwrite)
  look = Look(request, tools, report)
  lines = []
  with locks.held(folder, f"analyze into {folder}", report, name=".looks.lock"):
    _check_free(what, folder, request.overwrite)  # opening a run takes its time
    for each in what:
      report(f"looking at {each.replace('_', ' ')} after iteration {look.run.step}")
      told, written = LOOKS[each](look, folder)
      lines += [*summary_lines.LOOKS[each](told), *(f"written: {path}" for path in written)]
  return lines


def _check_free(what, folder, overwrite) -> None:
  """UserError where a file is there already that must not be replaced."""
  for each in what:
    path = folder / f"{each}.json"
    if path.exists() and not overwrite:
      raise UserError(f"{path} is there already; --overwrite replaces it, --output goes elsewhere")
