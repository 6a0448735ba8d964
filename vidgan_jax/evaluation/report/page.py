"""One self-contained HTML file that tells what an evaluation found.

The file needs no other and no network: styles, plots, clips and pictures are in it. Everything that
comes from outside, names of classes, paths, warnings, is escaped. Numbers stand in columns, each of
one fingerprint; see `report_columns`.
"""

import os
import pathlib
from collections.abc import Mapping

from vidgan_jax.evaluation.report import analyses, media, scores, style
from vidgan_jax.evaluation.report.charts import number, text
from vidgan_jax.evaluation.report.columns import Column, columns
from vidgan_jax.evaluation.report.media import Clips
from vidgan_jax.runtime.files.atomic_files import atomic_file

__all__ = ["Clips", "gather", "latex_row", "write"]

gather = analyses.gather


def write(
  results: Mapping,
  output_html: str | os.PathLike,
  clips_real: Clips | None = None,
  clips_generated: Clips | None = None,
  neighbours: Mapping | None = None,
  spectra: Mapping | None = None,
  curves: Mapping | None = None,
  smoothness: Mapping | None = None,
) -> pathlib.Path:
  """Writes the page.

  Args:
    results: content of `results.json`: run, protocol, reference, records, paper, per_class.
    output_html: the file, which is replaced.
    clips_real, clips_generated: shown as playing grids.
    neighbours: content of the analysis `neighbours.json`, with "pictures": {space: PNG bytes}.
    spectra: content of `power_spectrum.json`.
    curves: content of `darkness.json`.
    smoothness: content of `smoothness.json`, with "pictures": {kind: PNG bytes}. `gather` reads
      these four from a run's folder.

  Returns:
    the file's path.

  Raises:
    UserError: the file cannot be written.
  """
  output_html = pathlib.Path(output_html)
  found = columns(results.get("records", ()))
  sections = [
    ("numbers", "Numbers", scores.numbers(results, found)),
    ("training", "Over training", scores.over_training(found)),
    ("truncation", "Truncation", scores.over_truncation(found)),
    ("classes", "By class", scores.by_class(results)),
    ("controls", "Motion controls", scores.controls(results)),
    ("clips", "Clips", _clips(clips_real, clips_generated)),
    ("neighbours", "Nearest neighbours", analyses.neighbours(neighbours)),
    ("spectra", "Power spectra", analyses.spectra(spectra)),
    ("darkness", "Dark clips", analyses.darkness(curves)),
    ("walks", "Interpolation", analyses.walks(smoothness)),
    ("latex", "For a paper", _latex(results, found)),
    ("fingerprints", "Fingerprints", scores.fingerprints(results, found)),
  ]
  sections = [section for section in sections if section[2]]
  title = f"Evaluation of {text(_run(results).get('name') or 'clips')}"
  links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in sections)
  body = "\n".join(
    [
      f"<header><h1>{title}</h1>{_lead(results, found)}{_warnings(found)}",
      f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>',
      *(
        f'<section aria-labelledby="{k}"><h2 id="{k}">{n}</h2>{c}</section>' for k, n, c in sections
      ),
      f"</main><footer>{_footer(results)}</footer>",
    ]
  )
  page = style.page(title, body)
  with atomic_file(output_html) as temporary:
    pathlib.Path(temporary).write_text(page, encoding="utf-8")
  return output_html


def latex_row(results: Mapping) -> str:
  """The last iteration's numbers as a row of a LaTeX table; a comment names the columns."""
  found = columns(results.get("records", ()))
  lines = ["% " + " & ".join(["model", *(f"{c.name} ({c.fingerprint})" for c in found)])]
  cells = [_tex(str(_run(results).get("name") or "clips"))]
  for column in found:
    record = column.main
    told = _tex(number(record.get("value")).replace("−", "-"))
    if "·" in told:
      told = f"{record['value']:.3g}"
    if record.get("std") is not None:
      told += rf" \pm {record['std']:.2g}"
    interval = record.get("interval")
    if interval:
      low, high = (number(v).replace("−", "-") for v in interval)
      told += rf"\;[{low}, {high}]"
    cells.append(f"${told}$")
  return "\n".join([*(line.replace("\n", " ") for line in lines), " & ".join(cells) + r" \\"])


def _tex(words: str) -> str:
  words = words.replace("\\", "/").replace("\n", " ")
  return "".join("\\" + c if c in "&%$#_{}" else {"~": "-", "^": "-"}.get(c, c) for c in words)


def _run(results) -> Mapping:
  return results.get("run") or {}


def _lead(results, found) -> str:
  run, protocol = _run(results), results.get("protocol") or {}
  reference = results.get("reference") or {}
  steps = [column.main.get("step") for column in found if column.main.get("step") is not None]
  told = []
  if steps:
    told.append(f"iteration {max(steps):,}")
  averaged = {bool(c.main["ema"]) for c in found if c.main.get("ema") is not None}
  if len(averaged) == 1:
    told.append("moving average of the weights" if averaged.pop() else "live weights")
  name = text(protocol.get("name", "not told"))
  source = f", {text(protocol['source'])}" if protocol.get("source") else ""
  lines = [f"Protocol <code>{name}</code>{source}"]
  if reference.get("count"):
    described = text(reference.get("description", ""))
    lines.append(
      f"against {reference['count']:,} real clips{f' ({described})' if described else ''}"
    )
  if run.get("workdir"):
    lines.append(f"run <code>{text(run['workdir'])}</code>")
  first = f'<p class="lead">{"; ".join(told)}</p>' if told else ""
  return first + f'<p class="lead">{"; ".join(lines)}</p>'


def _warnings(found: list[Column]) -> str:
  told = {}
  for place, column in enumerate(found):
    for record in column.records:
      for warning in scores.record_warnings(record):
        told.setdefault(warning, {})[place] = column.name
  if not told:
    return ""
  whose = lambda names: (
    "all numbers" if len(names) == len(found) > 1 else ", ".join(dict.fromkeys(names.values()))
  )
  items = "".join(f"<li>{text(whose(names))}: {text(w)}</li>" for w, names in told.items())
  return (
    f'<section class="warnings" aria-labelledby="warnings"><h2 id="warnings">'
    f"Read these numbers with care</h2><ul>{items}</ul></section>"
  )


def _clips(real, generated) -> str:
  sides = [("Real", real), ("Generated", generated)]
  sides = [(name, clips) for name, clips in sides if clips is not None and len(clips.clips)]
  if not sides:
    return ""
  labels = media.chosen_labels(*(clips for _, clips in sides))
  parts = []
  for name, clips in sides:
    grid = media.grid(clips, labels)
    width, height = grid.size
    rows_told = "".join(f"<li>{text(row)}</li>" for row in grid.rows)
    described = f"{name} clips, {grid.count} in a grid"
    video = (
      f'<video src="{grid.video}" poster="{grid.poster}" width="{width}" height="{height}" '
      f'aria-label="{text(described)}" autoplay muted loop playsinline controls></video>'
    )
    inside = video
    if rows_told:
      heights = f"repeat({len(grid.rows)},1fr) {media.BAR}fr"
      listed = f'<ol style="grid-template-rows:{heights}">{rows_told}</ol>'
      inside = f'<div class="rows">{listed}{video}</div>'
    frames = clips.clips.shape[1]
    parts.append(
      f"<figure><figcaption><strong>{name}</strong><span>{grid.count} clips of {frames} frames, "
      f"{clips.clips.shape[2]}×{clips.clips.shape[3]} pixels"
      f"{', a row for each class' if rows_told else ''}</span></figcaption>{inside}</figure>"
    )
  return f'<p>Not chosen: the first of each class.</p><div class="clips">{"".join(parts)}</div>'


def _latex(results, found) -> str:
  if not found:
    return ""
  return (
    "<p>The last iteration's row for LaTeX; one click selects it. The comment names the columns, "
    f"whose fingerprints belong into the caption.</p><pre>{text_lines(latex_row(results))}</pre>"
  )


def text_lines(block: str) -> str:
  """Several lines as text of a page."""
  return "\n".join(text(line) for line in block.split("\n"))


def _footer(results) -> str:
  versions = results.get("versions") or {}
  told = ", ".join(f"{text(name)} {text(version)}" for name, version in versions.items())
  created = f"Created {text(results['created'])}. " if results.get("created") else ""
  return f"<p>{created}{told}{'. ' if told else ''}The same numbers for programs: results.json.</p>"
