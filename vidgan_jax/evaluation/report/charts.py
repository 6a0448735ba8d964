"""Line charts as inline SVG: no script, colours by class, so that a page's theme decides them."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

from vidgan_jax.runtime.text import printable

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 44
_Position = Callable[[float, float], tuple[float, float]]  # of a point (x, y) in the drawing


def number(value: Any, digits: int = 3) -> str:
  """A number for reading, with at least `digits` significant digits; "–" for anything else."""
  if value is None or not isinstance(value, int | float) or not math.isfinite(value):
    return "–"
  if value == int(value) and abs(value) < 1e15:
    return f"{int(value):,}".replace("-", "−")
  if abs(value) < 1e-3:
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    return f"{mantissa}·{_power(int(exponent))}".replace("-", "−")
  decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
  return f"{value:,.{decimals}f}".replace("-", "−")


def _power(exponent: int) -> str:
  """A power of ten with a raised exponent, such as 10⁻⁵."""
  return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


@dataclasses.dataclass(frozen=True)
class Series:
  """One line of a chart.

  Attributes:
    name: text in the legend.
    points: (x, y), sorted by x.
    kind: class that sets the colour: generated, real, red, green or blue.
    band: (x, low, high) of an area around the line, or empty.
    dashed: whether the line is dashed.
    notes: tooltip of each point, or empty for a default one.
  """

  name: str
  points: Sequence[tuple[float, float]]
  kind: str = "generated"
  band: Sequence[tuple[float, float, float]] = ()
  dashed: bool = False
  notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class LegendEntry:
  """One entry of a chart's legend.

  Attributes:
    kind: classes of the colour sample.
    text: what it stands for.
  """

  kind: str
  text: str


@dataclasses.dataclass(frozen=True)
class Chart:
  """A drawn chart; the macro `chart` of `templates/parts.html` adds caption and legend.

  Attributes:
    title, note: text of the caption; the note may be empty.
    svg: the drawing.
    legend: its entries.
  """

  title: str
  note: str
  svg: Markup
  legend: Sequence[LegendEntry]


def chart(
  series: Sequence[Series],
  *,
  title: str,
  x_label: str,
  y_label: str = "",
  log_x: bool = False,
  log_y: bool = False,
  level: tuple[float, str] | None = None,
  note: str = "",
  y_values: Sequence[float] = (),
  markers: bool | None = None,
) -> Chart | None:
  """Draws a line chart.

  Args:
    series: the lines; a line without points is left out.
    title, x_label, y_label: text of the chart and its axes.
    log_x, log_y: logarithmic axes, which leave out values that are not above 0.
    level: (value, name) of a dashed horizontal line.
    note: a sentence below the title.
    y_values: values that the vertical axis must include.
    markers: whether points are marked; by default, where a line has at most 24.

  Returns:
    the chart; None if there is nothing to draw.
  """
  series = [_drawable(each, log_x, log_y) for each in series]
  series = [each for each in series if each.points]
  if not series:
    return None
  xs = [x for each in series for x, _ in each.points]
  ys = [y for each in series for _, y in each.points]
  ys += [y for each in series for _, low, high in each.band for y in (low, high)]
  ys += [level[0]] if level and (level[0] > 0 or not log_y) else []
  ys += y_values
  x_axis, y_axis = _Axis(xs, log_x), _Axis(ys, log_y, room=0.06)
  position = lambda x, y: (
    _LEFT + x_axis.at(x) * (_WIDTH - _LEFT - _RIGHT),
    _HEIGHT - _BOTTOM - y_axis.at(y) * (_HEIGHT - _TOP - _BOTTOM),
  )
  parts = [*_grid(x_axis, y_axis, position), *_labels(x_label, y_label)]
  if level and (level[0] > 0 or not log_y):
    (left, y), right = position(x_axis.low, level[0]), _WIDTH - _RIGHT
    parts.append(_element('<path class="level" d="M{:.1f} {:.1f}H{}"/>', left, y, right))
  for each in series:
    parts += _line(each, position, markers)
  description = f"{title}; " + "; ".join(map(_summary, series))
  legend = [LegendEntry(each.kind + " dashed" * each.dashed, each.name) for each in series]
  if level:
    legend.append(LegendEntry("floor", f"{level[1]}: {number(level[0])}"))
  svg = _element(
    '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
    _WIDTH,
    _HEIGHT,
    description,
    Markup().join(parts),
  )
  return Chart(title, note, svg, legend)


def _element(template: str, *values: Any) -> Markup:
  """SVG with values in place of {}: text is printed on one line and escaped."""
  one_line = (
    printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
    for value in values
  )
  return Markup(template).format(*one_line)


def _drawable(each: Series, log_x: bool, log_y: bool) -> Series:
  """The series without points that its axes cannot show."""
  good = lambda value, log: (
    isinstance(value, int | float) and math.isfinite(value) and (value > 0 or not log)
  )
  indices = [i for i, (x, y) in enumerate(each.points) if good(x, log_x) and good(y, log_y)]
  notes = [each.notes[i] for i in indices] if each.notes else ()
  band = [b for b in each.band if good(b[0], log_x) and all(good(v, log_y) for v in b[1:])]
  return dataclasses.replace(each, points=[each.points[i] for i in indices], notes=notes, band=band)


def _summary(each: Series) -> str:
  """A line in words, for screen readers."""
  (first, begin), (last, end) = each.points[0], each.points[-1]
  if len(each.points) == 1:
    return f"{each.name} {number(begin)} at {number(first)}"
  return f"{each.name} from {number(begin)} at {number(first)} to {number(end)} at {number(last)}"


class _Axis:
  """Maps values to 0..1.

  Args:
    values: what the axis must include.
    log: whether it is logarithmic.
    room: free space at both ends, as a share of the range of the values.

  Attributes:
    low: the value at 0.
  """

  def __init__(self, values: Sequence[float], log: bool, room: float = 0.0):
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

  def _scale(self, value: float) -> float:
    return math.log10(value) if self.log else float(value)

  def at(self, value: float) -> float:
    """Position of a value, within 0..1."""
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
    mantissa, exponent = f"{value:.4e}".split("e")
    digits = f"{float(mantissa):g}·".replace("-", "−")
    return ("" if digits == "1·" else digits) + _power(int(exponent))
  return f"{value:,.6g}".replace("-", "−")


def _grid(x_axis: _Axis, y_axis: _Axis, position: _Position) -> Iterator[Markup]:
  """Horizontal grid lines, and ticks with their values on both axes."""
  bottom = _HEIGHT - _BOTTOM
  number_at = '<text x="{}" y="{}" text-anchor="{}">{}</text>'
  for value in y_axis.ticks():
    y = position(x_axis.low, value)[1]
    yield _element('<path class="grid" d="M{} {:.1f}H{}"/>', _LEFT, y, _WIDTH - _RIGHT)
    yield _element(number_at, _LEFT - 7, f"{y + 4:.1f}", "end", _tick(value))
  for value in x_axis.ticks():
    x = position(value, y_axis.low)[0]
    yield _element('<path class="tick" d="M{:.1f} {}v5"/>', x, bottom)
    yield _element(number_at, f"{x:.1f}", bottom + 19, "middle", _tick(value))
  yield _element('<path class="axis" d="M{} {}H{}"/>', _LEFT, bottom, _WIDTH - _RIGHT)


def _labels(x_label: str, y_label: str) -> Iterator[Markup]:
  """Names of the axes."""
  yield _element(
    '<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>',
    (_LEFT + _WIDTH - _RIGHT) / 2,
    _HEIGHT - 6,
    x_label,
  )
  if y_label:
    yield _element(
      '<text class="label" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>',
      (_TOP + _HEIGHT - _BOTTOM) / 2,
      y_label,
    )


def _line(each: Series, position: _Position, markers: bool | None) -> Iterator[Markup]:
  """The band, the line and the marked points of a series."""
  if len(each.band) > 1:
    upper = [position(x, high) for x, _, high in each.band]
    lower = [position(x, low) for x, low, _ in reversed(each.band)]
    yield _element('<path class="band {}" d="M{}Z"/>', each.kind, _path([*upper, *lower]))
  points = [position(x, y) for x, y in each.points]
  if len(points) > 1:
    kind = each.kind + " dashed" * each.dashed
    yield _element('<path class="line {}" d="M{}"/>', kind, _path(points))
  if len(points) <= 24 if markers is None else markers or len(points) == 1:
    notes = each.notes or [
      _summary(dataclasses.replace(each, points=[point])) for point in each.points
    ]
    for (x, y), note in zip(points, notes, strict=True):
      yield _element(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>',
        each.kind,
        x,
        y,
        note,
      )


def _path(points: Sequence[tuple[float, float]]) -> str:
  return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def range_bar(value: float, interval: Sequence[float] | None, floor: float | None) -> Markup:
  """A small bar that shows a value, its interval and real against real on one scale with 0.

  Args:
    value: the value.
    interval: (low, high) or None.
    floor: what real clips reach against each other, or None.

  Returns:
    SVG; empty if there is only the value, or nothing but 0.
  """
  values = [v for v in (value, floor, *(interval or ())) if v is not None]
  if len(values) < 2 or not all(map(math.isfinite, values)) or not any(values):
    return Markup()
  least, most = min(0.0, *values), max(0.0, *values)
  room = 0.04 * (most - least)
  least, most = (least - room if least < 0 else 0.0), (most + room if most > 0 else 0.0)
  at = lambda number: 2 + 196 * (number - least) / (most - least)
  parts = [Markup('<path class="axis" d="M2 13H198"/>')]
  if least < 0 < most:
    parts.append(_element('<path class="tick" d="M{:.1f} 7v12"/>', at(0.0)))
  if interval:
    low, high = map(at, interval)
    parts.append(
      _element(
        '<rect class="band" x="{:.1f}" y="8" width="{:.1f}" height="10" rx="3"/>',
        low,
        max(1.0, high - low),
      )
    )
  if floor is not None:
    parts.append(_element('<path class="level" d="M{:.1f} 3v20"/>', at(floor)))
  parts.append(_element('<circle class="generated" cx="{:.1f}" cy="13" r="4.5"/>', at(value)))
  return _element(
    '<svg class="bar" viewBox="0 0 200 26" preserveAspectRatio="xMinYMid" aria-hidden="true">'
    "{}</svg>",
    Markup().join(parts),
  )
