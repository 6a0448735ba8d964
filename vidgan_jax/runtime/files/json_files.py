"""Reads JSON files strictly, and checks their values against the form that the caller expects.

A form describes a value:

  str, bool, int, float, dict, list   a value of this type. An integer also matches float; true and
                                      false match bool only. Numbers are at most 1e100, integers
                                      below 2**63, in absolute value.
  None                                null
  range(0, 9)                         an integer in this range
  (form, form)                        a value of any of these forms
  [form]                              a list whose items all have this form
  [form, form]                        a list of exactly these items
  {"name": form, "other?": form}      an object with these members; "other" may be absent; further
                                      members are allowed
  {str: form}                         an object whose members all have this form, with any names
"""

import collections
import json
import math
import os
from typing import Any

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.atomic_files import open_regular
from vidgan_jax.runtime.text import printable

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 100  # of nested lists and objects
_LARGEST, _LARGEST_FLOAT = 2**63, 1e100
_NAMES: dict[Any, str] = {
  str: "text",
  bool: "true or false",
  int: "an integer",
  float: "a number",
  dict: "an object",
  list: "a list",
  None: "null",
}


class JsonError(UserError, ValueError):
  """Content that is not JSON, or not of the expected form."""


def parse(content: bytes | str, what: str, form: Any = None) -> Any:
  """Parses JSON.

  Args:
    content: text, or UTF-8 bytes; a byte order mark is skipped.
    what: the file that it comes from, for messages.
    form: the expected form, see above; None allows any.

  Raises:
    JsonError: the content is not UTF-8 or not JSON, a number is not finite (NaN, Infinity, 1e400),
      an integer needs more than 64 bits, an object has a name twice, lists and objects are nested
      deeper than MAX_DEPTH, or the value has another form.
  """
  try:
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    value = json.loads(
      text,
      object_pairs_hook=_object,
      parse_constant=_refuse_constant,
      parse_float=_finite,
      parse_int=_bounded,
    )
    _check_depth(value)
  except RecursionError as error:
    raise JsonError(f"{what}: is not JSON (nested too deeply)") from error
  except ValueError as error:  # not UTF-8, not JSON, or a number that is not allowed
    reason = str(error).splitlines()[0]
    raise JsonError(f"{what}: is not JSON ({printable(reason)[:200]})") from error
  if form is not None:
    check(value, form, what)
  return value


def read(path: str | os.PathLike, form: Any = None, max_bytes: int = MAX_BYTES) -> Any:
  """Reads a JSON file; see `parse`.

  Args:
    path: the file.
    form: the expected form, see above; None allows any.
    max_bytes: larger files are refused.

  Raises:
    FileNotFoundError: the file does not exist.
    JsonError: see `parse`.
    UserError: the file cannot be read, or is too large.
  """
  path = os.fspath(path)
  try:
    with open_regular(path) as file:
      content = file.read(max_bytes + 1)
  except FileNotFoundError:
    raise
  except (OSError, ValueError) as error:  # ValueError: a null byte in the path
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"{path}: not readable ({reason})") from error
  if len(content) > max_bytes:
    raise UserError(f"{path}: larger than {max_bytes} bytes")
  return parse(content, path, form)


def check(value: Any, form: Any, what: str, where: str = "") -> None:
  """Checks that a value has a form, see above.

  Args:
    value: from `parse`.
    form: the expected form.
    what: the file that the value comes from, for messages.
    where: the path of the value within the file, for messages.

  Raises:
    JsonError: it has another form. The message names the first value that differs.
  """
  if isinstance(form, tuple):
    if not any(_has(value, each) for each in form):
      _refuse(value, form, what, where)
  elif isinstance(form, list):
    if not isinstance(value, list):
      _refuse(value, list, what, where)
    if len(form) > 1 and len(value) != len(form):
      raise JsonError(f"{what}: malformed ({where} has {len(value)} items, expected {len(form)})")
    for number, item in enumerate(value):
      check(item, form[number if len(form) > 1 else 0], what, f"{where}[{number}]")
  elif isinstance(form, dict):
    if not isinstance(value, dict):
      _refuse(value, dict, what, where)
    for name, each in form.items():
      if name is str:
        for key, item in value.items():
          check(item, each, what, _joined(where, key))
        continue
      key = name.removesuffix("?")
      if key in value:
        check(value[key], each, what, _joined(where, key))
      elif key == name:
        raise JsonError(f"{what}: malformed ({_joined(where, key)} is missing)")
  elif not _is(value, form):
    _refuse(value, form, what, where)


def fits(value: Any, form: Any) -> bool:
  """Whether a value has a form, see above."""
  return _has(value, form)


def _has(value, form) -> bool:
  try:
    check(value, form, "")
  except JsonError:
    return False
  return True


def _is(value, form) -> bool:
  """Whether a value has a type, or is in a range."""
  if form is None:
    return value is None
  if isinstance(value, bool):
    return form is bool
  if isinstance(form, range):
    return isinstance(value, int) and value in form
  if form is int:
    return isinstance(value, int) and -_LARGEST <= value < _LARGEST
  if form is float:
    return isinstance(value, int | float) and -_LARGEST_FLOAT <= value <= _LARGEST_FLOAT
  return isinstance(value, form)


def _refuse(value, form, what: str, where: str):
  """Raises the JsonError that names the value and the expected form."""
  shown = printable(repr(value))
  shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
  raise JsonError(f"{what}: malformed ({where or 'it'} is {shown}, expected {_words(form)})")


def _words(form) -> str:
  """A form in words, for messages."""
  if isinstance(form, tuple):
    return " or ".join(dict.fromkeys(_words(each) for each in form))
  if isinstance(form, range):
    return f"an integer in {form.start}..{form.stop - 1}"
  if isinstance(form, dict | list):
    return _NAMES[type(form)]
  return _NAMES[form]


def _joined(where: str, key: str) -> str:
  shown = printable(str(key))[:60]
  return f"{where}.{shown}" if where else shown


def _object(pairs: list[tuple[str, Any]]) -> dict:
  members = dict(pairs)
  if len(members) < len(pairs):
    counts = collections.Counter(name for name, _ in pairs)
    raise ValueError(f"the name {counts.most_common(1)[0][0]!r} occurs twice in an object")
  return members


def _refuse_constant(name: str):
  raise ValueError(f"{name} is not a number in JSON")


def _finite(text: str) -> float:
  value = float(text)
  if not math.isfinite(value):
    raise ValueError(f"the number {text[:20]} is too large")
  return value


def _bounded(text: str) -> int:
  if len(text) > 20 or not -_LARGEST <= int(text) < _LARGEST:
    raise ValueError(f"the number {text[:20]} is too large")
  return int(text)


def _check_depth(value) -> None:
  """Raises RecursionError if a value is nested deeper than MAX_DEPTH.

  Writing such a value would recurse as deeply.
  """
  level = [value]
  for _ in range(MAX_DEPTH):
    level = [
      item
      for each in level
      if isinstance(each, dict | list)
      for item in (each.values() if isinstance(each, dict) else each)
    ]
    if not level:
      return
  raise RecursionError
