"""The parts of a report that come from `vidgan_jax.analyze`, and how they are read from a run."""

import functools
import pathlib
from collections.abc import Mapping

from vidgan_jax.evaluation.report import media
from vidgan_jax.evaluation.report.charts import Series, figure, number, table, text
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files

_MAX_JSON = 32_000_000
_LARGE = 800  # pixels; pictures as wide as that are not enlarged, and may be scaled smoothly
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


def gather(workdir) -> dict[str, Mapping]:
  """What analyses have left in a run's folder `analysis`, as arguments of `report.write`.

  Files that are missing, too large or not readable are left out.

  Args:
    workdir: folder of a run.
  """
  folder = pathlib.Path(workdir) / "analysis"
  found = {}
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
    found[argument] = content
  return found


def _left_out_if_damaged(section):
  """A section that says, where an analysis' file holds other things than it should, that it does.

  Such files have the right form at the top; what is within them is many numbers in many lists.
  """

  @functools.wraps(section)
  def shown(found):
    try:
      return section(found)
    except Exception as error:
      reason = text(f"{type(error).__name__}: {error}"[:200])
      return f"<p>Left out: the file of this analysis is damaged ({reason}).</p>"

  return shown


def _pictures(folder, stem, names) -> dict[str, bytes]:
  """{name: bytes of STEM_NAME.png}; names are of a file, so they may not lead elsewhere."""
  found = {}
  for name in names or ():
    path = folder / f"{stem}_{name}.png"
    if isinstance(name, str) and path.name == f"{stem}_{name}.png":
      try:
        if path.stat().st_size <= 2 * _MAX_JSON:
          found[name] = path.read_bytes()
      except (OSError, ValueError):
        continue
  return found


def _picture(content: bytes | None, title: str, note: str, alt: str) -> str:
  drawn = media.picture(content) if content else None
  if drawn is None:
    return ""
  uri, (width, height) = drawn
  kind = "" if width < _LARGE else ' class="large"'
  return (
    f'<figure class="picture"><figcaption><strong>{text(title)}</strong><span>{text(note)}</span>'
    f'</figcaption><div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">'
    f'<img{kind} src="{uri}" width="{width}" height="{height}" alt="{text(alt)}"></div></figure>'
  )


@_left_out_if_damaged
def neighbours(found: Mapping | None) -> str:
  """The section of nearest neighbours; "" where nothing is known."""
  if not found:
    return ""
  searched = found.get("searched") or {}
  words = (
    "<p>For each generated clip the nearest of its class among "
    f"{number(searched.get('train'))} training clips. Below, the eight that came nearest: where a "
    "row repeats itself, the model copies (thesis 4.3).</p>"
  )
  lines, pictures = [], ""
  for space, record in (found.get("spaces") or {}).items():
    for name, key in (("generated", "held_out"), ("real, held out", "control")):
      lines += _ratio_row(space, name, record.get(key))
    classes = [str((found.get("names") or {})[i]) for i in record.get("shown") or ()]
    pictures += _picture(
      (found.get("pictures") or {}).get(space),
      f"Nearest by {space} distance",
      "A row: a generated clip and, to its right, the nearest first, training clips"
      + (f". From the top: {', '.join(classes)}" if classes else ""),
      f"Each row: frames of a generated clip, then of the nearest training clips, by {space}",
    )
  caption = (
    "Distance to the nearest training clip over the distance to the nearest of equally many "
    "held-out clips. About 1: nothing copied; well below, and below the real clips' own row: "
    "memorised."
  )
  heads = ("Clips", "Distance", "Median ratio", "95 % interval", "Nearer to training")
  return words + (table("Held-out distances", caption, heads, lines) if lines else "") + pictures


def _ratio_row(space, name, told) -> list[str]:
  if not told or told.get("median_ratio") is None:
    return []
  low, high = told["interval"]
  return [
    f'<tr><th scope="row">{text(name)}</th><td>{text(space)}</td>'
    f"<td>{number(told['median_ratio'])}</td><td>{number(low)} to {number(high)}</td>"
    f"<td>{100 * told['closer_to_train']:.0f} %</td></tr>"
  ]


@_left_out_if_damaged
def spectra(found: Mapping | None) -> str:
  """The section of power spectra; "" where nothing is known."""
  if not found:
    return ""
  frequency, charts = found["frequency"][1:], []
  for record in found["records"]:
    lines = []
    for side in ("real", "generated"):
      mean, std = record[side]["mean"][1:], record[side]["std"][1:]
      band = [(f, max(m - s, m / 10), m + s) for f, m, s in zip(frequency, mean, std, strict=True)]
      points = list(zip(frequency, mean, strict=True))
      lines.append(Series(side, points, side, band, dashed=side == "real"))
    difference = record.get("high_frequency_db")
    note = "" if difference is None else f"{number(difference, 2)} dB at high frequencies"
    charts.append(
      figure(
        lines,
        title=f"Frame {record['frame']}",
        x_label="cycles per pixel",
        y_label="power",
        log_x=True,
        log_y=True,
        note=note,
        markers=False,
      )
    )
  return (
    "<p>How much of each spatial frequency frames hold, real against generated: less at the right "
    "is blur, more is noise or a pattern; a gap that grows from frame to frame is a model that "
    f"blurs as it goes on (SSW-GAN, appendix E). {number(found.get('clips'))} clips each in "
    f"{number(found.get('sets'))} disjoint sets; bands are the sets' standard deviation.</p>"
    f'<div class="charts">{"".join(charts)}</div>'
  )


@_left_out_if_damaged
def darkness(found: Mapping | None) -> str:
  """The section of dark clips; "" where nothing is known."""
  if not found:
    return ""
  over, charts = found["training"], []
  if over["step"]:
    lines = [
      Series(
        f"{side}, {channel}",
        list(zip(over["step"], over[side][channel], strict=True)),
        channel,
        dashed=side == "real",
      )
      for side in ("real", "generated")
      for channel in ("red", "green", "blue")
    ]
    labels = dict(x_label="iteration", markers=False, reach=(0.0, 1.0))
    charts.append(figure(lines, title="Mean pixel", note="0 black, 1 white", **labels))
    lines = [
      Series(side, list(zip(over["step"], over[side]["dark"], strict=True)), side, dashed=dashed)
      for side, dashed in (("real", True), ("generated", False))
    ]
    note = f"mean pixel below {found['dark_level']:g}"
    charts.append(figure(lines, title="Share of dark clips", note=note, **labels))
  shares = found.get("overall") or {}
  told = ", ".join(
    f"{100 * shares[side]['dark']:.1f} % of {side} clips"
    for side in ("generated", "real")
    if side in shares
  )
  return (
    "<p>A video GAN may go dark: slowly, then at a turning point fast (thesis 4.5). At iteration "
    f"{number(found.get('step'))} dark are {told}.</p>"
    f'<div class="charts">{"".join(charts)}</div>'
  )


@_left_out_if_damaged
def walks(found: Mapping | None) -> str:
  """The section of interpolations; "" where nothing is known."""
  if not found:
    return ""
  lines, pictures = [], ""
  for record in found["records"]:
    for space, told in record["spaces"].items():
      summary = told["summary"]
      lines.append(
        f'<tr><th scope="row">{text(record["kind"])}</th><td>{text(space)}</td>'
        f"<td>{number(summary['median_jump_ratio'])}</td><td>{number(summary['max_jump_ratio'])}</td>"
        f"<td>{number(summary['median_detour'])}</td></tr>"
      )
    pictures += _picture(
      (found.get("pictures") or {}).get(record["kind"]),
      f"From one {record['kind']} to another",
      "first frames; each row is a walk",
      f"First frames of clips along walks between two {record['kind']} ends, one walk per row",
    )
  caption = (
    f"The largest step over the mean step: 1 is even, {number(found['steps'] - 1)} is one jump. "
    "Detour: the path's length over the distance of its ends."
  )
  heads = ("Walk", "Distance", "Largest step, median", "Largest of all", "Detour")
  return (
    "<p>Between two latents, or two classes, clips should change a little with every step; a model "
    "that has memorised jumps (DVD-GAN B.2).</p>"
    f"{table('Evenness of walks', caption, heads, lines)}{pictures}"
  )
