"""What `evaluate` is asked for; it loads no JAX, for flags are made of it."""

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
  """One evaluation of a run, or of a file of clips, by a protocol."""

  protocol: str = option(text("moving_shapes", "Its name; --list shows all."))
  metrics: Sequence[str] = option(
    texts((), "Metrics to add to those of the protocol, by commas; --list shows all.")
  )
  workdir: str | None = option(text(None, "Folder of the run."))
  output: str | None = option(
    text(None, "Folder of results; default WORKDIR/evaluation/PROTOCOL. File, with --convert.")
  )
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  every_checkpoint: bool = option(boolean(False, "Evaluate all checkpoints that are kept."))
  follow: bool = option(
    boolean(False, "Evaluate each checkpoint as it is saved, until the run's last iteration.")
  )
  patience: float | None = option(
    number(
      None,
      "Of --follow: minutes without a new checkpoint after which it ends; by default it waits on.",
      least=0,
      most=10_000_000,
    )
  )
  ema: bool = option(boolean(True, "Draw from the moving average, or from the live weights."))
  truncation: float = option(base_switches.TRUNCATION)
  truncations: Sequence[float] | None = option(
    numbers(None, "Several, by commas: a curve.", least=0, above=True, most=100)
  )
  frames: int | None = option(integer(None, "Instead of the protocol's.", least=1, most=4096))
  stride: int | None = option(
    integer(
      None,
      "Between the frames of real clips, instead of the protocol's; a run is trained at "
      "data.stride.",
      least=1,
      most=10_000,
    )
  )
  split: str | None = option(
    text(
      None,
      "Of the data that real clips are of, instead of the protocol's: train, test, ...",
    )
  )
  count: int | None = option(
    integer(None, "Generated clips, for a trial.", least=2, most=10_000_000)
  )
  real_count: int | None = option(
    integer(None, "Real clips, for a trial.", least=2, most=10_000_000)
  )
  seed: int = option(integer(0, "Of latents, windows and resampling.", least=0, most=LARGEST_SEED))
  batch_size: int = option(integer(32, "Clips at a time.", least=1, most=65_536))
  standing_passes: int = option(base_switches.STANDING_PASSES)
  bootstrap: int | None = option(
    integer(None, "Resamplings behind intervals; 0 computes none.", least=0, most=100_000)
  )
  data_directory: str | None = option(text(None, "Where the data lies now; default as trained."))
  weights: str | None = option(text(None, "Folder of converted weights, NETWORK.npz."))
  clips: str | None = option(
    text(None, "A .npz of clips (and labels) to evaluate, instead of a run's.")
  )
  real: str | None = option(text(None, "A .npz of real clips (and labels), not the run's data."))
  reference: str | None = option(
    text(None, "File of the real clips' features: refused if of others, written if absent.")
  )
  controls: bool = option(
    boolean(False, "Score real clips too, unharmed and frozen, shuffled, reversed, against others.")
  )

  def __post_init__(self):
    """Expands `~` in paths; UserError where one is no local path."""
    folders = ("workdir", "output", "data_directory", "weights")
    paths.localize(self, *folders, "clips", "real", "reference")
    if self.truncations is None:
      object.__setattr__(self, "truncations", (self.truncation,))
