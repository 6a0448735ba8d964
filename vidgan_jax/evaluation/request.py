"""Options of `evaluate`. The module imports no JAX, so that `--help` is fast."""

import dataclasses
from collections.abc import Sequence

from vidgan_jax.runtime.config import base_switches
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import (
  LARGEST_SEED,
  boolean,
  integer,
  number,
  numbers,
  text,
  texts,
)
from vidgan_jax.runtime.files import paths


@dataclasses.dataclass(frozen=True)
class Request:
  """One evaluation of a run or of given clips. Each field is a flag of the command."""

  protocol: str = option(
    text("moving_shapes", "Name of the protocol; --list shows all. fvd is fvd_unterthiner2018.")
  )
  metrics: Sequence[str] = option(
    texts((), "Metrics to add to the protocol's, separated by commas; --list shows all.")
  )
  workdir: str | None = option(
    text(None, "Folder of a run or exported model, or moving_shapes, a model of the package.")
  )
  output: str | None = option(
    text(
      None,
      "Folder of the results; default WORKDIR/evaluation/PROTOCOL. With --convert, a file.",
    )
  )
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  every_checkpoint: bool = option(boolean(False, "Evaluate all stored checkpoints."))
  follow: bool = option(
    boolean(False, "Evaluate each checkpoint as it is saved, until the run's last iteration.")
  )
  patience: float | None = option(
    number(
      None,
      "With --follow: minutes without a new checkpoint after which to stop; by default never.",
      least=0,
      most=10_000_000,
    )
  )
  ema: bool = option(
    boolean(
      True, "Generate with the moving average of the weights; otherwise with the live weights."
    )
  )
  truncation: float = option(base_switches.TRUNCATION)
  truncations: Sequence[float] = option(  # without the flag, (truncation,)
    numbers(
      None,
      "Several truncations, separated by commas, for a curve.",
      least=0,
      above=True,
      most=100,
    )
  )
  frames: int | None = option(
    integer(None, "Frames of each clip, instead of the protocol's.", least=1, most=4096)
  )
  stride: int | None = option(
    integer(
      None,
      "Stride between frames of real clips, instead of the protocol's. Training uses data.stride.",
      least=1,
      most=10_000,
    )
  )
  split: str | None = option(
    text(
      None,
      "Split of the data for real clips, instead of the protocol's: train, test, ...",
    )
  )
  count: int | None = option(
    integer(None, "Number of generated clips, for a trial with fewer.", least=2, most=10_000_000)
  )
  real_count: int | None = option(
    integer(None, "Number of real clips, for a trial with fewer.", least=2, most=10_000_000)
  )
  seed: int = option(
    integer(0, "Seed of latents, windows and resampling.", least=0, most=LARGEST_SEED)
  )
  batch_size: int = option(integer(32, "Clips per batch.", least=1, most=65_536))
  standing_passes: int = option(base_switches.STANDING_PASSES)
  bootstrap: int | None = option(
    integer(
      None, "Number of resamplings for intervals; 0 computes no intervals.", least=0, most=100_000
    )
  )
  data_directory: str | None = option(
    text(None, "Folder of the data; default is that of the training.")
  )
  weights: str | None = option(
    text(
      None,
      "Folder of converted weights, NETWORK.npz; or the word random: networks with random weights, "
      "for a trial without published ones. Such scores are comparable with no published score.",
    )
  )
  clips: str | None = option(
    text(
      None,
      "Generated clips to evaluate, instead of a run's: a folder of videos or of folders of "
      "pictures, a zip of either, one video, or an .npz of clips (and labels).",
    )
  )
  real: str | None = option(
    text(None, "Real clips, instead of the run's data: videos or an .npz, as for --clips.")
  )
  reference: str | None = option(
    text(
      None,
      "File of the features of the real clips. It is written if it is missing, and refused if it "
      "contains features of other clips.",
    )
  )
  controls: bool = option(
    boolean(
      False,
      "Also score real clips that are unharmed, frozen, shuffled and reversed, compared with other "
      "real clips.",
    )
  )

  def __post_init__(self):
    """Expands `~` in paths, and copies folders of buckets; UserError if that fails."""
    paths.localize(self, "workdir", convert=paths.run)
    paths.localize(self, "output", convert=paths.staged)
    inputs = ("data_directory", "weights", "clips", "real", "reference")
    paths.localize(self, *inputs, convert=paths.fetched)
    if self.truncations is None:  # the flag was not given
      object.__setattr__(self, "truncations", (self.truncation,))
