"""What a number was computed from, in twelve digits.

Two numbers may stand in one column of a table only where their fingerprints agree. A fingerprint is
made of every field but those that tell rows of one column apart: iteration, truncation, and which
file of clips it was.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

DIGITS = 12
_TOLD_FIRST = ("network", "resolution", "frames", "count", "split")  # of differences
ROWS = ("step", "truncation", "checkpoint")  # what may differ within a column


def plain(value):
  """A value as JSON knows it: tuples as lists, NumPy numbers as Python's."""
  if isinstance(value, Mapping):
    return {str(name): plain(each) for name, each in value.items()}
  if isinstance(value, list | tuple):
    return [plain(each) for each in value]
  return value.item() if isinstance(value, np.generic) else value


def digest(fields) -> str:
  """Twelve hexadecimal digits of a tree of plain values; the order of names does not matter."""
  text = json.dumps(plain(fields), sort_keys=True, separators=(",", ":"), allow_nan=False)
  return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def of_column(fields: Mapping) -> str:
  """The fingerprint of a number's fields: what must agree for two numbers to be compared."""
  return digest({name: value for name, value in fields.items() if name not in ROWS})


def of_number(fields: Mapping) -> str:
  """Digits of all fields, iteration and truncation included: which number this is."""
  return digest(fields)


def of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
  """Digits of named arrays: names, types, shapes and bytes (little-endian)."""
  found = hashlib.sha256()
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    array = array.astype(array.dtype.newbyteorder("<"))
    found.update(f"{name} {array.dtype.str} {array.shape}".encode())
    found.update(array.tobytes())
  return found.hexdigest()[:DIGITS]


def of_constants(constants: Mapping[str, np.ndarray]) -> str | None:
  """Digits of the constants of a network, such as a mean clip; None where it has none."""
  return of_arrays(constants) if constants else None


def difference(there: Mapping, here: Mapping) -> str | None:
  """Names the first field in which two differ: "field is A there, B here"; None where none."""
  there, here = plain(there), plain(here)
  # What tells a user most comes first: another resolution is other data, too.
  names = dict.fromkeys((*_TOLD_FIRST, *sorted({*there, *here})))
  for name in names:
    if there.get(name) != here.get(name):
      return f"{name} is {there.get(name)!r} there, {here.get(name)!r} here"
  return None
