"""Dark clips and mean pixels, over training and by class (thesis 4.5).

The thesis' generators went dark slowly, then, after a turning point, fast: some clips black, others
still bright. Training logs the mean pixel of each channel and the share of dark clips, of real and
of generated clips; what one checkpoint draws is looked at here class by class.
"""

from typing import Any

import numpy as np

from vidgan_jax.analysis.samples import figures
from vidgan_jax.runtime.drawing import plain_style

SIDES = ("real", "generated")
CHANNELS = ("red", "green", "blue")
_COLORS = {"red": "#b91c1c", "green": "#15803d", "blue": "#1d4ed8"}
_MANY = 24  # classes; the darkest of more are shown


def curves(records: list[dict]) -> dict:
  """What a run's log tells.

  Args:
    records: of `log.jsonl`.

  Returns:
    {"step": [N], "real": {"red", "green", "blue", "dark": [N]}, "generated": {...}}: mean pixels
    in [0, 1] and shares of dark clips, of the iterations that have them all.
  """
  names = {side: [f"pixel/{side}_{what}" for what in (*CHANNELS, "dark")] for side in SIDES}
  wanted = [name for side in SIDES for name in names[side]]
  number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
  kept = [r for r in records if all(number(r.get(name)) for name in ("step", *wanted))]
  told: dict[str, Any] = {"step": [record["step"] for record in kept]}
  for side in SIDES:
    told[side] = {name.rsplit("_", 1)[1]: [record[name] for record in kept] for name in names[side]}
  return told


def by_class(clips: np.ndarray, labels: np.ndarray, dark_level: float) -> list[dict]:
  """Mean pixels and dark clips of each class.

  Args:
    clips: uint8 [N, T, H, W, 3].
    labels: int [N].
    dark_level: mean pixel in [0, 1] below which a clip is dark.

  Returns:
    [{"label", "count", "mean": [red, green, blue] in [0, 1], "dark": share of the clips}] by label.
  """
  means = np.stack([clip.mean((0, 1, 2)) for clip in clips]) / 255.0
  found = []
  for label in np.unique(labels):
    own = means[np.asarray(labels) == label]
    dark = float(np.mean(own.mean(1) < dark_level))
    found.append(
      {"label": int(label), "count": len(own), "mean": own.mean(0).tolist(), "dark": dark}
    )
  return found


def overall(classes: list[dict]) -> dict:
  """{"mean": [3], "dark"} over all clips, from what `by_class` returns."""
  weights = [each["count"] for each in classes]
  return {
    "mean": np.average([each["mean"] for each in classes], axis=0, weights=weights).tolist(),
    "dark": float(np.average([each["dark"] for each in classes], weights=weights)),
  }


@plain_style
def plot(found: dict, path) -> None:
  """Draws mean pixels and dark shares over training (Figures 4.4 and 4.5) and by class.

  Args:
    found: content of `darkness.json`.
    path: the PNG to write.
  """
  height = max(4.4, 0.26 * min(len(found["generated"]), _MANY))
  figure, (means, dark, classes) = figures.new_figure(3, height=height)
  over = found["training"]
  for side, style in (("real", ":"), ("generated", "-")):
    for channel in CHANNELS:
      color = _COLORS[channel]
      label = f"{side}, {channel}"
      means.plot(over["step"], over[side][channel], style, color=color, label=label, linewidth=1)
    color = figures.REAL if side == "real" else figures.GENERATED
    dark.plot(over["step"], over[side]["dark"], style, color=color, label=side, linewidth=1.2)
  means.set_title("mean pixel over training", fontsize=figures.TITLE)
  title = f"share of dark clips (mean below {found['dark_level']:g})"
  dark.set_title(title, fontsize=figures.TITLE)
  dark.set_ylim(-0.03, 1.03)
  for axes in (means, dark):
    axes.set_xlabel("iteration", fontsize=figures.TEXT)
  low, high = means.get_ylim()
  means.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
  means.legend(fontsize=figures.SMALL, ncols=2, loc="upper right")
  dark.legend(fontsize=figures.SMALL)
  _draw_classes(classes, found)
  figures.write_figure(figure, path)


def _draw_classes(axes, found) -> None:
  level = lambda each: float(np.mean(each["mean"]))
  drawn = sorted(found["generated"], key=level)[:_MANY]
  real = {each["label"]: level(each) for each in found["real"]}
  places = range(len(drawn))
  axes.barh(places, [level(e) for e in drawn], color=figures.GENERATED, label="generated")
  known = [(place, real[e["label"]]) for place, e in enumerate(drawn) if e["label"] in real]
  if known:
    y, x = zip(*known, strict=True)
    axes.plot(x, y, "o", color=figures.REAL, markersize=5, label="real")
  axes.axvline(found["dark_level"], color="0.5", linewidth=0.8, linestyle="--")
  names = [f"{e['name'][:24]} ({e['dark']:.0%} dark)".replace("$", r"\$") for e in drawn]
  axes.set_yticks(list(places), names, fontsize=figures.SMALL)
  axes.set_xlim(0, 1)
  axes.invert_yaxis()
  more = f", the {_MANY} darkest classes" if len(found["generated"]) > _MANY else ""
  axes.set_title(f"mean pixel at iteration {found['step']}{more}", fontsize=figures.TITLE)
  axes.legend(fontsize=figures.SMALL, loc="lower right")
