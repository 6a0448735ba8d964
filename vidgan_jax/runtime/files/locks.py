"""Locks between processes: one writer at a time in a folder.

A lock is an advisory lock of the kernel (flock) on a file. It ends with the process that holds it,
however that ends, so that nothing is left to be cleaned up. The file stays, for removing it would
let two processes lock two files of one name; it says who holds the lock.
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

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

FILE = ".lock"  # in the folder that it locks
# A killed process with much memory holds its files for some seconds more.
PATIENCE = 5.0  # seconds
_POLL = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_held: dict[int, int] = {}  # descriptor -> process that locked it


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
  """Keeps other processes, which ask for the same lock, from a folder; the folder is made.

  Args:
    folder: to be locked.
    what: a verb with its object, such as "use runs/a as workdir": what two processes cannot do at
      once.
    report: receives a line where the file system has no locks, and none is held.
    name: of the file in the folder; None locks the folder itself and leaves nothing in it.
    wait: until another process has released it; by default for `PATIENCE` alone.

  Raises:
    Taken: another process holds the lock; the message names its host and number.
    UserError: the folder or the file in it cannot be made.
  """
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
  """Raises Taken where another process holds the lock now; makes nothing.

  For what takes long before there is anything to lock for.
  """
  path = pathlib.Path(folder) / name
  if path.exists():
    _release(_acquire(path, what, lambda line: None, PATIENCE, fcntl.LOCK_SH))


def _acquire(path, what, report, patience, kind=fcntl.LOCK_EX, is_folder=False) -> int:
  end = None if patience is None else time.monotonic() + patience
  while True:
    descriptor = _open(path, what, is_folder)
    _held[descriptor] = os.getpid()
    try:
      fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
      if _is_at(descriptor, path):
        if kind == fcntl.LOCK_EX and not is_folder:
          _sign(descriptor)
        return descriptor
    except BlockingIOError:
      if end is not None and time.monotonic() >= end:
        holder = _who(None if is_folder else descriptor) or _who_here(descriptor)
        _release(descriptor)
        raise Taken(f"cannot {what}: {holder or 'another process is using it'}") from None
    except OSError as error:
      # NFS locks what is open for writing alone: another user's file, see `_open`, cannot be.
      if error.errno not in (*_NO_LOCKS, errno.EBADF):
        _release(descriptor)
        raise UserError(f"cannot {what}: {path}: {error.strerror}") from error
      folder = path if is_folder else path.parent
      report(
        f"WARNING: {folder} is on a file system without locks ({error.strerror}): nothing "
        f"keeps a second process from it, and two at once would destroy each other's files"
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
    except PermissionError:  # another user's file can be locked, though not written
      return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
  except OSError as error:
    raise UserError(f"cannot {what}: {error.filename}: {error.strerror}") from error


def _is_at(descriptor, path) -> bool:
  """Whether the open file is still the one of that name: the folder may have been removed."""
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def _sign(descriptor) -> None:
  """Writes who holds the lock, for who is refused; the lock itself does not need it."""
  now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds").removesuffix("+00:00")
  who = f"process {os.getpid()} on {socket.gethostname()}, {now} UTC\n"
  with contextlib.suppress(OSError):
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, who.encode(), 0)


def _who(descriptor) -> str | None:
  """What the holder has written into the file, as a clause."""
  text = b""
  if descriptor is not None:
    with contextlib.suppress(OSError):
      text = os.pread(descriptor, 300, 0)
  who, comma, since = text.decode(errors="replace").strip().partition(", ")
  return f"{printable(who)} has been using it since {printable(since)}" if comma else None


def _who_here(descriptor) -> str | None:
  """The process of this machine that holds a lock on the open file, by Linux' table of locks."""
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
  """A forked child shares its parent's locks, and would hold them after the parent's end."""
  for descriptor in _held:
    with contextlib.suppress(OSError):
      os.close(descriptor)
  _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
