"""Runs the programs of the league one at a time, and passes the signals on that stop it."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence

import settings

from vidgan_jax.runtime.errors import UserError

HERE = pathlib.Path(__file__).resolve().parent
STOPPED = 75  # exit code of a training that a signal stopped


class Interrupted(Exception):
  """A signal asks the league to stop; what it has done is kept."""


@dataclasses.dataclass(frozen=True)
class Done:
  """A program that has ended.

  Attributes:
    code: its exit code.
    seconds: its processor time, of all threads.
    peak_bytes: its largest resident memory.
  """

  code: int
  seconds: float
  peak_bytes: int


def run(command: Sequence[str], log: pathlib.Path) -> Done:
  """Runs a program with JAX on the CPU; its output is appended to `log`.

  SIGTERM and Ctrl-C reach the program as SIGTERM, upon which training saves a checkpoint.

  Raises:
    Interrupted: such a signal came.
  """
  asked = []
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": os.pathsep.join(filter(None, (str(settings.ROOT), os.getenv("PYTHONPATH")))),
  }
  log.parent.mkdir(parents=True, exist_ok=True)
  with open(log, "a", encoding="utf-8") as output:
    child = subprocess.Popen(
      command,
      stdout=output,
      stderr=subprocess.STDOUT,
      env=environment,
      start_new_session=True,  # Ctrl-C of a terminal reaches this process alone
    )

    def stop(number: int, frame: object) -> None:
      del number, frame
      asked.append(True)
      child.send_signal(signal.SIGTERM)

    old = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
      _, status, usage = os.wait4(child.pid, 0)
    finally:
      for number, handler in old.items():
        signal.signal(number, handler)
    child.returncode = code = os.waitstatus_to_exitcode(status)
  if asked:
    raise Interrupted
  return Done(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def run_job(program: str, job: dict, log: pathlib.Path) -> Done:
  """Runs a program of this folder with a job in a JSON file next to `log`; see `run`."""
  file = log.with_suffix(f".{program}.json")
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(job, indent=1), encoding="utf-8")
  return run([sys.executable, str(HERE / f"{program}.py"), f"--job={file}"], log)


def check(done: Done, what: str, log: pathlib.Path) -> Done:
  """Returns `done`; UserError with the end of the log if the program failed."""
  if done.code:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    raise UserError(f"{what} ended with exit code {done.code}; the end of {log}: {lines}")
  return done
