"""Scores of several runs, from the files that `evaluate` wrote, as HTML."""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.report import charts, columns, results
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.viewer import markup
from vidgan_jax.viewer.curves import COLOURS, drawn

_HEAD = ("metric", "generator", "value", "95 % interval", "real against real", "clips", "protocol")


def page(workdirs: Sequence[str], names: Sequence[str]) -> Markup:
  """The scores of all runs: a table, and charts over iterations where there are several.

  Rows with the same metric, protocol and group of comparable values are next to each other.

  Args:
    workdirs: folders.
    names: names of the folders for reading.
  """
  errors: list[Markup] = []
  by_protocol: dict[str, list[dict[str, Any]]] = {}
  for workdir, name in zip(workdirs, names, strict=True):
    for path in _files(workdir):
      try:
        content = results.read(path)
      except (UserError, OSError) as error:
        errors.append(markup.error(str(error)))
        continue
      records = by_protocol.setdefault(content["protocol"]["name"], [])
      records += [{**record, "generator": name} for record in content["records"]]
  if not any(by_protocol.values()):
    text = "No scores yet: vidgan evaluate --workdir=DIR writes them to DIR/evaluation."
    return markup.joined([*errors, markup.note(text)])
  rows, figures = [], []
  for protocol, records in sorted(by_protocol.items()):
    for group, column in enumerate(columns.columns(records)):
      rows += list(_rows(column, protocol, group))
      figures += _chart(column, protocol, names)
  remark = markup.note(
    "Values may be compared where metric and comparison group, the number in brackets, are the "
    "same: they were then computed in the same way."
  )
  return markup.joined([*errors, remark, markup.table(_HEAD, rows), drawn(figures)])


def _files(workdir: str) -> list[pathlib.Path]:
  """results.json of all protocols in the folder of a run."""
  return sorted((pathlib.Path(os.path.abspath(workdir)) / results.FOLDER).glob(f"*/{results.FILE}"))


def _rows(column: columns.Column, protocol: str, group: int) -> Iterator[tuple[str, ...]]:
  """Rows of the table: by run, then by iteration and truncation."""
  key = lambda r: (r["generator"], r["step"] or 0, columns.truncation(r))
  arrow, _ = metrics.direction(column.metric)
  for record in sorted(column.records, key=key):
    interval, real = record["interval"], (record.get("floor") or {}).get("value")
    yield (
      f"{column.title} {arrow} [{group + 1}]",
      f"{record['generator']}, {_which(record)}",
      results.number(record["value"], record["std"]),
      f"{results.number(interval[0])} to {results.number(interval[1])}" if interval else "–",
      "–" if real is None else results.number(real),
      charts.number(record.get("count_generated")),
      protocol + (", a trial" if record["fields"].get("trial") else ""),
    )


def _which(record: Mapping) -> str:
  """Iteration, truncation and weights of a score."""
  parts = ["clips of a file" if record["step"] is None else f"iteration {record['step']}"]
  if record["truncation"] not in (None, 1.0):
    parts.append(f"truncation {record['truncation']:g}")
  if record.get("ema") is False:
    parts.append("live weights")
  return ", ".join(parts)


def _chart(
  column: columns.Column, protocol: str, names: Sequence[str]
) -> Iterator[charts.Chart | None]:
  """The chart of a metric over iterations, if one of the runs has several."""
  series = []
  for number, name in enumerate(names):
    points = {
      record["step"]: record["value"]
      for record in column.records
      if record["generator"] == name and record["step"] is not None
      and record["truncation"] in (None, 1.0) and record.get("ema") is not False
    }  # fmt: skip
    series.append(charts.Series(name, sorted(points.items()), kind=COLOURS[number % len(COLOURS)]))
  if max(len(each.points) for each in series) > 1:
    title = f"{column.title} ({protocol})"
    yield charts.chart(series, title=title, x_label="iteration", note=column.meaning)
