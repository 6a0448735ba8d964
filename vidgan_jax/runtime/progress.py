"""Progress of long work: a running clock, and lines for log files."""

import contextlib
import sys
import threading
import time

from tqdm import tqdm


@contextlib.contextmanager
def ticking(description: str, every: float = 1.0):
  """Shows on stderr how long the block has been running: "compiling the iteration: 00:23".

  The clock is for calls that cannot report their progress. It is redrawn while the block runs, and
  stays when the block ends or raises. `door.report` prints its lines above it. If stderr is not a
  terminal, one line is printed at the beginning instead, so that log files stay short.

  Args:
    description: what the block does.
    every: seconds between redraws.
  """
  if not sys.stderr.isatty():
    with contextlib.suppress(OSError):  # the terminal has closed, or the disk is full
      print(f"{description} ...", file=sys.stderr, flush=True)
    yield
    return
  ended = threading.Event()
  bar = tqdm(desc=description, bar_format="{desc}: {elapsed}", dynamic_ncols=True, file=sys.stderr)

  def tick():
    while not ended.wait(every):
      bar.refresh()

  # A thread, because the block may be one long call; XLA releases Python's lock while it compiles.
  # A daemon thread, so that a process that exits early does not wait for it.
  thread = threading.Thread(target=tick, daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    bar.close()


class Lines:
  """Reports the progress of a loop in lines, for log files: one at once, then one per minute.

  A progress bar is redrawn ten times per second, and a log file would keep every redraw.

  Args:
    report: called with each line.
    total: number of iterations.
    every: least number of seconds between two lines.
  """

  def __init__(self, report, total: int, every: float = 60.0):
    self._report, self._total, self._every = report, total, every
    self._last: float | None = None

  def update(self, done: int, seconds: float, state: str) -> None:
    """Reports a line, unless the last one is less than `every` seconds old.

    Args:
      done: number of finished iterations.
      seconds: duration of one iteration.
      state: other values to show, such as losses.
    """
    now = time.monotonic()
    if self._last is not None and now - self._last < self._every:
      return
    self._last = now
    left = tqdm.format_interval((self._total - done) * seconds)
    self._report(
      f"iteration {done} of {self._total}: {state}, {seconds:.3g} s each, about {left} left"
    )
