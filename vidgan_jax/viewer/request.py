"""The settings of the command `web`, from which its flags are made.

This module does not import JAX, so that `--help` is fast.
"""

import dataclasses

from vidgan_jax.runtime.config import base_switches
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import boolean, integer, text, texts
from vidgan_jax.runtime.files import paths


@dataclasses.dataclass(frozen=True)
class Request:
  """Settings of one call of `web`; each field, but `workdirs`, is a flag of the same name."""

  workdirs: tuple[str, ...] = option(
    texts(None, "Folders of runs or exported models, separated by commas."),
    flag="workdir",
    required=True,
  )
  host: str = option(
    text("127.0.0.1", "Address to listen at; with any but the default, others can open the page.")
  )
  port: int = option(
    integer(7860, "Port to listen at; 0 takes a free one.", least=0, most=65_535),
  )
  live: bool = option(boolean(False, "Sample from the live weights, not their moving average."))
  standing_passes: int = option(base_switches.STANDING_PASSES)

  def __post_init__(self) -> None:
    """Expands `~` in paths; UserError if a path is not local."""
    workdirs = tuple(paths.run(workdir, "--workdir") for workdir in self.workdirs)
    object.__setattr__(self, "workdirs", workdirs)
