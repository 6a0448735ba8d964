"""Reads the log of a run, a file of JSON lines; skips damaged lines."""

import json
import math
import pathlib

from vidgan_jax.runtime.files.atomic_files import open_regular

_NON_FINITE = ("nan", "inf", "-inf")  # strings, because JSON has no such numbers


def read_log(path) -> list[dict]:
  """Reads the records of a log in ascending order of steps.

  A record is {"step": int, name: number or "nan", "inf", "-inf"}. Other lines are skipped, and so
  are records whose step is not between the steps of their neighbours.
  """
  return read_and_count(path)[0]


def read_and_count(path) -> tuple[list[dict], int]:
  """Reads a log; returns (records, number of skipped lines). See `read_log`.

  An incomplete last line does not count as skipped: a killed process may leave one.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return [], 0
  with open_regular(path) as file:
    *lines, incomplete = file.read().split(b"\n")
  records = [_record(line) for line in [*lines, *([incomplete] if incomplete else [])]]
  if incomplete and records[-1] is None:
    records.pop()
  kept = _ascending([record for record in records if record is not None])
  return kept, len(records) - len(kept)


def _record(line: bytes) -> dict | None:
  try:
    record = json.loads(line.decode("utf-8"))
    valid = isinstance(record, dict) and type(record.get("step")) is int and record["step"] >= 0
    return record if valid and all(map(_is_value, record.values())) else None
  except (ValueError, RecursionError):
    return None


def _is_value(value) -> bool:
  if isinstance(value, str):
    return value in _NON_FINITE
  try:
    return type(value) in (int, float) and math.isfinite(value)
  except OverflowError:  # an integer too large for a float
    return False


def _ascending(records: list[dict]) -> list[dict]:
  """Drops records whose step is out of order, as after a flipped bit."""
  kept, last = [], -1
  for number, record in enumerate(records):
    step = record["step"]
    following = records[number + 1]["step"] if number + 1 < len(records) else step + 1
    if step <= last or last < following < step:
      continue
    kept.append(record)
    last = step
  return kept
