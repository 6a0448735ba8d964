"""The settings of the command `export`, from which its flags are made.

This module does not import JAX, so that `--help` is fast.
"""

import dataclasses

from vidgan_jax.runtime.config import base_switches
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import text
from vidgan_jax.runtime.files import paths


@dataclasses.dataclass(frozen=True)
class Request:
  """Settings of one call of `export`; each field is a flag of the same name."""

  workdir: str = option(text(None, "Folder of the run."), required=True)
  output: str = option(text(None, "Folder to write to; it must not exist."), required=True)
  checkpoint: int | None = option(base_switches.CHECKPOINT)
  standing_passes: int = option(base_switches.STANDING_PASSES)

  def __post_init__(self) -> None:
    """Expands `~` in paths, and copies folders of buckets; UserError if that fails."""
    paths.localize(self, "workdir", convert=paths.run)
    paths.localize(self, "output", convert=paths.staged)
