"""For tests that compare one process with two: the test's own file is the program that both run."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

from absl import app, flags

from vidgan_jax.runtime import processes

_ROOT = pathlib.Path(__file__).parents[1]
_LIMIT = 400  # seconds


def run(program: str, folder: pathlib.Path, *, devices: int) -> str:
  """Runs a Python file in two processes that compute together.

  Args:
    program: the file. It calls `main`.
    folder: where the program reads its input and writes its results.
    devices: number of CPU devices of each process.

  Returns:
    What process 0 prints.
  """
  name = "--xla_force_host_platform_device_count"
  others = [f for f in os.environ["XLA_FLAGS"].split() if not f.startswith(name)]
  done = subprocess.run(
    [_ROOT / "launch/local_multiprocess.sh", "2", sys.executable, program, f"--folder={folder}"],
    env={
      **os.environ,
      "PYTHONPATH": str(_ROOT),
      "XLA_FLAGS": " ".join([*others, f"{name}={devices}"]),
    },
    capture_output=True,
    text=True,
    timeout=_LIMIT,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def main(work: Callable[[pathlib.Path], None]) -> None:
  """Joins the other process, then calls `work` with the folder that `run` received."""
  folder = flags.DEFINE_string("folder", None, "Input and results.")
  coordinator = flags.DEFINE_string("coordinator", None, "Address of process 0.")
  number = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
  index = flags.DEFINE_integer("process_id", None, "Index of this process.")

  def start(_):
    processes.start(coordinator.value, number.value, index.value)
    work(pathlib.Path(folder.value))

  app.run(start)
