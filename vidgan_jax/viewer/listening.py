"""What `web` checks before it imports JAX and Gradio: the library, the folders, the port."""

import contextlib
import importlib.util
import ipaddress
import os
import socket
from collections.abc import Iterator

from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.viewer.request import Request


def check(request: Request) -> None:
  """UserError if Gradio is missing, or a value of the request is not allowed."""
  requests.check(request)
  if not request.workdirs or not all(request.workdirs):
    raise UserError("--workdir is empty; name folders of runs or exported models")
  folders = [os.path.realpath(folder) for folder in request.workdirs]
  for folder in request.workdirs:
    if folders.count(os.path.realpath(folder)) > 1:
      raise UserError(f"--workdir names {folder} twice")
  if importlib.util.find_spec("gradio") is None:
    raise UserError("web needs Gradio: pip install -r requirements-web.txt, or vidgan_jax[web]")


@contextlib.contextmanager
def opened(host: str, port: int) -> Iterator[socket.socket]:
  """A socket that listens at `host`:`port`; UserError if this is not possible."""
  try:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.create_server(address[:2], family=family)
  except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
    reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
    raise UserError(
      f"cannot listen at --host={host} --port={port}: {reason}; --port=0 takes a free port"
    ) from error
  with listener:
    yield listener


def address(listener: socket.socket) -> str:
  """The address to open in a browser."""
  host, port = listener.getsockname()[:2]
  if host in ("0.0.0.0", "::"):
    host = socket.gethostname()
  return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(listener: socket.socket) -> bool:
  """Whether only programs of this machine can connect."""
  return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
