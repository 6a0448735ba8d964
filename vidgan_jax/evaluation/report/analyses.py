"""The sections of a report that show results of `vidgan analyze`, and how to read them."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup

from vidgan_jax.evaluation.report import media, rendering
from vidgan_jax.evaluation.report.charts import Chart, Series, chart, number
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files

_MAX_JSON = 32_000_000  # bytes
_LARGE = 800  # pixels; wider pictures are not enlarged, so they may be scaled smoothly
_FILES = {
  "neighbours": "neighbours.json",
  "spectra": "power_spectrum.json",
  "curves": "darkness.json",
  "smoothness": "smoothness.json",
}
_FORMAT = {"format": range(1, 2)}
_FORMS = {
  "neighbours": _FORMAT | {"spaces": {str: dict}},
  "spectra": _FORMAT | {"records": [dict], "frequency": [float]},
  "curves": _FORMAT | {"training": dict},
  "smoothness": _FORMAT | {"records": [{"kind": str, "spaces": {str: dict}}], "steps": int},
}


def gather(workdir) -> dict[str, Any]:
  """Reads results of analyses and curves from a run's folder, as arguments of `page.write`.

  Files that are missing, too large or not readable are left out.

  Args:
    workdir: folder of a run, or the address of one in a bucket.
  """
  workdir = pathlib.Path(staged.path_of(workdir))
  folder = workdir / "analysis"
  analyses = {}
  for argument, name in _FILES.items():
    try:
      content = json_files.read(folder / name, _FORMS[argument], _MAX_JSON)
    except (FileNotFoundError, UserError):
      continue
    if argument == "neighbours":
      content["pictures"] = _pictures(folder, "neighbours", content["spaces"])
    if argument == "smoothness":
      kinds = [record["kind"] for record in content["records"]]
      content["pictures"] = _pictures(folder, "smoothness", kinds)
    analyses[argument] = content
  curves = _bytes(workdir / "curves.png")
  return analyses | ({"training_curves": curves} if curves else {})


def _left_out_if_damaged(section: Callable[[Mapping], Markup]):
  """Replaces a section by a sentence if its file is damaged, and by nothing if there is no file.

  `_FORMS` check the top of a file. Below it are many numbers in many lists, whose faults show only
  when they are used.
  """

  @functools.wraps(section)
  def checked(analysis: Mapping | None) -> Markup:
    if not analysis:
      return Markup()
    try:
      return section(analysis)
    except Exception as error:
      return rendering.render("damaged.html", reason=f"{type(error).__name__}: {error}"[:200])

  return checked


def _pictures(folder: pathlib.Path, stem: str, names: Iterable[Any]) -> dict[str, bytes]:
  """{name: bytes of STEM_NAME.png}. Names that lead out of the folder are left out."""
  pictures = {}
  for name in names or ():
    path = folder / f"{stem}_{name}.png"
    if isinstance(name, str) and path.name == f"{stem}_{name}.png":
      content = _bytes(path)
      if content is not None:
        pictures[name] = content
  return pictures


def _bytes(path: pathlib.Path) -> bytes | None:
  """The content of a file; None if it is missing, too large or not readable."""
  try:
    return path.read_bytes() if path.stat().st_size <= 2 * _MAX_JSON else None
  except (OSError, ValueError):
    return None


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture for the macro `picture` of `templates/parts.html`.

  Attributes:
    title, note: its caption.
    alt: a description for screen readers.
    uri: its content as data URI.
    width, height: in pixels.
  """

  title: str
  note: str
  alt: str
  uri: str
  width: int
  height: int

  @property
  def large(self) -> bool:
    """Whether it may be scaled smoothly; small pictures keep sharp pixels."""
    return self.width >= _LARGE


def _picture(content: bytes | None, title: str, note: str, alt: str) -> list[Picture]:
  """A list of one picture; empty if there is no content or it cannot be shown."""
  picture = media.picture(content) if content else None
  if picture is None:
    return []
  uri, (width, height) = picture
  return [Picture(title, note, alt, uri, width, height)]


def log(curves: bytes | None) -> Markup:
  """The section of the run's `curves.png`; empty without one."""
  pictures = _picture(
    curves,
    "Losses, scores, gradients and speed",
    "Pale lines are the values of the log, the others their running means.",
    "Curves of the training: losses, scores, gradient norms, pixels, sigmas and speed",
  )
  return rendering.render("log.html", pictures=pictures) if pictures else Markup()


@_left_out_if_damaged
def neighbours(analysis: Mapping) -> Markup:
  """The section of nearest neighbours."""
  ratios: list[dict[str, str]] = []
  pictures: list[Picture] = []
  for space, record in (analysis.get("spaces") or {}).items():
    for clips, key in (("generated", "held_out"), ("real, held out", "control")):
      ratios += _ratio_row(space, clips, record.get(key))
    classes = [str((analysis.get("names") or {})[i]) for i in record.get("shown") or ()]
    pictures += _picture(
      (analysis.get("pictures") or {}).get(space),
      f"Nearest by {space} distance",
      "Each row: a generated clip, then training clips, the nearest first"
      + (f". From the top: {', '.join(classes)}" if classes else ""),
      f"Each row: frames of a generated clip, then of the nearest training clips, by {space}",
    )
  searched = number((analysis.get("searched") or {}).get("train"))
  return rendering.render("neighbours.html", searched=searched, ratios=ratios, pictures=pictures)


def _ratio_row(space: str, clips: str, ratio: Mapping | None) -> list[dict[str, str]]:
  """A list of one row of the table of distances; empty if the analysis has no such ratio."""
  if not ratio or ratio.get("median_ratio") is None:
    return []
  low, high = ratio["interval"]
  return [
    {
      "clips": clips,
      "space": space,
      "median": number(ratio["median_ratio"]),
      "interval": f"{number(low)} to {number(high)}",
      "closer": f"{100 * ratio['closer_to_train']:.0f}",
    }
  ]


def _charts(introduction: str, charts: Iterable[Chart | None]) -> Markup:
  drawn = [each for each in charts if each is not None]
  return rendering.render("charts.html", introduction=introduction, charts=drawn)


@_left_out_if_damaged
def spectra(analysis: Mapping) -> Markup:
  """The section of power spectra."""
  frequency = analysis["frequency"][1:]
  charts = []
  for record in analysis["records"]:
    lines = []
    for side in ("real", "generated"):
      mean, std = record[side]["mean"][1:], record[side]["std"][1:]
      band = [(f, max(m - s, m / 10), m + s) for f, m, s in zip(frequency, mean, std, strict=True)]
      points = list(zip(frequency, mean, strict=True))
      lines.append(Series(side, points, side, band, dashed=side == "real"))
    difference = record.get("high_frequency_db")
    charts.append(
      chart(
        lines,
        title=f"Frame {record['frame']}",
        x_label="cycles per pixel",
        y_label="power",
        log_x=True,
        log_y=True,
        note="" if difference is None else f"{number(difference, 2)} dB at high frequencies",
        markers=False,
      )
    )
  return _charts(
    "The power of each spatial frequency in real and generated frames. Less power at the right "
    "means blur, more power means noise or a pattern. A gap that grows from frame to frame means "
    "that later frames are blurred more (SSW-GAN, appendix E). "
    f"{number(analysis.get('clips'))} clips each in {number(analysis.get('sets'))} disjoint sets; "
    "the bands are the standard deviation over the sets.",
    charts,
  )


@_left_out_if_damaged
def darkness(analysis: Mapping) -> Markup:
  """The section of dark clips."""
  training = analysis["training"]
  shares = analysis.get("overall") or {}
  dark = ", ".join(
    f"{100 * shares[side]['dark']:.1f} % of {side} clips"
    for side in ("generated", "real")
    if side in shares
  )
  return _charts(
    "Clips of a video GAN may become dark, first slowly and then suddenly (thesis 4.5). Dark at "
    f"iteration {number(analysis.get('step'))}: {dark}.",
    _darkness_charts(training, analysis) if training["step"] else [],
  )


def _darkness_charts(training: Mapping, analysis: Mapping) -> list[Chart | None]:
  """Mean pixel by channel, and share of dark clips, over iterations."""
  over_steps = lambda values: list(zip(training["step"], values, strict=True))
  pixels = [
    Series(f"{side}, {channel}", over_steps(training[side][channel]), channel, dashed=dashed)
    for side, dashed in (("real", True), ("generated", False))
    for channel in ("red", "green", "blue")
  ]
  dark = [
    Series(side, over_steps(training[side]["dark"]), side, dashed=dashed)
    for side, dashed in (("real", True), ("generated", False))
  ]
  over_iterations = functools.partial(
    chart, x_label="iteration", markers=False, y_values=(0.0, 1.0)
  )
  level = f"mean pixel below {analysis['dark_level']:g}"
  return [
    over_iterations(pixels, title="Mean pixel", note="0 black, 1 white"),
    over_iterations(dark, title="Share of dark clips", note=level),
  ]


@_left_out_if_damaged
def walks(analysis: Mapping) -> Markup:
  """The section of interpolations."""
  rows: list[dict[str, str]] = []
  pictures: list[Picture] = []
  for record in analysis["records"]:
    kind = record["kind"]
    for space, walk in record["spaces"].items():
      summary = walk["summary"]
      rows.append(
        {
          "kind": kind,
          "space": space,
          "median_jump": number(summary["median_jump_ratio"]),
          "largest_jump": number(summary["max_jump_ratio"]),
          "detour": number(summary["median_detour"]),
        }
      )
    pictures += _picture(
      (analysis.get("pictures") or {}).get(kind),
      f"From one {kind} to another",
      "first frames; each row is a walk",
      f"First frames of clips along walks between two {kind} ends, one walk per row",
    )
  largest_ratio = number(analysis["steps"] - 1)
  return rendering.render("walks.html", rows=rows, pictures=pictures, largest_ratio=largest_ratio)
