"""What `branch.json` records of each branch of a run; see `branches`.

A module of its own, because `training.state` reads it, and `branches` imports `training.state`.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files
from vidgan_jax.runtime.text import printable

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


def home(workdir: str | os.PathLike) -> tuple[pathlib.Path, int]:
  """The folder of the run that a folder belongs to, and the number of the branch in it.

  The number is 0 if the folder is the run's own.
  """
  workdir = pathlib.Path(os.path.abspath(workdir))
  inside = workdir.parent.name == FOLDER and _NAME.fullmatch(workdir.name)
  if inside and os.path.isfile(workdir / RECORD):
    return workdir.parent.parent, int(workdir.name)
  return workdir, 0


def names(run: pathlib.Path) -> list[str]:
  """Names of the folders of a run's branches, incomplete ones too."""
  folder = run / FOLDER
  found = os.listdir(folder) if os.path.isdir(folder) else []
  return [name for name in found if _NAME.fullmatch(name)]


def read(run: pathlib.Path) -> dict[int, Branch]:
  """{number: branch} of all branches of a run.

  Raises:
    UserError: a record is damaged.
  """
  found = {}
  for name in names(run):
    path = run / FOLDER / name / RECORD
    if not path.is_file():
      continue
    record = json_files.read(path, _FORM)
    if record["number"] != int(name) or max(record["of"], record["source"]) >= int(name):
      raise UserError(f"{path}: its numbers are not those of branch {name}")
    if not set(record["changes"]) <= {SEED, *RATES}:
      raise UserError(f"{path}: names other changes than of the seed and the learning rates")
    found[int(name)] = Branch(**{field: record[field] for field in _FORM})
  return found


def read_number(workdir: str | os.PathLike) -> int:
  """Number of the branch in a folder; 0 for other runs. UserError if its record is damaged."""
  try:
    return json_files.read(pathlib.Path(workdir) / RECORD, _FORM)["number"]
  except FileNotFoundError:
    return 0


def following(branches: Mapping[int, Branch], number: int) -> int:
  """The newest branch that guards have begun, directly or in turn, in branch `number`."""
  while newer := [b.number for b in branches.values() if b.of == number and b.automatic]:
    number = max(newer)
  return number


def describe(run: pathlib.Path, branches: Mapping[int, Branch], last: int) -> str:
  """Says that a guard stopped a run, and that training went on in branch `last`."""
  before = branches[last].of
  stopped = run / FOLDER / str(before) if before else run
  reason = printable(branches[last].reason)
  return (
    f"a guard stopped the run in {stopped} ({reason}); training went on in "
    f"{run / FOLDER / str(last)}"
  )
