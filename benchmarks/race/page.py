"""Writes docs/league.md from league.jsonl, its pictures, and a report with moving clips."""

import base64
import html
import json
import pathlib

import settings

from race import entries, league_file, pictures, tables
from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

HERE = pathlib.Path(__file__).resolve().parents[1]
DOCS = settings.ROOT / "docs"
_SHOWN = {"sheet": (0, 2, 5), "report": range(8)}  # clips of a row
_HEAD = "Written by `python benchmarks/league.py page`; do not edit."


def write(
  output: pathlib.Path, results: pathlib.Path, trials: pathlib.Path, docs: pathlib.Path = DOCS
) -> None:
  """Writes the page, its pictures and the report.

  Args:
    output: folder of the runs; the report is written there.
    results: league.jsonl.
    trials: league_trials.json.
    docs: folder of the page and its pictures.

  Raises:
    UserError: there are no finished rows.
  """
  rows = league_file.File(str(results)).rows()
  if not rows:
    raise UserError(f"{results} has no finished rows yet")
  notes = _read(HERE / "league_notes.json")
  tried = _read(trials).get("tasks", {}) if trials.exists() else {}
  lines = ["# The league", "", _HEAD, "", (HERE / "league_guide.md").read_text("utf-8").rstrip()]
  for task in dict.fromkeys(row["task"] for row in rows):
    of_task = [row for row in rows if row["task"] == task]
    lines += section(task, of_task, tried.get(task, {}), notes, (output, docs))
  (docs / "league.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
  door.report(f"page: {docs / 'league.md'}")
  if not output.is_dir():
    door.report(f"no report with moving clips: there is no folder {output}")
    return
  report = output / "league.html"
  report.write_text(moving_report(rows, notes, output), encoding="utf-8")
  door.report(f"report: {report}")


def _read(path: pathlib.Path) -> dict:
  return json.loads(path.read_text(encoding="utf-8"))


def section(
  task: str, rows: list[dict], tried: dict, notes: dict, folders: tuple[pathlib.Path, pathlib.Path]
) -> list[str]:
  """The lines of a task: picture, what the clips show, tables by budget, trials.

  Args:
    task: its name.
    rows: its finished rows.
    tried: {system: trials} of the task.
    notes: league_notes.json.
    folders: that of the runs, and that of the picture.
  """
  of_task = notes.get(task, {})
  lines = ["", f"## {of_task.get('title', task)}", "", of_task.get("about", "")]
  controls = [row for row in rows if not row.get("budget")]
  budgets = tables.budgets(rows) or [""]  # no system has raced yet
  for budget in budgets:
    shown = tables.ordered(controls + [row for row in rows if row.get("budget") == budget])
    lines += ["", f"### {in_words(budget)}", ""]
    if budget == budgets[0]:
      lines += _picture(task, shown, *folders)
    lines += [
      f"{tables.circumstances(shown)}.",
      "",
      *tables.of_scores(shown),
      "",
      *tables.of_fingerprints(shown),
    ]
    if budget:
      lines += [
        "",
        "What the clips show, by eye:",
        "",
        *_seen(shown, of_task.get("clips", {}), budget),
      ]
    lines += ["", "Processor minutes:", "", *tables.of_time(shown)]
  if tried:
    lines += ["", "### Widths", "", of_task.get("widths", ""), "", *tables.of_trials(tried)]
  return lines


def in_words(budget: str) -> str:
  """A budget's name in words; it is a heading."""
  if budget.endswith("min"):
    return f"{budget.removesuffix('min')} processor minutes of training"
  if budget.endswith("it"):
    return f"{budget.removesuffix('it')} iterations of each stage"
  return "No system yet"


def _picture(task: str, rows: list[dict], output: pathlib.Path, docs: pathlib.Path) -> list[str]:
  """Writes the picture if clips are here; the line that shows it, if it exists.

  Rows of real clips and given real frames are in it only if the project draws them itself: it
  publishes nobody's videos. Such given frames are grey.
  """
  of_given = lambda row: entries.BY_NAME[row["system"]].given if row.get("budget") else 0
  hides, strips = task != "shapes", {}
  for row in rows:
    path = league_file.clips_of(row, output)
    first = row.get("seed") in (None, 0) and row["system"] not in ("control_reversed",)
    if first and path.exists() and (row.get("budget") or task == "shapes"):
      clips = pictures.some_clips(path, _SHOWN["sheet"])
      if hides:
        clips[:, : of_given(row)] = 128
      strips[tables.title(row)] = clips
  file = docs / f"league_{task}.png"
  if strips:
    pictures.write_sheet(strips, file)
  if not file.exists():
    return []
  grey = "; given real frames are grey" if hides and any(map(of_given, rows)) else ""
  text = f"Rows of frames: three clips of each system, every second frame{grey}"
  return [f"![{text}]({file.name})", ""]


def sentence(sentences: dict, system: str, budget: str) -> str:
  """What a person has seen of a system's clips: one text, or one for each budget."""
  if system not in entries.BY_NAME:  # a control
    return ""
  seen = sentences.get(system, {})
  return seen if isinstance(seen, str) else seen.get(budget, "not looked at yet.")


def _seen(rows: list[dict], sentences: dict, budget: str) -> list[str]:
  """A line for each system: what a person has seen, and what differs in its setting."""
  lines = []
  for name in dict.fromkeys(row["system"] for row in rows):
    if name in entries.BY_NAME:
      entry = entries.BY_NAME[name]
      seen = sentence(sentences, name, budget)
      setting = f" Setting: {entry.note}." if entry.note else ""
      lines.append(f"- {entry.title}: {seen}{setting}")
  return lines


def moving_report(rows: list[dict], notes: dict, output: pathlib.Path) -> str:
  """An HTML page with moving clips and main scores of all rows whose clips are here."""
  parts = [
    "<!doctype html><meta charset=utf-8><title>The league</title>",
    "<style>body{font:15px sans-serif;margin:2em}td,th{padding:4px 10px;text-align:left}",
    "img{image-rendering:pixelated}</style><h1>The league</h1>",
  ]
  for task in dict.fromkeys(row["task"] for row in rows):
    seen = notes.get(task, {}).get("clips", {})
    parts.append(f"<h2>{html.escape(task)}</h2><table>")
    parts.append("<tr><th>system<th>seed<th>budget<th>clips<th>scores<th>by eye")
    for row in (row for row in rows if row["task"] == task):
      path = league_file.clips_of(row, output)
      if not path.exists():
        continue
      gif = pictures.moving(pictures.some_clips(path, _SHOWN["report"]))
      coded = base64.b64encode(gif).decode()
      cells = [
        html.escape(tables.title(row)),
        str(row.get("seed", "-")),
        str(row.get("budget", "-")),
        f'<img alt="clips" src="data:image/gif;base64,{coded}">',
        html.escape(league_file.line(row)),
        html.escape(sentence(seen, row["system"], row.get("budget", ""))),
      ]
      parts.append("<tr>" + "".join(f"<td>{each}" for each in cells))
    parts.append("</table>")
  return "\n".join(parts) + "\n"
