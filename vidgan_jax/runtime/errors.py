"""Errors that a command prints as one line, without a traceback."""

import errno

# Of networks and network file systems: the same call may succeed later. Neither a full disk nor a
# lock that another process holds (EAGAIN) is such an error.
_TEMPORARY = frozenset(
  getattr(errno, name)
  for name in (
    *("EIO", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "ECONNABORTED", "ECONNREFUSED"),
    *("ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENOLINK"),
  )
  if hasattr(errno, name)
)


class UserError(Exception):
  """Bad input: a wrong flag, file, folder, label or configuration.

  Commands print the message as one line on stderr and exit with code 2. The message says what was
  given and what is accepted. Files on disk stay as they were.
  """


class Unavailable(UserError):
  """Something outside of this program failed, and may work again: a network, another process.

  Commands print the message as one line on stderr and exit with code 1, as after a crash, so that
  scripts start them again.
  """


class Stopped(Exception):
  """A guard stopped a run: losses or weights are not finite, or the generated clips are dark.

  Commands print the message as one line on stderr and exit with code 3. Existing checkpoints stay.
  """


def is_temporary(error: BaseException | None) -> bool:
  """Whether the same command may succeed later: `Unavailable`, or a network error, is the cause."""
  while error is not None:
    if isinstance(error, Unavailable):
      return True
    if isinstance(error, OSError) and (
      error.errno in _TEMPORARY or isinstance(error, (ConnectionError, TimeoutError))
    ):
      return True
    error = error.__cause__
  return False


def exit_code(error: BaseException) -> int:
  """The exit code of a command that ends with this error."""
  if isinstance(error, Stopped):
    return 3
  return 2 if isinstance(error, UserError) and not is_temporary(error) else 1
