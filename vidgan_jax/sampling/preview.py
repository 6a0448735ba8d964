"""A hook that samples clips during training."""

import math

import numpy as np

from vidgan_jax.runtime import streams
from vidgan_jax.runtime.files import video_writers
from vidgan_jax.runtime.hooks import Hook, HookContext
from vidgan_jax.sampling import conditioning, files
from vidgan_jax.sampling.run import Run

_FUTURES = 2  # clips per given clip in previews
FRAME_RATE = 8.0  # frames per second of previews; slow enough to follow 12 frames


class PreviewHook(Hook):
  """Samples clips from the same latents at regular intervals.

  Writes `samples/STEP.mp4` (all clips in a grid) and `samples/STEP.png` (one row per clip, one
  column per frame) into the run's folder, and the grid to TensorBoard. A run that continues given
  frames gets the first clips of its training data, and generates two clips for each.

  Args:
    every: iterations between samples; 0 never samples.
    clips: number of clips. Clip i has the class i modulo the number of classes.
    standing_passes: see `generation.standing_statistics`.
  """

  def __init__(self, every: int, clips: int = 16, standing_passes: int = 4):
    self.every, self.clips, self.standing_passes = every, clips, standing_passes

  def due(self, step: int, last: bool) -> bool:
    """True every `every` iterations and at the end of the run."""
    return bool(self.every and step and (last or step % self.every == 0))

  def before_save(self, context: HookContext) -> None:
    """Samples clips and writes them."""
    folder = context.workdir / "samples"
    # A resumed run already has the samples of the step at which it resumes. Samples of later steps
    # may exist too. They are written again, equal bit for bit: resuming discards all later records
    # of TensorBoard, and their images with them.
    if context.step == context.start_step and (folder / f"{context.step:08d}.png").exists():
      return
    run = Run(
      context.config,
      context.gan,
      context.state,
      frozen=context.frozen,
      standing_passes=self.standing_passes,
    )
    key = streams.key(context.config.seed, streams.SAMPLING)
    if context.gan.needs_conditioning:
      run.conditioning = conditioning.of_source(context.source)
      given = run.conditioning(0, -(-self.clips // _FUTURES))
      clips = run.predict(given, _FUTURES, key)
      clips = clips.reshape(-1, *clips.shape[2:])[: self.clips]
      clips = files.marked(clips, context.gan.given_frames)
    else:
      clips = run.sample(key, count=self.clips)
    folder.mkdir(exist_ok=True)
    columns = math.ceil(math.sqrt(len(clips)))
    grid = video_writers.grid(clips, columns)
    scale = max(1, 64 // clips.shape[2])
    video_writers.write_mp4(folder / f"{context.step:08d}.mp4", grid, FRAME_RATE, scale=scale)
    video_writers.contact_sheet(clips, folder / f"{context.step:08d}.png")
    gif = video_writers.gif_bytes(np.asarray(grid), FRAME_RATE)
    context.log.clip(context.step, "samples", gif, *grid.shape[1:3])
