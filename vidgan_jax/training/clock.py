"""Measures the time that a run spends training."""

import time


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
