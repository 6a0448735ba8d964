"""Signs of life from calls that tell nothing about how far they are."""

import contextlib
import sys
import threading
import time

from tqdm import tqdm


@contextlib.contextmanager
def ticking(description: str, every: float = 1.0):
  """Shows on stderr how long the block has been running: "compiling the iteration: 00:23".

  The line is drawn again while the block runs and stays when it ends, well or not. Where stderr is
  no terminal one line at the beginning takes its place, so that a log is not filled. Lines of
  `door.report` go above it.

  Args:
    description: what the block does.
    every: seconds between two drawings.
  """
  if not sys.stderr.isatty():
    with contextlib.suppress(OSError):  # its terminal has closed, or its disk is full
      print(f"{description} ...", file=sys.stderr, flush=True)
    yield
    return
  ended = threading.Event()
  bar = tqdm(desc=description, bar_format="{desc}: {elapsed}", dynamic_ncols=True, file=sys.stderr)

  def tick():
    while not ended.wait(every):
      bar.refresh()

  # A thread, because the block may be one call; XLA lets go of Python's lock while it compiles.
  # A daemon, so that a process told to leave at once does not wait for it.
  thread = threading.Thread(target=tick, daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    bar.close()


class Lines:
  """Tells how far a loop is where no progress bar is shown: a line a minute, the first at once.

  A bar would be drawn ten times a second, and each drawing stays in a log file.

  Args:
    report: receives the lines.
    total: number of iterations.
    every: seconds between two lines.
  """

  def __init__(self, report, total: int, every: float = 60.0):
    self._report, self._total, self._every = report, total, every
    self._last: float | None = None

  def tell(self, done: int, seconds: float, state: str) -> None:
    """Reports unless it did so a short while ago.

    Args:
      done: iterations so far.
      seconds: that one takes.
      state: what else is worth a look, such as losses.
    """
    now = time.monotonic()
    if self._last is not None and now - self._last < self._every:
      return
    self._last = now
    left = tqdm.format_interval((self._total - done) * seconds)
    self._report(
      f"iteration {done} of {self._total}: {state}, {seconds:.3g} s each, about {left} left"
    )
