"""The request of the `analyze` command. Its flags are generated from this class, without JAX."""

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
    texts(None, "Folder of the run; for --what=compare several, separated by commas."),
    flag="workdir",
    required=True,
  )
  what: Sequence[str] = option(
    texts(("hessian",), "Analyses to run, separated by commas; see above.")
  )
  output: str | None = option(text(None, "Folder to write to; default WORKDIR/analysis."))
  discriminators: Sequence[str] | None = option(
    texts(None, "Names of the discriminators to analyze, separated by commas; default all.")
  )
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  every_checkpoint: bool = option(boolean(False, "Analyze all checkpoints of the run."))
  batch_size: int | None = option(
    integer(
      None,
      "Clips in the fixed batch (curvature) or per generated batch (clips); default the run's "
      "config.analysis, or 16.",
      least=1,
      most=65_536,
    )
  )
  eigenvalues: int | None = option(
    integer(
      None, "Number of eigenvalues; default the run's config.analysis, or 10.", least=1, most=1000
    )
  )
  products: int | None = option(
    integer(
      None,
      "Maximum number of Hessian-vector products, and of vectors in memory; default the run's "
      "config.analysis, or 60.",
      least=1,
      most=1000,
    )
  )
  seed: int = option(
    integer(
      0,
      "Seed of the batch, of latents and noise, and of the first vector.",
      least=0,
      most=LARGEST_SEED,
    )
  )
  data_directory: str | None = option(
    text(None, "Folder of the training data, if it has moved since training.")
  )
  clips: int | None = option(
    integer(
      None,
      "Clips to generate; default 64 for neighbours, 300 for power_spectrum, 128 for darkness. For "
      "smoothness, walks; default 8.",
      least=1,
      most=1_000_000,
    )
  )
  frames: int | None = option(
    integer(None, "Frames of generated clips; default as in training.", least=1, most=4096)
  )
  truncation: float = option(base_switches.TRUNCATION)
  search: int = option(
    integer(
      10_000,
      "Maximum number of training clips to search for neighbours; 0 searches all.",
      least=0,
      most=1_000_000_000,
    )
  )
  held_out: str | None = option(
    text(None, "Folder or file of held-out clips; default the data's test split.")
  )
  overwrite: bool = option(
    boolean(False, "Replace existing files of neighbours, power_spectrum, darkness and smoothness.")
  )

  def __post_init__(self):
    """Expands `~` in paths, and copies folders of buckets; UserError if that fails."""
    workdirs = [paths.run(workdir, "--workdir") for workdir in self.workdirs]
    object.__setattr__(self, "workdirs", workdirs)
    paths.localize(self, "output", convert=paths.staged)
    paths.localize(self, "data_directory", "held_out", convert=paths.fetched)
