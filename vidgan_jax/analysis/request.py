"""What `analyze` is asked for; it loads no JAX, for flags are made of it."""

import dataclasses
from collections.abc import Sequence

from vidgan_jax.runtime.config import base_switches
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import LARGEST_SEED, boolean, integer, text, texts
from vidgan_jax.runtime.files import paths


@dataclasses.dataclass(frozen=True)
class Request:
  """One analysis of a run, or a comparison of several."""

  workdirs: Sequence[str] = option(
    texts(None, "Folder of the run; several, by commas, to compare."),
    flag="workdir",
    required=True,
  )
  what: Sequence[str] = option(texts(("hessian",), "What to analyze, by commas; see above."))
  output: str | None = option(text(None, "Folder to write to; default WORKDIR/analysis."))
  discriminators: Sequence[str] | None = option(texts(None, "Their names; default all."))
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  every_checkpoint: bool = option(boolean(False, "Look at all checkpoints that are kept."))
  batch_size: int | None = option(
    integer(None, "Clips of the fixed batch; default the run's, 16.", least=1, most=65_536)
  )
  eigenvalues: int | None = option(
    integer(None, "How many; default the run's, 10.", least=1, most=1000)
  )
  products: int | None = option(
    integer(
      None,
      "Hessian-vector products at most, and vectors kept; default the run's, 60.",
      least=1,
      most=1000,
    )
  )
  seed: int = option(
    integer(0, "Of the batch, of what is random, of the first vector.", least=0, most=LARGEST_SEED)
  )
  data_directory: str | None = option(text(None, "Where the data lies now; default as trained."))
  clips: int | None = option(
    integer(
      None,
      "Clips to draw (walks, for smoothness); default 64 neighbours, 300 spectrum, 128 darkness, "
      "8.",
      least=1,
      most=1_000_000,
    )
  )
  frames: int | None = option(
    integer(None, "Of drawn clips; default as trained.", least=1, most=4096)
  )
  truncation: float = option(base_switches.TRUNCATION)
  search: int = option(
    integer(
      10_000,
      "Training clips among which to look for neighbours; 0 is all.",
      least=0,
      most=1_000_000_000,
    )
  )
  held_out: str | None = option(
    text(None, "Folder or file of held-out clips; default the data's test split.")
  )
  overwrite: bool = option(boolean(False, "Replace what the last four have written."))

  def __post_init__(self):
    """Expands `~` in paths; UserError where one is no local path."""
    workdirs = paths.all_local(self.workdirs, "--workdir")
    object.__setattr__(self, "workdirs", workdirs)
    paths.localize(self, "output", "data_directory", "held_out")
