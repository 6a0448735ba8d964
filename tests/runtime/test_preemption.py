"""Signals during training: recorded if there is something to save, else they end the process."""

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

# Prints "inside" within `nothing_to_lose`. Each test fills in `prepare` and `block`.
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
  time.sleep(0.2)  # until the watching thread has seen the signal
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
def default_hangup():
  """Sets SIGHUP to its default, for these tests and their processes: nohup would ignore it."""
  before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGHUP, before)


@pytest.fixture
def untouched():
  """Checks that a test leaves the handlers and the wake-up descriptor as they were."""
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
def test_a_signal_is_only_recorded(number):
  with Preemption() as preemption:
    assert not preemption.requested
    os.kill(os.getpid(), number)
    assert preemption.requested
    os.kill(os.getpid(), signal.SIGTERM)  # a scheduler may send it twice


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
def test_with_several_processes_signals_are_passed_on_as_sigterm(number):
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
def test_a_second_interruption_raises_keyboard_interrupt():
  with Preemption() as preemption:
    os.kill(os.getpid(), signal.SIGINT)
    assert preemption.requested
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_a_first_interruption_during_a_long_call_is_only_recorded():
  """Compiled programs run outside the interpreter, as this hashing does for a part of a second."""
  code, output, errors = finish(start(prepare=LONG_CALLS))
  assert errors == ""
  assert (code, output) == (0, "noted\n" * 5)


@pytest.mark.usefixtures("untouched")
def test_handlers_are_restored_after_an_error():
  with pytest.raises(ZeroDivisionError), Preemption():
    raise ZeroDivisionError


@pytest.mark.usefixtures("untouched")
def test_handlers_of_an_embedding_program_are_restored():
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
  """Even if its main thread is inside a call that returns to Python only minutes later."""
  process = start(block=block)
  assert process.stdout.readline() == "inside\n"
  time.sleep(0.1)  # let it enter the call
  begin = time.monotonic()
  process.send_signal(number)
  code, output, errors = finish(process)
  assert time.monotonic() - begin < 5
  assert (code, errors) == (75, "")
  assert output == "stopped before the next iteration; nothing was lost\n"


def test_an_earlier_signal_ends_the_process_on_entering():
  code, output, errors = finish(start(prepare="os.kill(os.getpid(), signal.SIGTERM)"))
  assert (code, errors) == (75, "")
  assert output == "stopped before the next iteration; nothing was lost\n"


def test_signals_after_the_block_are_recorded_again():
  code, output, errors = finish(start())
  assert (code, errors) == (0, "")
  assert output == "inside\noutside, requested: True\n"
