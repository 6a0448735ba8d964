"""Makes text from files safe to print, and compares names regardless of case and Unicode form."""

import os
import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
  """Returns text on one line, with unprintable characters (control codes, stray bytes) escaped."""
  return "".join(
    character if character.isprintable() else ascii(character)[1:-1] for character in text
  )


def file_text(name: str) -> str:
  """Converts a file name from Python to text that is the same in every locale.

  The bytes on disk are read as UTF-8. Bytes that are not UTF-8 become lone surrogates, which
  `printable` escapes.
  """
  try:
    return os.fsencode(name).decode("utf-8", "surrogateescape")
  except UnicodeEncodeError:  # the locale has no such letters, so this is such text already
    return name


def file_name(text: str) -> str:
  """Converts text to the file name that Python opens, whose encoding depends on the locale.

  So a path in a config that was written in one locale names the same file in another.
  """
  try:
    return os.fsdecode(file_text(text).encode("utf-8", "surrogateescape"))
  except UnicodeEncodeError:  # surrogates that represent no byte: no file has such a name
    return text


def composed(name: str) -> str:
  """A name in Unicode's composed form (NFC). macOS stores accents separately from letters."""
  return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
  """A form of a name that ignores case and Unicode form: equal for "Café" and "CAFÉ"."""
  return composed(composed(name).casefold())


def find_name(wanted: str, names: Sequence[str]) -> int | None:
  """Finds a name in a list: first exactly, then in composed form, then ignoring case.

  Returns:
    Its index; None if no name matches, or several do.
  """
  for form in (str, composed, folded):
    matches = [index for index, name in enumerate(names) if form(name) == form(wanted)]
    if len(matches) == 1:
      return matches[0]
  return None
