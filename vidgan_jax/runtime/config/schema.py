"""Switches: the settings of configs and commands, each declared once.

A `Switch` has a default, a type, allowed values and a help text. Each package declares its switches
as a dictionary {dotted path: Switch}:

  SWITCHES = {
    "ema.decay": schema.number(0.9999, "Decay of the moving average.", least=0, most=0.999999),
  }

Configs (`defaults`), their checks (`check`), flags with their `--help` (`define`) and the tables of
docs/settings.md (`table`) all come from these declarations. Every number needs a finite range;
a value outside it is refused in one line.
"""

import dataclasses
import difflib
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
from absl import flags

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

flags.disclaim_key_flags()  # so a flag that `define` makes is listed under the calling module

REQUIRED = object()  # `Switch.absent` of a switch that every config must have
LONGEST = {"integers": 64, "numbers": 1000, "texts": 100_000}  # largest number of elements

LARGEST_SEED = 2**32 - 1  # JAX ignores higher bits
LARGEST_STEP = 2**31 - 2  # iterations are counted in int32


@dataclasses.dataclass(frozen=True)
class Switch:
  """One setting of a config or a command.

  Attributes:
    kind: "integer", "number" (a finite float), "boolean", "text", or a list of them: "integers",
      "numbers", "texts".
    default: the value if users set none. Only a flag may have None, which means "not set".
    help: one sentence for users.
    least, most: the smallest and the largest number allowed, for each element of a list.
    above: whether `least` itself is excluded.
    choices: the allowed values of a "text"; empty allows any text.
    enters_update: whether updates use the value. If not, a run may continue with another value.
    absent: the value for configs that were written before the switch existed; it must not change
      their runs. REQUIRED if every config has the switch.
  """

  kind: str
  default: Any
  help: str
  least: float | None = None
  most: float | None = None
  above: bool = False
  choices: tuple[str, ...] = ()
  enters_update: bool = True
  absent: Any = REQUIRED

  def fault(self, value) -> str | None:
    """None if `value` is allowed, else what it must be: "must be an integer from 1 to 512"."""
    several = self.kind.endswith("s")
    if several:
      fits = isinstance(value, list | tuple) and len(value) <= LONGEST[self.kind]
      fits = fits and all(map(self._fits, value))
    else:
      fits = self._fits(value)
    return None if fits else f"must be {self.allowed()}"

  def _fits(self, value) -> bool:
    """Whether one value, or one element of a list, is allowed."""
    kind = self.kind.removesuffix("s")
    if kind == "boolean":
      return isinstance(value, bool)
    if kind == "text":
      known = not self.choices or value in self.choices
      return isinstance(value, str) and "\0" not in value and known
    if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else int | float):
      return False
    assert self.least is not None and self.most is not None  # every number has a range
    return (self.least < value if self.above else self.least <= value) and value <= self.most

  def allowed(self) -> str:
    """The allowed values in words: "an integer from 1 to 512"."""
    if self.kind == "boolean":
      return "True or False"
    if self.choices:
      words = f"one of {', '.join(self.choices)}"
      return f"a list, each {words}" if self.kind == "texts" else words
    begin = "above {} and at most {}" if self.above else "from {} to {}"
    interval = lambda: begin.format(_digits(self.least), _digits(self.most))
    return {
      "text": lambda: "text",
      "texts": lambda: "a list of texts",
      "integer": lambda: f"an integer {interval()}",
      "number": lambda: f"a number {interval()}",
      "integers": lambda: f"a list of integers {interval()}",
      "numbers": lambda: f"a list of numbers {interval()}",
    }[self.kind]()


def integer(default, help: str, *, least: int, most: int, **more) -> Switch:
  """A switch for an integer in least..most."""
  return Switch("integer", default, help, least, most, **more)


def number(default, help: str, *, least: float, most: float, **more) -> Switch:
  """A switch for a finite number in least..most; `above=True` excludes `least` itself."""
  return Switch("number", default, help, least, most, **more)


def boolean(default: bool, help: str, **more) -> Switch:
  """A switch for True or False."""
  return Switch("boolean", default, help, **more)


def choice(default: str | None, choices, help: str, **more) -> Switch:
  """A switch for one of the texts `choices`."""
  return Switch("text", default, help, choices=tuple(choices), **more)


def text(default: str | None, help: str, **more) -> Switch:
  """A switch for any text, such as the name of a folder or a file."""
  return Switch("text", default, help, **more)


def integers(default, help: str, *, least: int, most: int, **more) -> Switch:
  """A switch for a list of integers in least..most."""
  return Switch("integers", default, help, least, most, **more)


def numbers(default, help: str, *, least: float, most: float, **more) -> Switch:
  """A switch for a list of finite numbers in least..most."""
  return Switch("numbers", default, help, least, most, **more)


def texts(default, help: str, **more) -> Switch:
  """A switch for a list of any texts."""
  return Switch("texts", default, help, **more)


def within(prefix: str, switches: Mapping[str, Switch]) -> dict[str, Switch]:
  """The switches with `prefix` and a dot before each path."""
  return {f"{prefix}.{path}": switch for path, switch in switches.items()}


def defaults(switches: Mapping[str, Switch]) -> ml_collections.ConfigDict:
  """A config in which every switch has its default."""
  config = ml_collections.ConfigDict()
  for path, switch in switches.items():
    *groups, name = path.split(".")
    part = config
    for group in groups:
      if group not in part:
        part[group] = ml_collections.ConfigDict()
      part = part[group]
    part[name] = switch.default
  return config


def flatten(config, prefix: str = "") -> dict[str, Any]:
  """Converts nested dictionaries to one dictionary {dotted path: value}."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, dict | ml_collections.ConfigDict):
      flat.update(flatten(value, f"{prefix}{name}."))
    else:
      flat[f"{prefix}{name}"] = value
  return flat


def check(config, switches: Mapping[str, Switch], name: str = "config") -> None:
  """Checks every field of a config against its declaration.

  Args:
    config: nested dictionaries, from flags or from a file.
    switches: the declarations of all fields.
    name: the name of `config` in messages.

  Raises:
    UserError: a value is not allowed, a field is not declared, or a field is missing that has no
      `Switch.absent`. The message names the field and what it must be.
  """
  flat = flatten(config)
  for path, value in flat.items():
    if path not in switches:
      raise UserError(f"unknown field {name}.{printable(path)}{_similar(path, switches)}")
    check_value(f"{name}.{path}", switches[path], value)
  for path, switch in switches.items():
    if path in flat:
      continue
    value = _value_at(config, path)
    if value is not REQUIRED:
      check_value(f"{name}.{path}", switch, value)
    elif switch.absent is REQUIRED:
      raise UserError(f"{name}.{path} is missing; it {switch.fault(None)}")


def _value_at(config, path: str):
  """The value of a nested config at a dotted path, which may be an empty group; else REQUIRED."""
  for name in path.split("."):
    if not isinstance(config, dict | ml_collections.ConfigDict) or name not in config:
      return REQUIRED
    config = config[name]
  return config


def check_value(name: str, switch: Switch, value) -> None:
  """Raises UserError if `value` is not allowed; `name` is the name of the switch for users."""
  fault = switch.fault(value)
  if fault:
    raise UserError(f"{name} is {shown(value)}, {fault}")


def set_fields(config, values: Mapping[str, Any]) -> None:
  """Sets fields of a nested config by dotted paths, in place.

  `ConfigDict.update_from_flattened_dict` would add a misspelt path as a new field; this refuses it.

  Args:
    config: a `ConfigDict`, locked or not.
    values: {dotted path: value}.

  Raises:
    UserError: the config has no such field, or the path is a group of fields.
  """
  known = flatten(config)
  for path, value in values.items():
    if path not in known:
      raise UserError(f"unknown field config.{path}{_similar(path, known)}")
    *groups, name = path.split(".")
    part = config
    for group in groups:
      part = part[group]
    try:
      part[name] = value
    except TypeError as error:
      raise UserError(f"config.{path} cannot be {shown(value)}: {error}") from error


def define(name: str, switch: Switch) -> flags.FlagHolder:
  """Defines an absl flag of the calling module. Its `--help` lists the allowed values."""
  if switch.kind == "boolean":
    return flags.DEFINE_bool(name, switch.default, switch.help)
  help = switch.help
  if switch.choices or switch.kind not in ("text", "texts"):
    help += f" {switch.allowed()[0].upper()}{switch.allowed()[1:]}."
  serializer = flags.CsvListSerializer(",") if switch.kind.endswith("s") else None
  return flags.DEFINE(
    _Parser(switch), name, switch.default, help, serializer=serializer or flags.ArgumentSerializer()
  )


class _Parser(flags.ArgumentParser):
  """Parses the text of a flag as its switch declares; ValueError says what it must be."""

  def __init__(self, switch: Switch):
    self.switch = switch

  def flag_type(self):
    return self.switch.kind

  def parse(self, argument):
    value = self._read(argument) if isinstance(argument, str) else argument
    fault = self.switch.fault(value)
    if fault:
      raise ValueError(fault)
    return value

  def _read(self, argument: str):
    """Converts text to the type of the switch; returns the text itself if it does not convert."""
    if self.switch.kind == "texts":
      return flags.ListParser().parse(argument)
    readers: dict[str, Callable] = {"integer": _integer, "number": float, "text": str}
    one = readers[self.switch.kind.removesuffix("s")]
    try:
      if not self.switch.kind.endswith("s"):
        return one(argument)
      return [one(word.strip()) for word in argument.split(",")] if argument else []
    except ValueError:
      return argument


def _integer(argument: str) -> int:
  return int(argument, 16 if argument.lower().startswith("0x") else 10)


def table(switches: Mapping[str, Switch], prefix: str = "", *, updates: bool = True) -> list[str]:
  """Lines of a Markdown table with a row for each switch.

  Args:
    switches: the switches by path.
    prefix: written before each path, such as "--".
    updates: whether to add a column that says which switches may change when a run continues.
  """
  head = ["setting", "default", "allowed", "meaning"]
  lines = []
  for path, switch in switches.items():
    row = [f"`{prefix}{path}`", _default(switch.default), switch.allowed(), switch.help]
    if updates:
      row.append("no" if switch.enters_update else "yes")
    lines.append(row)
  if updates:
    head.append("may change in a run")
  rows = [head, ["---"] * len(head), *lines]
  return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def help_lines(switches: Mapping[str, Switch], config: ml_collections.ConfigDict) -> list[str]:
  """Lines for --help: each field of a config, its value there, its meaning and what is allowed."""
  lines = []
  for path, switch in switches.items():
    value: Any = config
    for name in path.split("."):
      value = value.get(name) if hasattr(value, "get") else None
    meaning = f"{switch.help} Allowed: {switch.allowed()}."
    lines += [f"  --config.{path}={_default(value).strip('`')}"]
    lines += textwrap.wrap(meaning, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
  return lines


def shown(value) -> str:
  """A value for a message: on one line, and at most 60 characters long."""
  if isinstance(value, dict | ml_collections.ConfigDict):
    return "a group of fields"
  try:
    words = printable(repr(value))
  except ValueError:  # Python refuses to print integers of more than 4300 digits
    return "a number of thousands of digits"
  return words if len(words) <= 60 else f"{words[:57]}..."


def _default(value) -> str:
  if value is None:
    return "none"
  if value in ("", (), []):
    return "empty"
  if isinstance(value, list) or (isinstance(value, tuple) and isinstance(value[0], str)):
    return f"`{','.join(map(str, value))}`"
  return f"`{_digits(value)}`" if isinstance(value, int | float) else f"`{value}`"


def _digits(value) -> str:
  """A number in short decimal form, such as 1e-08 or 0.5; integers in full."""
  if isinstance(value, bool) or isinstance(value, int):
    return str(value)
  return f"{value:.10g}" if math.isfinite(value) else str(value)


def _similar(path: str, known) -> str:
  """A hint "; did you mean FIELD?" with a known field of a similar path, or ""."""
  close = difflib.get_close_matches(path, list(known), n=1, cutoff=0.5)
  same_name = [other for other in known if other.split(".")[-1] == path.split(".")[-1]]
  candidates = same_name or close
  return f"; did you mean {candidates[0]}?" if candidates else ""
