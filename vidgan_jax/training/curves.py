"""Plots the log of a run."""

import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.runtime.files.log_files import read_log
from vidgan_jax.runtime.hooks import Hook, HookContext

# (title of the panel, metrics): an entry is the name of a metric. If no metric has this name, it
# stands for all metrics whose names begin with it.
_PANELS = (
  ("loss", ("loss/discriminator", "loss/generator")),
  ("terms of the losses", ("loss/discriminator/", "loss/generator/")),
  ("mean score", "score/"),
  ("gradient norm", "gradient_norm/"),
  ("mean pixel (thesis 4.5)", ("pixel/real_", "pixel/generated_")),
  ("largest sigma", "sigma_max/"),
  ("videos per second", ("time/videos_per_second",)),
)


@plain_style
def plot(log_path: str | os.PathLike, output: str | os.PathLike) -> None:
  """Draws losses, scores, gradient norms, pixel means, sigmas and speed over iterations.

  Pale lines are the values of the log, the others their running means. Grey lines mark the
  iterations at which growing networks began to train on larger clips; dashed lines, with the number
  of the branch, those at which a run went back to a checkpoint (`training.starts.branches`).

  Args:
    log_path: a run's `log.jsonl`.
    output: the PNG file to write. An empty log writes none.
  """
  from matplotlib.figure import Figure  # imported here because the import takes a second

  records = read_log(log_path)
  if not records:
    return
  names = [name for name in records[-1] if name != "step"]
  figure = Figure(figsize=(19, 7), layout="constrained")
  every = list(figure.subplots(2, 4).flat)
  every.pop().set_axis_off()  # one more than there are panels
  for axes, (title, patterns) in zip(every, _PANELS, strict=True):
    exact = isinstance(patterns, tuple) and all(name in names for name in patterns)
    plotted = patterns if exact else [name for name in names if name.startswith(patterns)]
    for step in _growths(records):
      axes.axvline(step, color="0.8", linewidth=1)
    for step, branch in _restarts(records):
      axes.axvline(step, color="0.5", linewidth=1, linestyle="--")
      place = axes.get_xaxis_transform()  # x in iterations, y from 0 to 1
      axes.text(step, 0.99, f" {branch:.0f}", transform=place, color="0.4", fontsize=7, va="top")
    for name in plotted:
      points = [(r["step"], r[name]) for r in records if isinstance(r.get(name), float | int)]
      if not points:
        continue
      label = name.split("/", 1)[1] if "/" in name else name
      style = ":" if "real" in name and "pixel" in name else "-"
      steps, values = zip(*points, strict=True)
      (line,) = axes.plot(steps, _smoothed(values), style, label=label, linewidth=1.2)
      axes.plot(steps, values, style, color=line.get_color(), linewidth=0.6, alpha=0.3)
    axes.set_title(title)
    axes.set_xlabel("iteration")
    if len(plotted) > 1:
      axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)
  output = pathlib.Path(output)
  temporary = output.with_name(f".{output.name}")
  figure.savefig(temporary, format="png", dpi=90)
  os.replace(temporary, output)


def _smoothed(values: Sequence[float]) -> list[float]:
  """The mean of the values around each one, over about a tenth of all; fewer at both ends.

  A window has the same number of values on both sides, so that a straight line stays one.
  """
  sums = [0.0, *itertools.accumulate(map(float, values))]
  smoothed = []
  for index in range(len(values)):
    reach = min(len(values) // 20, index, len(values) - 1 - index)
    begin, end = index - reach, index + reach + 1
    smoothed.append((sums[end] - sums[begin]) / (end - begin))
  return smoothed


def _growths(records: Sequence[Mapping[str, Any]]) -> list[int]:
  """Iterations at which the networks began to train on larger clips; see `phases.scalars`."""
  sizes = [(r["step"], r["phase/resolution"]) for r in records if "phase/resolution" in r]
  return [step for (_, old), (step, new) in itertools.pairwise(sizes) if new != old]


def _restarts(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
  """(last iteration before a branch, number of the branch), for each branch in the log."""
  numbers = [(r["step"], r.get("run/branch", 0)) for r in records]
  pairs = itertools.pairwise(numbers)
  return [(step, new) for (step, old), (_, new) in pairs if new != old]


class CurvesHook(Hook):
  """Plots the log to `curves.png` in the run's folder.

  Args:
    every: iterations between plots. 0 plots at the end of the run only.
  """

  def __init__(self, every: int):
    self.every = every

  def due(self, step: int, last: bool) -> bool:
    """True every `every` iterations and at the end of the run."""
    return step > 0 and bool(last or (self.every and step % self.every == 0))

  def before_save(self, context: HookContext) -> None:
    """Plots the log."""
    plot(context.log.path, context.workdir / "curves.png")
