"""Scores as files and text: results.json, a table for the terminal, rows for LaTeX.

Values whose fingerprints differ never share a column.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.report import latex as latex_rows
from vidgan_jax.evaluation.report.columns import random_mark
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, locks
from vidgan_jax.runtime.files.atomic_files import atomic_file

FOLDER = "evaluation"  # in the folder of a run
FILE, LATEX = "results.json", "results.tex"
SAME_CLIPS = "the reference, which holds the same clips unharmed"
_LISTS = ("records", "paper", "per_class", "truncation_curve")

_STEP = range(0, 2**63)
_NUMBER = (None, float)
_INTERVAL = (None, [float, float])
_RECORD = {
  "step": (None, _STEP),
  "metric": str,
  "network?": str,
  "output?": str,
  "value": float,
  "std": _NUMBER,
  "interval": _INTERVAL,
  "level?": _NUMBER,
  "count_real?": (None, _STEP),
  "count_generated?": (None, _STEP),
  "truncation": _NUMBER,
  "ema?": (None, bool),
  "floor?": (None, {"value": _NUMBER, "interval?": _INTERVAL, "what?": str}),
  "fingerprint": str,
  "number": str,
  "fields": {"checkpoint?": (None, str), "trial?": bool, "random_weights?": str},
  "warnings?": [str],
}
_OF_CLASS = {
  "step": (None, _STEP),
  "truncation": _NUMBER,
  "metric": str,
  "class": _STEP,
  "name?": str,
  "value?": _NUMBER,
  "fingerprint": str,
}
_FORM = {
  "created?": str,
  "versions?": {str: str},
  "run": {"workdir": str, "name": str},
  "protocol": {"name": str, "source?": (None, str), "notes?": (None, [str])},
  "reference?": (None, {"description?": str, "count?": _STEP}),
  "records": [_RECORD],
  "paper": [{"metric?": str, "value?": (str, float), "source?": str}],
  "per_class": [_OF_CLASS],
  "truncation_curve": list,
  "controls?": [{"metric": str, "control": str, "value": float}],
}


def _row(record: Mapping) -> tuple:
  """Key of a record's row in a table; rows are sorted by it."""
  truncation, step, clips = record["truncation"], record["step"], record["fields"].get("checkpoint")
  live = record.get("ema") is False
  # Clips of a file have no iteration; they come last.
  return (step is None, step or 0, live, truncation is None, truncation or 0.0, clips or "")


def columns(records: Iterable[Mapping]) -> list[tuple[str, str]]:
  """(metric, fingerprint) of each column of a table, in the order of the records."""
  return list(dict.fromkeys((record["metric"], record["fingerprint"]) for record in records))


def truncation_curve(records: Iterable[Mapping]) -> list[dict]:
  """Points of the curves over truncation, for columns and iterations with several truncations."""
  records = [record for record in records if record.get("truncation") is not None]
  curve = lambda record: (record["step"], record["metric"], record["fingerprint"])
  truncations: dict[tuple, set[float]] = {}
  for record in records:
    truncations.setdefault(curve(record), set()).add(record["truncation"])
  names = ("step", "truncation", "metric", "network", "output", "value", "interval", "fingerprint")
  points = [
    {name: record.get(name) for name in names}
    for record in records
    if len(truncations[curve(record)]) > 1
  ]
  return sorted(points, key=lambda p: (p["metric"], p["fingerprint"], p["step"], p["truncation"]))


def merge(
  before: Mapping | None,
  heading: Mapping,
  records: Sequence[Mapping],
  per_class: Sequence[Mapping],
  controls: Sequence[Mapping] = (),
) -> dict[str, Any]:
  """Adds records to the content of a file; a record replaces an older one of equal `number`.

  Args:
    before: content of the file, or None.
    heading: see `Evaluator.heading`; it replaces the file's.
    records, per_class: see `Scores`.
    controls: scores of real clips with damaged motion, see `motion_controls.score`. If there are
      any, they replace all of the file's.

  Returns:
    the new content; see `read` for its fields.
  """
  before = before or {name: [] for name in _LISTS}
  new = {record["number"] for record in records}
  all_records = [r for r in before["records"] if r["number"] not in new] + list(records)
  order: dict[str, int] = {}
  for record in records:  # the protocol's order of metrics; older columns follow
    order.setdefault(record["metric"], len(order))
  all_records.sort(key=lambda r: (r["step"] or 0, r["truncation"] or 0, order.get(r["metric"], 99)))
  key = lambda e: (e["step"], e["truncation"], e["metric"], e["class"], e["fingerprint"])
  classes = {key(entry): entry for entry in [*before["per_class"], *per_class]}
  return {
    **heading,
    "records": all_records,
    "paper": heading["protocol"].get("paper", []),
    "per_class": list(classes.values()),
    "controls": list(controls) or list(before.get("controls", ())),
    "truncation_curve": truncation_curve(all_records),
  }


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Reads results.json.

  Returns:
    {"format", "created", "versions", "run", "protocol", "reference", "records", "paper",
    "per_class", "truncation_curve", "controls"}.

  Raises:
    UserError: the file is missing or damaged, or has another form.
  """
  try:
    content = json_files.read(path, {"format": int})
    if content["format"] != 1:
      raise UserError(f"{path} has format {content['format']}; this version reads format 1")
    json_files.check(content, _FORM, str(path))
  except FileNotFoundError as error:
    raise UserError(f"{path} does not exist; vidgan evaluate writes it") from error
  except json_files.JsonError as error:
    raise UserError(f"{error}; if you move the file away, a new one is started") from error
  return content


def of_iteration(workdir: str | os.PathLike, step: int) -> list[dict[str, Any]]:
  """Scores of the moving average of a run at one iteration, from the files in its folder.

  Trials with other numbers of clips than the protocol's, or with random weights, are left out.
  Scores of WORKDIR/best are those of WORKDIR.

  Returns:
    dictionaries with "protocol", "metric", "value", "interval", "real" (the score of real clips, or
    None), "clips", "truncation" and "fingerprint".

  Raises:
    UserError: a file is damaged.
  """
  found: list[dict[str, Any]] = []
  folder = pathlib.Path(workdir).absolute()
  folders = [folder, folder.parent] if folder.name == "best" else [folder]
  for path in (path for each in folders for path in sorted((each / FOLDER).glob(f"*/{FILE}"))):
    content = read(path)
    for record in content["records"]:
      trial = record["fields"].get("trial") or record["fields"].get("random_weights")
      if record["step"] != step or record.get("ema") is False or trial:
        continue
      names = ("metric", "value", "interval", "truncation", "fingerprint")
      found.append(
        {name: record[name] for name in names}
        | {
          "protocol": content["protocol"]["name"],
          "real": (record.get("floor") or {}).get("value"),
          "clips": record.get("count_generated"),
        }
      )
  return found


def _same_run(path: pathlib.Path, there: str, here: str) -> bool:
  """Whether two paths are the same run's folder, also after that folder was moved.

  Args:
    path: results.json.
    there: the folder that it names.
    here: the folder of this run. If it contains `path`, the folder was moved.
  """
  folder = pathlib.Path(staged.path_of(here)).resolve()
  return pathlib.Path(there).resolve() == folder or folder in path.resolve().parents


def existing(path: str | os.PathLike, heading: Mapping) -> dict[str, Any] | None:
  """Content of results.json, or None if there is no file.

  Args:
    path: the file.
    heading: see `Evaluator.heading`.

  Raises:
    UserError: the file contains results of another run or protocol.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return None
  before = read(path)
  for what, there, here in (
    ("run", before["run"]["workdir"], heading["run"]["workdir"]),
    ("protocol", before["protocol"]["name"], heading["protocol"]["name"]),
  ):
    same = there == here or (what == "run" and _same_run(path, there, here))
    if not same:
      raise UserError(
        f"{path} contains results of {what} {there}, not {here}; choose another --output"
      )
  before["run"]["workdir"] = heading["run"]["workdir"]  # another path of it, or it was renamed
  return before


def locked(folder: str | os.PathLike, report: Callable[[str], None] = print):
  """Locks a folder of results against other writers, after waiting for them; creates the folder.

  Returns:
    a context manager; see `locks.held`.
  """
  return locks.held(folder, f"write to {folder}", report, wait=True)


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file completely or not at all, and creates its folder; UserError if that fails."""
  with atomic_file(path) as temporary:
    pathlib.Path(temporary).write_text(text, encoding="utf-8")


def write(folder: str | os.PathLike, content: Mapping) -> list[pathlib.Path]:
  """Writes results.json and results.tex into a folder; returns their paths.

  Raises:
    UserError: the files cannot be written, or a value is not finite.
  """
  folder = pathlib.Path(folder)
  try:
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
  except ValueError as error:
    raise UserError(f"{folder / FILE} is not written: a number is not finite") from error
  write_text(folder / FILE, text)
  write_text(folder / LATEX, latex(content))
  return [folder / FILE, folder / LATEX]


def number(value: float, spread: float | None = None) -> str:
  """A value with four digits, and its standard deviation if there is one."""
  digits = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
  return digits if spread is None else f"{digits} +- {spread:.2g}"


def _cell(record: Mapping) -> str:
  text = number(record["value"], record["std"])
  if record["interval"]:
    low, high = record["interval"]
    text += f" [{number(low)}, {number(high)}]"
  return text


def table(content: Mapping) -> list[str]:
  """Lines for the terminal: a table for each row of the results, with a line for each column.

  A row is an iteration and a truncation, a column is a metric and a fingerprint. One line for all
  columns would be too wide: usual results have seven values with intervals.
  """
  records = content["records"]
  rows = sorted({_row(record) for record in records})
  heads = columns(records)
  cells = [[""] * len(heads) for _ in rows]
  names = [""] * len(rows)
  marks = dict.fromkeys(heads, "")
  for record in records:
    row = rows.index(_row(record))
    marks[record["metric"], record["fingerprint"]] = random_mark(record["fields"], ", ")
    cells[row][heads.index((record["metric"], record["fingerprint"]))] = _cell(record)
    names[row] = _row_name(record)
  floors = [""] * len(heads)
  for record in records:
    if record["floor"]:
      column = heads.index((record["metric"], record["fingerprint"]))
      floors[column] = number(record["floor"]["value"])
      if record["floor"]["interval"]:
        low, high = record["floor"]["interval"]
        floors[column] += f" [{number(low)}, {number(high)}]"
  lines = []
  for row, row_name in enumerate(names):
    shown = [("metric", "value", "real against real", "good", "fingerprint")]
    for column, (metric, digits) in enumerate(heads):
      if cells[row][column]:
        _, better = metrics.direction(metric)
        floor = floors[column] or "-"
        good, name = better.removesuffix(" is better"), metric + marks[metric, digits]
        shown.append((name, cells[row][column], floor, good, digits))
    widths = [max(map(len, cells_of_column)) for cells_of_column in zip(*shown, strict=True)]
    lines.append(row_name)
    for line in shown:
      padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
      lines.append(f"  {'  '.join(padded)}".rstrip())
  by_warning: dict[str, dict[str, None]] = {}
  for record in records:
    for warning in record["warnings"]:
      by_warning.setdefault(warning, {})[record["metric"]] = None
  warned = {f"{', '.join(names)}: {warning}": None for warning, names in by_warning.items()}
  if any(record["fields"].get("trial") for record in records):
    warned["a trial: evaluated on other numbers of clips than the protocol asks for"] = None
  return lines + [f"  note: {line}" for line in warned]


def _row_name(record: Mapping) -> str:
  parts = []
  if record["step"] is not None:
    parts.append(f"iteration {record['step']}")
  if record["truncation"] not in (None, 1.0):
    parts.append(f"truncation {record['truncation']:g}")
  if record.get("ema") is False:
    parts.append("live weights")
  return ", ".join(parts) or "given clips"


def control_lines(records: Iterable[Mapping]) -> list[str]:
  """Scores of real clips that were frozen, shuffled or reversed: a line for each metric."""
  scores: dict[str, list[str]] = {}
  references = {}
  for record in records:
    scores.setdefault(record["metric"], []).append(f"{record['control']} {number(record['value'])}")
    references[control_reference(record)] = None
  lines = [f"  {metric:<11} {', '.join(values)}" for metric, values in scores.items()]
  head = f"real clips with damaged motion, compared with {'; '.join(references)}"
  return [head, *lines] if lines else []


def control_reference(record: Mapping) -> str:
  """Which clips a record of a control was compared with; older files do not name them."""
  return str(record.get("against") or SAME_CLIPS)


def latex(content: Mapping) -> str:
  """Rows of a LaTeX table with a column for each fingerprint; comments list the fingerprints."""
  records = content["records"]
  heads = columns(records)
  lines = [f"% protocol {content['protocol']['name']}; columns:"]
  random = {r["fingerprint"]: random_mark(r["fields"], ", ") for r in records}
  lines += [f"%   {metric}  fingerprint {digits}{random[digits]}" for metric, digits in heads]
  for row in sorted({_row(record) for record in records}):
    in_row = [record for record in records if _row(record) == row]
    cells = {(r["metric"], r["fingerprint"]): r for r in in_row}
    texts = [
      latex_rows.cell(number(cells[head]["value"]), cells[head]["std"]) + random[head[1]]
      if head in cells
      else "--"
      for head in heads
    ]
    lines.append(latex_rows.row(f"{content['run']['name']}, {_row_name(in_row[0])}", texts))
  return "\n".join(lines) + "\n"
