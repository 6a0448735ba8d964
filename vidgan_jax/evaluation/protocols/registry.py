"""Looks up protocols by name, and adds metrics to a protocol."""

import dataclasses
import difflib
from collections.abc import Iterable

from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import published
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

# Short names. FVD of the paper that introduced it is what papers call FVD without an addition.
ALIASES = {"fvd": "fvd_unterthiner2018"}


def all_protocols() -> dict[str, Protocol]:
  """{name: protocol} of all protocols, in the order of `published.ALL`."""
  return {protocol.name: protocol for protocol in published.ALL}


def get_protocol(name: str) -> Protocol:
  """The protocol with this name, or the one that an alias stands for.

  Raises:
    UserError: there is no such protocol; the message lists all names.
  """
  protocols = all_protocols()
  meant = ALIASES.get(name, name)
  if meant not in protocols:
    known = [*protocols, *(alias for alias, whole in ALIASES.items() if whole in protocols)]
    similar = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    raise UserError(f"unknown protocol {printable(name)!r}{hint}; known: {', '.join(known)}")
  return protocols[meant]


def with_metrics(protocol: Protocol, names: Iterable[str]) -> Protocol:
  """Adds metrics to a protocol; they use network outputs that the protocol already uses.

  A metric of features uses the output of the protocol's first metric that compares features with
  real clips, or of its first metric of features. A metric of logits likewise; see `Metric.input`.

  Args:
    protocol: the protocol.
    names: names of metrics in `METRICS`.

  Raises:
    UserError: a name is unknown, the protocol already has the metric, or it uses no output of the
      kind that the metric needs.
  """
  metrics = list(protocol.metrics)
  for name in names:
    if name not in METRICS:
      raise UserError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    if any(metric.name == name for metric in metrics):
      raise UserError(f"protocol {protocol.name} already has {name}")
    cls = METRICS[name]
    same_input = [metric for metric in protocol.metrics if metric.input == cls.input]
    if not same_input:
      raise UserError(f"{name} needs {cls.input}, which protocol {protocol.name} does not use")
    first = min(same_input, key=lambda metric: not metric.compares)
    metrics.append(cls(first.network, first.output, first.preprocess))
  return dataclasses.replace(protocol, metrics=tuple(metrics))
