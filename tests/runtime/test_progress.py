"""Progress of long work, on terminals and in log files."""

import io
import threading
import time

import pytest

from vidgan_jax.runtime import door
from vidgan_jax.runtime.progress import Lines, ticking


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def terminal(monkeypatch):
  """A function that replaces stdout and stderr by a terminal.

  A function, because pytest replaces both streams again between fixture and test.
  """

  def replace():
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    return stream

  return replace


def test_on_a_terminal_one_line_counts_the_seconds_and_stays(terminal):
  terminal = terminal()
  with ticking("compiling the iteration"):
    time.sleep(2.5)
  shown = terminal.getvalue()
  times = [part.strip() for part in shown.split("\r") if part.strip()]
  assert times == [f"compiling the iteration: 00:0{second}" for second in (0, 1, 2, 2)]
  assert shown.endswith("00:02\n") and shown.count("\n") == 1


def test_a_call_that_fails_leaves_its_line_and_no_thread(terminal):
  terminal = terminal()
  threads = threading.active_count()
  with pytest.raises(ZeroDivisionError), ticking("compiling", every=0.01):
    time.sleep(0.1)
    raise ZeroDivisionError
  shown = terminal.getvalue()
  assert shown.count("compiling: 00:00") > 3 and shown.endswith("\n") and shown.count("\n") == 1
  assert threading.active_count() <= threads + 1  # tqdm has one thread
  time.sleep(0.05)
  assert terminal.getvalue() == shown


def test_reported_lines_are_printed_above_the_clock(terminal):
  terminal = terminal()
  with ticking("compiling"):
    door.report("a warning")
  lines = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
  assert lines == ["a warning", "compiling: 00:00", ""]


def test_without_a_terminal_one_line_is_printed_at_the_beginning(capsys):
  with ticking("compiling", every=0.01):
    assert capsys.readouterr().err == "compiling ...\n"
    time.sleep(0.05)
  assert capsys.readouterr() == ("", "")
  with pytest.raises(ZeroDivisionError), ticking("compiling"):
    raise ZeroDivisionError
  assert capsys.readouterr().err == "compiling ...\n"


def test_lines_in_place_of_a_bar_are_few(monkeypatch):
  clock = [50.0]
  monkeypatch.setattr(time, "monotonic", lambda: clock[0])
  reported = []
  lines = Lines(reported.append, 100, every=60.0)
  for done in range(1, 101):
    lines.update(done, 2.0, f"D {done}.000")
    clock[0] += 2.0
  assert reported == [
    f"iteration {done} of 100: D {done}.000, 2 s each, about {left} left"
    for done, left in ((1, "03:18"), (31, "02:18"), (61, "01:18"), (91, "00:18"))
  ]
