"""Ctrl-C in a command, from its first import to its exit: one word, no traceback, exit code 130.

An interruption amid an import becomes whatever the module that was imported makes of it, and one
amid a computation may end in a segmentation fault, when Python takes down what threads still use.
So a command ends at once, without Python's way out, wherever nothing needs to be tidied up.
"""

import contextlib
import os
import signal
import sys

EXIT_CODE = 130
_running = False  # whether `main` of a command runs, which tidies up on KeyboardInterrupt


def watch() -> None:
  """Takes Ctrl-C over from Python; for a command that is starting, before it imports anything."""
  # Where it is ignored, as in the background of a script, it stays ignored.
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _handle)


def begin() -> None:
  """From here on KeyboardInterrupt is raised, but amid imports, and the caller calls `leave`."""
  global _running
  watch()
  _running = True
  show, show_unraisable = sys.excepthook, sys.unraisablehook

  def hook(kind, error, trace):
    show(kind, error, trace) if not caused(error) else leave()

  def unraisable_hook(given):
    show_unraisable(given) if not caused(given.exc_value) else leave()

  # Amid a callback of a library KeyboardInterrupt goes no further: it is printed and forgotten.
  sys.excepthook, sys.unraisablehook = hook, unraisable_hook


def leave() -> None:
  """Ends the process, without waiting for threads."""
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):
      stream.flush()
  with contextlib.suppress(OSError):
    os.write(2, b"interrupted\n")
  os._exit(EXIT_CODE)


def caused(error: BaseException) -> bool:
  """Whether an interruption led to this error."""
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
  while frame is not None:
    if frame.f_code.co_filename.startswith("<frozen importlib"):
      return True
    frame = frame.f_back
  return False
