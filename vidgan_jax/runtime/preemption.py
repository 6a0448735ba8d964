"""Leaving cleanly when the machine is taken away, the terminal closes, or the user asks for it."""

import contextlib
import os
import signal
import threading

EXIT_CODE = os.EX_TEMPFAIL  # 75, of a process that a signal stopped: the same command continues
_ALWAYS = (signal.SIGTERM, signal.SIGINT)
# Handled only where they would end the process, which they do by default. A terminal or an ssh
# session that closes sends SIGHUP, and nohup ignores it. Schedulers warn before a time limit: Slurm
# with the signal that --signal names, mostly SIGUSR1; Grid Engine with SIGUSR1, SIGUSR2 or SIGXCPU.
_WHERE_DEFAULT = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


def leave_before_training(report=print) -> None:
  """Before and after a `Preemption` watches, SIGTERM ends the process with `EXIT_CODE`."""

  def leave(number, frame):
    del number, frame
    report("stopped by a signal while nothing was trained; the same command continues")
    os._exit(EXIT_CODE)

  if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
    signal.signal(signal.SIGTERM, leave)


class Preemption:
  """Notes signals that ask this process to end, so that a loop can save and leave.

  These are SIGTERM and SIGINT, and SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU unless they are ignored or
  handled already.

  A context manager. `requested` turns true at the first signal; the second one of a user's Ctrl-C
  acts as usual. Python runs signal handlers only between its own instructions, and compiling a
  program is one of them that may take minutes: inside `nothing_to_lose` a signal therefore ends the
  process at once, with `EXIT_CODE`, from a thread.

  Args:
    report: called with a line where the process ends at once.
    watch: off where several processes train together. `runtime.processes` watches SIGTERM there;
      SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU are passed on to it as SIGTERM.
  """

  def __init__(self, report=print, *, watch: bool = True):
    self.requested = False
    self._handled = False  # by the handler; the watching thread may note a signal before it
    self._report, self._watches = report, watch
    self._idle = False
    self._lock = threading.Lock()
    self._old = {}

  def __enter__(self):
    if threading.current_thread() is not threading.main_thread():
      return self  # signals belong to the main thread: an embedding program handles them
    default = [n for n in _WHERE_DEFAULT if signal.getsignal(n) == signal.SIG_DFL]
    if not self._watches:
      for number in default:
        self._old[number] = signal.signal(number, _pass_on)
      return self
    self._read, self._write = os.pipe()
    os.set_blocking(self._write, False)
    self._old_fd = signal.set_wakeup_fd(self._write)
    for number in (*_ALWAYS, *default):
      self._old[number] = signal.signal(number, self._handle)
    threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, *_):
    for number, handler in self._old.items():
      signal.signal(number, handler)
    if self._old and self._watches:
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
      if not set(data) & self._old.keys():
        continue
      with self._lock:
        self.requested = True
        if self._idle:
          self._report("stopped before the next iteration; nothing was lost")
          os._exit(EXIT_CODE)
    os.close(self._read)

  @contextlib.contextmanager
  def nothing_to_lose(self):
    """Within it a signal ends the process at once."""
    with self._lock:
      self._idle = True
      if self.requested:
        self._report("stopped before the next iteration; nothing was lost")
        os._exit(EXIT_CODE)
    try:
      yield
    finally:
      with self._lock:
        self._idle = False


def _pass_on(number, frame):
  """Sends this process the SIGTERM that `runtime.processes` watches."""
  del number, frame
  os.kill(os.getpid(), signal.SIGTERM)
