"""The protocols by name."""

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
