"""Chooses the width of each system before the race, by its speed alone, and never by scores.

Each system has three widths. From the narrowest on, each is trained for `SECONDS` of processor time
after compilation. The widest that trains at least `LEAST` iterations in a processor minute of the
budget is chosen; the narrowest if none does. A stage of a cascade has only its share of the budget,
and the slowest stage counts. The first width that is too slow ends the search. The clips of all
tasks have one size, so the trials of `TASK` choose for all of them.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from vidgan_jax.runtime.errors import UserError

TASK = "shapes"
SECONDS = 10.0  # processor time of a trial
LEAST = 60.0  # iterations per processor minute of the budget
RULE = (
  f"the widest of three widths that trains at least {LEAST:g} iterations in a processor minute, "
  "else the narrowest"
)


def rate(iterations: Sequence[int], seconds: Sequence[float]) -> float:
  """Iterations of the slowest stage in a minute of the whole budget.

  Args:
    iterations: of each stage.
    seconds: that each stage trained.
  """
  of_stages = [60 * count / spent for count, spent in zip(iterations, seconds, strict=True)]
  return min(of_stages) / len(of_stages)


def is_over(rates: Sequence[float], widths: int) -> bool:
  """Whether the search ends after trials with these rates, from the narrowest width on."""
  return len(rates) == widths or (bool(rates) and rates[-1] < LEAST)


def chosen(rates: Sequence[float]) -> int:
  """Number of the chosen width, from the rates of the trials, the narrowest first."""
  fast = [number for number, rate in enumerate(rates) if rate >= LEAST]
  return max(fast, default=0)


class Trials:
  """The file of all trials.

  Args:
    path: a JSON file; it need not exist.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._read()

  def _read(self) -> None:
    """Reads the file, to which another process may have added trials."""
    path = self.path
    self._content = {"rule": RULE, "seconds": SECONDS, "least": LEAST, "tasks": {}}
    if path.exists():
      try:
        self._content = json.loads(path.read_text(encoding="utf-8"))
        least = self._content["least"]
      except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a file of trials: {error}") from error
      if least != LEAST:
        raise UserError(f"{path} holds trials of another rule: {self._content['rule']}")

  def of(self, task: str, system: str) -> list[dict[str, Any]]:
    """The trials of a system, the narrowest width first."""
    return self._content["tasks"].get(task, {}).get(system, {}).get("trials", [])

  def rates(self, task: str, system: str) -> list[float]:
    """Iterations per minute of each trial of a system, the narrowest width first."""
    return [trial["rate"] for trial in self.of(task, system)]

  def add(self, task: str, system: str, trial: dict[str, Any]) -> None:
    """Adds a trial, with its "rate", and writes the file."""
    self._read()
    systems = self._content["tasks"].setdefault(task, {})
    trials = [*self.of(task, system), trial]
    systems[system] = {"chosen": chosen([each["rate"] for each in trials]), "trials": trials}
    temporary = self.path.with_suffix(".tmp")
    temporary.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(self.path)

  def width(self, task: str, system: str, widths: int) -> int:
    """Number of the chosen width.

    Raises:
      UserError: the trials of the system are not complete.
    """
    rates = self.rates(task, system)
    if not is_over(rates, widths):
      raise UserError(f"{system} has no width yet: python benchmarks/league.py trials")
    return chosen(rates)
