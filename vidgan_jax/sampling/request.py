"""What `sample` is asked for; it loads no JAX, for flags are made of it."""

import dataclasses

from vidgan_jax.runtime.config import base_switches
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import (
  LARGEST_SEED,
  boolean,
  choice,
  integer,
  number,
  text,
)
from vidgan_jax.runtime.files import paths


@dataclasses.dataclass(frozen=True)
class Request:
  """One set of samples of a run."""

  workdir: str = option(text(None, "Folder of the run."), required=True)
  output: str = option(text(None, "Folder to write to."), required=True)
  overwrite: bool = option(boolean(False, "Replace samples that lie in the output folder."))
  labels: str | None = option(
    text(None, "Class numbers (or index:N) or names (or name:NAME), by commas; default all.")
  )
  per_label: int | None = option(
    integer(None, "Clips per class; default 2.", least=1, most=1_000_000)
  )
  truncation: float = option(base_switches.TRUNCATION)
  frames: int | None = option(integer(None, "Frames; default as in training.", least=1, most=4096))
  interpolate: str | None = option(
    choice(None, ("latent", "class"), "Walk between two latents, or between pairs of classes.")
  )
  interpolation_steps: int | None = option(
    integer(None, "Clips per walk; default 8.", least=2, most=10_000)
  )
  seed: int = option(integer(0, "Seed of the latents.", least=0, most=LARGEST_SEED))
  live: bool = option(boolean(False, "Live weights instead of their moving average."))
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  standing_passes: int = option(base_switches.STANDING_PASSES)
  batch_size: int = option(integer(16, "Clips generated at once.", least=1, most=65_536))
  frame_rate: float = option(number(8.0, "Frames per second of the files.", least=0.1, most=1000))

  def __post_init__(self):
    """Expands `~` in paths; UserError where one is no local path."""
    paths.localize(self, "workdir", "output")
