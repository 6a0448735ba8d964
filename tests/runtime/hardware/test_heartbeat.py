"""Processes that die, hang and come back are reported by name."""

import json
import os
import time

import pytest

from vidgan_jax.runtime.errors import Stopped
from vidgan_jax.runtime.hardware import heartbeat
from vidgan_jax.runtime.hardware.heartbeat import Heartbeat

FAST = {"every": 0.02, "silent": 0.4, "stalled": 0.4}
SLOW = {"every": 0.2, "silent": 50, "stalled": 50}  # a process ends before its second beat


def wait_for(condition, limit=20.0):
  end = time.monotonic() + limit
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.01)


def write(folder, index, beat, iteration=5, doing="training"):
  content = {"host": f"machine-{index}", "pid": 70 + index, "beat": beat}
  path = folder / "alive" / f"{index}.json"
  temporary = path.with_suffix(".new")
  temporary.write_text(json.dumps(content | {"iteration": iteration, "doing": doing}))
  os.replace(temporary, path)


@pytest.mark.parametrize("watching", [0, 1])
def test_a_silent_process_is_reported_once_and_when_it_is_back(tmp_path, watching):
  lines, other = [], 1 - watching
  with Heartbeat(tmp_path, watching, 2, lines.append, **FAST):
    for beat in range(30):
      write(tmp_path, other, beat)
      time.sleep(0.02)
    named = ["process 0, which JAX calls the leader task, runs on machine-0 (pid 70)"]
    assert lines == named * watching
    lines.clear()
    wait_for(lambda: lines)
    time.sleep(0.5)
    (line,) = lines
    told = f"WARNING: process {other} on machine-{other} (pid {70 + other}, iteration 5, training) "
    assert line.startswith(told + "has shown no sign of life for ")
    write(tmp_path, other, 99)
    wait_for(lambda: len(lines) == 2)
    assert lines[1] == f"process {other} on machine-{other} is alive again"


@pytest.mark.parametrize("index", [1, 2])
def test_the_leader_is_named_once_and_not_by_what_an_earlier_start_has_left(tmp_path, index):
  lines = []
  (tmp_path / "alive").mkdir()
  write(tmp_path, 5, 90)
  os.replace(tmp_path / "alive" / "5.json", tmp_path / "alive" / "0.json")
  with Heartbeat(tmp_path, index, 3, lines.append, **FAST | {"silent": 50}):
    time.sleep(0.3)
    assert not lines
    for beat in range(5):
      write(tmp_path, 0, beat)
      time.sleep(0.1)
  assert lines == ["process 0, which JAX calls the leader task, runs on machine-0 (pid 70)"]


def test_a_process_that_ends_removes_its_file_and_is_not_reported(tmp_path):
  lines = []
  with Heartbeat(tmp_path, 0, 2, lines.append, **FAST):
    with Heartbeat(tmp_path, 1, 2, lines.append, **FAST):
      wait_for((tmp_path / "alive" / "1.json").exists)
      wait_for(lambda: lines)
    assert not (tmp_path / "alive" / "1.json").exists()
    time.sleep(0.8)
  (line,) = lines
  assert line.startswith("process 0, which JAX calls the leader task, runs on ")
  assert not (tmp_path / "alive").exists()


def test_a_process_that_fails_is_reported_at_once(tmp_path):
  lines = []
  with Heartbeat(tmp_path, 0, 2, lines.append, **FAST | {"silent": 50}):
    with pytest.raises(OSError), Heartbeat(tmp_path, 1, 2, lines.append, **FAST) as other:
      other.at(7, "input")
      raise OSError(28, "No space left on device")
    wait_for(lambda: lines)
  (line,) = lines
  assert line.startswith("WARNING: process 1 on ") and ", iteration 7, failed: OSError)" in line
  # A guard ends all processes in order, and a process alone has nobody who waits for it.
  for count, kind in ((2, Stopped), (1, OSError)):
    (tmp_path / str(count)).mkdir()
    with pytest.raises(kind), Heartbeat(tmp_path / str(count), 0, count, lines.append, **FAST):
      raise kind
    assert not (tmp_path / str(count) / "alive").exists()


def test_a_line_that_cannot_be_printed_does_not_end_the_beats(tmp_path):
  def report(line):
    raise BrokenPipeError

  with Heartbeat(tmp_path, 0, 2, report, **FAST) as alive:
    write(tmp_path, 1, 1)
    time.sleep(0.8)
    assert alive._thread.is_alive()
    before = alive._beat
    wait_for(lambda: alive._beat > before)


def test_processes_that_are_behind_are_named_when_an_iteration_does_not_end(tmp_path):
  lines = []
  with Heartbeat(tmp_path, 0, 4, lines.append, **FAST | {"silent": 50}) as alive:
    for index, (iteration, doing) in enumerate(((8, "training"), (7, "input"), (8, "hooks")), 1):
      write(tmp_path, index, 1, iteration, doing)
    alive.at(8, "saving")
    time.sleep(0.8)
    assert not lines  # saving may take long
    alive.at(8, "training")
    wait_for(lambda: lines)
    (line,) = lines
    assert line.startswith("WARNING: iteration 8 has not ended for ")
    assert "process 2 on machine-2 (pid 72, iteration 7, input)" in line
    assert "process 3" not in line and "process 1" not in line  # samples may take long
    write(tmp_path, 1, 2, 9, "input")
    alive.at(9, "training")
    wait_for(lambda: len(lines) == 2)
    assert "process 1 on machine-1" in lines[1]


def test_one_process_touches_the_folder_and_nothing_else_matters(tmp_path, monkeypatch):
  lines = []
  with Heartbeat(tmp_path, 0, 1, lines.append, **FAST) as alive:
    alive.at(3, "input")
    before = (tmp_path / "alive").stat().st_mtime_ns
    wait_for(lambda: (tmp_path / "alive").stat().st_mtime_ns > before)
    read = lambda: json.loads((tmp_path / "alive" / "0.json").read_text())
    wait_for(lambda: read()["iteration"] == 3)
    assert read()["pid"] == os.getpid() and read()["doing"] == "input"
    alive.at(None, "compiling")
    wait_for(lambda: read()["doing"] == "compiling")
    assert read()["iteration"] == 3
  assert not lines and not list(tmp_path.iterdir())


def test_a_full_disk_and_damaged_files_end_nothing(tmp_path, monkeypatch):
  lines = []
  full = lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device"))
  with monkeypatch.context() as patch:
    patch.setattr(heartbeat, "atomic_file", full)
    with Heartbeat(tmp_path, 0, 2, lines.append, **FAST) as alive:
      for content in ("", "{", "[1]", '{"beat": "x"}'):
        (tmp_path / "alive" / "1.json").write_text(content)
        time.sleep(0.1)
      assert alive._thread.is_alive()
  assert not lines


class JaxRuntimeError(RuntimeError):
  """Like JAX's error where numbers cannot be exchanged, because another process has died."""


def test_an_error_of_jax_is_followed_by_the_process_that_has_died(tmp_path):
  lines = []
  with pytest.raises(JaxRuntimeError), Heartbeat(tmp_path, 0, 4, lines.append, **SLOW):
    write(tmp_path, 1, 5, doing="failed: JaxRuntimeError")  # it has not caused the error either
    write(tmp_path, 2, 5)
    write(tmp_path, 3, 5, doing="failed: XlaRuntimeError")
    raise JaxRuntimeError("Connection closed by peer")
  (line,) = lines
  assert line.startswith(
    "WARNING: process 2 on machine-2 (pid 72, iteration 5, training) has shown"
  )


def test_others_that_fail_first_do_not_hide_the_process_that_has_died(tmp_path):
  """Errors of JAX end processes 1 and 3 before this one, because process 2 was killed."""
  lines = []
  fast = FAST | {"every": 0.1, "silent": 50}
  with pytest.raises(JaxRuntimeError), Heartbeat(tmp_path, 0, 4, lines.append, **fast):
    write(tmp_path, 1, 5, doing="failed: JaxRuntimeError")
    write(tmp_path, 2, 5)
    write(tmp_path, 3, 5, doing="failed: JaxRuntimeError")
    time.sleep(0.25)  # the others have been read
    raise JaxRuntimeError("Connection closed by peer")
  (line,) = lines
  assert line.startswith(
    "WARNING: process 2 on machine-2 (pid 72, iteration 5, training) has shown"
  )


@pytest.mark.parametrize("dead", [True, False])
def test_a_process_that_waits_reports_the_dead_one_or_those_that_fail(tmp_path, dead):
  """On GPUs and TPUs this process waits for the others, within an iteration."""
  lines = []
  with Heartbeat(tmp_path, 0, 3, lines.append, **FAST | {"every": 0.1, "silent": 50}):
    write(tmp_path, 1, 5, doing="failed: JaxRuntimeError")
    for beat in range(20):
      if not dead or beat == 0:
        write(tmp_path, 2, beat)
      time.sleep(0.1)
  (line,) = lines
  words = ("2 on machine-2", "has shown") if dead else ("1 on machine-1", "its own output says why")
  assert line.startswith(f"WARNING: process {words[0]}") and words[1] in line


def test_an_error_of_jax_is_followed_by_the_process_that_has_failed(tmp_path):
  lines = []
  with pytest.raises(JaxRuntimeError), Heartbeat(tmp_path, 0, 3, lines.append, **SLOW):
    write(tmp_path, 1, 5, doing="failed: OSError")
    write(tmp_path, 2, 5)
    raise JaxRuntimeError("Connection closed by peer")
  (line,) = lines
  assert line.startswith("WARNING: process 1 on machine-1 (pid 71, iteration 5, failed: OSError)")


@pytest.mark.parametrize("kind", [JaxRuntimeError, OSError])
def test_a_process_that_fails_by_itself_names_no_other(tmp_path, kind):
  """All others fail like this one; or the error is its own, and it does not wait for the others."""
  lines = []
  with pytest.raises(kind), Heartbeat(tmp_path, 0, 2, lines.append, **SLOW):
    write(tmp_path, 1, 5, doing="failed: JaxRuntimeError" if kind is not OSError else "training")
    raise kind
  assert not lines
