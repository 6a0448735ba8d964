"""Processes that die, hang and come back are reported by name."""

import json
import os
import time

import jax
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
    assert not lines
    wait_for(lambda: lines)
    time.sleep(0.5)
    (line,) = lines
    told = f"WARNING: process {other} on machine-{other} (pid {70 + other}, iteration 5, training) "
    assert line.startswith(told + "has shown no sign of life for ")
    write(tmp_path, other, 99)
    wait_for(lambda: len(lines) == 2)
    assert lines[1] == f"process {other} on machine-{other} is alive again"


def test_a_process_that_ends_removes_its_file_and_is_not_reported(tmp_path):
  lines = []
  with Heartbeat(tmp_path, 0, 2, lines.append, **FAST):
    with Heartbeat(tmp_path, 1, 2, lines.append, **FAST):
      wait_for((tmp_path / "alive" / "1.json").exists)
      time.sleep(0.1)
    assert not (tmp_path / "alive" / "1.json").exists()
    time.sleep(0.8)
  assert not lines
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


class Clock:
  """In place of the module `time`."""

  now = 0.0

  def monotonic(self):
    return self.now

  def sleep(self, seconds):
    self.now += seconds


@pytest.fixture
def watcher(tmp_path, monkeypatch):
  """(A heartbeat of process 0 of four whose thread has not begun, its lines, its clock)."""
  clock, lines = Clock(), []
  monkeypatch.setattr(heartbeat, "time", clock)
  (tmp_path / "alive").mkdir()
  return Heartbeat(tmp_path, 0, 4, lines.append), lines, clock


def reported(watcher, seconds, beats=()):
  """What a heartbeat reports within some seconds, in which processes `beats` show signs of life.

  Returns:
    {index of a process: (second of the line, its words after the bracket)}
  """
  alive, lines, clock = watcher
  found = {}
  for second in range(seconds):
    clock.now += 1
    for index in beats:
      write(alive._folder.parent, index, second)
    alive._look()
    for line in lines:
      words = line.split()
      found[int(words[2])] = (second + 1, line.partition(") ")[2] or line.partition("); ")[2])
    lines.clear()
  return found


def test_a_dead_process_is_reported_before_those_that_fail_because_of_it(watcher, tmp_path):
  for index, doing in ((1, "failed: JaxRuntimeError"), (2, "training"), (3, "input")):
    write(tmp_path, index, 5, doing=doing)
  found = reported(watcher, 60, beats=(3,))
  assert {*found} == {2}  # the output of process 1 says why it has ended, as does that of this one
  second, words = found[2]
  assert 15 <= second <= 17 and words.startswith("has shown no sign of life for 15 s")


def test_the_dead_process_is_the_first_also_if_files_are_read_late(watcher, tmp_path):
  _, lines, clock = watcher
  write(tmp_path, 1, 5, doing="failed: XlaRuntimeError")
  write(tmp_path, 2, 5)
  reported(watcher, 1)
  clock.now += 1000  # the folder has hung
  watcher[0]._look()
  (line,) = lines
  assert line.startswith("WARNING: process 2 on machine-2")


@pytest.mark.parametrize(("alive", "second"), [((), 1), ((2,), 26)])
def test_an_error_of_jax_is_reported_at_once_if_no_other_can_be_the_cause(
  watcher, tmp_path, alive, second
):
  """Else after the seconds that it takes to see that no other process is dead."""
  for index in (1, 3):
    write(tmp_path, index, 5, doing="failed: JaxRuntimeError")
  found = reported(watcher, 60, beats=alive)
  assert found == {index: (second, "its own output says why") for index in (1, 3)}


def test_another_error_is_reported_at_once(watcher, tmp_path):
  write(tmp_path, 1, 5, doing="failed: OSError")
  write(tmp_path, 2, 5)
  found = reported(watcher, 20, beats=(2,))
  assert found == {1: (1, "its own output says why")}


def test_without_errors_a_process_has_more_time(watcher, tmp_path):
  write(tmp_path, 1, 5)
  assert 30 <= reported(watcher, 60, beats=(2, 3))[1][0] <= 31


def test_a_dead_process_is_reported_once_also_if_a_read_fails(watcher, tmp_path):
  write(tmp_path, 1, 5)
  assert {*reported(watcher, 40)} == {1}
  content = (tmp_path / "alive" / "1.json").read_text()
  (tmp_path / "alive" / "1.json").write_text("{")
  assert not reported(watcher, 2)
  (tmp_path / "alive" / "1.json").write_text(content)
  assert not reported(watcher, 100)


def test_what_an_earlier_start_has_left_is_removed_and_process_0_is_named(tmp_path, monkeypatch):
  (tmp_path / "alive").mkdir()
  for index in range(3):
    write(tmp_path, index, 5, doing="failed: OSError")
  monkeypatch.setattr(jax, "process_count", lambda: 3)
  monkeypatch.setattr(heartbeat.processes, "text_from_first", lambda text: f"of 0: {text}")
  for index in range(3):
    lines = []
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    with heartbeat.announced(tmp_path, lines.append):
      assert not (tmp_path / "alive" / f"{index}.json").exists()
    where = f"of 0: {os.uname().nodename} (pid {os.getpid()})"
    named = f"process 0, which JAX calls the leader task, is on {where}"
    assert lines == ([named] if index else [])


def test_one_process_announces_nothing(tmp_path):
  lines = []
  with heartbeat.announced(tmp_path, lines.append):
    pass
  assert not lines and not list(tmp_path.iterdir())


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
