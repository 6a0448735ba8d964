"""What each analysis found, in a short line or a few: the numbers that its file is opened for.

Every function takes the content of a JSON file and gives lines for a terminal. Numbers that are not
known, None or not finite, are told as "unknown".
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


def neighbours(found: Mapping) -> list[str]:
  """A line for each space: is the training set nearer than clips that were held out?"""
  lines = []
  for space, record in found["spaces"].items():
    held_out, control = record["held_out"] or {}, record["control"] or {}
    if held_out.get("median_ratio") is not None:
      low, high = map(_number, held_out["interval"])
      ratio = _number(held_out["median_ratio"])
      real = control.get("median_ratio")
      beside = "" if real is None else f"; real clips {_number(real)}"
      told = (
        f"{ratio} [{low}, {high}] times as far from training as from held-out clips{beside}; "
        "near 1: no copies"
      )
    else:
      nearest = [each[0]["distance"] for each in record["nearest"] if each]
      median = _number(float(np.median(nearest))) if nearest else "unknown"
      told = f"{median} to the nearest training clip (median); no held-out clips to compare"
    lines.append(f"neighbours, {space}: {told}")
  return lines


def power_spectrum(found: Mapping) -> list[str]:
  """One line: how sharp generated frames are."""
  told = ", ".join(
    f"frame {record['frame']} {_decibels(record['high_frequency_db'])}"
    for record in found["records"]
  )
  return [f"power spectrum, high frequencies against real: {told}; 0 dB: as sharp"]


def _decibels(value) -> str:
  return "unknown" if value is None else f"{value:+.1f} dB"


def darkness(found: Mapping) -> list[str]:
  """One line: dark clips and mean pixels."""
  sides = []
  for side in ("generated", "real"):
    told = found["overall"][side]
    sides.append(f"{side} {_percent(told['dark'])}, mean pixel {np.mean(told['mean']):.2f}")
  return [f"darkness, clips below {found['dark_level']:g}: {'; '.join(sides)}"]


def smoothness(found: Mapping) -> list[str]:
  """A line for each kind of walk and space: how far the largest step stands out."""
  lines = []
  for record in found["records"]:
    for space, told in record["spaces"].items():
      summary = told["summary"]
      median, worst = (_number(summary[f"{of}_jump_ratio"]) for of in ("median", "max"))
      lines.append(
        f"smoothness, {record['kind']} walks, {space}: largest step {median} times the mean one, "
        f"at worst {worst}; 1: even, {found['steps'] - 1}: one jump"
      )
  return lines


def eigenvalues(records: Iterable[Mapping]) -> list[str]:
  """A line for each record of `hessian.json`."""
  lines = []
  for record in records:
    pairs = list(zip(record["eigenvalues"], record["residuals"], strict=True))
    found = sum(residual <= hessian.TOLERANCE * abs(value) for value, residual in pairs)
    lines.append(
      f"hessian, {_where(record)}: eigenvalues from {_number(record['smallest'])} to "
      f"{_number(record['largest'])}; {found} of the {len(pairs)} leading ones converged"
    )
  return lines


def gradients(records: Iterable[Mapping]) -> list[str]:
  """A line for each record of `gradient_norms.json`: of all layers, and of the first."""
  lines = []
  for record in records:
    layers = record["layers"]
    whole = _sides(
      {side: math.hypot(*(norms[side] for norms in layers.values())) for side in _SIDES}
    )
    first = next(iter(layers), None)
    of_first = "" if first is None else f"; first layer, {first}: {_sides(layers[first])}"
    lines.append(f"gradients, {_where(record)}: norm {whole}{of_first}")
  return lines


_SIDES = ("real", "generated")


def _sides(norms: Mapping[str, float]) -> str:
  return ", ".join(f"{_number(norms[side])} {side}" for side in _SIDES)


def _where(record: Mapping) -> str:
  return f"{record['discriminator']}, iteration {record['step']}"


def comparison(runs: Mapping[str, Sequence[Mapping]]) -> list[str]:
  """A line for each discriminator of each run, at its last iteration.

  Args:
    runs: {name: records of its `hessian.json`}.
  """
  last = {
    (run, record["discriminator"]): record
    for run, records in runs.items()
    for record in sorted(records, key=lambda record: record["step"])
  }
  return [
    f"{run}, {_where(record)}: largest magnitude among the eigenvalues "
    f"{_number(max(map(abs, record['eigenvalues']), default=None))}"
    for (run, _), record in last.items()
  ]


LOOKS = {
  "neighbours": neighbours,
  "power_spectrum": power_spectrum,
  "darkness": darkness,
  "smoothness": smoothness,
}
CURVATURE = {"hessian": eigenvalues, "gradients": gradients}
