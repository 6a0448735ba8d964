"""Analyses of the clips that a run generates: they open the run and write files and pictures."""

import pathlib
from typing import Any

import numpy as np

from vidgan_jax.analysis import summary_lines
from vidgan_jax.analysis.samples import darkness, figures, neighbours, power_spectrum, smoothness
from vidgan_jax.analysis.samples.analyzed_run import AnalyzedRun, Tools
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks, log_files, paths, video_writers

_SHOWN = 8  # generated clips in a picture
_NEAREST = 3  # neighbours per generated clip
_STEPS = 12  # of a walk
Result = tuple[dict, list[pathlib.Path]]  # content of an analysis' JSON file, and the files written


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
  folder = pathlib.Path(request.output or paths.results_folder(request.workdirs[0], "analysis"))
  paths.check_writable(folder)
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
