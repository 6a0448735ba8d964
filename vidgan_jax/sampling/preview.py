"""Samples drawn while a run trains."""

import math

import numpy as np

from vidgan_jax.runtime import streams
from vidgan_jax.runtime.files import video_files
from vidgan_jax.sampling.run import Run

FRAME_RATE = 8.0  # of previews, frames per second: slow enough to follow 12 frames


class PreviewHook:
  """Draws the same latents every so often and keeps them as files and in TensorBoard.

  Writes `samples/STEP.mp4` (a grid that plays) and `samples/STEP.png` (frames as columns) into the
  run's folder. A hook of the training loop by its methods.

  Args:
    every: iterations; 0 never draws.
    clips: number of clips, in turn over the classes.
    standing_passes: see `generation.standing_statistics`.
  """

  def __init__(self, every: int, clips: int = 16, standing_passes: int = 4):
    self.every, self.clips, self.standing_passes = every, clips, standing_passes

  def due(self, step, last) -> bool:
    """At every `every`-th iteration and at the last."""
    return bool(self.every and step and (last or step % self.every == 0))

  def before_save(self, moment) -> None:
    """Draws."""
    folder = moment.workdir / "samples"
    # Where a run continues, its samples are there. Later ones, of iterations that a crash took
    # back, are drawn anew: the same pictures, but TensorBoard has dropped its own.
    if moment.step == moment.begin and (folder / f"{moment.step:08d}.png").exists():
      return
    run = Run(
      moment.config,
      moment.gan,
      moment.state,
      frozen=moment.frozen,
      standing_passes=self.standing_passes,
    )
    clips = run.sample(streams.key(moment.config.seed, streams.SAMPLING), count=self.clips)
    folder.mkdir(exist_ok=True)
    columns = math.ceil(math.sqrt(len(clips)))
    grid = video_files.grid(clips, columns)
    scale = max(1, 64 // clips.shape[2])
    video_files.write_mp4(folder / f"{moment.step:08d}.mp4", grid, FRAME_RATE, scale=scale)
    video_files.contact_sheet(clips, folder / f"{moment.step:08d}.png")
    gif = video_files.gif_bytes(np.asarray(grid), FRAME_RATE)
    moment.log.clip(moment.step, "samples", gif, *grid.shape[1:3])

  def metrics(self, step, metrics) -> None:
    """Looks at no metrics."""

  def replay(self, step, metrics) -> None:
    """Looks at no metrics."""

  def healthy(self) -> bool:
    """Suspects nothing."""
    return True
