"""Fingerprints: hashes of all that a number was computed from, in twelve hexadecimal digits.

Two numbers may be in the same column of a table only if their fingerprints are equal. A fingerprint
covers all fields of a number except those that distinguish the rows of a column: the iteration, the
truncation and the file of clips.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

DIGITS = 12
_REPORTED_FIRST = ("network", "resolution", "frames", "count", "split")  # see `difference`
ROWS = ("step", "truncation", "checkpoint")  # fields that may differ within a column


def plain(value: Any) -> Any:
  """Converts a value to types that JSON has: tuples to lists, NumPy numbers to Python numbers."""
  if isinstance(value, Mapping):
    return {str(name): plain(each) for name, each in value.items()}
  if isinstance(value, list | tuple):
    return [plain(each) for each in value]
  return value.item() if isinstance(value, np.generic) else value


def digest(fields: Any) -> str:
  """Hash of nested plain values, twelve hexadecimal digits; the order of names does not matter."""
  text = json.dumps(plain(fields), sort_keys=True, separators=(",", ":"), allow_nan=False)
  return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def of_column(fields: Mapping) -> str:
  """The fingerprint of a number from its fields; equal for numbers that may be compared."""
  return digest({name: value for name, value in fields.items() if name not in ROWS})


def of_number(fields: Mapping) -> str:
  """Hash of all fields, including iteration and truncation; it identifies a single number."""
  return digest(fields)


def of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
  """Hash of named arrays: of their names, types, shapes and bytes (little-endian)."""
  state = hashlib.sha256()
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    array = array.astype(array.dtype.newbyteorder("<"))
    state.update(f"{name} {array.dtype.str} {array.shape}".encode())
    state.update(array.tobytes())
  return state.hexdigest()[:DIGITS]


def of_constants(constants: Mapping[str, np.ndarray]) -> str | None:
  """Hash of the constants of a network, such as a mean clip; None if it has no constants."""
  return of_arrays(constants) if constants else None


def difference(stored: Mapping, expected: Mapping) -> str | None:
  """Describes the first field in which the fields of a file differ from the expected ones.

  Returns:
    "FIELD is A in the file, but B is needed"; None if all fields are equal.
  """
  stored, expected = plain(stored), plain(expected)
  # The most informative fields come first: another resolution, for example, changes the data too.
  names = dict.fromkeys((*_REPORTED_FIRST, *sorted({*stored, *expected})))
  for name in names:
    if stored.get(name) != expected.get(name):
      return f"{name} is {stored.get(name)!r} in the file, but {expected.get(name)!r} is needed"
  return None
