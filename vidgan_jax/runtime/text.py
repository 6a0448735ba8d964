"""Text from files, made safe to show."""


def printable(text: str) -> str:
  """Returns text on one line; what does not print (escape sequences, stray bytes) is escaped."""
  return "".join(
    character if character.isprintable() else ascii(character)[1:-1] for character in text
  )
