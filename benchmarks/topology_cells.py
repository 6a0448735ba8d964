"""The cells of the table of configs and topologies, their settings, and what is left to compile."""

import dataclasses
import pathlib

import result_lines
import settings  # noqa: F401 - makes the package importable

from vidgan_jax.analysis.topology import names

# {config: whether config.model.remat exists}, in the order of the page.
CONFIGS = {
  "dvd_gan:kinetics600_64x12": True,
  "dvd_gan:kinetics600_64x48": True,
  "dvd_gan:kinetics600_128x12": True,
  "dvd_gan:kinetics600_128x48": True,
  "dvd_gan:kinetics600_256x12": True,
  "dvd_gan:thesis_kinetics400": True,
  "tgan:svc": False,
  "tgan_v2:ucf101_192x16": True,
  "ssw_gan:kinetics600_stage2_12": True,
  "dvd_gan_fp:kinetics600_fp_5_11": True,
}
TARGETS = ("v5e:4x8", "v5p:4x4x4", "v6e:4x8", "h100:8", "h200:1", "rtx4090:1")
# These come first: quick to compile, the main config, and one slice and one card of every config.
_FIRST_CONFIGS = ("tgan:svc", "dvd_gan:kinetics600_64x12")
_FIRST_TARGETS = ("v5e:4x8", "h200:1")


@dataclasses.dataclass(frozen=True)
class Setting:
  """How a run saves memory. `name` is what the page calls it."""

  sharding: str
  remat: str | None  # None: the model has no such field
  chunks: int = 1

  @property
  def name(self) -> str:
    """As the page writes it."""
    parts = [self.sharding if self.sharding != "replicated" else "", self.remat or "none"]
    parts += [f"{self.chunks} chunks"] if self.chunks > 1 else []
    return " ".join(p for p in parts if p and p != "none") or "plain"

  @property
  def options(self) -> list[str]:
    """Flags of the command."""
    return [f"--config.sharding={self.sharding}", *self.of_one_device]

  @property
  def of_one_device(self) -> list[str]:
    """Those flags that change the program of one device."""
    remat = [] if self.remat is None else [f"--config.model.remat={self.remat}"]
    return [*remat, *([f"--config.chunks={self.chunks}"] if self.chunks > 1 else [])]


def settings_of(config: str, target: str) -> list[Setting]:
  """The settings of a cell in the order in which they are tried."""
  several = names.parse(target).devices > 1
  saving = "zero1" if several else "replicated"
  if CONFIGS[config]:
    last = Setting(saving, "block_inputs", 8 if several else 16)
    return [Setting("replicated", "none"), Setting(saving, "conv_outputs"), last]
  return [Setting("replicated", None), *([Setting("zero1", None)] if several else [])]


def cells() -> list[tuple[str, str]]:
  """(config, topology) of all cells, the most useful first."""
  first = [(c, t) for c in _FIRST_CONFIGS for t in TARGETS]
  second = [(c, t) for t in _FIRST_TARGETS for c in CONFIGS]
  return list(dict.fromkeys([*first, *second, *((c, t) for t in TARGETS for c in CONFIGS)]))


def read(path: pathlib.Path) -> list[dict]:
  """The lines of a file of attempts; see `result_lines.read`."""
  return result_lines.read(path, "config", "target", "setting", "outcome")


def next_setting(config: str, target: str, attempts: list[dict], limit: float) -> Setting | None:
  """The setting of a cell to try now; None if the cell is finished.

  Args:
    config: the cell's config.
    target: the cell's topology.
    attempts: lines of the file, of any cells.
    limit: minutes; an attempt that ended at a lower limit is repeated.
  """
  of_cell = {a["setting"]: a for a in attempts if (a["config"], a["target"]) == (config, target)}
  for setting in settings_of(config, target):
    attempt = of_cell.get(setting.name)
    if attempt is None or (attempt["outcome"] == "time" and attempt["limit_minutes"] < limit):
      return setting
    if attempt["outcome"] not in ("too large", "skipped", "time"):
      return None
  return None


def finished(config: str, target: str, attempts: list[dict]) -> bool:
  """Whether the attempts say what fits, or that nothing does."""
  last = [a for a in attempts if (a["config"], a["target"]) == (config, target)][-1:]
  return bool(
    last and last[0]["outcome"] != "time" and next_setting(config, target, attempts, 0.0) is None
  )
