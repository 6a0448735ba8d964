"""What SSW-GAN's paper claims, and verdicts on it from the results of `cascades.py`."""

import math
from collections.abc import Mapping, Sequence

import result_lines
import verdicts
from claim_table import NOT_YET

LENGTHS = (12, 48)  # frames: of training, and unrolled
# Cases whose iterations are compiled and timed.
COSTS = ("first stage, 24 x 16x16", "second stage, 12 x 32x32", "DVD-GAN, 48 x 32x32")
# What results of trained systems depend on, besides system and seed.
SETTING = ("first_iterations", "iterations", "channels", "count", "standing_passes")
SHARP = 0.9  # frames stay sharp if high frequencies keep at least this part of their power
EQUAL = 0.1  # distances are equal if they differ by at most this part of the one with matching
_PAPER, _SPECTRA = "SSW-GAN 5", "SSW-GAN E"
_WITHOUT = "`no_matching` minus `matching`"
# (claim, source, comparison)
_GROUNDED = (
  "The matching discriminator keeps unrolled clips grounded",
  _PAPER,
  f"grounding, 48 frames: {_WITHOUT}",
)
_BETTER = (
  "The matching discriminator makes unrolled clips better",
  _PAPER,
  f"distance, 48 frames: {_WITHOUT}",
)
_SHORT = (
  "Clips of the training length are as good without the matching discriminator",
  _PAPER,
  f"distance, 12 frames: {_WITHOUT}, within {100 * EQUAL:.0f} % of it",
)
_SHARP_FRAMES = (
  f"Unrolled frames do not blur: high frequencies keep {SHARP} of their power",
  _SPECTRA,
  "power: frame 48 over frame 1 of `matching`",
)
_FREEZES = (
  "DVD-GAN freezes: less than half of its motion remains",
  _PAPER,
  "motion: last over first quarter of 48 frames of `dvd_gan`",
)
_GOES_ON = (
  "SSW-GAN goes on: more than half of its motion remains",
  _PAPER,
  "motion: last over first quarter of 48 frames of `matching`",
)

Interval = tuple[float, float]


def read(path: str, setting: Mapping[str, int] | None = None) -> dict[str, dict]:
  """The last result of each case in a file of `cascades.py`; none if there is no file.

  Args:
    path: of the file.
    setting: values of `SETTING`. Results of trained systems with other values are left out; None
      takes those of the last one.
  """
  lines = result_lines.read(path, "case")
  trained = [line for line in lines if "system" in line]
  if setting is None and trained:
    setting = {name: trained[-1][name] for name in SETTING}
  alike = lambda line: "system" not in line or setting.items() <= line.items()
  return {line["case"]: line for line in lines if alike(line)}


def _row(
  claim: tuple[str, str, str], effects: Sequence[Interval], shown: Sequence, contrary: Sequence
) -> list[list[str]]:
  """The row of a claim (text, source, comparison)."""
  if not effects:
    return [[*claim, NOT_YET, "-"]]
  verdict = verdicts.of_seeds(shown, contrary)
  if len(effects) == 1:
    verdict += " (one seed)"
  return [[*claim, verdict, verdicts.spans(effects)]]


def _above(claim: tuple[str, str, str], effects: Sequence[Interval], bound: float):
  over, under = [low > bound for low, _ in effects], [high < bound for _, high in effects]
  return _row(claim, effects, over, under)


def _below(claim: tuple[str, str, str], effects: Sequence[Interval], bound: float):
  over, under = [low > bound for low, _ in effects], [high < bound for _, high in effects]
  return _row(claim, effects, under, over)


def _farther(worse: Mapping, better: Mapping) -> Interval:
  """Interval of the difference of two distances."""
  difference = worse["distance"] - better["distance"]
  margin = 1.96 * math.hypot(worse["deviation"], better["deviation"])
  return difference - margin, difference + margin


def _looser(worse: Mapping, better: Mapping) -> Interval:
  """Interval of the difference of two groundings.

  It takes their errors as independent. They share the frozen first stage and latents, so the
  interval is rather too wide.
  """
  difference = worse["grounding"] - better["grounding"]
  low, high = worse["grounding_interval"]
  better_low, better_high = better["grounding_interval"]
  below = math.hypot(worse["grounding"] - low, better_high - better["grounding"])
  above = math.hypot(high - worse["grounding"], better["grounding"] - better_low)
  return difference - below, difference + above


def _costs(results: Mapping[str, Mapping]) -> list[list[str]]:
  """Rows on the cost of both stages beside that of a DVD-GAN of their output."""
  ratios: dict[str, Interval | None] = {"memory": None, "time": None}
  if all(name in results for name in COSTS):
    first, second, whole = (results[name] for name in COSTS)
    memory = max(first["bytes"], second["bytes"]) / whole["bytes"]
    ratios["memory"] = memory, memory
    # (median, low, high); the interval of a ratio takes the worst ends, so it is rather too wide.
    stages = [a + b for a, b in zip(first["seconds"], second["seconds"], strict=True)]
    ratios["time"] = stages[1] / whole["seconds"][2], stages[2] / whole["seconds"][1]
  rows = []
  for (name, ratio), published in zip(ratios.items(), (0.25, 0.5), strict=True):
    claim = f"Two stages need at most {published:g} of the {name} of a DVD-GAN of 48 frames"
    row = [claim, _PAPER, f"{name} of an iteration, over DVD-GAN's"]
    if ratio is None:
      rows.append([*row, NOT_YET, "-"])
      continue
    low, high = ratio
    verdict = verdicts.of_seeds([high <= published], [low > published])
    rows.append([*row, verdict, f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"])
  return rows


def rows(results: Mapping[str, Mapping]) -> list[list[str]]:
  """Rows (claim, source, comparison, verdict, effect by seed), without a header.

  Args:
    results: {case: its result}, as `cascades.py` writes them. A seed counts for a claim if all
      cases of the claim have it. Without any, the verdict is `NOT_YET`.
  """

  def of(frames: int, *systems: str) -> list[list[Mapping]]:
    """What each seed that all the systems have measured of clips of that length."""
    seeds = sorted(r["seed"] for r in results.values() if r.get("system") == systems[0])
    names = [[f"{system}@{seed}" for system in systems] for seed in seeds]
    measured = [[results[name] for name in each] for each in names if {*each} <= {*results}]
    return [[result["lengths"][str(frames)] for result in each] for each in measured]

  pairs = {frames: of(frames, "no_matching", "matching") for frames in LENGTHS}
  short, long = ([_farther(*pair) for pair in pairs[frames]] for frames in LENGTHS)
  loose = [_looser(*pair) for pair in pairs[48]]
  margins = [EQUAL * better["distance"] for _, better in pairs[12]]
  within = list(zip(short, margins, strict=True))
  equal = [-m < low and high < m for (low, high), m in within]
  apart = [low > m or high < -m for (low, high), m in within]
  matching, dvd_gan = ([each for (each,) in of(48, name)] for name in ("matching", "dvd_gan"))
  return [
    *_above(_GROUNDED, loose, 0.0),
    *_above(_BETTER, long, 0.0),
    *_row(_SHORT, short, equal, apart),
    *_above(_SHARP_FRAMES, [tuple(each["sharpness_interval"]) for each in matching], SHARP),
    *_below(_FREEZES, [tuple(each["kept_interval"]) for each in dvd_gan], 0.5),
    *_above(_GOES_ON, [tuple(each["kept_interval"]) for each in matching], 0.5),
    *_costs(results),
  ]
