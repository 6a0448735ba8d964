"""Line charts as inline SVG: no script, colours by class, so that a page's theme decides them."""

import dataclasses
import html
import math
from collections.abc import Sequence

from vidgan_jax.runtime.text import printable

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 44


def text(value) -> str:
  """Any value as text of a page: on one line, nothing in it is markup."""
  return html.escape(printable(str(value)), quote=True)


def number(value, digits: int = 3) -> str:
  """A number for reading: three significant digits at least, no needless ones."""
  if value is None or not isinstance(value, int | float) or not math.isfinite(value):
    return "–"
  if value == int(value) and abs(value) < 1e15:
    return f"{int(value):,}".replace("-", "−")
  if abs(value) < 1e-3:
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    return f"{mantissa}·10^{int(exponent)}".replace("-", "−")
  decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
  return f"{value:,.{decimals}f}".replace("-", "−")


def table(label: str, caption: str, heads, lines, kind: str = "") -> str:
  """A table in a box that scrolls sideways where the window is narrow.

  Args:
    label: of the box, for those who hear the page.
    caption: HTML.
    heads: <th> elements, or their words; none makes no head.
    lines: <tr> elements.
    kind: class of the table.
  """
  cells = [h if h.startswith("<th") else f'<th scope="col">{text(h)}</th>' for h in heads]
  head = f"<thead><tr>{''.join(cells)}</tr></thead>" if cells else ""
  caption = f"<caption><span>{caption}</span></caption>" if caption else ""
  kind = f' class="{text(kind)}"' if kind else ""
  return (
    f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
    f"<table{kind}>{caption}{head}<tbody>{''.join(lines)}</tbody></table></div>"
  )


@dataclasses.dataclass(frozen=True)
class Series:
  """One line of a chart.

  Attributes:
    name: in the legend.
    points: (x, y), by x.
    kind: class of colour: generated, real, red, green or blue.
    band: (x, low, high) around it, or empty.
    dashed: drawn so.
    notes: what a point says when one rests on it, or empty.
  """

  name: str
  points: Sequence[tuple[float, float]]
  kind: str = "generated"
  band: Sequence[tuple[float, float, float]] = ()
  dashed: bool = False
  notes: Sequence[str] = ()


def figure(
  series: Sequence[Series],
  *,
  title: str,
  x_label: str,
  y_label: str = "",
  log_x: bool = False,
  log_y: bool = False,
  level: tuple[float, str] | None = None,
  note: str = "",
  reach: Sequence[float] = (),
  markers: bool | None = None,
) -> str:
  """A chart in a <figure> with its caption and legend.

  Args:
    series: lines; those without points are left out.
    title, x_label, y_label: of the chart and its axes.
    log_x, log_y: logarithmic axes, on which what is not above 0 is left out.
    level: (value, name) of a dashed horizontal line.
    note: a sentence below the title.
    reach: values that the vertical axis must have room for.
    markers: whether points are marked; by default where there are few.

  Returns:
    HTML, or "" where there is nothing to draw.
  """
  series = [_drawable(each, log_x, log_y) for each in series]
  series = [each for each in series if each.points]
  if not series:
    return ""
  xs = [x for each in series for x, _ in each.points]
  ys = [y for each in series for _, y in each.points]
  ys += [y for each in series for _, low, high in each.band for y in (low, high)]
  ys += [level[0]] if level and (level[0] > 0 or not log_y) else []
  ys += reach
  x_axis, y_axis = _Axis(xs, log_x), _Axis(ys, log_y, room=0.06)
  place = lambda x, y: (
    _LEFT + x_axis.at(x) * (_WIDTH - _LEFT - _RIGHT),
    _HEIGHT - _BOTTOM - y_axis.at(y) * (_HEIGHT - _TOP - _BOTTOM),
  )
  parts = [*_grid(x_axis, y_axis, place), *_labels(x_label, y_label)]
  if level and (level[0] > 0 or not log_y):
    (left, y), right = place(x_axis.low, level[0]), _WIDTH - _RIGHT
    parts.append(f'<path class="level" d="M{left:.1f} {y:.1f}H{right}"/>')
  for each in series:
    parts += _line(each, place, markers)
  described = f"{title}; " + "; ".join(map(_summary, series))
  legend = "".join(
    f'<li><span class="swatch {each.kind}{" dashed" if each.dashed else ""}"></span>'
    f"{text(each.name)}</li>"
    for each in series
  )
  if level:
    legend += f'<li><span class="swatch floor"></span>{text(level[1])}: {number(level[0])}</li>'
  return (
    f'<figure class="chart"><figcaption><strong>{text(title)}</strong>'
    f"{f'<span>{text(note)}</span>' if note else ''}</figcaption>"
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(described)}">'
    f'{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
  )


def _drawable(each: Series, log_x, log_y) -> Series:
  """The series without what its axes cannot show."""
  good = lambda value, log: (
    isinstance(value, int | float) and math.isfinite(value) and (value > 0 or not log)
  )
  kept = [i for i, (x, y) in enumerate(each.points) if good(x, log_x) and good(y, log_y)]
  notes = [each.notes[i] for i in kept] if each.notes else ()
  band = [b for b in each.band if good(b[0], log_x) and all(good(v, log_y) for v in b[1:])]
  return dataclasses.replace(each, points=[each.points[i] for i in kept], notes=notes, band=band)


def _summary(each: Series) -> str:
  (first, begin), (last, end) = each.points[0], each.points[-1]
  if len(each.points) == 1:
    return f"{each.name} {number(begin)} at {number(first)}"
  return f"{each.name} from {number(begin)} at {number(first)} to {number(end)} at {number(last)}"


class _Axis:
  """Maps values to 0..1."""

  def __init__(self, values, log, room=0.0):
    self.log = log
    low, high = (self._scale(v) for v in (min(values), max(values)))
    if high - low < 1e-12 * max(1.0, abs(high)):
      pad = 0.5 if log else max(abs(high) * 0.1, 0.5)
      low, high = low - pad, high + pad
    else:
      low, high = low - room * (high - low), high + room * (high - low)
      if not log and room and min(values) >= 0 > low:
        low = 0.0
    self._low, self._high = low, high
    self.low = 10**low if log else low

  def _scale(self, value):
    return math.log10(value) if self.log else float(value)

  def at(self, value) -> float:
    """Place of a value, within 0..1."""
    return min(1.0, max(0.0, (self._scale(value) - self._low) / (self._high - self._low)))

  def ticks(self) -> list[float]:
    """Round values within the axis."""
    if not self.log:
      raw = (self._high - self._low) / 5
      power = 10.0 ** math.floor(math.log10(raw))
      step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.7)
      first = math.ceil(self._low / step - 1e-9)
      values = [i * step for i in range(first, math.floor(self._high / step + 1e-9) + 1)]
      return [0.0 if abs(value) < step / 1e6 else value for value in values]
    powers = range(math.floor(self._low), math.ceil(self._high) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
      values = [d * 10.0**p for p in powers for d in digits]
      values = [v for v in values if self._low - 1e-9 <= math.log10(v) <= self._high + 1e-9]
      if len(values) >= 3:
        break
    every = -(-len(values) // 6)
    return values[::every]


def _tick(value: float) -> str:
  if value and not 1e-3 <= abs(value) < 1e6:
    return f"10^{math.log10(abs(value)):.3g}".replace("-", "−") if value > 0 else f"{value:.0e}"
  return f"{value:,.6g}".replace("-", "−")


def _grid(x_axis, y_axis, place):
  bottom = _HEIGHT - _BOTTOM
  for value in y_axis.ticks():
    y = place(x_axis.low, value)[1]
    yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
    yield f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>'
  for value in x_axis.ticks():
    x = place(value, y_axis.low)[0]
    yield f'<path class="tick" d="M{x:.1f} {bottom}v5"/>'
    yield f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{_tick(value)}</text>'
  yield f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>'


def _labels(x_label, y_label):
  middle = (_LEFT + _WIDTH - _RIGHT) / 2
  place = f'x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle"'
  yield f'<text class="label" {place}>{text(x_label)}</text>'
  if y_label:
    height = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
      f'<text class="label" transform="translate(12 {height}) rotate(-90)" text-anchor="middle">'
      f"{text(y_label)}</text>"
    )


def _line(each: Series, place, markers):
  kind = text(each.kind)
  if len(each.band) > 1:
    upper = [place(x, high) for x, _, high in each.band]
    lower = [place(x, low) for x, low, _ in reversed(each.band)]
    yield f'<path class="band {kind}" d="M{_path([*upper, *lower])}Z"/>'
  points = [place(x, y) for x, y in each.points]
  if len(points) > 1:
    dashed = " dashed" if each.dashed else ""
    yield f'<path class="line {kind}{dashed}" d="M{_path(points)}"/>'
  if len(points) <= 24 if markers is None else markers or len(points) == 1:
    for i, (x, y) in enumerate(points):
      told = (
        each.notes[i]
        if each.notes
        else _summary(dataclasses.replace(each, points=[each.points[i]]))
      )
      yield (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
        f"<title>{text(told)}</title></circle>"
      )


def _path(points) -> str:
  return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def range_bar(value: float, interval, floor: float | None) -> str:
  """A small bar that shows a value with its interval, and the floor, on one scale from 0.

  Args:
    value: the number.
    interval: (low, high) or None.
    floor: what real clips reach against each other, or None.

  Returns:
    HTML, or "" where a value is below 0 or there is nothing beside it.
  """
  known = [v for v in (value, floor, *(interval or ())) if v is not None]
  if len(known) < 2 or min(known) < 0 or not all(map(math.isfinite, known)) or max(known) <= 0:
    return ""
  scale = 196 / (max(known) * 1.04)
  parts = ['<path class="axis" d="M2 13H198"/>']
  if interval:
    low, high = (2 + v * scale for v in interval)
    size = f'width="{max(1.0, high - low):.1f}" height="10" rx="3"'
    parts.append(f'<rect class="band" x="{low:.1f}" y="8" {size}/>')
  if floor is not None:
    parts.append(f'<path class="level" d="M{2 + floor * scale:.1f} 3v20"/>')
  parts.append(f'<circle class="generated" cx="{2 + value * scale:.1f}" cy="13" r="4.5"/>')
  return (
    '<svg class="bar" viewBox="0 0 200 26" preserveAspectRatio="xMinYMid" aria-hidden="true">'
    f"{''.join(parts)}</svg>"
  )
