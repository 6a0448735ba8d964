"""Dark clips and mean pixels, over training and by class (thesis 4.5).

The generators of the thesis became dark slowly and then, after a turning point, fast; some clips
turned black while others stayed bright. Training logs the mean pixel of each channel and the
fraction of dark clips, for real and for generated clips. This module plots that log, and computes
the same numbers by class for the clips of one checkpoint.
"""

from typing import Any

import numpy as np

from vidgan_jax.analysis.samples import figures
from vidgan_jax.runtime.drawing import plain_style

SIDES = ("real", "generated")
CHANNELS = ("red", "green", "blue")
_COLORS = {"red": "#b91c1c", "green": "#15803d", "blue": "#1d4ed8"}
_SHOWN_CLASSES = 24  # in the plot: the darkest ones


def curves(records: list[dict]) -> dict:
  """Mean pixels and dark clips over training, from a run's log.

  Args:
    records: of `log.jsonl`. Records without all of these numbers are skipped.

  Returns:
    {"step": [N], "real": {"red", "green", "blue", "dark": [N]}, "generated": {...}}: mean pixels
    in [0, 1] and the fraction of dark clips.
  """
  names = {side: [f"pixel/{side}_{what}" for what in (*CHANNELS, "dark")] for side in SIDES}
  wanted = [name for side in SIDES for name in names[side]]
  number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
  complete = [r for r in records if all(number(r.get(name)) for name in ("step", *wanted))]
  result: dict[str, Any] = {"step": [record["step"] for record in complete]}
  for side in SIDES:
    result[side] = {
      name.rsplit("_", 1)[1]: [record[name] for record in complete] for name in names[side]
    }
  return result


def by_class(clips: np.ndarray, labels: np.ndarray, dark_level: float) -> list[dict]:
  """Mean pixels and dark clips of each class.

  Args:
    clips: uint8 [N, T, H, W, 3].
    labels: int [N].
    dark_level: a clip is dark if its mean pixel, in [0, 1], is below this level.

  Returns:
    [{"label", "count", "mean": [red, green, blue] in [0, 1], "dark": fraction of the clips}], one
    per class, sorted by label.
  """
  means = np.stack([clip.mean((0, 1, 2)) for clip in clips]) / 255.0
  classes = []
  for label in np.unique(labels):
    of_class = means[np.asarray(labels) == label]
    dark = float(np.mean(of_class.mean(1) < dark_level))
    classes.append(
      {"label": int(label), "count": len(of_class), "mean": of_class.mean(0).tolist(), "dark": dark}
    )
  return classes


def overall(classes: list[dict]) -> dict:
  """{"mean": [3], "dark"} over all clips, from the result of `by_class`."""
  weights = [each["count"] for each in classes]
  return {
    "mean": np.average([each["mean"] for each in classes], axis=0, weights=weights).tolist(),
    "dark": float(np.average([each["dark"] for each in classes], weights=weights)),
  }


@plain_style
def plot(content: dict, path) -> None:
  """Draws mean pixels and the fraction of dark clips over training, and mean pixels by class.

  The first two panels are like Figures 4.4 and 4.5 of the thesis.

  Args:
    content: of `darkness.json`.
    path: of the PNG to write.
  """
  height = max(4.4, 0.26 * min(len(content["generated"]), _SHOWN_CLASSES))
  figure, (means, dark, classes) = figures.new_figure(3, height=height)
  training = content["training"]
  for side, style in (("real", ":"), ("generated", "-")):
    for channel in CHANNELS:
      color = _COLORS[channel]
      label = f"{side}, {channel}"
      values = training[side][channel]
      means.plot(training["step"], values, style, color=color, label=label, linewidth=1)
    color = figures.REAL if side == "real" else figures.GENERATED
    values = training[side]["dark"]
    dark.plot(training["step"], values, style, color=color, label=side, linewidth=1.2)
  means.set_title("mean pixel over training", fontsize=figures.TITLE)
  title = f"share of dark clips (mean below {content['dark_level']:g})"
  dark.set_title(title, fontsize=figures.TITLE)
  dark.set_ylim(-0.03, 1.03)
  for axes in (means, dark):
    axes.set_xlabel("iteration", fontsize=figures.TEXT)
  low, high = means.get_ylim()
  means.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
  means.legend(fontsize=figures.SMALL, ncols=2, loc="upper right")
  dark.legend(fontsize=figures.SMALL)
  _draw_classes(classes, content)
  figures.write_figure(figure, path)


def _draw_classes(axes, content) -> None:
  """Draws one bar per class: the mean pixel of generated clips, with a dot for real clips."""
  mean = lambda each: float(np.mean(each["mean"]))
  shown = sorted(content["generated"], key=mean)[:_SHOWN_CLASSES]
  real = {each["label"]: mean(each) for each in content["real"]}
  rows = range(len(shown))
  axes.barh(rows, [mean(each) for each in shown], color=figures.GENERATED, label="generated")
  dots = [(row, real[each["label"]]) for row, each in enumerate(shown) if each["label"] in real]
  if dots:
    y, x = zip(*dots, strict=True)
    axes.plot(x, y, "o", color=figures.REAL, markersize=5, label="real")
  axes.axvline(content["dark_level"], color="0.5", linewidth=0.8, linestyle="--")
  names = [f"{each['name'][:24]} ({each['dark']:.0%} dark)".replace("$", r"\$") for each in shown]
  axes.set_yticks(list(rows), names, fontsize=figures.SMALL)
  axes.set_xlim(0, 1)
  axes.invert_yaxis()
  only_darkest = len(content["generated"]) > _SHOWN_CLASSES
  note = f", the {_SHOWN_CLASSES} darkest classes" if only_darkest else ""
  axes.set_title(f"mean pixel at iteration {content['step']}{note}", fontsize=figures.TITLE)
  axes.legend(fontsize=figures.SMALL, loc="lower right")
