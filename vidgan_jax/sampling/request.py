"""The settings of the command `sample`, from which its flags are made.

This module does not import JAX, so that `--help` is fast.
"""

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
  """Settings of one call of `sample`; each field is a flag of the same name."""

  workdir: str = option(
    text(None, "Folder of a run or exported model, or moving_shapes, a model of the package."),
    required=True,
  )
  output: str = option(text(None, "Folder to write to."), required=True)
  overwrite: bool = option(boolean(False, "Replace samples in the output folder."))
  labels: str | None = option(
    text(
      None,
      "Class numbers (or index:N) or names (or name:NAME), separated by commas; default all.",
    )
  )
  per_label: int | None = option(
    integer(None, "Clips per class; default 2.", least=1, most=1_000_000)
  )
  count: int | None = option(
    integer(
      None,
      "Runs without classes: number of clips, default 16; with --interpolate, of interpolations, "
      "default 8.",
      least=1,
      most=1_000_000,
    )
  )
  truncation: float = option(base_switches.TRUNCATION)
  frames: int | None = option(integer(None, "Frames; default as in training.", least=1, most=4096))
  interpolate: str | None = option(
    choice(
      None, ("latent", "class"), "Interpolate between two latents, or between pairs of classes."
    )
  )
  interpolation_steps: int | None = option(
    integer(None, "Clips per interpolation; default 8.", least=2, most=10_000)
  )
  conditioning: str | None = option(
    text(
      None,
      "For runs that continue given frames: a split of the run's data, an .npz with clips, or "
      "videos separated by commas.",
    )
  )
  futures: int | None = option(
    integer(None, "Clips generated for each given clip; default 4.", least=1, most=10_000)
  )
  given: int | None = option(
    integer(
      None,
      "Number of given clips; default 8 of a split, all of files.",
      least=1,
      most=1_000_000,
    )
  )
  data_directory: str | None = option(
    text(None, "Folder of the data for --conditioning=SPLIT; default is that of the training.")
  )
  show_stages: bool = option(
    boolean(False, "Also write the clips of all stages of a cascade side by side, stages.mp4.")
  )
  seed: int = option(integer(0, "Seed of the latents.", least=0, most=LARGEST_SEED))
  live: bool = option(boolean(False, "Sample from the live weights, not their moving average."))
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  standing_passes: int = option(base_switches.STANDING_PASSES)
  batch_size: int = option(integer(16, "Clips generated at once.", least=1, most=65_536))
  frame_rate: float = option(number(8.0, "Frames per second of the files.", least=0.1, most=1000))

  def __post_init__(self) -> None:
    """Expands `~` in paths, and copies folders of buckets; UserError if that fails."""
    paths.localize(self, "workdir", convert=paths.run)
    paths.localize(self, "output", convert=paths.staged)
    paths.localize(self, "data_directory", convert=paths.fetched)
