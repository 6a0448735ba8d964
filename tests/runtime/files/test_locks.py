"""Locks between processes."""

import contextlib
import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks

HOLDER = """
import sys, time, os
from vidgan_jax.runtime.files import locks
with locks.held(sys.argv[1], "work"):
  if "fork" in sys.argv and os.fork():
    os._exit(0)
  print("held", os.getpid(), flush=True)
  sys.stdin.read()
"""


@contextlib.contextmanager
def another(folder, *options):
  """Starts another process that holds the lock of a folder; yields (process, id of the holder)."""
  command = [sys.executable, "-c", HOLDER, str(folder), *options]
  with subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as process:
    word, number = process.stdout.readline().split()
    assert word == "held"
    try:
      yield process, int(number)
    finally:
      process.stdin.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(locks, "PATIENCE", 0.0)


def take(folder, **options):
  with locks.held(folder, "work there", pytest.fail, **options):
    return True


def test_the_message_for_a_second_process_names_the_first(tmp_path):
  with another(tmp_path) as (_, number):
    host = re.escape(socket.gethostname())
    holder = f"process {number} on {host}"
    words = rf"cannot work there: {holder} has been using it since 20..-..-.. ..:..:.. UTC"
    with pytest.raises(locks.Taken, match=words):
      take(tmp_path)
    with pytest.raises(locks.Taken, match=words):
      locks.check(tmp_path, "work there")
    assert take(tmp_path, name=".other")
  assert take(tmp_path)


def test_a_killed_process_leaves_nothing_to_clean_up(tmp_path):
  with another(tmp_path) as (process, number):
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert f"process {number} " in (tmp_path / locks.FILE).read_text()
  locks.check(tmp_path, "work there")
  with locks.held(tmp_path, "work"):
    assert f"process {os.getpid()} " in (tmp_path / locks.FILE).read_text()
  assert (tmp_path / locks.FILE).read_text() == ""


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "PATIENCE", 5.0)  # until the parent has ended
  with another(tmp_path, "fork"):
    assert take(tmp_path)


def test_a_forked_child_does_not_release_the_lock_either(tmp_path):
  with locks.held(tmp_path, "work"):
    child = os.fork()
    if not child:
      os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(locks.Taken):
      take(tmp_path)


def test_it_is_released_after_a_fault(tmp_path):
  with pytest.raises(ZeroDivisionError), locks.held(tmp_path / "new", "work"):
    raise ZeroDivisionError
  assert take(tmp_path / "new")


def test_checking_a_lock_creates_nothing(tmp_path):
  locks.check(tmp_path / "none", "work")
  assert not (tmp_path / "none").exists()


def test_a_waiting_process_gets_the_lock_when_the_other_ends(tmp_path):
  with another(tmp_path) as (process, _):
    process.stdin.close()
    with locks.held(tmp_path, "work", wait=True):
      assert process.wait() == 0


def test_a_lock_whose_file_was_removed_meanwhile_is_acquired_again(tmp_path, monkeypatch):
  flock = fcntl.flock
  removed = []

  def late(descriptor, operation):
    if not removed:
      removed.append((tmp_path / locks.FILE).unlink())
    flock(descriptor, operation)

  monkeypatch.setattr(fcntl, "flock", late)
  with locks.held(tmp_path, "work"):
    with pytest.raises(locks.Taken):
      take(tmp_path)


@pytest.mark.parametrize("number", (*locks._UNSUPPORTED, errno.EBADF))
def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, number):
  def refuse(descriptor, operation):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, "flock", refuse)
  lines = []
  with locks.held(tmp_path, "work", lines.append), locks.held(tmp_path, "work", lines.append):
    assert len(lines) == 2 and "is on a file system without locks" in lines[0]
    assert "\n" not in lines[0]
  with locks.held(tmp_path / "a", "work", lines.append, name=None):
    assert lines[2].startswith(f"WARNING: {tmp_path / 'a'} is on ")
  locks.check(tmp_path, "work")


def test_a_folder_that_cannot_be_locked_is_refused_in_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"cannot work there: .*file: File exists"):
    take(tmp_path / "file")
  (tmp_path / "link").mkdir()
  (tmp_path / "link" / locks.FILE).symlink_to(tmp_path / "file")
  with pytest.raises(UserError, match="cannot work there: "):
    take(tmp_path / "link")
  assert (tmp_path / "file").read_text() == ""


def test_the_system_names_the_holder_if_the_lock_file_does_not(tmp_path):
  with another(tmp_path) as (_, number):
    (tmp_path / locks.FILE).write_bytes(b"\xff\x1b[2J")
    with pytest.raises(locks.Taken, match=f"process {number} on .* is using it"):
      take(tmp_path)


def test_a_folder_itself_is_locked_without_a_file_in_it(tmp_path):
  with locks.held(tmp_path / "a", "work", name=None):
    words = rf"cannot work there: process {os.getpid()} on .* is using it$"
    with pytest.raises(locks.Taken, match=words):
      take(tmp_path / "a", name=None)
    assert not any((tmp_path / "a").iterdir())
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(locks.Taken):
      take(tmp_path / "b", name=None)
  assert take(tmp_path / "b", name=None)


def test_another_users_file_is_locked_without_being_written(tmp_path, monkeypatch):
  """The superuser can write every file, so the test makes opening for writing fail."""
  (tmp_path / locks.FILE).write_text("theirs\n")
  real = os.open

  def no_writing(path, flags, *mode, **options):
    if flags & os.O_RDWR and str(path).endswith(locks.FILE):
      raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return real(path, flags, *mode, **options)

  monkeypatch.setattr(os, "open", no_writing)
  with locks.held(tmp_path, "write there", pytest.fail):
    with pytest.raises(locks.Taken):
      take(tmp_path)
  assert (tmp_path / locks.FILE).read_text() == "theirs\n"
