"""Reads the files of results that benchmarks append lines of JSON to."""

import json
import os
import pathlib
from typing import Any

import settings  # noqa: F401 - makes the package importable

from vidgan_jax.runtime.errors import UserError


def read(path: str | os.PathLike, *needed: str) -> list[dict[str, Any]]:
  """The lines of a file, oldest first; none if there is no file.

  A last line that a killed run left unfinished is dropped.

  Args:
    path: of the file.
    *needed: fields that each line must have.

  Raises:
    UserError: the file cannot be read, or a line is no JSON object with these fields.
  """
  file = pathlib.Path(path)
  if not file.exists():
    return []
  try:
    text = file.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, "strerror", None) or "it is no text file"
    raise UserError(f"{path}: cannot be read as lines of JSON: {reason}") from error
  found, lines = [], text.splitlines()
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      record = json.loads(line)
    except json.JSONDecodeError as error:
      if number == len(lines) and not text.endswith("\n"):
        break
      raise UserError(f"{path}, line {number}: {error}") from error
    if not isinstance(record, dict) or not record.keys() >= {*needed}:
      raise UserError(f"{path}, line {number}: not a result with {', '.join(needed) or 'fields'}")
    found.append(record)
  return found
