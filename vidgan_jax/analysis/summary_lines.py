"""The most important numbers of each analysis, as lines for a terminal.

Each function takes the content or the records of a JSON file and returns a few lines. A number that
is None or not finite is printed as "unknown".
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vidgan_jax.analysis.curvature import hessian


def _number(value) -> str:
  known = isinstance(value, int | float) and math.isfinite(value)
  return f"{value:.3g}" if known else "unknown"


def _percent(share: float) -> str:
  return f"{100 * share:.3g} %"


def neighbours(content: Mapping) -> list[str]:
  """One line per space: are training clips nearer than held-out clips?"""
  lines = []
  for space, record in content["spaces"].items():
    held_out, control = record["held_out"] or {}, record["control"] or {}
    if held_out.get("median_ratio") is not None:
      low, high = map(_number, held_out["interval"])
      ratio = _number(held_out["median_ratio"])
      real = control.get("median_ratio")
      of_real = "" if real is None else f"; real clips {_number(real)}"
      result = (
        f"{ratio} [{low}, {high}] times as far from training as from held-out clips{of_real}; "
        "near 1: no copies"
      )
    else:
      nearest = [each[0]["distance"] for each in record["nearest"] if each]
      median = _number(float(np.median(nearest))) if nearest else "unknown"
      result = f"{median} to the nearest training clip (median); no held-out clips to compare"
    lines.append(f"neighbours, {space}: {result}")
  return lines


def power_spectrum(content: Mapping) -> list[str]:
  """One line: how sharp generated frames are, compared with real frames."""
  differences = ", ".join(
    f"frame {record['frame']} {_decibels(record['high_frequency_db'])}"
    for record in content["records"]
  )
  return [f"power spectrum, high frequencies against real: {differences}; 0 dB: as sharp"]


def _decibels(value) -> str:
  return "unknown" if value is None else f"{value:+.1f} dB"


def darkness(content: Mapping) -> list[str]:
  """One line: fractions of dark clips, and mean pixels."""
  sides = []
  for side in ("generated", "real"):
    overall = content["overall"][side]
    sides.append(f"{side} {_percent(overall['dark'])}, mean pixel {np.mean(overall['mean']):.2f}")
  return [f"darkness, clips below {content['dark_level']:g}: {'; '.join(sides)}"]


def smoothness(content: Mapping) -> list[str]:
  """One line per kind of walk and space: the largest step compared with the mean step."""
  lines = []
  for record in content["records"]:
    for space, result in record["spaces"].items():
      summary = result["summary"]
      median, worst = (_number(summary[f"{of}_jump_ratio"]) for of in ("median", "max"))
      lines.append(
        f"smoothness, {record['kind']} walks, {space}: largest step {median} times the mean one, "
        f"at worst {worst}; 1: even, {content['steps'] - 1}: one jump"
      )
  return lines


def eigenvalues(records: Iterable[Mapping]) -> list[str]:
  """One line per record of `hessian.json`."""
  lines = []
  for record in records:
    pairs = list(zip(record["eigenvalues"], record["residuals"], strict=True))
    converged = sum(residual <= hessian.TOLERANCE * abs(value) for value, residual in pairs)
    lines.append(
      f"hessian, {_name(record)}: eigenvalues from {_number(record['smallest'])} to "
      f"{_number(record['largest'])}; {converged} of the {len(pairs)} leading ones converged"
    )
  return lines


def gradients(records: Iterable[Mapping]) -> list[str]:
  """One line per record of `gradient_norms.json`: norms over all layers and of the first layer."""
  lines = []
  for record in records:
    layers = record["layers"]
    total = _sides(
      {side: math.hypot(*(norms[side] for norms in layers.values())) for side in _SIDES}
    )
    first = next(iter(layers), None)
    of_first = "" if first is None else f"; first layer, {first}: {_sides(layers[first])}"
    lines.append(f"gradients, {_name(record)}: norm {total}{of_first}")
  return lines


_SIDES = ("real", "generated")


def _sides(norms: Mapping[str, float]) -> str:
  return ", ".join(f"{_number(norms[side])} {side}" for side in _SIDES)


def _name(record: Mapping) -> str:
  return f"{record['discriminator']}, iteration {record['step']}"


def comparison(runs: Mapping[str, Sequence[Mapping]]) -> list[str]:
  """One line per discriminator of each run, at its last iteration.

  Args:
    runs: {name: records of its `hessian.json`}.
  """
  last = {
    (run, record["discriminator"]): record
    for run, records in runs.items()
    for record in sorted(records, key=lambda record: record["step"])
  }
  return [
    f"{run}, {_name(record)}: largest magnitude among the eigenvalues "
    f"{_number(max(map(abs, record['eigenvalues']), default=None))}"
    for (run, _), record in last.items()
  ]


SAMPLES = {
  "neighbours": neighbours,
  "power_spectrum": power_spectrum,
  "darkness": darkness,
  "smoothness": smoothness,
}
CURVATURE = {"hessian": eigenvalues, "gradients": gradients}
