"""Measures the time that a run spends training, and what a process spends its other time on."""

import contextlib
import time
from collections.abc import Iterator

# What a process does besides training, in the order of a report.
PARTS = ("starting", "compiling", "input", "saving", "hooks")


class Clock:
  """Measures the time spent training, without pauses for samples and checkpoints.

  Args:
    seconds: time that earlier processes spent on this run.

  Attributes:
    total: seconds spent on the run in all.
  """

  def __init__(self, seconds: float):
    self.total = seconds
    self._since: float | None = None  # when the clock was started; None while it is stopped
    self._interval = 0.0  # seconds since the last call of `rate`
    self._waited = 0.0  # seconds spent waiting for batches since then
    self._iterations = 0  # iterations since then

  def start(self) -> None:
    """Starts the clock."""
    self._since = time.perf_counter()

  def stop(self) -> None:
    """Stops the clock; does nothing if it is stopped."""
    if self._since is not None:
      passed = time.perf_counter() - self._since
      self.total += passed
      self._interval += passed
      self._since = None

  def iteration(self, waited: float) -> None:
    """Counts an iteration that waited `waited` seconds for its batch."""
    self._waited += waited
    self._iterations += 1

  def rate(self) -> tuple[float, float]:
    """Returns two times in seconds per iteration, both since the last call.

    The first is the whole time. The second is the part of it spent waiting for batches.
    """
    self.stop()
    self.start()
    rates = (self._interval / max(1, self._iterations), self._waited / max(1, self._iterations))
    self._interval, self._waited, self._iterations = 0.0, 0.0, 0
    return rates


class Goodput:
  """The shares of a process's time that pass in training and in everything else.

  "starting" is the time before the first iteration without compilation, such as reading a
  checkpoint; "input" is waiting for batches; "hooks" are samples, scores and curves. What is left
  is "training".
  """

  def __init__(self) -> None:
    self._begin = time.perf_counter()
    self._spent = dict.fromkeys(PARTS, 0.0)
    self._depth = 0

  @contextlib.contextmanager
  def part(self, name: str) -> Iterator[None]:
    """Adds the time of a `with` block to a part. A block within another one adds nothing."""
    begin, self._depth = time.perf_counter(), self._depth + 1
    try:
      yield
    finally:
      self._depth -= 1
      if not self._depth:
        self.add(name, time.perf_counter() - begin)

  def add(self, name: str, seconds: float) -> None:
    """Adds seconds to a part."""
    self._spent[name] += seconds

  def started(self) -> None:
    """Call before the first iteration: all time so far in no other part counts as starting."""
    passed = time.perf_counter() - self._begin
    self._spent["starting"] = max(0.0, passed - sum(self._spent.values()))

  def shares(self) -> dict[str, float]:
    """{"training" or a part: its share of the time since the object was made}; their sum is 1."""
    passed = time.perf_counter() - self._begin
    shares = {name: seconds / passed for name, seconds in self._spent.items()}
    return {"training": max(0.0, 1 - sum(shares.values())), **shares}

  def __str__(self) -> str:
    minutes = (time.perf_counter() - self._begin) / 60
    shown = [f"{name} {share:.0%}" for name, share in self.shares().items() if share >= 0.005]
    return f"after {minutes:.1f} minutes: {', '.join(shown)}"
