"""How much of the pixels' variance comes from content and how much from motion.

Each of C contents is combined with each of M motions, which makes a grid of clips x[i, j]. For each
pixel of each frame, E x over everything that is drawn is m, and

  x[i, j] = m + a[i] + b[j] + e[i, j]

where a and b are what content and motion change on average over the other, and e is what they
change only together. The variances of a, b and e are estimated from the mean squares of a two-way
analysis of variance, which makes them unbiased for any C and M from 2: with few motions, part of
the variance of b and e would otherwise be counted as a's, and the reverse. An estimate near 0 can
be negative. Then

  content      variance of a: over contents, of the mean over motions
  motion       variance of b + e: the mean over contents of the variance over motions
  interaction  variance of e, a part of "motion"
  total        content + motion: the variance of a pixel over clips

All are means over pixels, frames and colours. Pixels are in [-1, 1].
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from vidgan_jax.data.sources import moving_shapes

SQUARE = 8  # pixels


def pixels(clips: np.ndarray) -> np.ndarray:
  """Clips uint8 as float32 in [-1, 1]. Rounding to uint8 adds 5e-6 to a variance at most."""
  return clips.astype(np.float32) / 127.5 - 1


def coarse(clips: np.ndarray) -> np.ndarray:
  """Clips [..., H, W, 3], averaged over squares of `SQUARE` pixels, which hides fine noise."""
  *others, height, width, colours = clips.shape
  parts = (height // SQUARE, SQUARE, width // SQUARE, SQUARE)
  return clips.reshape(*others, *parts, colours).mean(axis=(-4, -2))


def decompose(rows: Iterable[np.ndarray]) -> dict[str, float]:
  """Splits the variance of a grid of clips.

  Args:
    rows: for each content, the clips of all motions [M, T, ...], float.

  Returns:
    {"content", "motion", "interaction", "total"}, see the module; "time" is the variance over the
    frames of a clip, averaged over clips and pixels.

  Raises:
    ValueError: there are less than two contents or motions.
  """
  means, columns, squares, over_time = [], 0.0, 0.0, []
  for row in rows:
    row = row.astype(np.float64)
    means.append(row.mean(axis=0))
    columns, squares = columns + row, squares + np.square(row).sum(axis=0)
    over_time.append(row.var(axis=1).mean())
  contents, motions = len(means), len(columns) if len(means) else 0
  if min(contents, motions) < 2:
    raise ValueError(f"{contents} contents and {motions} motions; at least 2 of each are needed")
  content_means, motion_means = np.stack(means), columns / contents
  # Sums of squares, averaged over pixels at the end.
  of_contents = motions * contents * content_means.var(axis=0).mean()
  of_motions = motions * contents * motion_means.var(axis=0).mean()
  whole = (squares - contents * motions * np.square(content_means.mean(axis=0))).mean()
  interaction = (whole - of_contents - of_motions) / ((contents - 1) * (motions - 1))
  content = (of_contents / (contents - 1) - interaction) / motions
  motion = (of_motions / (motions - 1) - interaction) / contents + interaction
  return {
    "content": float(content),
    "motion": float(motion),
    "interaction": float(interaction),
    "total": float(content + motion),
    "time": float(np.mean(over_time)),
  }


def _scenes(count: int, seed: int) -> tuple[list, list]:
  """Scenes that give contents, and scenes that give motions, without backgrounds that vary."""
  shapes, motions = len(moving_shapes.SHAPES), len(moving_shapes.MOTIONS)
  draw = lambda index, label: moving_shapes.draw_scene(seed, "test", index, label, variety=0.0)
  contents = [draw(i, i % shapes) for i in range(count)]
  return contents, [draw(count + j, j % motions * shapes) for j in range(count)]


def crossed_shapes(count: int, frames: int, resolution: int, seed: int) -> Iterator[np.ndarray]:
  """The built-in moving shapes of variety 0 as rows of a grid, for `decompose`.

  Content is shape, colours and direction of the background's gradient; motion is kind, path, phase
  and frequency.

  Args:
    count: number of contents, and of motions.
    frames: of a clip.
    resolution: height and width in pixels.
    seed: of the scenes, which are those of the split "test".

  Yields:
    for each content, float32 [count, frames, resolution, resolution, 3] in [-1, 1].
  """
  contents, motions = _scenes(count, seed)
  of_motion = ("motion", "center", "reach", "phase", "frequency")
  for content in contents:
    scenes = (
      dataclasses.replace(content, **{name: getattr(motion, name) for name in of_motion})
      for motion in motions
    )
    clips = [moving_shapes.render(scene, frames, resolution) for scene in scenes]
    yield pixels(np.stack(clips))
