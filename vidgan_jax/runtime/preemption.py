"""Signals that ask training to stop: preemption, a closed terminal, a time limit, Ctrl-C."""

import contextlib
import os
import signal
import threading

from vidgan_jax.runtime.files import temporary

EXIT_CODE = os.EX_TEMPFAIL  # 75: a signal stopped training, and the same command continues it
_ALWAYS = (signal.SIGTERM, signal.SIGINT)
# Handled only if their default action, which ends the process, is still set. A terminal or an ssh
# session that closes sends SIGHUP; nohup ignores it. Schedulers warn before a time limit: Slurm
# with the signal in --signal, mostly SIGUSR1; Grid Engine with SIGUSR1, SIGUSR2 or SIGXCPU.
_IF_DEFAULT = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


def exit_on_sigterm(report=print) -> None:
  """Makes SIGTERM end the process with `EXIT_CODE` while no `Preemption` is active.

  Does nothing if SIGTERM is ignored or already handled.
  """

  def leave(number, frame):
    del number, frame
    report("stopped by a signal, outside of training; the same command continues")
    temporary.exit_at_once(EXIT_CODE)

  if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
    signal.signal(signal.SIGTERM, leave)


class Preemption:
  """A context manager that records signals, so that the training loop can save and exit.

  The signals are SIGTERM and SIGINT, and SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU unless they are
  ignored or already handled.

  `requested` becomes true at the first signal. A second SIGINT (Ctrl-C) raises KeyboardInterrupt.
  Python runs signal handlers only between its own instructions, and a single instruction that
  compiles a program may take minutes. Inside `nothing_to_lose`, a thread therefore ends the process
  at once with `EXIT_CODE`.

  Args:
    report: called with a line if the process ends at once.
    watch: False if several processes train together. JAX's coordination service watches SIGTERM
      then (`processes.stop_requested`); the handlers here pass SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU
      on to it as SIGTERM.
  """

  def __init__(self, report=print, *, watch: bool = True):
    self.requested = False
    self._handled = False  # set by the handler; the thread may see a signal before it
    self._report, self._watches = report, watch
    self._exit_at_once = False
    self._lock = threading.Lock()
    self._old = {}

  def __enter__(self):
    if threading.current_thread() is not threading.main_thread():
      return self  # only the main thread can handle signals; the embedding program does so
    default = [n for n in _IF_DEFAULT if signal.getsignal(n) == signal.SIG_DFL]
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
      os.close(self._write)  # ends the thread, which closes the other end of the pipe
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
        if self._exit_at_once:
          self._report("stopped before the next iteration; nothing was lost")
          temporary.exit_at_once(EXIT_CODE)
    os.close(self._read)

  @contextlib.contextmanager
  def nothing_to_lose(self):
    """A context manager within which a signal ends the process at once, without saving."""
    with self._lock:
      self._exit_at_once = True
      if self.requested:
        self._report("stopped before the next iteration; nothing was lost")
        temporary.exit_at_once(EXIT_CODE)
    try:
      yield
    finally:
      with self._lock:
        self._exit_at_once = False


def _pass_on(number, frame):
  """Sends SIGTERM to this process, which JAX's coordination service watches."""
  del number, frame
  os.kill(os.getpid(), signal.SIGTERM)
