"""Which errors let scripts start a command again."""

import errno

import pytest

from vidgan_jax.runtime import errors


def caused(error, *causes):
  """The error, with the chain of its causes."""
  last = error
  for cause in causes:
    last.__cause__ = cause
    last = cause
  return error


@pytest.mark.parametrize(
  ("error", "code"),
  [
    (errors.UserError("wrong"), 2),
    (errors.Stopped("dark"), 3),
    (errors.Unavailable("no answer"), 1),
    (RuntimeError("a bug"), 1),
    (caused(errors.UserError("x"), OSError(errno.ESTALE, "Stale file handle")), 1),
    (caused(errors.UserError("x"), errors.UserError("y"), ConnectionResetError()), 1),
    (caused(errors.UserError("x"), errors.Unavailable("y")), 1),
    (caused(errors.UserError("x"), OSError(errno.ENOSPC, "No space left on device")), 2),
    (caused(errors.UserError("x"), BlockingIOError(errno.EAGAIN, "Temporarily unavailable")), 2),
    (caused(errors.UserError("x"), FileNotFoundError(errno.ENOENT, "No such file")), 2),
  ],
)
def test_exit_codes(error, code):
  assert errors.exit_code(error) == code


def test_an_error_that_was_handled_before_does_not_count():
  try:
    try:
      raise TimeoutError
    except TimeoutError:
      raise errors.UserError("wrong")  # noqa: B904
  except errors.UserError as error:
    assert errors.exit_code(error) == 2
