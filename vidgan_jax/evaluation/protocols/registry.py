"""The protocols by name."""

import dataclasses
from collections.abc import Iterable

from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import published
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime.errors import UserError


def known() -> dict[str, Protocol]:
  """All protocols by name, that of the embedded set and the recommended one first."""
  return {protocol.name: protocol for protocol in published.ALL}


def get_protocol(name: str) -> Protocol:
  """The protocol of a name; UserError with the list of names where there is none."""
  protocols = known()
  if name not in protocols:
    raise UserError(f"unknown protocol {name!r}; known: {', '.join(protocols)}")
  return protocols[name]


def with_metrics(protocol: Protocol, names: Iterable[str]) -> Protocol:
  """A protocol and further metrics, which read what its own metrics read.

  A metric of features reads the output that the protocol's first distance compares, a metric of
  logits those of its first classifier; see `Metric.input`.

  Args:
    protocol: see `Protocol`.
    names: of `METRICS`.

  Raises:
    UserError: a name is unknown or the protocol has this metric, or it reads no such output.
  """
  metrics = list(protocol.metrics)
  for name in names:
    if name not in METRICS:
      raise UserError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    if any(metric.name == name for metric in metrics):
      raise UserError(f"protocol {protocol.name} has {name} already")
    kind = METRICS[name]
    own = [metric for metric in protocol.metrics if metric.input == kind.input]
    own.sort(key=lambda metric: not metric.compares)
    if not own:
      raise UserError(f"{name} needs {kind.input}, which protocol {protocol.name} does not read")
    metrics.append(kind(own[0].network, own[0].output, own[0].preprocess))
  return dataclasses.replace(protocol, metrics=tuple(metrics))
