"""Counts the processor time of a run by what it is spent on, over all its processes.

The budget of a run is processor time of training alone: of all threads of the process, between its
first iteration and its end, without compilation and without saving. It means the same on one core
and on several, and on a machine that other programs use too.
"""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator

PARTS = ("training", "compiling", "other")  # other: starting, saving
FILE = "spent.jsonl"


class Ledger:
  """What a run has spent, by the iteration at which it was saved.

  A line is written in front of each checkpoint. A process that continues the run from a checkpoint
  finds its line again, and drops the lines after it: the work that they count was lost.

  Args:
    folder: folder of the run.
  """

  def __init__(self, folder: str | os.PathLike):
    self.path = pathlib.Path(folder) / FILE

  def lines(self) -> list[dict]:
    """All lines, oldest first; a last line that a killed process left unfinished is dropped."""
    found = []
    if self.path.exists():
      for line in self.path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
          found.append(json.loads(line))
    return found

  def at(self, step: int) -> dict[str, float]:
    """{part: seconds} that the run had spent when it was saved at `step`."""
    spent = dict.fromkeys(PARTS, 0.0)
    for line in self.lines():
      if line["step"] <= step:
        spent = {part: line[part] for part in PARTS}
    return spent

  def begin(self, step: int) -> dict[str, float]:
    """Drops what was spent after `step`, from which a process continues; returns `at(step)`."""
    kept = [line for line in self.lines() if line["step"] <= step]
    self._write(kept)
    return self.at(step)

  def add(self, step: int, spent: dict[str, float], peak: int) -> None:
    """Adds a line.

    Args:
      step: finished iterations.
      spent: {part: seconds} of the run so far.
      peak: largest resident memory of this process so far, in bytes.
    """
    self._write([*self.lines(), {"step": step, **spent, "peak_bytes": peak}])

  def summary(self) -> dict:
    """Iterations, seconds by part, and the peak of memory over all processes."""
    lines = self.lines()
    last = lines[-1] if lines else {"step": 0, **dict.fromkeys(PARTS, 0.0)}
    peak = max((line["peak_bytes"] for line in lines), default=0)
    return {"iterations": last["step"], **{p: last[p] for p in PARTS}, "peak_bytes": peak}

  def _write(self, lines: list[dict]) -> None:
    """Replaces the file, completely or not at all."""
    self.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = self.path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    os.replace(temporary, self.path)


class Meter:
  """Measures the processor time of this process by part.

  Args:
    clock: processor time of this process in seconds.
  """

  def __init__(self, clock: Callable[[], float] = time.process_time):
    self._clock, self._spent = clock, dict.fromkeys(PARTS, 0.0)
    self._since, self._part = 0.0, "other"  # from the start of the process

  def add(self, spent: dict[str, float]) -> None:
    """Adds {part: seconds} that earlier processes of the run have spent."""
    for part in PARTS:
      self._spent[part] += spent[part]

  def switch(self, part: str) -> str:
    """From now on, time belongs to `part`; returns the part before."""
    now, before = self._clock(), self._part
    self._spent[before] += now - self._since
    self._since, self._part = now, part
    return before

  @contextlib.contextmanager
  def within(self, part: str) -> Iterator[None]:
    """The time of a `with` block belongs to `part`."""
    before = self.switch(part)
    try:
      yield
    finally:
      self.switch(before)

  def spent(self) -> dict[str, float]:
    """{part: seconds} of the run up to now."""
    self.switch(self._part)
    return dict(self._spent)
