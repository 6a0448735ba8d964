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
import shutil
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.buckets import checkpoint_folders, staged
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks
from vidgan_jax.runtime.files.log_files import read_log
from vidgan_jax.training import earlier
from vidgan_jax.training.starts import records
from vidgan_jax.training.starts.records import FOLDER, RATES, RECORD, SEED, Branch


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
    self.home, self.number = records.home(workdir)
    self.branches = records.read(self.home)

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
    return records.following(self.branches, number)

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

    First the checkpoints that the branch saved itself, newest first. If there are none, the branch
    collapsed soon after it began, and the checkpoint where it began may be bad already: older ones
    come next. The checkpoint where it began comes last.
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
    number = 1 + max(map(int, records.names(self.home)), default=0)
    config = _set(config, {SEED: _seed(config[SEED], number)})
    values = {SEED: config[SEED], **rates(config)}
    pairs = {name: [_get(before, name), value] for name, value in values.items()}
    changes = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    branch = Branch(number, self.number, source, step, restarts > 0, restarts, reason, changes)
    # Every process has found the same number before process 0 makes the folder.
    processes.wait_for_all("number of a branch")
    processes.in_first(lambda: self._make(branch, config, report))
    if staged.address(self.home) is not None:
      staged.pull(self.folder(number))  # process 0 has written it into the bucket
    self.branches[number] = branch
    return number, config

  def _make(self, branch: Branch, config: ConfigDict, report: Callable[[str], None]) -> None:
    """Writes the folder of a branch under another name, and renames it when it is complete."""
    source, target = self.folder(branch.source), self.folder(branch.number)
    temporary = target.with_name(f".{target.name}.tmp")
    with locks.held(target.parent, f"begin a branch of {self.home}", report):
      try:
        shutil.rmtree(temporary, ignore_errors=True)
        checkpoint_folders.copy(
          source / states.CHECKPOINTS, branch.step, temporary, target / states.CHECKPOINTS
        )
        for name in (states.DATA, states.INIT, earlier.RECORD):
          if (source / name).is_file():
            shutil.copyfile(source / name, temporary / name)
        lines = [r for r in read_log(source / "log.jsonl") if r["step"] <= branch.step]
        text = "".join(json.dumps(line) + "\n" for line in lines)
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
  number = records.read_number(workdir)
  return {"run/branch": number} if number else {}


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
