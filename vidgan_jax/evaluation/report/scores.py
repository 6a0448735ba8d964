"""The sections of a report that show scores: cards, tables, curves, fingerprints."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.report import rendering
from vidgan_jax.evaluation.report.charts import Chart, Series, chart, number, range_bar
from vidgan_jax.evaluation.report.columns import Column, cell, rows, truncation
from vidgan_jax.evaluation.report.results import control_reference

_PAPER_ROWS_IN_CARD = 3  # if the paper has more rows, only the table shows them
_TRIAL = "evaluated on other numbers of clips than the protocol asks for"


def record_warnings(record: Mapping) -> list[str]:
  """Warnings that a report shows with a value."""
  warnings = [str(warning) for warning in record.get("warnings") or ()]
  return warnings + ([_TRIAL] if (record.get("fields") or {}).get("trial") else [])


def _shared_warnings(all_columns: list[Column]) -> list[str]:
  """Warnings of the last values of all columns; the head of the page shows them once."""
  by_column = [record_warnings(column.main) for column in all_columns]
  return [w for w in by_column[0] if all(w in warnings for warnings in by_column)]


def _paper(results: Mapping, metric: str) -> list[Mapping]:
  return [row for row in results.get("paper") or () if row.get("metric") == metric]


def _head(metric: str, **columns: str) -> dict[str, str]:
  """The head of a table's column; see the macro `metric` of `templates/parts.html`."""
  sign, words = metrics.direction(metric)
  return {"title": metrics.number(metric).title, "sign": sign, "direction": words, **columns}


def numbers(results: Mapping, all_columns: list[Column]) -> Markup:
  """Cards of the last values, the table of all values, and the values that the paper prints."""
  if not all_columns:
    return Markup()
  shared = _shared_warnings(all_columns)
  heads = [
    _head(
      column.metric,
      title=column.title,
      network=column.network,
      output=column.output,
      fingerprint=column.fingerprint,
    )
    for column in all_columns
  ]
  paper = [
    {
      "metric": metrics.number(row.get("metric", "")).title,
      "value": row.get("value", ""),
      "source": row.get("source", ""),
    }
    for row in results.get("paper") or ()
  ]
  return rendering.render(
    "numbers.html",
    cards=[_card(results, column, shared) for column in all_columns],
    heads=heads,
    rows=_table_rows(all_columns),
    paper=paper,
  )


def _interval(record: Mapping) -> str:
  interval = record.get("interval")
  return f"{number(interval[0])} to {number(interval[1])}" if interval else ""


def _spread(record: Mapping) -> str:
  return "" if record.get("std") is None else number(record["std"], 2)


def _card(results: Mapping, column: Column, shared: list[str]) -> dict[str, Any]:
  """The last value of a column; see `templates/numbers.html`."""
  record, floor = column.main, column.main.get("floor") or {}
  return {
    "title": column.title,
    "direction": " ".join(metrics.direction(column.metric)).strip(),
    "value": number(record["value"], 4),
    "spread": _spread(record),
    "bar": range_bar(record["value"], record.get("interval"), floor.get("value")),
    "lines": _card_lines(record, floor, _paper(results, column.metric)),
    "meaning": column.meaning,
    "floor": floor.get("what"),
    "warnings": [warning for warning in record_warnings(record) if warning not in shared],
    "network": column.network,
    "output": column.output,
    "fingerprint": column.fingerprint,
  }


def _card_lines(record: Mapping, floor: Mapping, paper: list[Mapping]) -> list[tuple[str, str]]:
  """(name, value) of the lines below the value of a card."""
  lines = []
  if record.get("interval"):
    level = record.get("level")
    lines.append((f"{100 * level:g} % interval" if level else "interval", _interval(record)))
  if floor.get("value") is not None:
    interval = f" ({_interval(floor)})" if floor.get("interval") else ""
    lines.append(("real against real", number(floor["value"]) + interval))
  counts = [("generated", "count_generated"), ("real", "count_real")]
  counted = [f"{record[key]:,} {name}" for name, key in counts if record.get(key)]
  if counted:
    lines.append(("clips", ", ".join(counted)))
  if truncation(record) != 1:
    lines.append(("truncation", f"{truncation(record):g}"))
  if len(paper) > _PAPER_ROWS_IN_CARD:
    lines.append(("paper, as printed", f"{len(paper)} rows, below"))
  else:
    lines += [("paper, as printed", str(row.get("value", ""))) for row in paper]
  return lines


def _table_rows(all_columns: list[Column]) -> list[dict[str, Any]]:
  """Rows of the table of all values; see `templates/numbers.html`."""
  truncated = any(truncation(record) != 1 for c in all_columns for record in c.records)
  table = []
  for row in rows(all_columns):
    step, row_truncation = row
    cells = [
      {
        "fingerprint": column.fingerprint,
        "records": [
          {
            "exact": repr(record["value"]),
            "value": number(record["value"], 4),
            "spread": _spread(record),
            "interval": _interval(record),
          }
          for record in cell(column, row)
        ],
      }
      for column in all_columns
    ]
    table.append(
      {
        "step": f"{step:,}" if step >= 0 else "–",
        "truncation": f"{row_truncation:g}" if truncated else "",
        "cells": cells,
      }
    )
  return table


def _curve(
  column: Column, records: Sequence[Mapping], x: Callable[[Mapping], float], x_label: str, note: str
) -> Chart | None:
  """A column's values over `x` of their records, with intervals and floor."""
  floor = column.main.get("floor") or {}
  line = Series(
    "generated",
    [(x(r), r["value"]) for r in records],
    band=[(x(r), *r["interval"]) for r in records if r.get("interval")],
    notes=[f"{number(x(r))}: {number(r['value'], 4)} {_interval(r)}" for r in records],
  )
  level = None if floor.get("value") is None else (floor["value"], "real against real")
  return chart([line], title=column.title, x_label=x_label, level=level, note=note)


def _charts(introduction: str, charts: Sequence[Chart | None]) -> Markup:
  """A section of charts; empty if there is none."""
  drawn = [each for each in charts if each is not None]
  if not drawn:
    return Markup()
  return rendering.render("charts.html", introduction=introduction, charts=drawn)


def over_training(all_columns: list[Column]) -> Markup:
  """A curve over iterations for each column that has several."""
  charts = [
    _curve(
      column,
      column.over_steps(),
      lambda record: record["step"],
      "iteration",
      f"{column.network}, {column.fingerprint}",
    )
    for column in all_columns
    if len(column.over_steps()) > 1
  ]
  return _charts("Each metric over the evaluated iterations; the band is its interval.", charts)


def over_truncation(all_columns: list[Column]) -> Markup:
  """Curves over truncation, and distance against Inception Score (DVD-GAN 4.4)."""
  curves = [column for column in all_columns if len(column.over_truncations()) > 1]
  charts = [
    _curve(
      column,
      column.over_truncations(),
      truncation,
      "truncation: standard deviation of z",
      f"iteration {number(column.main.get('step'))}, {column.fingerprint}",
    )
    for column in curves
  ]
  against = _distance_against_inception_score(curves)
  return _charts(
    "Latents nearer to zero give clips that look better and are more alike: a smaller truncation "
    "trades variety for fidelity (DVD-GAN 4.4).",
    charts if against is None else [against, *charts],
  )


def _distance_against_inception_score(curves: list[Column]) -> Chart | None:
  """FID, or else FVD, against Inception Score: one point for each truncation that has both."""
  records: dict[str, list[Mapping]] = {}
  for column in curves:
    records.setdefault(column.metric, column.over_truncations())
  distances = records.get("fid") or records.get("fvd")
  if not distances or "is" not in records:
    return None
  scores = {truncation(r): r["value"] for r in records["is"]}
  if not all(truncation(r) in scores for r in distances):
    return None
  points = sorted((scores[truncation(r)], r["value"], truncation(r)) for r in distances)
  name = "FID" if "fid" in records else "FVD"
  line = Series(
    "generated",
    [(x, y) for x, y, _ in points],
    notes=[f"truncation {t:g}: {number(x)}, {number(y)}" for x, y, t in points],
  )
  truncations = [t for _, _, t in points]
  return chart(
    [line],
    title=f"{name} against Inception Score",
    x_label="Inception Score, higher is better",
    y_label=f"{name}, lower is better",
    note=f"a point for each truncation, {min(truncations):g} to {max(truncations):g}",
    markers=True,
  )


def by_class(results: Mapping) -> Markup:
  """A table of the last iteration's values by class."""
  entries = [e for e in results.get("per_class") or () if isinstance(e.get("value"), int | float)]
  if not entries:
    return Markup()
  last = max(e.get("step") or 0 for e in entries)
  entries = [e for e in entries if (e.get("step") or 0) == last]
  nearest = min((truncation(e) for e in entries), key=lambda t: abs(t - 1))
  entries = [e for e in entries if truncation(e) == nearest]
  heads = list(dict.fromkeys((e.get("metric", ""), e.get("fingerprint", "")) for e in entries))
  names = {e.get("class"): e.get("name", e.get("class")) for e in entries}
  values = {
    (e.get("class"), e.get("metric", ""), e.get("fingerprint", "")): e["value"] for e in entries
  }
  largest = {
    head: max((abs(v) for key, v in values.items() if key[1:] == head), default=0) or 1
    for head in heads
  }
  table = []
  for label, name in sorted(names.items(), key=lambda item: str(item[1])):
    cells = []
    for head in heads:
      value = values.get((label, *head))
      share = 0 if value is None else abs(value) / largest[head]
      cells.append({"value": number(value), "share": f"{share:.3f}" if share else ""})
    table.append({"name": name, "cells": cells})
  return rendering.render(
    "classes.html",
    caption=f"Iteration {last:,}, truncation {nearest:g}.",
    heads=[_head(metric, fingerprint=fingerprint) for metric, fingerprint in heads],
    rows=table,
  )


def controls(results: Mapping) -> Markup:
  """A table of the scores of real clips whose motion was damaged."""
  by_column: dict[tuple[str, ...], dict[str, Mapping]] = {}
  for record in results.get("controls") or ():
    key = tuple(str(record.get(n) or "") for n in ("metric", "network", "output", "fingerprint"))
    by_column.setdefault(key, {})[str(record.get("control", ""))] = record
  if not by_column:
    return Markup()
  names = list(dict.fromkeys(name for records in by_column.values() for name in records))
  table = [
    {
      "title": metrics.number(metric).title,
      "network": network,
      "output": output,
      "values": [number(records[n].get("value")) if n in records else "–" for n in names],
    }
    for (metric, network, output, _), records in by_column.items()
  ]
  references = dict.fromkeys(control_reference(record) for record in results["controls"])
  caption = (
    f"Compared with {'; '.join(references)}. Compare each score of damaged motion with the score "
    "of the unchanged clips. If the reference contains the same clips, compare these scores only "
    "with each other: generated clips cannot score as well."
  )
  return rendering.render("controls.html", caption=caption, names=names, rows=table)


def fingerprints(results: Mapping, all_columns: list[Column]) -> Markup:
  """All fields behind each fingerprint."""
  if not all_columns:
    return Markup()
  by_print: dict[str, list[Column]] = {}
  for column in all_columns:
    by_print.setdefault(column.fingerprint, []).append(column)
  details = [
    {
      "fingerprint": fingerprint,
      "first": index == 0,  # the one that links lead to
      "title": column.title,
      "fields": [(name, _plain(value)) for name, value in sorted(column.fields.items())],
    }
    for fingerprint, members in by_print.items()
    for index, column in enumerate(members)
  ]
  notes = (results.get("protocol") or {}).get("notes") or ()
  return rendering.render("fingerprints.html", notes=notes, columns=details)


def _plain(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, default=str)
