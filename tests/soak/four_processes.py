r"""Kills one of four processes, stops another, and lets babysit.sh finish; compares the end.

  python tests/soak/four_processes.py [--iterations=40] [--folder=DIR]

Four processes on this machine train a tiny model together and are left alone. Four others, of the
same config, run under launch/babysit.sh. One of them is killed (SIGKILL) and, after the next start,
one receives SIGTERM, which stops all with 75. babysit.sh must start them three times in all and end
with 0. Afterwards both runs must hold the same state to the bit, the same log and the same sample
pictures. The exit code is 0 if all of that holds, else 1. Takes some minutes on two CPU cores.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from kills_and_starts import ROOT, TINY, differences, steps_logged

PROCESSES = 4


def command(workdir: pathlib.Path, iterations: int) -> list:
  fields = {**TINY, "num_iterations": iterations}
  return [
    *(ROOT / "launch/local_multiprocess.sh", str(PROCESSES)),
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


def disturb(workdir: pathlib.Path, iterations: int) -> str:
  """Runs babysit.sh, kills a process and stops another; returns the output."""
  out = workdir.parent / "babysit.out"
  with open(out, "wb") as stream:
    babysit = subprocess.Popen(
      [ROOT / "launch/babysit.sh", "--pause=1", *command(workdir, iterations)],
      cwd=ROOT,
      stdout=stream,
      stderr=subprocess.STDOUT,
    )
  for number, how, after in ((2, signal.SIGKILL, 1 / 4), (3, signal.SIGTERM, 1 / 2)):
    while steps_logged(workdir) < after * iterations and babysit.poll() is None:
      time.sleep(0.02)
    pid = pid_of(workdir, number)
    print(f"{how.name} for process {number} after {steps_logged(workdir)} iterations", flush=True)
    if pid is not None:
      os.kill(pid, how)
  babysit.wait()
  return out.read_text(errors="replace")


def main() -> int:
  """Runs all; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--iterations", type=int, default=40)
  parser.add_argument("--folder", type=pathlib.Path, default=None, help="kept; default: removed")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    folder = (options.folder or pathlib.Path(temporary)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    done = subprocess.run(command(folder / "alone", options.iterations), cwd=ROOT, check=False)
    print(f"left alone: exit code {done.returncode}, {time.monotonic() - begin:.0f} s", flush=True)
    if done.returncode:
      return 1
    output = disturb(folder / "disturbed", options.iterations)
    lines = [line for line in output.splitlines() if line.startswith("babysit, ")]
    print("\n".join(lines))
    ends = re.findall(r"ended with (\d+)", output)
    found = differences(folder / "alone", folder / "disturbed")
    print(f"differences from the run left alone: {len(found)}", *found, sep="\n  ")
    print(f"seconds {time.monotonic() - begin:.0f}")
  return int(bool(found) or ends != ["137", "75"] or "done, after 3 starts" not in output)


if __name__ == "__main__":
  sys.exit(main())
