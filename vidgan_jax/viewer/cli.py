"""What the command `web` does: opens the runs, and serves the page until it is stopped."""

import signal
import socket
from collections.abc import Callable
from typing import Any

from vidgan_jax.runtime.files import temporary
from vidgan_jax.viewer import listening
from vidgan_jax.viewer.kept_clips import KeptClips
from vidgan_jax.viewer.opened import Opened
from vidgan_jax.viewer.request import Request
from vidgan_jax.viewer.studio import Studio


def serve(request: Request, listener: socket.socket, report: Callable[[str], None] = print) -> None:
  """Serves the page; returns when the server was asked to stop.

  Args:
    request: the command's settings.
    listener: a socket that listens, see `listening.opened`.
    report: called with lines for the user.

  Raises:
    UserError: a run cannot be opened.
    KeyboardInterrupt: Ctrl-C.
  """
  opened = Opened(
    request.workdirs, live=request.live, standing_passes=request.standing_passes, report=report
  )
  with temporary.folder("vidgan_web_") as folder:
    studio = Studio(opened, KeptClips(folder))
    from vidgan_jax.viewer import server  # imports Gradio, which takes seconds

    loopback = listening.is_loopback(listener)
    made = server.make(studio, hosts=("127.0.0.1", "localhost", "[") if loopback else ("*",))
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
      if not loopback:
        report("WARNING: others can open this page; it has no password")
      report(f"the page is at {listening.address(listener)} until Ctrl-C")
      server.run(made, listener)
    finally:
      signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: Any) -> None:
  del frame
  temporary.exit_at_once(128 + number)
