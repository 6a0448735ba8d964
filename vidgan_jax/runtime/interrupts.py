"""Ctrl-C in a command, from its first import to its exit: prints "interrupted", exits with 130.

KeyboardInterrupt alone is not enough. During an import, the imported module may turn it into
another error or ignore it. During a computation, Python's shutdown may free what threads still use,
which ends in a segmentation fault. So the process ends with `os._exit`, which skips the shutdown.
Only while `main` of the command runs is KeyboardInterrupt raised first, so that it can clean up.
"""

import contextlib
import os
import signal
import sys

EXIT_CODE = 130
_running = False  # whether `main` of a command runs, which cleans up on KeyboardInterrupt


def watch() -> None:
  """Replaces Python's handler of Ctrl-C. A command calls it before it imports anything else."""
  # If SIGINT is ignored, as in a script's background jobs, it stays ignored.
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _handle)


def begin() -> None:
  """From now on Ctrl-C raises KeyboardInterrupt. During an import it still ends the process.

  The caller must catch KeyboardInterrupt and call `leave`.
  """
  global _running
  watch()
  _running = True
  show, show_unraisable = sys.excepthook, sys.unraisablehook

  def hook(kind, error, trace):
    show(kind, error, trace) if not caused(error) else leave()

  def unraisable_hook(unraisable):
    show_unraisable(unraisable) if not caused(unraisable.exc_value) else leave()

  # Python cannot raise KeyboardInterrupt out of a library's callback; it only prints it.
  sys.excepthook, sys.unraisablehook = hook, unraisable_hook


def leave() -> None:
  """Prints "interrupted" and ends the process with code 130, without waiting for threads."""
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):
      stream.flush()
  with contextlib.suppress(OSError):
    os.write(2, b"interrupted\n")
  # Not imported here: the interrupted import may be its own. Without it, no folder exists.
  temporary = sys.modules.get("vidgan_jax.runtime.files.temporary")
  getattr(temporary, "exit_at_once", os._exit)(EXIT_CODE)


def caused(error: BaseException) -> bool:
  """Whether KeyboardInterrupt is this error, or in its chain of causes."""
  seen = set()
  while error is not None and id(error) not in seen:
    if isinstance(error, KeyboardInterrupt):
      return True
    seen.add(id(error))
    error = error.__cause__ or error.__context__
  return False


def _handle(number, frame):
  del number
  if _running and not _importing(frame):
    raise KeyboardInterrupt
  leave()


def _importing(frame) -> bool:
  """Whether an import is in progress in this stack frame or in one that called it."""
  while frame is not None:
    if frame.f_code.co_filename.startswith("<frozen importlib"):
      return True
    frame = frame.f_back
  return False
