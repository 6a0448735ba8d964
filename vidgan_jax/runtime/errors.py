"""Faults of the user's input, told in one line."""


class UserError(Exception):
  """Bad input: a wrong flag, file, folder, label or configuration.

  The doors print the message as one line on stderr and exit with code 2. The message says what was
  given, what would have been accepted, and leaves everything on disk as it was.
  """


class Stopped(Exception):
  """A guard ended a run: non-finite losses, or clips gone dark.

  The doors print the message as one line on stderr and exit with code 3. The last good checkpoint
  stays.
  """
