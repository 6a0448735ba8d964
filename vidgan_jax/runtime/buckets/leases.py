"""Locks on folders in a bucket: one writer at a time.

A bucket has no locks that end with the process that holds them. A lock is an object, FOLDER/.lock,
which a process creates only if there is none. Its holder writes it anew every few seconds. A
process that wants the lock watches the object: if it changes, its holder is alive; if it does not
change for `SILENT` seconds, its holder was killed, and the other takes the lock. Each write names
the generation that it replaces, so that two processes cannot both succeed. A holder that finds
another's object there (because its machine was suspended) has lost the lock: `check_kept` raises.
"""

import contextlib
import datetime
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from vidgan_jax.runtime.buckets import objects
from vidgan_jax.runtime.buckets.staged import LOCK
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

EVERY = 5.0  # seconds between two writes of a holder
SILENT = 20.0  # seconds without a write after which a holder counts as dead
_POLL = 1.0  # seconds between two looks at another's lock, at most
_dead: dict[str, int] = {}  # address of a lock -> generation whose holder is known to be dead
_kept: dict[str, "_Beats"] = {}  # address of a folder -> the lock on it


class Busy(Exception):
  """Another process holds the lock; the argument says which."""


class _Beats:
  """Writes the lock anew every few seconds, in a thread, until `stop`."""

  def __init__(self, lock: str, text: str, generation: int):
    self._lock, self._text, self.generation = lock, text, generation
    self.lost = False
    self._end = threading.Event()
    self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
    self._thread.start()

  def _run(self) -> None:
    count = 0
    while not self._end.wait(EVERY):
      count += 1
      try:
        self.generation = objects.write(
          self._lock, f"{self._text}, beat {count}".encode(), self.generation
        )
      except objects.Changed:
        self.lost = True
        return
      except UserError:  # the network may come back before another process takes the lock
        continue

  def stop(self) -> None:
    self._end.set()
    self._thread.join()


@contextlib.contextmanager
def held(folder: str, wait: bool, report: Callable[[str], None] = print) -> Iterator[None]:
  """A context manager that holds the lock of a folder.

  Args:
    folder: its address.
    wait: whether to wait until another process releases the lock.
    report: called with a line if the lock may be that of a killed process, which takes a while.

  Raises:
    Busy: another process holds the lock, and `wait` is False.
    UserError: the bucket cannot be read or written.
  """
  lock = f"{folder}/{LOCK}"
  now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds").removesuffix("+00:00")
  text = f"process {os.getpid()} on {socket.gethostname()}, {now} UTC"
  beats = _Beats(lock, text, _acquire(lock, text.encode(), wait, report))
  _kept[folder] = beats
  try:
    yield
  finally:
    beats.stop()
    del _kept[folder]
    if not beats.lost:
      with contextlib.suppress(objects.Changed, UserError):
        objects.delete(lock, beats.generation)


def check_free(folder: str, report: Callable[[str], None] = print) -> None:
  """Raises Busy if another process holds the lock of a folder. May wait `SILENT` seconds."""
  lock = f"{folder}/{LOCK}"
  current = objects.read(lock)
  if current is not None:
    _watch(lock, current, report)


def check_kept(folder: str) -> None:
  """UserError if this process held the lock of a folder and has lost it to another one."""
  if folder in _kept and _kept[folder].lost:
    raise UserError(
      f"another process has taken {folder} while this one did not answer; this one stops, and "
      "writes nothing more there"
    )


def _acquire(lock: str, text: bytes, wait: bool, report: Callable[[str], None]) -> int:
  """Writes the object of the lock; returns its generation."""
  while True:
    current = objects.read(lock)
    if current is not None:
      try:
        _watch(lock, current, report)
      except Busy:
        if not wait:
          raise
        time.sleep(_POLL)
        continue
    with contextlib.suppress(objects.Changed):
      return objects.write(lock, text, current[1] if current else 0)


def _watch(lock: str, current: tuple[bytes, int], report: Callable[[str], None]) -> None:
  """Returns if the holder of a lock is dead or has released it; raises Busy if it is alive."""
  content, generation = current
  if _dead.get(lock) == generation:
    return
  holder, _, since = content.decode(errors="replace").partition(", ")
  since = since.partition(", ")[0]
  holder = f"{printable(holder)} has been using it since {printable(since)}"
  report(
    f"{lock.removesuffix(f'/{LOCK}')}: {holder}; waiting up to {SILENT:.0f} s for a sign that it "
    "is alive"
  )
  end = time.monotonic() + SILENT
  while time.monotonic() < end:
    time.sleep(min(_POLL, SILENT / 4))
    found = objects.read(lock)
    if found is None:
      return
    if found[1] != generation:
      raise Busy(holder)
  _dead[lock] = generation
