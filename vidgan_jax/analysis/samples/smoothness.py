"""How evenly clips change along an interpolation (DVD-GAN 4.4 and appendix B.2).

A walk interpolates in equal steps between two latents or two classes. If the generator is a smooth
map, each step changes the clip a little. If it has memorised clips, it jumps: in Figure 11,
DVD-GAN's UCF-101 model generates the same clip for several steps and then another one. This module
measures the distances between consecutive steps and compares the largest with the others. Distances
are root mean square differences, as in `neighbours`.
"""

from typing import Any

import numpy as np

from vidgan_jax.analysis.samples import figures, neighbours
from vidgan_jax.runtime.drawing import plain_style


def walk_record(points: np.ndarray) -> dict:
  """Measures one walk.

  Args:
    points: pixels or features along the walk, [N, ...], N >= 3, both ends included.

  Returns:
    {"steps": [N - 1] distances between consecutive points,
    "ends": distance between the first and the last point,
    "largest_share": largest step / length of the path (the sum of the steps): 1 / (N - 1) if all
      steps are equal, 1 if everything changes in one step,
    "jump_ratio": largest step / mean step, from 1 to N - 1,
    "largest_by_ends": largest step / distance between the ends; 1 or more if a single step is as
      long as that distance,
    "detour": length of the path / distance between the ends; 1 on a straight line}.
    A ratio is None if its denominator is 0.
  """
  flat = np.asarray(points, np.float64).reshape(len(points), -1)
  steps = np.sqrt(np.mean(np.square(np.diff(flat, axis=0)), axis=1))
  ends = float(neighbours.distances(flat[:1], flat[-1:])[0, 0])
  length, largest = float(steps.sum()), float(steps.max())
  ratio = lambda numerator, denominator: numerator / denominator if denominator > 0 else None
  return {
    "steps": steps.tolist(),
    "ends": ends,
    "largest_share": ratio(largest, length),
    "jump_ratio": ratio(largest, length / len(steps)),
    "largest_by_ends": ratio(largest, ends),
    "detour": ratio(length, ends),
  }


def summary(walks: list[dict]) -> dict:
  """Medians of the ratios over walks, and the largest jump ratio. None if no walk has the ratio."""
  result: dict[str, Any] = {"walks": len(walks)}
  for name in ("largest_share", "jump_ratio", "largest_by_ends", "detour"):
    values = [walk[name] for walk in walks if walk[name] is not None]
    result[f"median_{name}"] = float(np.median(values)) if values else None
    if name == "jump_ratio":
      result["max_jump_ratio"] = max(values, default=None)
  return result


def strip(clips: np.ndarray) -> np.ndarray:
  """First frames of the clips of walks, to be drawn with one row per walk (Figure 11).

  Args:
    clips: uint8 [walks, steps, T, H, W, 3].

  Returns:
    uint8 [walks, steps, H, W, 3], the input of `video_writers.contact_sheet`.
  """
  return clips[:, :, 0]


@plain_style
def plot(content: dict, path) -> None:
  """Draws each step as a fraction of its path's length.

  There is one panel for each kind of walk (latent or class) and each space in which distances are
  measured (pixels, or the features of a network).

  Args:
    content: of `smoothness.json`.
    path: of the PNG to write.
  """
  panels = [
    (record["kind"], space, result)
    for record in content["records"]
    for space, result in record["spaces"].items()
  ]
  figure, axes = figures.new_figure(len(panels), share_y=True)
  even = 1 / (content["steps"] - 1)
  shares = (walk["largest_share"] for _, _, result in panels for walk in result["walks"])
  largest = max((share or 0 for share in shares), default=0)
  for panel, (kind, space, result) in zip(axes, panels, strict=True):
    for walk in result["walks"]:
      length = sum(walk["steps"])
      if length > 0:
        fractions = np.asarray(walk["steps"]) / length
        numbers = np.arange(1, len(fractions) + 1)
        panel.plot(numbers, fractions, ".-", color=figures.GENERATED, alpha=0.45, linewidth=1)
    panel.axhline(even, color=figures.REAL, linestyle="--", linewidth=1, label="even steps")
    ratio = result["summary"]["median_jump_ratio"]
    note = "nothing changes" if ratio is None else f"largest step {ratio:.2f} times the mean"
    panel.set_title(f"{kind} walks, {space}:\n{note}", fontsize=figures.TITLE)
    panel.set_xlabel("step", fontsize=figures.TEXT)
    # The axis begins at 0, so that heights are proportional to steps.
    panel.set_ylim(0, 1.08 * max(largest, 1.5 * even))
    panel.legend(fontsize=figures.SMALL)
  axes[0].set_ylabel("share of the path", fontsize=figures.TEXT)
  figures.write_figure(figure, path)
