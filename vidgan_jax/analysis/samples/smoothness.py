"""How evenly clips change along an interpolation (DVD-GAN 4.4 and appendix B.2).

Between two latents, or two classes, a model that has learned a smooth map changes a little with
every step. One that has memorised jumps: DVD-GAN's UCF-101 model, Figure 11, shows the same clip
for several steps and then another. So the distance between neighbouring steps is measured, and how
far the largest stands out. Distances are root mean square differences, as in `neighbours`.
"""

from typing import Any

import numpy as np

from vidgan_jax.analysis.samples import figures, neighbours
from vidgan_jax.runtime.drawing import plain_style


def walk_record(points: np.ndarray) -> dict:
  """Measures one walk.

  Args:
    points: pixels or features of its steps, [steps, ...], both ends among them, at least 3.

  Returns:
    {"steps": [steps - 1] distances between neighbours, "ends": the distance between both ends,
    "largest_share": the largest step by the length of the path: 1 / (steps - 1) if all are even, 1
      where everything happens in one jump,
    "jump_ratio": the largest step by the mean one, 1 to steps - 1,
    "largest_by_ends": the largest step by the distance between the ends; 1 or more where one jump
      covers all of it,
    "detour": the path's length by the distance between its ends, 1 on a straight line}. Ratios are
    None where nothing changes, or both ends are alike.
  """
  flat = np.asarray(points, np.float64).reshape(len(points), -1)
  steps = np.sqrt(np.mean(np.square(np.diff(flat, axis=0)), axis=1))
  ends = float(neighbours.distances(flat[:1], flat[-1:])[0, 0])
  length, largest = float(steps.sum()), float(steps.max())
  by = lambda number, whole: number / whole if whole > 0 else None
  return {
    "steps": steps.tolist(),
    "ends": ends,
    "largest_share": by(largest, length),
    "jump_ratio": by(largest, length / len(steps)),
    "largest_by_ends": by(largest, ends),
    "detour": by(length, ends),
  }


def summary(walks: list[dict]) -> dict:
  """Medians of the walks' ratios, and the largest jump ratio; None where no walk has one."""
  told: dict[str, Any] = {"walks": len(walks)}
  for name in ("largest_share", "jump_ratio", "largest_by_ends", "detour"):
    values = [walk[name] for walk in walks if walk[name] is not None]
    told[f"median_{name}"] = float(np.median(values)) if values else None
    if name == "jump_ratio":
      told["max_jump_ratio"] = max(values, default=None)
  return told


def strip(clips: np.ndarray) -> np.ndarray:
  """First frames of walks as one picture, a row per walk (Figure 11).

  Args:
    clips: uint8 [walks, steps, T, H, W, 3].

  Returns:
    uint8 [walks, steps, H, W, 3], what `video_writers.contact_sheet` takes.
  """
  return clips[:, :, 0]


@plain_style
def plot(found: dict, path) -> None:
  """Draws each step's share of its path, a panel for each kind of walk and space.

  Args:
    found: content of `smoothness.json`.
    path: the PNG to write.
  """
  panels = [
    (r["kind"], space, r["spaces"][space]) for r in found["records"] for space in r["spaces"]
  ]
  figure, axes = figures.new_figure(len(panels), share_y=True)
  even = 1 / (found["steps"] - 1)
  largest = max((r["largest_share"] or 0 for _, _, t in panels for r in t["walks"]), default=0)
  for panel, (kind, space, told) in zip(axes, panels, strict=True):
    for walk in told["walks"]:
      length = sum(walk["steps"])
      if length > 0:
        shares = np.asarray(walk["steps"]) / length
        places = np.arange(1, len(shares) + 1)
        panel.plot(places, shares, ".-", color=figures.GENERATED, alpha=0.45, linewidth=1)
    panel.axhline(even, color=figures.REAL, linestyle="--", linewidth=1, label="even steps")
    ratio = told["summary"]["median_jump_ratio"]
    told_ratio = "nothing changes" if ratio is None else f"largest step {ratio:.2f} times the mean"
    panel.set_title(f"{kind} walks, {space}:\n{told_ratio}", fontsize=figures.TITLE)
    panel.set_xlabel("step", fontsize=figures.TEXT)
    # From 0, so that uneven steps look as uneven as they are; a jump may take all of the path.
    panel.set_ylim(0, 1.08 * max(largest, 1.5 * even))
    panel.legend(fontsize=figures.SMALL)
  axes[0].set_ylabel("share of the path", fontsize=figures.TEXT)
  figures.write_figure(figure, path)
