"""Commands whose output is closed or full, or whose environment changes settings of JAX."""

import os
import pathlib
import pty
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Reports, waits for a line on stdin, reports again, and writes a file if it reaches its end.
DOOR = '''"""A command."""
import contextlib, os, sys
from absl import flags
from vidgan_jax.runtime import door, progress

_OUTPUT = flags.DEFINE_string("output", None, "File to write.")

def main(argv):
  del argv
  door.report("first")
  descriptor = os.open(_OUTPUT.value, os.O_WRONLY | os.O_CREAT)
  sys.stdin and sys.stdin.readline()
  for number in (1, 2):
    with contextlib.suppress(OSError):
      os.write(number, b"a line of a library in C")
  with progress.ticking("working"):
    door.report("second")
  os.write(descriptor, b"the end")

if __name__ == "__main__":
  door.run(main)
'''


@pytest.fixture
def command(tmp_path):
  (tmp_path / "door.py").write_text(DOOR)
  return f"{sys.executable} {tmp_path}/door.py --output={tmp_path}/output"


def shell(command, **more):
  environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
  return subprocess.run(
    command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
  )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error_and_nothing_is_printed_into_files(tmp_path, command, closed):
  result = shell(f"{command} {closed}")
  assert result.returncode == 0, result.stderr
  assert (tmp_path / "output").read_text() == "the end"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_does_not_end_the_program(tmp_path, command):
  result = shell(f"{command} >/dev/full </dev/null")
  assert result.returncode == 0, result.stderr
  assert (tmp_path / "output").read_text() == "the end"
  warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
  assert len(warnings) == 1 and "No space left" in warnings[0]


def test_a_terminal_that_closes_does_not_end_the_program(tmp_path, command):
  """For a program in its own session, as started with setsid."""
  terminal, program_side = pty.openpty()
  process = subprocess.Popen(
    command.split(),
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdin=subprocess.PIPE,
    stdout=program_side,
    stderr=program_side,
    start_new_session=True,
  )
  os.close(program_side)
  assert os.read(terminal, 5) == b"first"
  os.close(terminal)
  process.communicate(b"\n", timeout=60)
  assert process.returncode == 0
  assert (tmp_path / "output").read_text() == "the end"


SETTINGS = '''"""A command."""
from vidgan_jax.runtime import door

def main(argv):
  import jax
  print(jax.config.jax_threefry_partitionable, jax.config.jax_default_prng_impl,
        jax.config.jax_numpy_dtype_promotion, jax.config.jax_numpy_rank_promotion)

if __name__ == "__main__":
  door.run(main)
'''


@pytest.mark.parametrize(
  "name, value, warns",
  [
    ("JAX_THREEFRY_PARTITIONABLE", "0", True),
    ("JAX_THREEFRY_PARTITIONABLE", "true", False),
    ("JAX_DEFAULT_PRNG_IMPL", "rbg", True),
    ("JAX_NUMPY_DTYPE_PROMOTION", "strict", True),
    ("JAX_NUMPY_RANK_PROMOTION", "raise", True),
    ("JAX_NUMPY_RANK_PROMOTION", "allow", False),
  ],
)
def test_settings_of_jax_that_change_a_run_are_ignored(tmp_path, name, value, warns):
  (tmp_path / "door.py").write_text(SETTINGS)
  result = shell(f"{sys.executable} {tmp_path}/door.py", **{name: value})
  assert (result.returncode, result.stdout) == (0, "True threefry2x32 standard allow\n")
  assert ("WARNING" in result.stderr, name in result.stderr) == (warns, warns)
