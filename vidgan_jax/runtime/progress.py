"""Signs of life from calls that tell nothing about how far they are."""

import contextlib
import sys
import threading

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
