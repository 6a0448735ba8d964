"""Scores as files and for reading: JSON, a table for the terminal, a row for LaTeX.

Numbers whose fingerprints differ never share a column.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, locks
from vidgan_jax.runtime.files.atomic_files import atomic_file

FOLDER = "evaluation"  # of a run
FILE, LATEX = "results.json", "results.tex"
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
  "fields": {"checkpoint?": (None, str), "trial?": bool},
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


def _row(record) -> tuple:
  """What tells rows of a table apart; sorts them."""
  truncation, step, clips = record["truncation"], record["step"], record["fields"].get("checkpoint")
  # Clips of a file have no iteration; they come last.
  live = record.get("ema") is False
  return (step is None, step or 0, live, truncation is None, truncation or 0.0, clips or "")


def columns(records: Iterable[Mapping]) -> list[tuple[str, str]]:
  """(metric, fingerprint) of each column that a table of `records` needs, in their order."""
  return list(dict.fromkeys((record["metric"], record["fingerprint"]) for record in records))


def truncation_curve(records: Iterable[Mapping]) -> list[dict]:
  """Points of the curves over truncation: of columns and iterations with more than one value."""
  records = [record for record in records if record.get("truncation") is not None]
  own = lambda record: (record["step"], record["metric"], record["fingerprint"])
  seen = {}
  for record in records:
    seen.setdefault(own(record), set()).add(record["truncation"])
  keep = ("step", "truncation", "metric", "network", "output", "value", "interval", "fingerprint")
  found = [
    {name: record.get(name) for name in keep} for record in records if len(seen[own(record)]) > 1
  ]
  return sorted(found, key=lambda p: (p["metric"], p["fingerprint"], p["step"], p["truncation"]))


def merge(before: Mapping | None, heading: Mapping, records, per_class, controls=()) -> dict:
  """A file's content with new records in place of those of the same number.

  Args:
    before: what the file held, or None.
    heading: see `Evaluator.heading`; the newest is kept.
    records, per_class: see `Scores`.
    controls: records of real clips made worse, see `motion_controls.score`; they take the place of
      all before.

  Returns:
    the content; see `read` for its fields.
  """
  before = before or {name: [] for name in _LISTS}
  new = {record["number"] for record in records}
  all_records = [r for r in before["records"] if r["number"] not in new] + list(records)
  order = {}
  for record in records:  # the protocol's order of metrics; older columns follow
    order.setdefault(record["metric"], len(order))
  all_records.sort(key=lambda r: (r["step"] or 0, r["truncation"] or 0, order.get(r["metric"], 99)))
  own = lambda e: (e["step"], e["truncation"], e["metric"], e["class"], e["fingerprint"])
  classes = {own(entry): entry for entry in [*before["per_class"], *per_class]}
  return {
    **heading,
    "records": all_records,
    "paper": heading["protocol"].get("paper", []),
    "per_class": list(classes.values()),
    "controls": list(controls) or list(before.get("controls", ())),
    "truncation_curve": truncation_curve(all_records),
  }


def read(path) -> dict:
  """Reads a file of results.

  Returns:
    {"format", "created", "versions", "run", "protocol", "reference", "records", "paper",
    "per_class", "truncation_curve", "controls"}.

  Raises:
    UserError: where it is not there, or is no such file.
  """
  try:
    found = json_files.read(path, {"format": int})
    if found["format"] != 1:
      raise UserError(f"{path} has format {found['format']}, known is 1")
    json_files.check(found, _FORM, str(path))
  except FileNotFoundError as error:
    raise UserError(f"{path} is not there; vidgan_jax.evaluate writes it") from error
  except json_files.JsonError as error:
    raise UserError(f"{error}; move it elsewhere, and a new file is started") from error
  return found


def _same_run(path: pathlib.Path, there: str, here: str) -> bool:
  """Whether two names of a run's folder mean one, or the results lie within it (it was moved)."""
  folder = pathlib.Path(here).resolve()
  return pathlib.Path(there).resolve() == folder or folder in path.resolve().parents


def existing(path, heading: Mapping) -> dict | None:
  """What a file of results holds already, or None.

  Raises:
    UserError: where it holds results of another run or protocol.
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
        f"{path} holds results of {what} {there}, not {here}; choose another --output"
      )
  before["run"]["workdir"] = heading["run"]["workdir"]  # named from elsewhere, or renamed
  return before


def check_writable(folder) -> None:
  """UserError where a folder is none, or cannot be made or written; makes nothing."""
  place = pathlib.Path(folder).absolute()
  while not place.exists() and place != place.parent:
    place = place.parent
  if not place.is_dir():
    raise UserError(f"cannot write to {folder}: {place} is no folder")
  if not os.access(place, os.W_OK | os.X_OK):
    raise UserError(f"cannot write to {folder}: no permission to write in {place}")


def locked(folder, report: Callable[[str], None] = print):
  """Keeps other processes that ask from a folder of results, which is made; waits for its turn.

  Returns:
    a context; see `locks.held`.
  """
  return locks.held(folder, f"write to {folder}", report, wait=True)


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a whole file or none, its folder too; UserError where that fails."""
  with atomic_file(path) as temporary:
    pathlib.Path(temporary).write_text(text, encoding="utf-8")


def write(folder, content: Mapping) -> list[pathlib.Path]:
  """Writes results.json and results.tex into a folder; returns their paths.

  Raises:
    UserError: they cannot be written, or a number is not finite.
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
  """A value with four digits, and its deviation where it has one."""
  digits = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
  return digits if spread is None else f"{digits} +- {spread:.2g}"


def _cell(record) -> str:
  text = number(record["value"], record["std"])
  if record["interval"]:
    low, high = record["interval"]
    text += f" [{number(low)}, {number(high)}]"
  return text


def table(content: Mapping) -> list[str]:
  """Lines of a table: a row for each iteration and truncation, a column for each fingerprint."""
  records = content["records"]
  rows = sorted({_row(record) for record in records})
  heads = columns(records)
  cells = [[""] * len(heads) for _ in rows]
  names = [""] * len(rows)
  for record in records:
    row = rows.index(_row(record))
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
  # A line for each column of a usual table: seven numbers with intervals are too wide for a screen.
  width = max([len("real clips"), *(len(metric) for metric, _ in heads)])
  lines = []
  for row, name in enumerate(names):
    lines.append(name)
    for column, (metric, digits) in enumerate(heads):
      if cells[row][column]:
        floor = f"   real clips {floors[column]}" if floors[column] else ""
        _, better = metrics.direction(metric)
        lines.append(f"  {metric:<{width}} {cells[row][column]:<28}{floor:<37} {better} ({digits})")
  by_warning = {}
  for record in records:
    for warning in record["warnings"]:
      by_warning.setdefault(warning, {})[record["metric"]] = None
  warned = {f"{', '.join(names)}: {warning}": None for warning, names in by_warning.items()}
  if any(record["fields"].get("trial") for record in records):
    warned["a trial: evaluated on other numbers of clips than the protocol asks for"] = None
  return lines + [f"  note: {line}" for line in warned]


def _row_name(record) -> str:
  parts = []
  if record["step"] is not None:
    parts.append(f"iteration {record['step']}")
  if record["truncation"] not in (None, 1.0):
    parts.append(f"truncation {record['truncation']:g}")
  if record.get("ema") is False:
    parts.append("live weights")
  return ", ".join(parts) or "given clips"


def _tex(text: str) -> str:
  for character in "\\&%$#_{}":
    text = text.replace(character, "\\" + character if character != "\\" else "/")
  return text


def control_lines(records: Iterable[Mapping]) -> list[str]:
  """What real clips score that were frozen, shuffled and reversed: a line for each metric."""
  found, against = {}, {}
  for record in records:
    found.setdefault(record["metric"], []).append(f"{record['control']} {number(record['value'])}")
    against[control_reference(record)] = None
  lines = [f"  {metric:<11} {', '.join(each)}" for metric, each in found.items()]
  head = f"real clips made worse in their motion, against {'; '.join(against)}"
  return [head, *lines] if lines else []


def control_reference(record: Mapping) -> str:
  """What a record of a control was judged against; those of older files do not tell it."""
  return str(record.get("against") or "the reference, which holds the same clips unharmed")


def latex(content: Mapping) -> str:
  """Rows of a LaTeX table, a column for each fingerprint, which comments above them tell."""
  records = content["records"]
  heads = columns(records)
  lines = [f"% protocol {content['protocol']['name']}; columns:"]
  lines += [f"%   {metric}  fingerprint {digits}" for metric, digits in heads]
  for row in sorted({_row(record) for record in records}):
    own = [record for record in records if _row(record) == row]
    cells = {(r["metric"], r["fingerprint"]): r for r in own}
    texts = [_tex(f"{content['run']['name']}, {_row_name(own[0])}")]
    for head in heads:
      record = cells.get(head)
      text = "--"
      if record:
        text = number(record["value"])
        if record["std"] is not None:
          text += rf" \pm {record['std']:.2g}"
        text = f"${text}$"
      texts.append(text)
    lines.append(" & ".join(texts) + r" \\")
  return "\n".join(lines) + "\n"
