"""Preview samples during training."""

import math

import numpy as np

from vidgan_jax.runtime import streams, video_files
from vidgan_jax.runtime.hooks import Hook, HookContext
from vidgan_jax.sampling.run import Run

FRAME_RATE = 8.0  # of previews, frames per second: slow enough to follow 12 frames


class PreviewHook(Hook):
  """Samples clips from the same latents at regular intervals, for files and TensorBoard.

  Writes `samples/STEP.mp4` (all clips in a grid) and `samples/STEP.png` (one column per frame) into
  the run's folder.

  Args:
    every: iterations between samples. 0 never samples.
    clips: number of clips. Classes take turns.
    standing_passes: see `generation.standing_statistics`.
  """

  def __init__(self, every: int, clips: int = 16, standing_passes: int = 4):
    self.every, self.clips, self.standing_passes = every, clips, standing_passes

  def due(self, step: int, last: bool) -> bool:
    """Every `every` iterations and after the last."""
    return bool(self.every and step and (last or step % self.every == 0))

  def before_save(self, context: HookContext) -> None:
    """Samples clips and writes them."""
    folder = context.workdir / "samples"
    # A resumed run already has the samples of its first step. Samples of later steps, which a crash
    # undid, are drawn again: the files come out the same, but TensorBoard has dropped its copies.
    if context.step == context.start_step and (folder / f"{context.step:08d}.png").exists():
      return
    run = Run(
      context.config,
      context.gan,
      context.state,
      frozen=context.frozen,
      standing_passes=self.standing_passes,
    )
    clips = run.sample(streams.key(context.config.seed, streams.SAMPLING), count=self.clips)
    folder.mkdir(exist_ok=True)
    columns = math.ceil(math.sqrt(len(clips)))
    grid = video_files.grid(clips, columns)
    scale = max(1, 64 // clips.shape[2])
    video_files.write_mp4(folder / f"{context.step:08d}.mp4", grid, FRAME_RATE, scale=scale)
    video_files.contact_sheet(clips, folder / f"{context.step:08d}.png")
    gif = video_files.gif_bytes(np.asarray(grid), FRAME_RATE)
    context.log.clip(context.step, "samples", gif, *grid.shape[1:3])
