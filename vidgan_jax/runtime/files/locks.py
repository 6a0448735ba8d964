"""Locks between processes: one writer at a time in a folder.

A lock is an advisory lock of the kernel (flock) on a file. The kernel releases it when the process
that holds it ends, even if it is killed. The file contains the name of the holder. It is never
removed: otherwise two processes could lock two different files of the same name.

The local copy of a folder in a bucket is locked there (`runtime.buckets`).
"""

import contextlib
import datetime
import errno
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator

from vidgan_jax.runtime.buckets import leases, staged
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

FILE = ".lock"  # in the folder that it locks
# Seconds to wait for a lock: a killed process with much memory keeps its locks for some seconds.
PATIENCE = 5.0
_POLL = 0.1  # seconds
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_held: dict[int, int] = {}  # descriptor of a lock -> id of the process that opened it


class Taken(UserError):
  """Another process holds the lock."""


@contextlib.contextmanager
def held(
  folder: str | os.PathLike,
  what: str,
  report: Callable[[str], None] = print,
  *,
  name: str | None = FILE,
  wait: bool = False,
) -> Iterator[None]:
  """A context manager that holds the lock of a folder. It creates the folder if it is missing.

  If the folder is the copy of one in a bucket, files that have changed there are read when the lock
  is taken, and changed files are written there before it is released.

  Args:
    folder: the folder to lock.
    what: what only one process may do at a time, as a verb with its object, such as "use runs/a as
      workdir".
    report: called with a line if the file system has no locks; the block then runs without a lock.
    name: of the lock file in the folder; None locks the folder itself, without a file.
    wait: whether to wait until another process releases the lock; if not, wait `PATIENCE` seconds.

  Raises:
    Taken: another process holds the lock. The message names its host and process id.
    UserError: the folder or the lock file cannot be created.
  """
  address = staged.address(folder)
  if address is not None:
    with _held_in_bucket(address, folder, what, report, name, wait):
      yield
    return
  path = pathlib.Path(folder) if name is None else pathlib.Path(folder) / name
  descriptor = _acquire(path, what, report, None if wait else PATIENCE, is_folder=name is None)
  try:
    yield
  finally:
    if name is not None and descriptor in _held:  # not in a forked child
      with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    _release(descriptor)


def check(folder: str | os.PathLike, what: str, *, name: str = FILE) -> None:
  """Raises Taken if another process holds the lock. Creates no file.

  Call it before long work that needs the lock only at its end.
  """
  address = staged.address(folder)
  if address is not None:
    try:
      leases.check_free(address)
    except leases.Busy as error:
      raise Taken(f"cannot {what}: {error}") from None
    return
  path = pathlib.Path(folder) / name
  if path.exists():
    _release(_acquire(path, what, lambda line: None, PATIENCE, fcntl.LOCK_SH))


@contextlib.contextmanager
def _held_in_bucket(address, folder, what, report, name, wait) -> Iterator[None]:
  """`held` for a folder that is the local copy of `address`.

  Without a name of a lock file there is no lock: files of another process are then refused when
  this one writes its own.
  """
  pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    if name is not None:
      try:
        stack.enter_context(leases.held(address, wait, report))
      except leases.Busy as error:
        raise Taken(f"cannot {what}: {error}") from None
      staged.pull(folder)
    try:
      yield
    except BaseException:
      try:
        staged.push()
      except UserError as error:
        report(f"WARNING: {error}")
      raise
    leases.check_kept(address)
    staged.push()


def _acquire(path, what, report, patience, kind=fcntl.LOCK_EX, is_folder=False) -> int:
  """Locks `path` and returns its descriptor; waits up to `patience` seconds (None: for ever)."""
  end = None if patience is None else time.monotonic() + patience
  while True:
    descriptor = _open(path, what, is_folder)
    _held[descriptor] = os.getpid()
    try:
      fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
      if _is_at(descriptor, path):
        if kind == fcntl.LOCK_EX and not is_folder:
          _write_holder(descriptor)
        return descriptor
    except BlockingIOError:
      if end is not None and time.monotonic() >= end:
        holder = _stated_holder(None if is_folder else descriptor) or _local_holder(descriptor)
        _release(descriptor)
        raise Taken(f"cannot {what}: {holder or 'another process is using it'}") from None
    except OSError as error:
      # EBADF: NFS locks only files that are open for writing, and another user's file is not.
      if error.errno not in (*_UNSUPPORTED, errno.EBADF):
        _release(descriptor)
        raise UserError(f"cannot {what}: {path}: {error.strerror}") from error
      folder = path if is_folder else path.parent
      report(
        f"WARNING: {folder} is on a file system without locks ({error.strerror}): do not start a "
        f"second process on this folder; the two would destroy each other's files"
      )
      return descriptor
    except BaseException:
      _release(descriptor)
      raise
    _release(descriptor)
    time.sleep(_POLL)


def _open(path, what, is_folder) -> int:
  try:
    (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
    if is_folder:
      return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
      return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's file can be locked, but not written
      return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
  except OSError as error:
    raise UserError(f"cannot {what}: {error.filename}: {error.strerror}") from error


def _is_at(descriptor, path) -> bool:
  """Whether the open file is still at `path`; the folder may have been removed."""
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def _write_holder(descriptor) -> None:
  """Writes into the lock file which process holds it, for the message of other processes."""
  now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds").removesuffix("+00:00")
  holder = f"process {os.getpid()} on {socket.gethostname()}, {now} UTC\n"
  with contextlib.suppress(OSError):
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.encode(), 0)


def _stated_holder(descriptor) -> str | None:
  """The holder that the lock file names, as "PROCESS has been using it since TIME", or None."""
  text = b""
  if descriptor is not None:
    with contextlib.suppress(OSError):
      text = os.pread(descriptor, 300, 0)
  holder, comma, since = text.decode(errors="replace").strip().partition(", ")
  return f"{printable(holder)} has been using it since {printable(since)}" if comma else None


def _local_holder(descriptor) -> str | None:
  """The holder according to /proc/locks, as "PROCESS is using it"; None if not on this machine."""
  file = f":{os.fstat(descriptor).st_ino}"
  try:
    with open("/proc/locks", encoding="utf-8") as table:
      rows = [row.split() for row in table if " FLOCK " in row]
  except OSError:
    return None
  numbers = [row[4] for row in rows if len(row) > 5 and row[5].endswith(file)]
  return f"process {numbers[0]} on {socket.gethostname()} is using it" if numbers else None


def _release(descriptor) -> None:
  if _held.pop(descriptor, None) == os.getpid():
    os.close(descriptor)


def _forget_in_child() -> None:
  """Closes the locks in a forked child, which would otherwise hold them after its parent ends."""
  for descriptor in _held:
    with contextlib.suppress(OSError):
      os.close(descriptor)
  _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
