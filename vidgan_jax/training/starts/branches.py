"""Branches of a run: folders in WORKDIR/branches that go on from an earlier checkpoint of the run.

A branch is a complete run folder, which every command opens. It begins with a copy of the
checkpoint and of the log up to there; nothing in the run's folder changes. `branch.json` records
where it comes from. A branch may have other learning rates than the run. It has another seed, which
follows from the run's seed and the number of the branch, because with the same random numbers and
learning rates it would repeat what the run did. All branches of a run, and their branches, are
numbered in one folder.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, locks
from vidgan_jax.runtime.files.log_files import read_log
from vidgan_jax.training import earlier

FOLDER, RECORD = "branches", "branch.json"
SEED = "seed"
RATES = ("optimizer.generator_lr", "optimizer.discriminator_lr")  # what a restart may change
_NAME = re.compile("[1-9][0-9]{0,8}")
_NUMBER = range(0, 2**31)
_FORM = {
  "number": _NUMBER,
  "of": _NUMBER,
  "source": _NUMBER,
  "step": _NUMBER,
  "automatic": bool,
  "restarts": _NUMBER,
  "reason": str,
  "changes": {str: [float, float]},
}


@dataclasses.dataclass(frozen=True)
class Branch:
  """One branch, as `branch.json` records it.

  Attributes:
    number: its number, the name of its folder.
    of: number of the branch that it goes back in; 0 is the run itself.
    source: number of the branch whose checkpoint it begins at: `of`, or one that `of` comes from.
    step: iteration of this checkpoint.
    automatic: whether a guard began it, and not a user.
    restarts: restarts by guards on the way from the last one by a user, this one included.
    reason: why it began.
    changes: {field: (value in branch `of`, value in this branch)}: the seed, and the learning
      rates that differ.
  """

  number: int
  of: int
  source: int
  step: int
  automatic: bool
  restarts: int
  reason: str
  changes: dict[str, list[float]]


class Family:
  """A run and all of its branches.

  Args:
    workdir: folder of the run, or of one of its branches.

  Attributes:
    home: folder of the run.
    number: number of the branch in `workdir`; 0 if it is the run's folder.
    branches: {number: branch}.

  Raises:
    UserError: a record is damaged.
  """

  def __init__(self, workdir: str | os.PathLike):
    workdir = pathlib.Path(os.path.abspath(workdir))
    above = workdir.parent
    inside = above.name == FOLDER and os.path.isfile(above.parent / states.CONFIG)
    named = inside and _NAME.fullmatch(workdir.name) and os.path.isfile(workdir / RECORD)
    self.home = above.parent if named else workdir
    self.number = int(workdir.name) if named else 0
    self.branches = {branch.number: branch for branch in self._read()}

  def _read(self) -> Iterator[Branch]:
    for name in self._names():
      path = self.home / FOLDER / name / RECORD
      if not path.is_file():
        continue
      record = json_files.read(path, _FORM)
      if record["number"] != int(name) or max(record["of"], record["source"]) >= int(name):
        raise UserError(f"{path}: its numbers are not those of branch {name}")
      if not set(record["changes"]) <= {SEED, *RATES}:
        raise UserError(f"{path}: names other changes than of the seed and the learning rates")
      yield Branch(**{field: record[field] for field in _FORM})

  def _names(self) -> list[str]:
    """Names of the folders of branches, incomplete ones too."""
    folder = self.home / FOLDER
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in names if _NAME.fullmatch(name)]

  def folder(self, number: int) -> pathlib.Path:
    """The folder of a branch, or of the run (0)."""
    return self.home / FOLDER / str(number) if number else self.home

  def config(self, number: int, config: ConfigDict, since: int = 0) -> ConfigDict:
    """The config of branch `number`, from that of branch `since`, 0 for the command's own."""
    generations = []
    while number != since and number in self.branches:
      generations.append(self.branches[number].changes)
      number = self.branches[number].of
    for changes in reversed(generations):
      config = _with(config, changes)
    return config

  def following(self, number: int) -> int:
    """The newest branch that guards have begun, directly or in turn, in branch `number`."""
    while newer := [b.number for b in self.branches.values() if b.of == number and b.automatic]:
      number = max(newer)
    return number

  def find(self, number: int, step: int, config: ConfigDict) -> int | None:
    """The branch that a user has begun in `number` at `step` with these learning rates, or None."""
    for branch in self.branches.values():
      if (branch.of, branch.step, branch.automatic) != (number, step, False):
        continue
      if rates(states.read_config(self.folder(branch.number))) == rates(config):
        return branch.number
    return None

  def starts(self, number: int) -> Iterator[tuple[int, int]]:
    """(branch, step) of the checkpoints to restart from after a collapse of `number`, best first.

    First those that it saved itself, from the newest. If these are none, it collapsed soon after it
    began, and the checkpoint where it began may be bad already: older ones follow. The last is the
    one where it began.
    """
    current, before = number, None
    while True:
      branch = self.branches.get(current)
      for step in reversed(Checkpoints(self.folder(current) / states.CHECKPOINTS).steps()):
        if (before is None or step < before) and (branch is None or step > branch.step):
          yield current, step
      if branch is None:
        break
      current, before = branch.source, branch.step
    if number:
      yield number, self.branches[number].step

  def begin(
    self,
    source: int,
    step: int,
    config: ConfigDict,
    before: ConfigDict,
    *,
    restarts: int = 0,
    reason: str = "",
    report: Callable[[str], None] = print,
  ) -> tuple[int, ConfigDict]:
    """Makes the folder of a new branch of branch `self.number`. Collective.

    Args:
      source: number of the branch that has the checkpoint; 0 is the run itself.
      step: iteration of the checkpoint.
      config: config of the new branch, with its learning rates, and with the seed of `before`.
      before: config of branch `self.number`.
      restarts, reason: see `Branch`; restarts of 0 is a branch that a user begins.
      report: called with lines for the user.

    Returns:
      Number and config of the new branch.

    Raises:
      UserError: the folder cannot be written, or another process makes one.
    """
    number = 1 + max(map(int, self._names()), default=0)
    config = _set(config, {SEED: _seed(config[SEED], number)})
    values = {SEED: config[SEED], **rates(config)}
    pairs = {name: [_get(before, name), value] for name, value in values.items()}
    changes = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    branch = Branch(number, self.number, source, step, restarts > 0, restarts, reason, changes)
    processes.in_first(lambda: self._make(branch, config, report))
    self.branches[number] = branch
    return number, config

  def _make(self, branch: Branch, config: ConfigDict, report: Callable[[str], None]) -> None:
    """Writes the folder of a branch under another name, and renames it when it is complete."""
    source, target = self.folder(branch.source), self.folder(branch.number)
    temporary = target.with_name(f".{target.name}.tmp")
    with locks.held(target.parent, f"begin a branch of {self.home}", report):
      try:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(
          source / states.CHECKPOINTS / str(branch.step),
          temporary / states.CHECKPOINTS / str(branch.step),
        )
        for name in (states.DATA, states.INIT, earlier.RECORD):
          if (source / name).is_file():
            shutil.copyfile(source / name, temporary / name)
        records = [r for r in read_log(source / "log.jsonl") if r["step"] <= branch.step]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (temporary / "log.jsonl").write_text(text, encoding="utf-8")
        (temporary / states.CONFIG).write_text(configuration.to_json(config), encoding="utf-8")
        text = json.dumps(dataclasses.asdict(branch), indent=2) + "\n"
        (temporary / RECORD).write_text(text, encoding="utf-8")
        temporary.rename(target)
      except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = f"{error.strerror or error}".splitlines()[0]
        raise UserError(f"cannot begin a branch in {target}: {reason}") from error


def scalars(workdir: str | os.PathLike) -> dict[str, float]:
  """What the log of a branch records, so that curves show where it begins; {} for other runs."""
  path = pathlib.Path(workdir) / RECORD
  try:
    return {"run/branch": json_files.read(path, _FORM)["number"]}
  except FileNotFoundError:
    return {}


def difference(stored: ConfigDict, config: ConfigDict) -> str | None:
  """The first field, other than the learning rates, in which a restart would differ, in words."""
  same_rates = _set(config, rates(stored))
  return stored_config.first_difference(stored, same_rates)


def rates(config: ConfigDict) -> dict[str, float]:
  """{field: learning rate} of a config."""
  return {name: _get(config, name) for name in RATES}


def with_rates(config: ConfigDict, factor: float) -> ConfigDict:
  """A copy of a config with learning rates multiplied by `factor`."""
  return _set(config, {name: rate * factor for name, rate in rates(config).items()})


def _seed(seed: int, number: int) -> int:
  """The seed of a branch, which differs from those of the run and of all other branches."""
  return zlib.crc32(f"{seed} branch {number}".encode())


def _with(config: ConfigDict, changes: dict[str, list[float]]) -> ConfigDict:
  """Changes the fields that have the old values; others stay, and are refused by name later."""
  values = {name: new for name, (old, new) in changes.items() if _get(config, name) == old}
  return _set(config, {name: int(v) if name == SEED else v for name, v in values.items()})


def _get(config: ConfigDict, path: str) -> Any:
  value = config
  for name in path.split("."):
    value = value[name]
  return value


def _set(config: ConfigDict, values: dict[str, Any]) -> ConfigDict:
  """A copy of a config with other values of some fields."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    for path, value in values.items():
      *groups, last = path.split(".")
      part = config
      for name in groups:
        part = part[name]
      part[last] = value
  return config
