"""Reads league.jsonl, in which each line is a finished row."""

import json
import os
import pathlib

import result_lines


class File:
  """The rows of a file; those that were written since are read too.

  Args:
    path: of the file; it need not exist.
  """

  def __init__(self, path: str):
    self._path = pathlib.Path(path)

  def rows(self) -> list[dict]:
    """All rows, oldest first; a line that a killed process left unfinished is dropped."""
    return result_lines.read(self._path, "task", "system")

  def update(self, row: dict, fields: dict, minutes: dict[str, float]) -> None:
    """Replaces fields, and parts of the minutes, of a row as it was read; keeps all other rows.

    An interrupted call leaves the file as it is.
    """
    rows = self.rows()
    for each in rows:
      if each == row:
        each |= fields | {"minutes": {**row["minutes"], **minutes}}
    written = self._path.with_name(f"{self._path.name}.new")
    written.write_text("".join(f"{json.dumps(each)}\n" for each in rows), encoding="utf-8")
    os.replace(written, self._path)

  def has(self, task: str, system: str, seed: int | None, budget: str | None) -> bool:
    """Whether a row is finished; a control has neither seed nor budget."""
    key = (task, system, seed, budget)
    names = ("task", "system", "seed", "budget")
    return any(tuple(row.get(name) for name in names) == key for row in self.rows())


def clips_of(row: dict, output: pathlib.Path) -> pathlib.Path:
  """The file of a row's drawn clips in the folder of the league; it may be missing."""
  folder = output / row["task"]
  if row.get("budget"):
    return folder / f"{row['system']}_{row['seed']}" / row["budget"] / "clips.npz"
  return folder / row["system"] / "clips.npz"


def scores(row: dict) -> dict[str, dict]:
  """{metric: record} of a row."""
  return {record["metric"]: record for record in row["scores"]}


def line(row: dict) -> str:
  """Iterations and some scores, for the log."""
  parts = [f"iterations {row['iterations']}"] if "iterations" in row else []
  parts += [f"{name} {record['value']:.3g}" for name, record in scores(row).items()]
  return ", ".join(parts)
