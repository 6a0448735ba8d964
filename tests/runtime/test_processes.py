"""Several processes: how they connect, and how they compare their folders."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import pytest

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError

# The program of each of two processes. It prints one line per folder, and one for the last call.
PROGRAM = """
import sys
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import Stopped, Unavailable, UserError

processes._SECONDS_TO_APPEAR = 0.5
processes.start(sys.argv[1], 2, int(sys.argv[2]))

def try_action(action, *arguments):
  try:
    action(*arguments)
    print("passed")
  except (UserError, Stopped, OSError) as error:
    print(type(error).__name__, error)

def fail(error):
  raise error

for folder in sys.argv[3:]:
  try_action(processes.share_a_folder, folder, "workdir")
for error in (UserError("wrong"), Stopped("dark"), Unavailable("away"), OSError("broken")):
  try_action(processes.in_first, lambda: fail(error))
"""
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTPS_PROXY", "no_proxy")


@pytest.mark.parametrize("arguments", [("localhost:1", 2, 1), ("auto", None, None)])
def test_processes_do_not_communicate_through_a_proxy(monkeypatch, arguments):
  """A proxy would not pass their messages on, and each process would wait for minutes."""
  for name in PROXIES:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
  seen = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda *_: seen.append(dict(os.environ)))
  processes.start(*arguments)
  (environment,) = seen
  assert not set(PROXIES) & set(environment)


def test_a_single_process_keeps_its_proxies(monkeypatch):
  monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
  processes.start(None, None, None)
  assert os.environ["https_proxy"] == "http://127.0.0.1:9"


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ((None, 2, 0), "need --coordinator"),
    (("host", 2, 0), "must be host:port or auto"),
    *(((address, 2, 0), "port from 1 to 65535") for address in ("h:x", "h:0", "h:99999", "h:-5")),
    *(((a, 2, 0), "must be host:port or auto") for a in (":80", "::1", "http://h:80", "h :80")),
    (("host:1", None, 0), "--num_processes"),
    (("host:1", 2, 2), "is not one of 2"),
    (("host:1", 2, -1), "is not one of 2"),
  ],
)
def test_wrong_arguments_are_one_line(arguments, words):
  with pytest.raises(UserError, match=words):
    processes.start(*arguments)


def test_all_processes_refuse_folders_that_they_do_not_share(tmp_path):
  """Also if the system refuses to look for the folder, and if only process 0 fails."""
  shared, separate, too_long = tmp_path / "shared", tmp_path / "separate", tmp_path / ("x" * 300)
  others = [[shared, tmp_path / "a", separate], [shared, tmp_path / "b", too_long]]
  with socket.create_server(("localhost", 0)) as server:
    address = f"localhost:{server.getsockname()[1]}"
  # One device for each process.
  flags = " ".join(f for f in os.environ["XLA_FLAGS"].split() if "device_count" not in f)
  started = [
    subprocess.Popen(
      [sys.executable, "-c", PROGRAM, address, str(number), *map(str, folders)],
      cwd=pathlib.Path(__file__).parents[2],
      env={**os.environ, "XLA_FLAGS": flags},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number, folders in enumerate(others)
  ]
  try:
    outputs = [process.communicate(timeout=120) for process in started]
  finally:
    for process in started:
      process.kill()
  assert [process.returncode for process in started] == [0, 0], outputs
  for (out, _), folders in zip(outputs, others, strict=True):
    lines = [line for line in out.splitlines() if not line.startswith("[Gloo]")]
    assert lines[0] == "passed"
    for line, folder in zip(lines[1:3], folders[1:], strict=True):
      assert line.startswith(f"UserError the workdir {folder} of process 1 is not the folder that ")
  # All processes end with one exit code if only process 0 fails.
  of_first, of_second = (out.splitlines()[-4:] for out, _ in outputs)
  assert of_first == ["UserError wrong", "Stopped dark", "Unavailable away", "OSError broken"]
  kinds = ("UserError", "Stopped", "Unavailable", "Unavailable")
  assert of_second == [f"{kind} process 0 failed; its own message says why" for kind in kinds]
  assert not list(tmp_path.glob("*/.shared_*"))
