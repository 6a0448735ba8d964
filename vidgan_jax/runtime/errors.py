"""Errors that a command prints as one line, without a traceback."""


class UserError(Exception):
  """Bad input: a wrong flag, file, folder, label or configuration.

  Commands print the message as one line on stderr and exit with code 2. The message says what was
  given and what is accepted. Files on disk stay as they were.
  """


class Stopped(Exception):
  """A guard stopped a run: losses or weights are not finite, or the generated clips are dark.

  Commands print the message as one line on stderr and exit with code 3. Existing checkpoints stay.
  """
