"""Curves of the logs of several runs, as HTML with drawings (SVG)."""

import pathlib
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from vidgan_jax.evaluation.report import charts
from vidgan_jax.runtime.files.log_files import read_log
from vidgan_jax.viewer import markup

COLOURS = ("line1", "line2", "line3", "line4", "line5", "line6")  # classes in style.css
_FIRST = ("loss/discriminator", "loss/generator", "time/videos_per_second")
_MOST_POINTS = 400  # of one line; it is 300 pixels wide


def _logs(workdirs: Sequence[str]) -> list[list[dict]]:
  """The records of each run; empty where there is no log."""
  return [read_log(pathlib.Path(workdir) / "log.jsonl") for workdir in workdirs]


def names_of_values(workdirs: Sequence[str]) -> tuple[list[str], list[str]]:
  """(names of all logged values, those to show first)."""
  known = {name for records in _logs(workdirs) for record in records[-1:] for name in record}
  known -= {"step"}
  first = [name for name in _FIRST if name in known]
  return sorted(known), first or sorted(known)[:3]


def page(workdirs: Sequence[str], names: Sequence[str], values: Sequence[str]) -> Markup:
  """One chart for each of the logged `values`, with a line for each run.

  Args:
    workdirs: folders.
    names: names of the folders for reading.
    values: names of logged values, such as "loss/generator".
  """
  logs = _logs(workdirs)
  if not any(logs):
    return markup.note("These folders have no log; training writes log.jsonl.")
  figures = []
  for value in values:
    series = []
    for number, (name, records) in enumerate(zip(names, logs, strict=True)):
      points = [(r["step"], r[value]) for r in records if isinstance(r.get(value), int | float)]
      colour = COLOURS[number % len(COLOURS)]
      series.append(charts.Series(name, _thinned(points), kind=colour))
    figures.append(charts.chart(series, title=value, x_label="iteration", markers=False))
  shown = drawn(figures)
  return shown or markup.note("Choose a value that these runs have logged.")


def _thinned(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
  """At most `_MOST_POINTS` points: neighbours are averaged."""
  size = -(-len(points) // _MOST_POINTS)
  if size < 2:
    return list(points)
  groups = [points[begin : begin + size] for begin in range(0, len(points), size)]
  mean = lambda numbers: sum(numbers) / len(numbers)
  return [(mean([x for x, _ in group]), mean([y for _, y in group])) for group in groups]


def drawn(figures: Iterable[charts.Chart | None]) -> Markup:
  """Charts with captions and legends; empty if there are none."""
  parts = []
  for figure in figures:
    if figure is None:
      continue
    legend = markup.joined(
      markup.element(
        '<li><span class="swatch {}"></span><bdi dir="auto">{}</bdi></li>', e.kind, e.text
      )
      for e in figure.legend
    )
    parts.append(
      markup.element(
        '<figure class="vidgan-chart"><figcaption><strong>{}</strong> {}</figcaption>{}'
        '<ul class="vidgan-legend">{}</ul></figure>',
        figure.title, figure.note, figure.svg, legend,
      )
    )  # fmt: skip
  if not parts:
    return Markup("")
  return markup.element('<div class="vidgan-charts">{}</div>', markup.joined(parts))
