"""Text from files, made safe to show, and names that compare equal where they mean the same."""

import os
import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
  """Returns text on one line; what does not print (escape sequences, stray bytes) is escaped."""
  return "".join(
    character if character.isprintable() else ascii(character)[1:-1] for character in text
  )


def file_text(name: str) -> str:
  """A file's name as text, the same in every locale: names are UTF-8 on disk.

  Bytes that are no UTF-8 become lone surrogates, which `printable` escapes.
  """
  try:
    return os.fsencode(name).decode("utf-8", "surrogateescape")
  except UnicodeEncodeError:  # of a locale that has no such letters: it is text already
    return name


def file_name(text: str) -> str:
  """The name of a file as this process has to give it to the system, whatever its locale.

  A path in a config that was written in one locale names the same file in another.
  """
  try:
    return os.fsdecode(file_text(text).encode("utf-8", "surrogateescape"))
  except UnicodeEncodeError:  # surrogates that stand for no byte: no file has such a name
    return text


def composed(name: str) -> str:
  """A name in Unicode's composed form (NFC): macOS stores accents apart from their letters."""
  return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
  """A name such that names which differ in case or in the coding of accents alone are equal."""
  return composed(composed(name).casefold())


def find_name(wanted: str, names: Sequence[str]) -> int | None:
  """Returns which of `names` is meant: the equal one, or the one that `folded` makes equal.

  Returns:
    Its position; None where there is none, or where several differ from it in case alone.
  """
  for form in (str, composed, folded):
    matches = [place for place, name in enumerate(names) if form(name) == form(wanted)]
    if len(matches) == 1:
      return matches[0]
  return None
