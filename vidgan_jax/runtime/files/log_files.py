"""Reads a run's log: JSON lines, of which damage may have spoilt some."""

import json
import math
import pathlib

_NON_FINITE = ("nan", "inf", "-inf")  # as strings, for JSON has no words for them


def read_log(path) -> list[dict]:
  """The records {"step": int, name: number or "nan", "inf", "-inf"} of a log, by ascending step.

  Lines that are no such record, or whose step does not lie between its neighbours', are left out.
  """
  return read_and_count(path)[0]


def read_and_count(path) -> tuple[list[dict], int]:
  """As `read_log`, and how many lines were left out.

  A last line without its end does not count: a process that is killed leaves it so.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return [], 0
  *lines, torn = path.read_bytes().split(b"\n")
  records = [_record(line) for line in [*lines, *([torn] if torn else [])]]
  if torn and records[-1] is None:
    records.pop()
  kept = _ascending([record for record in records if record is not None])
  return kept, len(records) - len(kept)


def _record(line: bytes) -> dict | None:
  try:
    record = json.loads(line.decode("utf-8"))
    good = isinstance(record, dict) and type(record.get("step")) is int and record["step"] >= 0
    return record if good and all(map(_is_value, record.values())) else None
  except (ValueError, RecursionError):
    return None


def _is_value(value) -> bool:
  if isinstance(value, str):
    return value in _NON_FINITE
  try:
    return type(value) in (int, float) and math.isfinite(value)
  except OverflowError:  # an integer that no float holds
    return False


def _ascending(records: list[dict]) -> list[dict]:
  """Without those whose step a flipped bit has moved past its neighbours'."""
  kept, last = [], -1
  for number, record in enumerate(records):
    step = record["step"]
    following = records[number + 1]["step"] if number + 1 < len(records) else step + 1
    if step <= last or last < following < step:
      continue
    kept.append(record)
    last = step
  return kept
