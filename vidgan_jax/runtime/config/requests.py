"""Requests: the flags of a command as a frozen dataclass, each declared once.

The fields of a request are declared with `option`:

  @dataclasses.dataclass(frozen=True)
  class Request:
    workdir: str = option(schema.text(None, "Folder of the run."), required=True)
    frames: int | None = option(schema.integer(None, "Frames.", least=1, most=4096))

The default, the flag, its `--help` and its check all come from this declaration. A command calls
`define` when it is imported, and `read` after its flags are parsed. Code may also build a request
without flags, so the function that fulfils a request first calls `check`.
"""

import dataclasses
import os
import typing
from collections.abc import Collection
from typing import Any, TypeVar

from absl import flags

from vidgan_jax.runtime.config import schema

flags.disclaim_key_flags()  # so a flag that `define` makes is listed under the calling module

_Request = TypeVar("_Request")


def option(switch: schema.Switch, *, flag: str | None = None, required: bool = False) -> Any:
  """Declares a field of a request.

  Args:
    switch: its default, type, allowed values and help text.
    flag: name of the flag, if it differs from the name of the field.
    required: whether users must set the flag. The field then has no default.
  """
  default = dataclasses.MISSING if required else switch.default
  return dataclasses.field(default=default, metadata={"switch": switch, "flag": flag})


def define(request: type, sometimes: Collection[str] = ()) -> None:
  """Defines a flag of the calling module for each field that `option` declares.

  Args:
    request: the class.
    sometimes: required fields whose flags users may leave out, because the command has modes that
      do not need them.
  """
  for field, switch, name in _options(request):
    schema.define(name, switch)
    if field.default is dataclasses.MISSING and name not in sometimes:
      flags.mark_flag_as_required(name)


def read(request: type[_Request], **values) -> _Request:
  """Builds a request from the parsed flags.

  Args:
    request: the class that was passed to `define`.
    **values: values of fields that replace those of the flags.
  """
  for field, switch, name in _options(request):
    value = flags.FLAGS[name].value
    if switch.kind.endswith("s") and value is not None:
      value = tuple(value)
    values.setdefault(field.name, value)
  return request(**values)


def check(request: Any) -> None:
  """Checks every declared field of a request, as the parsers of the flags do.

  None is allowed where the annotation of the field allows it, and means "not set". Paths may be
  `os.PathLike`.

  Raises:
    UserError: a value is not allowed. The message names the flag and what the value must be.
  """
  for field, switch, name in _options(request):
    value = getattr(request, field.name)
    if value is None and type(None) in typing.get_args(field.type):
      continue
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    schema.check_value(f"--{name}", switch, value)


def _options(request):
  """Yields (field, switch, name of the flag)."""
  for field in dataclasses.fields(request):
    if "switch" in field.metadata:
      yield field, field.metadata["switch"], field.metadata["flag"] or field.name
