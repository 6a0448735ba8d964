"""The parts of a report that show scores: cards, tables, curves, fingerprints."""

import json
from collections.abc import Mapping

from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.report.charts import (
  Series,
  figure,
  number,
  range_bar,
  table,
  text,
)
from vidgan_jax.evaluation.report.columns import (
  Column,
  cell,
  rows,
  truncation,
)
from vidgan_jax.evaluation.report.results import judged_against

_ROWS_OF_A_CARD = 3  # of a paper's numbers; more are in their table alone
_TRIAL = "evaluated on other numbers of clips than the protocol asks for"


def record_warnings(record) -> list[str]:
  """What is to be said with a number."""
  told = [str(warning) for warning in record.get("warnings") or ()]
  return told + ([_TRIAL] if (record.get("fields") or {}).get("trial") else [])


def shared_warnings(found: list[Column]) -> list[str]:
  """What is to be said of the last numbers of all columns, and so only once."""
  told = [record_warnings(column.main) for column in found]
  return [warning for warning in told[0] if all(warning in own for own in told)] if told else []


def _paper(results, metric) -> list[Mapping]:
  return [row for row in results.get("paper") or () if row.get("metric") == metric]


def numbers(results, found: list[Column]) -> str:
  """Cards of the last numbers, the table of all, and the paper's own."""
  if not found:
    return ""
  shared = shared_warnings(found)
  cards = "".join(_card(results, column, shared) for column in found)
  return (
    "<p>The last iteration's numbers. Bars show value and interval on a scale from 0: the interval "
    "is of the value at this number of clips, not at unlimited ones. The dashed mark is the floor, "
    "what real clips reach against each other.</p>"
    f'<div class="cards">{cards}</div>{_table(found)}{_paper_table(results)}'
  )


def _interval(record) -> str:
  interval = record.get("interval")
  return f"{number(interval[0])} to {number(interval[1])}" if interval else ""


def _card(results, column: Column, shared: list[str]) -> str:
  record, floor = column.main, column.main.get("floor") or {}
  way = " ".join(metrics.direction(column.metric)).strip()
  spread = record.get("std")
  deviation = f" <small>± {number(spread, 2)}</small>" if spread is not None else ""
  lines = []
  if record.get("interval"):
    level = record.get("level")
    lines.append((f"{100 * level:g} % interval" if level else "interval", _interval(record)))
  if floor.get("value") is not None:
    told = floor.get("interval")
    beyond = f" ({number(told[0])} to {number(told[1])})" if told else ""
    lines.append(("floor", number(floor["value"]) + beyond))
  counts = [("generated", "count_generated"), ("real", "count_real")]
  counted = [f"{record[key]:,} {name}" for name, key in counts if record.get(key)]
  if counted:
    lines.append(("clips", ", ".join(counted)))
  if truncation(record) != 1:
    lines.append(("truncation", f"{truncation(record):g}"))
  printed = _paper(results, column.metric)
  if len(printed) > _ROWS_OF_A_CARD:
    lines.append(("paper, as printed", f"{len(printed)} rows, below"))
  else:
    lines += [("paper, as printed", str(row.get("value", ""))) for row in printed]
  listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in lines)
  what = f'<p class="meaning">Floor: {text(floor["what"])}.</p>' if floor.get("what") else ""
  own = [warning for warning in record_warnings(record) if warning not in shared]
  warned = "".join(f'<p class="warned">⚠ {text(warning)}</p>' for warning in own)
  bar = range_bar(record["value"], record.get("interval"), floor.get("value"))
  digits = text(column.fingerprint)
  return (
    f'<article class="card"><header><h3>{text(column.name)}</h3>'
    f'<span class="way">{way}</span></header>'
    f'<div class="value">{number(record["value"], 4)}{deviation}</div>{bar}<dl>{listed}</dl>'
    f'<p class="meaning">{text(column.meaning)}</p>{what}{warned}'
    f'<p class="foot">{text(column.network)}, {text(column.output)} · '
    f'<a href="#fp-{digits}"><code>{digits}</code></a></p></article>'
  )


def _table(found: list[Column]) -> str:
  truncated = any(truncation(record) != 1 for column in found for record in column.records)
  heads = [
    f'<th scope="col" data-fingerprint="{text(c.fingerprint)}">{_head(c.metric)}'
    f"<small>{_breakable(c.network)}</small><small>{_breakable(c.output)}</small>"
    f"<small><code>{text(c.fingerprint)}</code></small></th>"
    for c in found
  ]
  body = []
  for row in rows(found):
    step, at = row
    told = f"{step:,}" if step >= 0 else "–"
    told += f"<small>truncation {at:g}</small>" if truncated else ""
    cells = []
    for column in found:
      inside = "".join(_cell(record) for record in cell(column, row))
      cells.append(f'<td data-fingerprint="{text(column.fingerprint)}">{inside or "–"}</td>')
    body.append(f'<tr><th scope="row">{told}</th>{"".join(cells)}</tr>')
  caption = (
    "All numbers, the interval below each. Each column has one fingerprint: what stands in it may "
    "be compared, across columns it may not."
  )
  return table("All numbers", caption, ["Iteration", *heads], body, "numbers")


def _head(metric: str) -> str:
  """A metric's name, and a sign for which of its numbers are good."""
  sign, words = metrics.direction(metric)
  return f'{text(metrics.number(metric).title)}&nbsp;<span title="{words}">{sign}</span>'


def _breakable(words: str) -> str:
  """A name that may go on in another line after each of its underscores."""
  return text(words).replace("_", "_<wbr>")


def _cell(record) -> str:
  value = f'<span data-value="{text(repr(record["value"]))}">{number(record["value"], 4)}</span>'
  if record.get("std") is not None:
    value += f" ± {number(record['std'], 2)}"
  return f"{value}<small>{_interval(record)}</small>" if record.get("interval") else value


def _paper_table(results) -> str:
  told = results.get("paper") or ()
  if not told:
    return ""
  lines = [
    f'<tr><th scope="row">{text(metrics.number(row.get("metric", "")).title)}</th>'
    f"<td>{text(row.get('value', ''))}</td>"
    f'<td class="wide">{text(row.get("source", ""))}</td></tr>'
    for row in told
  ]
  caption = (
    "The paper's own row, as printed. It carries no fingerprint: weights, data and counts are the "
    "paper's, so it is beside the columns above, not in them."
  )
  where = '<th scope="col" class="left">Where</th>'
  return table("The paper's own numbers", caption, ["Metric", "Value", where], lines)


def _series(records, place) -> Series:
  points = [(place(r), r["value"]) for r in records]
  band = [(place(r), *r["interval"]) for r in records if r.get("interval")]
  notes = [f"{number(place(r))}: {number(r['value'], 4)} {_interval(r)}" for r in records]
  return Series("generated", points, band=band, notes=notes)


def _level(column):
  floor = column.main.get("floor") or {}
  return (floor["value"], "real against real") if floor.get("value") is not None else None


def over_training(found: list[Column]) -> str:
  """A curve over iterations for each column that has one."""
  charts = []
  for column in found:
    records = column.over_steps()
    if len(records) > 1:
      charts.append(
        figure(
          [_series(records, lambda r: r["step"])],
          title=column.name,
          x_label="iteration",
          level=_level(column),
          note=f"{column.network}, {column.fingerprint}",
        )
      )
  words = "<p>Each number over the iterations it was taken at; the band is its interval.</p>"
  return f'{words}<div class="charts">{"".join(charts)}</div>' if charts else ""


def over_truncation(found: list[Column]) -> str:
  """Curves over truncation, and distance against Inception Score (DVD-GAN 4.4)."""
  charts, curves = [], {}
  for column in found:
    records = column.over_truncations()
    if len(records) > 1:
      curves.setdefault(column.metric, records)
      charts.append(
        figure(
          [_series(records, truncation)],
          title=column.name,
          x_label="truncation: standard deviation of z",
          level=_level(column),
          note=f"iteration {number(column.main.get('step'))}, {column.fingerprint}",
        )
      )
  if not charts:
    return ""
  distance = curves.get("fid") or curves.get("fvd")
  if distance and "is" in curves:
    scores = {truncation(r): r["value"] for r in curves["is"]}
    both = [(scores[truncation(r)], r["value"], truncation(r)) for r in distance]
    pairs = sorted(p for p in both) if all(truncation(r) in scores for r in distance) else []
    if pairs:
      name = "FID" if "fid" in curves else "FVD"
      charts.insert(
        0,
        figure(
          [
            Series(
              "generated",
              [(x, y) for x, y, _ in pairs],
              notes=[f"truncation {t:g}: {number(x)}, {number(y)}" for x, y, t in pairs],
            )
          ],
          title=f"{name} against Inception Score",
          x_label="Inception Score, higher is better",
          y_label=f"{name}, lower is better",
          note=f"a point for each truncation, {min(p[2] for p in pairs):g} to "
          f"{max(p[2] for p in pairs):g}",
          markers=True,
        ),
      )
  words = (
    "<p>Latents drawn nearer to zero give clips that look better and are more alike: a smaller "
    "truncation trades variety for fidelity (DVD-GAN 4.4).</p>"
  )
  return f'{words}<div class="charts">{"".join(charts)}</div>'


def by_class(results) -> str:
  """A table of the last iteration's numbers by class."""
  entries = [e for e in results.get("per_class") or () if isinstance(e.get("value"), int | float)]
  if not entries:
    return ""
  last = max(e.get("step") or 0 for e in entries)
  entries = [e for e in entries if (e.get("step") or 0) == last]
  nearest = min((truncation(e) for e in entries), key=lambda t: abs(t - 1))
  entries = [e for e in entries if truncation(e) == nearest]
  heads = list(dict.fromkeys((e.get("metric", ""), e.get("fingerprint", "")) for e in entries))
  names = {e.get("class"): e.get("name", e.get("class")) for e in entries}
  found = {(e.get("class"), e.get("metric", ""), e.get("fingerprint", "")): e for e in entries}
  largest = {
    h: max((abs(e["value"]) for k, e in found.items() if k[1:] == h), default=0) or 1 for h in heads
  }
  head = [f'<th scope="col">{_head(m)}<small><code>{text(f)}</code></small></th>' for m, f in heads]
  lines = []
  for label, name in sorted(names.items(), key=lambda item: str(item[1])):
    cells = ""
    for h in heads:
      entry = found.get((label, *h))
      share = 0 if entry is None else abs(entry["value"]) / largest[h]
      bar = f' class="share" style="--share:{share:.3f}"' if share else ""
      cells += f"<td{bar}>{number(entry['value']) if entry else '–'}</td>"
    lines.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
  caption = f"Iteration {last:,}, truncation {nearest:g}."
  return (
    "<p>The same measures within each class; a class has few clips, so distances are larger than "
    "over all. Bars: each number by the largest of its column.</p>"
    f"{table('Numbers by class', caption, ['Class', *head], lines)}"
  )


def controls(results) -> str:
  """A table of what real clips score whose motion was spoilt."""
  found = {}
  for record in results.get("controls") or ():
    key = tuple(str(record.get(n) or "") for n in ("metric", "network", "output", "fingerprint"))
    found.setdefault(key, {})[str(record.get("control", ""))] = record
  if not found:
    return ""
  names = list(dict.fromkeys(name for own in found.values() for name in own))
  lines = []
  for (metric, network, output, _), own in found.items():
    cells = "".join(f"<td>{number(own[n].get('value')) if n in own else '–'}</td>" for n in names)
    where = f"<small>{text(network)}</small><small>{text(output)}</small>"
    lines.append(
      f'<tr><th scope="row">{text(metrics.number(metric).title)}{where}</th>{cells}</tr>'
    )
  against = dict.fromkeys(text(judged_against(record)) for record in results["controls"])
  caption = (
    f"Compared with {'; '.join(against)}. Compare what is worse by motion alone with the score "
    "unharmed; where the reference holds the same clips, compare these numbers with each other "
    "alone: generated clips cannot score as well."
  )
  return (
    "<p>Real clips whose frames stand still, come in another order or backwards. A metric that "
    "scores them like good clips does not see motion.</p>"
    f"{table('Motion controls', caption, ['Metric', *names], lines)}"
  )


def fingerprints(results, found: list[Column]) -> str:
  """All fields behind each fingerprint."""
  protocol = results.get("protocol") or {}
  notes = "".join(f"<li>{text(note)}</li>" for note in protocol.get("notes") or ())
  told = f"<p>What the protocol's source leaves open:</p><ul>{notes}</ul>" if notes else ""
  by_print = {}
  for column in found:
    by_print.setdefault(column.fingerprint, []).append(column)
  parts = []
  for digits, same in by_print.items():
    for i, column in enumerate(same):
      lines = [
        f'<tr><th scope="row">{text(k)}</th><td>{text(_plain(v))}</td></tr>'
        for k, v in sorted(column.fields.items())
      ]
      anchor = f' id="fp-{text(digits)}"' if i == 0 else ""
      parts.append(
        f"<details{anchor}><summary><code>{text(digits)}</code> {text(column.name)}</summary>"
        f"{table(f'Fields of {digits}', '', (), lines, 'fields')}</details>"
      )
  if not parts:
    return ""
  return (
    "<p>Twelve digits of all that a column's numbers depend on besides iteration and truncation. "
    f"Two numbers may be compared where they agree.</p>{told}{''.join(parts)}"
  )


def _plain(value) -> str:
  return value if isinstance(value, str) else json.dumps(value, default=str)
