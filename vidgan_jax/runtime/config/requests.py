"""Requests: what a command is asked for, with each of its flags declared once.

A request is a frozen dataclass whose fields are declared by `option`:

  @dataclasses.dataclass(frozen=True)
  class Request:
    workdir: str = option(schema.text(None, "Folder of the run."), required=True)
    frames: int | None = option(schema.integer(None, "Frames.", least=1, most=4096))

The default, the flag, its `--help` and its check all come from that declaration. A command calls
`define` when it is imported and `read` when its flags are parsed.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, TypeVar

from absl import flags

from vidgan_jax.runtime.config import schema

flags.disclaim_key_flags()  # a flag that `define` makes belongs to the module that calls it

_Request = TypeVar("_Request")


def option(switch: schema.Switch, *, flag: str | None = None, required: bool = False) -> Any:
  """A field of a request.

  Args:
    switch: its default, type, allowed values and sentence.
    flag: name of the flag where it differs from the field's.
    required: whether users must give it; it has no default then.
  """
  default = dataclasses.MISSING if required else switch.default
  return dataclasses.field(default=default, metadata={"switch": switch, "flag": flag})


def define(request: type, sometimes: Collection[str] = ()) -> None:
  """Defines a flag of the calling module for each field that `option` declares.

  Args:
    request: the class.
    sometimes: required flags that the command does not need for all that it does.
  """
  for field, switch, name in _options(request):
    schema.define(name, switch)
    if field.default is dataclasses.MISSING and name not in sometimes:
      flags.mark_flag_as_required(name)


def read(request: type[_Request], **values) -> _Request:
  """The request that the parsed flags spell.

  Args:
    request: the class that `define` was called with.
    values: of fields that do not come from one flag alone.
  """
  for field, switch, name in _options(request):
    value = flags.FLAGS[name].value
    if switch.kind.endswith("s") and value is not None:
      value = tuple(value)
    values.setdefault(field.name, value)
  return request(**values)


def _options(request):
  """Yields (field, switch, name of the flag)."""
  for field in dataclasses.fields(request):
    if "switch" in field.metadata:
      yield field, field.metadata["switch"], field.metadata["flag"] or field.name
