"""What stands in one column of a report: numbers of one metric and one fingerprint, no others."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from vidgan_jax.evaluation.metrics import registry as metrics

ROWS = ("step", "truncation", "checkpoint")  # what may differ within a column


@dataclasses.dataclass(frozen=True)
class Column:
  """Numbers that may be compared.

  Attributes:
    metric, network, output, fingerprint: of all of them.
    fields: what the fingerprint is made of.
    records: by iteration, then truncation.
  """

  metric: str
  network: str
  output: str
  fingerprint: str
  fields: Mapping
  records: Sequence[Mapping]

  @property
  def name(self) -> str:
    """Of the metric, for reading."""
    return metrics.number(self.metric).title

  @property
  def meaning(self) -> str:
    """One sentence."""
    return metrics.number(self.metric).meaning

  @property
  def main(self) -> Mapping:
    """The number of the last iteration, at the truncation nearest to 1."""
    last = [record for record in self.records if _order(record)[0] == _order(self.records[-1])[0]]
    return min(last, key=lambda record: abs(truncation(record) - 1))

  def over_steps(self) -> list[Mapping]:
    """Records at the main one's truncation, by iteration; one for each."""
    at = truncation(self.main)
    found = {
      _order(r)[0]: r for r in self.records if truncation(r) == at and r.get("step") is not None
    }
    return [found[step] for step in sorted(found)]

  def over_truncations(self) -> list[Mapping]:
    """Records of the main one's iteration, by truncation; one for each."""
    step = self.main.get("step")
    found = {truncation(r): r for r in self.records if r.get("step") == step}
    return [found[at] for at in sorted(found)]


def truncation(record: Mapping) -> float:
  """Of a record; 1 where none is told."""
  found = record.get("truncation")
  return 1.0 if found is None else float(found)


def _order(record):
  step = record.get("step")
  return (-1 if step is None else step, truncation(record))


def columns(records: Sequence[Mapping]) -> list[Column]:
  """Sorts records into columns, in the order in which their metrics come.

  Two records share a column only if metric, network, output, fingerprint and all fields but `ROWS`
  agree, whatever else the file may claim.
  """
  found = {}
  for record in records:
    fields = record.get("fields") or {}
    constant = {name: value for name, value in fields.items() if name not in ROWS}
    text = json.dumps(constant, sort_keys=True, default=str)
    named = [str(record.get(n) or "") for n in ("metric", "network", "output", "fingerprint")]
    found.setdefault((*named, text), (constant, []))[1].append(record)
  return [Column(*key[:4], fields, sorted(own, key=_order)) for key, (fields, own) in found.items()]


def rows(found: Sequence[Column]) -> list[tuple]:
  """All (step, truncation) of some columns, in order."""
  return sorted({_order(record) for column in found for record in column.records})


def cell(column: Column, row: tuple) -> list[Mapping]:
  """The records of a column in a row; mostly one, none where it was not measured."""
  return [record for record in column.records if _order(record) == row]
