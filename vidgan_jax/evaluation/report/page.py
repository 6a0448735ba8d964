"""One HTML file that presents the results of an evaluation.

The file needs no other file and no network: it contains its style, charts, clips and pictures. Text
from outside (class names, paths, warnings) is escaped. Values stand in columns, each of one
fingerprint; see `columns`.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from vidgan_jax.evaluation.report import analyses, latex, media, rendering, scores
from vidgan_jax.evaluation.report.charts import number
from vidgan_jax.evaluation.report.columns import Column, columns
from vidgan_jax.evaluation.report.media import Clips
from vidgan_jax.runtime.files.atomic_files import atomic_file

__all__ = ["Clips", "latex_row", "write"]


def write(
  results: Mapping,
  output_html: str | os.PathLike,
  clips_real: Clips | None = None,
  clips_generated: Clips | None = None,
  neighbours: Mapping | None = None,
  spectra: Mapping | None = None,
  curves: Mapping | None = None,
  smoothness: Mapping | None = None,
  training_curves: bytes | None = None,
) -> pathlib.Path:
  """Writes the page.

  Args:
    results: content of `results.json`: run, protocol, reference, records, paper, per_class.
    output_html: the file, which is replaced.
    clips_real, clips_generated: shown as playing grids.
    neighbours: content of the analysis `neighbours.json`, with "pictures": {space: PNG bytes}.
    spectra: content of `power_spectrum.json`.
    curves: content of `darkness.json`.
    smoothness: content of `smoothness.json`, with "pictures": {kind: PNG bytes}.
    training_curves: content of `curves.png`. `gather` reads these five from a run's folder.

  Returns:
    the file's path.

  Raises:
    UserError: the file cannot be written.
  """
  output_html = pathlib.Path(output_html)
  all_columns = columns(results.get("records", ()))
  sections = [
    ("clips", "Clips", _clips(clips_real, clips_generated)),
    ("numbers", "Numbers", scores.numbers(results, all_columns)),
    ("training", "Over training", scores.over_training(all_columns)),
    ("truncation", "Truncation", scores.over_truncation(all_columns)),
    ("classes", "By class", scores.by_class(results)),
    ("controls", "Motion controls", scores.controls(results)),
    ("neighbours", "Nearest neighbours", analyses.neighbours(neighbours)),
    ("spectra", "Power spectra", analyses.spectra(spectra)),
    ("darkness", "Dark clips", analyses.darkness(curves)),
    ("walks", "Interpolation", analyses.walks(smoothness)),
    ("log", "Log of the training", analyses.log(training_curves)),
    ("latex", "For a paper", _latex(results, all_columns)),
    ("fingerprints", "Fingerprints", scores.fingerprints(results, all_columns)),
  ]
  page = rendering.page(
    name=_run_name(results),
    warnings=_warnings(all_columns),
    sections=[
      {"key": key, "title": title, "content": content}
      for key, title, content in sections
      if content
    ],
    created=results.get("created"),
    versions=list((results.get("versions") or {}).items()),
    **_subject(results, all_columns),
  )
  with atomic_file(output_html) as temporary:
    pathlib.Path(temporary).write_text(page, encoding="utf-8")
  return output_html


def latex_row(results: Mapping) -> str:
  """The last iteration's values as a row of a LaTeX table; a comment names the columns."""
  all_columns = columns(results.get("records", ()))
  comment = "% " + " & ".join(["model", *(f"{c.title} ({c.fingerprint})" for c in all_columns)])
  cells = []
  for column in all_columns:
    record = column.main
    interval = None
    if record.get("interval"):
      low, high = map(_plain_number, record["interval"])
      interval = (low, high)
    cells.append(latex.cell(_plain_number(record.get("value")), record.get("std"), interval))
  return "\n".join([comment.replace("\n", " "), latex.row(_run_name(results), cells)])


def _plain_number(value: Any) -> str:
  """A number for reading, in letters that LaTeX accepts."""
  text = number(value).replace("−", "-")
  return f"{value:.3g}" if "·" in text else text


def _run_name(results: Mapping) -> str:
  return str((results.get("run") or {}).get("name") or "clips")


def _subject(results: Mapping, all_columns: list[Column]) -> dict[str, Any]:
  """What was evaluated, and against what: values for the head of the page."""
  protocol = results.get("protocol") or {}
  reference = results.get("reference") or {}
  steps = [c.main["step"] for c in all_columns if c.main.get("step") is not None]
  weights = [f"iteration {max(steps):,}"] if steps else []
  averaged = {bool(c.main["ema"]) for c in all_columns if c.main.get("ema") is not None}
  if len(averaged) == 1:
    weights.append("moving average of the weights" if averaged.pop() else "live weights")
  return {
    "weights": weights,
    "protocol": {"name": protocol.get("name", "unknown"), "source": protocol.get("source")},
    "reference": {
      "count": f"{reference['count']:,}" if reference.get("count") else None,
      "description": reference.get("description", ""),
    },
    "subject": "run" if steps else "generated clips",
    "workdir": (results.get("run") or {}).get("workdir"),
  }


def _warnings(all_columns: list[Column]) -> list[tuple[str, str]]:
  """(the metrics that a warning concerns, the warning), for all records of all columns."""
  titles: dict[str, dict[int, str]] = {}  # of the columns with each warning, by column
  for index, column in enumerate(all_columns):
    for record in column.records:
      for warning in scores.record_warnings(record):
        titles.setdefault(warning, {})[index] = column.title
  concerned = lambda by_column: (
    "all numbers"
    if len(by_column) == len(all_columns) > 1
    else ", ".join(dict.fromkeys(by_column.values()))
  )
  return [(concerned(by_column), warning) for warning, by_column in titles.items()]


def _clips(real: Clips | None, generated: Clips | None) -> Markup:
  sides = [("Real", real), ("Generated", generated)]
  shown = [(side, clips) for side, clips in sides if clips is not None and len(clips.clips)]
  if not shown:
    return Markup()
  labels = media.chosen_labels(*(clips for _, clips in shown))
  grids = []
  for side, clips in shown:
    grid = media.grid(clips, labels)
    _, frames, clip_height, clip_width = clips.clips.shape[:4]
    grids.append(
      {
        "side": side,
        "count": grid.count,
        "frames": frames,
        "clip_height": clip_height,
        "clip_width": clip_width,
        "rows": grid.rows,
        "video": grid.video,
        "poster": grid.poster,
        "width": grid.size[0],
        "height": grid.size[1],
      }
    )
  return rendering.render("clips.html", grids=grids)


def _latex(results: Mapping, all_columns: list[Column]) -> Markup:
  if not all_columns:
    return Markup()
  return rendering.render("latex.html", lines=latex_row(results).split("\n"))
