r"""Kills one of four processes, stops another, and lets babysit.sh finish; compares the end.

  python tests/soak/four_processes.py [--iterations=60] [--processes=4] [--folder=DIR]

Four processes on this machine train a tiny model together and are left alone. Four others, of the
same config, run under launch/babysit.sh. One of them is killed (SIGKILL) and, after the next start,
one receives SIGTERM, which stops all with 75. babysit.sh must start them three times in all and end
with 0. Afterwards both runs must hold the same state to the bit, the same log and the same sample
pictures. The exit code is 0 if all of that holds, else 1. If no iteration ends for --patience
seconds, the processes print their stacks and are ended, and the exit code is 1. The four processes
start four times in all: minutes on two free CPU cores, half as long with --processes=2. Gloo, which
connects them, waits 30 s for the slowest of them. Without free cores that may be too short, and the
run that is left alone ends with 1.
"""

import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from kills_and_starts import ROOT, TINY, differences, steps_logged

os.environ["PYTHONFAULTHANDLER"] = "1"  # SIGABRT prints the stacks of a process


class Hung(Exception):
  """No process makes progress."""


def command(options: argparse.Namespace, workdir: pathlib.Path) -> list:
  fields = {**TINY, "num_iterations": options.iterations}
  return [
    *(ROOT / "launch/local_multiprocess.sh", str(options.processes)),
    *(sys.executable, "-m", "vidgan_jax.train"),
    *(f"--config={ROOT / 'configs' / 'quickstart.py'}:runlocal", f"--workdir={workdir}"),
    *(f"--config.{name}={value}" for name, value in fields.items()),
  ]


def pid_of(workdir: pathlib.Path, number: int) -> int | None:
  """The process that trains in this folder with this number."""
  for folder in pathlib.Path("/proc").iterdir():
    if not folder.name.isdigit():
      continue
    try:
      words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended meanwhile
      continue
    if {f"--workdir={workdir}", f"--process_id={number}", "vidgan_jax.train"} <= set(words):
      return int(folder.name)
  return None


def wait(
  options: argparse.Namespace,
  process: subprocess.Popen,
  workdir: pathlib.Path,
  enough: Callable[[int], bool] = lambda steps: False,
) -> None:
  """Waits until `process` has ended, or until `enough` of the number of logged iterations.

  Raises:
    Hung: no iteration has ended for `options.patience` seconds. All processes are ended then.
  """
  seen, since = None, time.monotonic()
  while process.poll() is None and not enough(steps := steps_logged(workdir)):
    if steps != seen:
      seen, since = steps, time.monotonic()
    if time.monotonic() - since > options.patience:
      for pid in filter(None, [pid_of(workdir, number) for number in range(options.processes)]):
        with contextlib.suppress(ProcessLookupError):
          os.kill(pid, signal.SIGABRT)
      process.terminate()  # babysit.sh must not start them again
      process.wait()
      raise Hung(f"no iteration has ended for {options.patience:.0f} s, after {steps}")
    time.sleep(0.02)


def disturb(options: argparse.Namespace, workdir: pathlib.Path) -> str:
  """Runs babysit.sh, kills a process and stops another; returns the output."""
  out = workdir.parent / "babysit.out"
  with open(out, "wb") as stream:
    babysit = subprocess.Popen(
      [ROOT / "launch/babysit.sh", "--pause=1", *command(options, workdir)],
      cwd=ROOT,
      stdout=stream,
      stderr=subprocess.STDOUT,
    )
  count = options.processes
  # JAX looks for SIGTERM once a second, and the run must not have ended by then.
  for number, how, after in (
    (count // 2, signal.SIGKILL, 1 / 6),
    (count - 1, signal.SIGTERM, 1 / 3),
  ):
    least = after * options.iterations
    wait(options, babysit, workdir, lambda steps, least=least: steps >= least)
    pid = pid_of(workdir, number)
    print(f"{how.name} for process {number} after {steps_logged(workdir)} iterations", flush=True)
    if pid is not None:
      os.kill(pid, how)
  wait(options, babysit, workdir)
  return out.read_text(errors="replace")


def main() -> int:
  """Runs all; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--iterations", type=int, default=60)
  parser.add_argument("--processes", type=int, default=4, help="2 or more")
  parser.add_argument("--patience", type=float, default=1800, help="seconds for an iteration")
  parser.add_argument("--folder", type=pathlib.Path, default=None, help="kept; default: removed")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    folder = (options.folder or pathlib.Path(temporary)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    try:
      alone = subprocess.Popen(command(options, folder / "alone"), cwd=ROOT)
      wait(options, alone, folder / "alone")
      print(
        f"left alone: exit code {alone.returncode}, {time.monotonic() - begin:.0f} s", flush=True
      )
      if alone.returncode:
        return 1
      output = disturb(options, folder / "disturbed")
    except Hung as hang:
      print(f"a hang: {hang}")
      return 1
    lines = [line for line in output.splitlines() if line.startswith("babysit, ")]
    print("\n".join(lines))
    ends = re.findall(r"ended with (\d+)", output)
    found = differences(folder / "alone", folder / "disturbed")
    print(f"differences from the run left alone: {len(found)}", *found, sep="\n  ")
    print(f"seconds {time.monotonic() - begin:.0f}")
  return int(bool(found) or ends != ["137", "75"] or "done, after 3 starts" not in output)


if __name__ == "__main__":
  sys.exit(main())
