"""What stands in one column of a report: values of one metric and one fingerprint, no others."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.protocols.fingerprint import ROWS

Row = tuple[int, float]  # step (-1 for none) and truncation


@dataclasses.dataclass(frozen=True)
class Column:
  """Values that may be compared.

  Attributes:
    metric, network, output, fingerprint: the same for all records.
    fields: what the fingerprint is computed from.
    records: sorted by iteration, then by truncation.
  """

  metric: str
  network: str
  output: str
  fingerprint: str
  fields: Mapping[str, Any]
  records: Sequence[Mapping]

  @property
  def title(self) -> str:
    """The metric's name for reading, and that it is of random weights if it is."""
    return metrics.number(self.metric).title + random_mark(self.fields, ", ")

  @property
  def meaning(self) -> str:
    """What the metric means, in one sentence."""
    return metrics.number(self.metric).meaning

  @property
  def main(self) -> Mapping:
    """The record of the last iteration, at the truncation nearest to 1."""
    last_step = _row(self.records[-1])[0]
    last = [record for record in self.records if _row(record)[0] == last_step]
    return min(last, key=lambda record: abs(truncation(record) - 1))

  def over_steps(self) -> list[Mapping]:
    """Records at the truncation of `main`, one for each iteration, sorted."""
    main_truncation = truncation(self.main)
    by_step = {
      _row(r)[0]: r
      for r in self.records
      if truncation(r) == main_truncation and r.get("step") is not None
    }
    return [by_step[step] for step in sorted(by_step)]

  def over_truncations(self) -> list[Mapping]:
    """Records of the iteration of `main`, one for each truncation, sorted."""
    step = self.main.get("step")
    by_truncation = {truncation(r): r for r in self.records if r.get("step") == step}
    return [by_truncation[value] for value in sorted(by_truncation)]


def random_mark(fields: Mapping, before: str = " ") -> str:
  """What follows the name of a value of a network with random weights; "" for other values.

  Args:
    fields: of the record.
    before: text between the name and the mark.
  """
  return f"{before}random weights" if fields.get("random_weights") else ""


def truncation(record: Mapping) -> float:
  """The truncation of a record; 1 if it has none."""
  value = record.get("truncation")
  return 1.0 if value is None else float(value)


def _row(record: Mapping) -> Row:
  step = record.get("step")
  return (-1 if step is None else step, truncation(record))


def columns(records: Sequence[Mapping]) -> list[Column]:
  """Sorts records into columns, in the order in which their metrics come.

  Two records share a column only if metric, network, output, fingerprint and all fields but `ROWS`
  are equal. Fingerprints alone are not trusted, because a file may contain anything.
  """
  groups: dict[tuple[str, ...], tuple[dict, list[Mapping]]] = {}
  for record in records:
    fields = record.get("fields") or {}
    constant = {name: value for name, value in fields.items() if name not in ROWS}
    text = json.dumps(constant, sort_keys=True, default=str)
    names = [str(record.get(n) or "") for n in ("metric", "network", "output", "fingerprint")]
    groups.setdefault((*names, text), (constant, []))[1].append(record)
  return [
    Column(metric, network, output, fingerprint, fields, sorted(members, key=_row))
    for (metric, network, output, fingerprint, _), (fields, members) in groups.items()
  ]


def rows(all_columns: Sequence[Column]) -> list[Row]:
  """All (step, truncation) of some columns, sorted; the step is -1 where a record has none."""
  return sorted({_row(record) for column in all_columns for record in column.records})


def cell(column: Column, row: Row) -> list[Mapping]:
  """The records of a column in a row: usually one, none if it was not measured."""
  return [record for record in column.records if _row(record) == row]
