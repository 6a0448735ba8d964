"""Signals: noted where there is something to save, at once where there is not."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from vidgan_jax.runtime.preemption import Preemption

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Says that it is where it should be, then stays there; `prepare` and `block` are filled in.
PROGRAM = """
import hashlib, os, signal, sys, threading, time
from vidgan_jax.runtime.preemption import Preemption

say = lambda line: print(line, flush=True)
with Preemption(say) as preemption:
  {prepare}
  with preemption.nothing_to_lose():
    say("inside")
    {block}
  os.kill(os.getpid(), signal.SIGTERM)
  time.sleep(0.2)  # the watching thread has looked by then
  say(f"outside, requested: {{preemption.requested}}")
"""

LONG_CALLS = """
  for _ in range(5):
    with Preemption(say) as inner:
      timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
      timer.start()
      hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
      timer.join()
      say("noted" if inner.requested else "missed")
  sys.exit()"""


def start(prepare="pass", block="pass"):
  return subprocess.Popen(
    [sys.executable, "-c", PROGRAM.format(prepare=prepare, block=block)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  output, errors = process.communicate(timeout=30)
  return process.returncode, output, errors


@pytest.fixture(autouse=True)
def hangups_are_heard():
  """Where the tests run under nohup, which ignores SIGHUP, they and what they start hear it."""
  before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGHUP, before)


@pytest.fixture
def untouched():
  """Checks that handlers and wake-up descriptor are afterwards what they were."""
  numbers = (signal.SIGTERM, signal.SIGINT, *OTHERS)
  before = [signal.getsignal(number) for number in numbers]
  threads = threading.active_count()
  yield
  assert [signal.getsignal(number) for number in numbers] == before
  assert signal.set_wakeup_fd(-1) == -1
  end = time.monotonic() + 5
  while threading.active_count() > threads and time.monotonic() < end:
    time.sleep(0.01)
  assert threading.active_count() == threads


OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, *OTHERS])
def test_a_signal_is_noted_and_nothing_else(number):
  with Preemption() as preemption:
    assert not preemption.requested
    os.kill(os.getpid(), number)
    assert preemption.requested
    os.kill(os.getpid(), signal.SIGTERM)  # a scheduler may say it twice


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("number", OTHERS)
def test_a_signal_that_is_ignored_or_handled_stays_so(number):
  """As nohup ignores SIGHUP, and a program that embeds this one handles SIGUSR1."""
  seen = []
  for handler in (signal.SIG_IGN, lambda *_: seen.append(number)):
    old = signal.signal(number, handler)
    try:
      with Preemption() as preemption:
        os.kill(os.getpid(), number)
        time.sleep(0.05)
        assert not preemption.requested
    finally:
      signal.signal(number, old)
  assert seen == [number]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("number", OTHERS)
def test_of_several_processes_a_signal_is_passed_on_as_sigterm(number):
  seen = []
  old = signal.signal(signal.SIGTERM, lambda *_: seen.append("terminate"))
  try:
    with Preemption(watch=False) as preemption:
      os.kill(os.getpid(), number)
    assert seen == ["terminate"]
    assert not preemption.requested
  finally:
    signal.signal(signal.SIGTERM, old)


@pytest.mark.usefixtures("untouched")
def test_a_second_interruption_acts_as_usual():
  with Preemption() as preemption:
    os.kill(os.getpid(), signal.SIGINT)
    assert preemption.requested
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_a_first_interruption_during_a_long_call_is_only_noted():
  """Compiled programs run outside the interpreter, as this hashing does for some tenths."""
  code, output, errors = finish(start(prepare=LONG_CALLS))
  assert errors == ""
  assert (code, output) == (0, "noted\n" * 5)


@pytest.mark.usefixtures("untouched")
def test_handlers_are_restored_after_a_fault():
  with pytest.raises(ZeroDivisionError), Preemption():
    raise ZeroDivisionError


@pytest.mark.usefixtures("untouched")
def test_handlers_of_an_embedding_program_come_back():
  seen = []
  old = signal.signal(signal.SIGTERM, lambda *_: seen.append("theirs"))
  try:
    with Preemption():
      os.kill(os.getpid(), signal.SIGTERM)
    assert seen == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert seen == ["theirs"]
  finally:
    signal.signal(signal.SIGTERM, old)


@pytest.mark.usefixtures("untouched")
def test_other_threads_leave_signals_alone():
  handlers = []

  def work():
    with Preemption() as preemption, preemption.nothing_to_lose():
      handlers.append(signal.getsignal(signal.SIGTERM))

  before = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert handlers == [before]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
  "block", ["time.sleep(600)", "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"]
)
def test_with_nothing_to_lose_the_process_ends_at_once(block, number):
  """Though its main thread is inside a call that returns to Python in minutes."""
  process = start(block=block)
  assert process.stdout.readline() == "inside\n"
  time.sleep(0.1)  # let it enter the call
  begin = time.monotonic()
  process.send_signal(number)
  code, output, errors = finish(process)
  assert time.monotonic() - begin < 5
  assert (code, errors) == (75, "")
  assert output == "stopped before the next iteration; nothing was lost\n"


def test_a_signal_from_before_ends_it_on_entering():
  code, output, errors = finish(start(prepare="os.kill(os.getpid(), signal.SIGTERM)"))
  assert (code, errors) == (75, "")
  assert output == "stopped before the next iteration; nothing was lost\n"


def test_afterwards_signals_are_noted_again():
  code, output, errors = finish(start())
  assert (code, errors) == (0, "")
  assert output == "inside\noutside, requested: True\n"
