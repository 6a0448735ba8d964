"""A rehearsal of accidents: of processes that train together, two are killed, then one is stopped.

`launch/rehearsal.sh` by itself runs four processes. Here it runs two, which compile and start in
half the time.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def rehearse(*arguments, timeout=60):
  """Runs the script; returns (exit code, stdout, stderr)."""
  done = subprocess.run(
    [ROOT / "launch/rehearsal.sh", *map(str, arguments)],
    env={**os.environ, "VIDGAN_JAX_PYTHON": sys.executable},
    capture_output=True,
    text=True,
    timeout=timeout,
  )
  return done.returncode, done.stdout, done.stderr


def test_after_a_kill_and_a_stop_the_end_is_that_of_a_run_left_alone(tmp_path):
  code, told, errors = rehearse(tmp_path / "a folder", "--processes=2", timeout=2000)
  assert code == 0, told + errors + (tmp_path / "a folder/disturbed.txt").read_text()[-3000:]
  host = re.escape(os.uname().nodename)
  killed = re.search(r"SIGKILL for process 1 \(pid (\d+)\), after iteration (\d+)", told)
  named = re.search(rf"WARNING: process 1 on {host} \(pid (\d+), iteration \d+, \w+\) has", told)
  assert killed[1] == named[1]  # process 0 names the right one
  assert re.search(r"process 1 ended with 137\n\s+process 0 ended with 1\n", told)
  assert re.search(r"babysit, .*: ended with 137: crash 1 of 3 in a row", told)
  leader = re.search(r"SIGKILL for process 0 \(pid (\d+)\), after iteration (\d+)", told)
  named = (
    f"process 0, which JAX calls the leader task, is on {os.uname().nodename} (pid {leader[1]})"
  )
  assert named in told
  assert re.search(r"JAX: ...Either the leader task was preempted/died|WARNING: process 0 on", told)
  assert re.search(r"process 0 ended with 137\n\s+process 1 ended with (1|134)\n", told)
  assert re.search(r"babysit, .*: ended with 137: crash ([12]) of 3 in a row, 2 of 20", told)
  assert len(re.findall(r"\d+ s later the others say", told)) == 2
  *restored, stopped = map(
    int, re.findall(r"continuing from the checkpoint at iteration (\d+)", told)
  )
  # The newest checkpoint before each kill; one may still have been on its way to the disk.
  for after, restart in zip(map(int, (killed[2], leader[2])), restored, strict=True):
    assert restart % 20 == 0 and after - 40 < restart <= after
  assert re.search(rf"stopped by a signal: saved at iteration {stopped};", told)
  assert told.count("ended with 75") == 3  # both processes, and babysit.sh
  assert "babysit" in told and "done, after 4 starts" in told
  assert re.search(r"\d{2,} arrays of \d{5,} bytes at iteration 240, 0 of them differ: none", told)
  assert "logs of 240 and 240 iterations: colours of the real clips equal, losses and all" in told


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--processes=1"], "usage: launch/rehearsal.sh"),
    (["--processes=17"], "usage: launch/rehearsal.sh"),
    (["--processes=x"], "usage: launch/rehearsal.sh"),
    (["a", "b"], "usage: launch/rehearsal.sh"),
    ([ROOT], f"{ROOT} exists; name a new folder"),
  ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, words):
  code, told, errors = rehearse(*arguments)
  assert (code, told) == (2, "")
  assert errors.startswith(f"error: {words}") and errors.count("\n") == 1
