"""Leaving cleanly when the machine is taken away (SIGTERM) or the user has had enough (SIGINT)."""

import contextlib
import os
import signal
import threading


class Preemption:
  """Notes SIGTERM and SIGINT so that a loop can save and leave.

  A context manager. `requested` turns true at the first signal; the second one of a user's Ctrl-C
  acts as usual. Python runs signal handlers only between its own instructions, and compiling a
  program is one of them that may take minutes: inside `nothing_to_lose` a signal therefore ends the
  process at once, with exit code 0, from a thread.

  Args:
    report: called with a line where the process ends at once.
    watch: off leaves signals alone; of several processes `runtime.processes` watches.
  """

  def __init__(self, report=print, *, watch: bool = True):
    self.requested = False
    self._handled = False  # by the handler; the watching thread may note a signal before it
    self._report, self._watches = report, watch
    self._idle = False
    self._lock = threading.Lock()
    self._old = {}

  def __enter__(self):
    if not self._watches or threading.current_thread() is not threading.main_thread():
      return self  # signals belong to the main thread: an embedding program handles them
    self._read, self._write = os.pipe()
    os.set_blocking(self._write, False)
    self._old_fd = signal.set_wakeup_fd(self._write)
    for number in (signal.SIGTERM, signal.SIGINT):
      self._old[number] = signal.signal(number, self._handle)
    threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, *_):
    for number, handler in self._old.items():
      signal.signal(number, handler)
    if self._old:
      signal.set_wakeup_fd(self._old_fd)
      os.close(self._write)  # ends the thread, which closes its own side
      self._old = {}

  def _handle(self, number, frame):
    del frame
    if self._handled and number == signal.SIGINT:
      raise KeyboardInterrupt
    self._handled = self.requested = True

  def _watch(self):
    while data := os.read(self._read, 16):
      if not set(data) & {signal.SIGTERM, signal.SIGINT}:
        continue
      with self._lock:
        self.requested = True
        if self._idle:
          self._report("stopped before the next iteration; nothing was lost")
          os._exit(0)
    os.close(self._read)

  @contextlib.contextmanager
  def nothing_to_lose(self):
    """Within it a signal ends the process at once."""
    with self._lock:
      self._idle = True
      if self.requested:
        self._report("stopped before the next iteration; nothing was lost")
        os._exit(0)
    try:
      yield
    finally:
      with self._lock:
        self._idle = False
