"""Switches: what users may set, each declared once.

A `Switch` holds the default, the type, the allowed values and one sentence. A room that owns
switches declares them as a dictionary {dotted path: Switch}:

  SWITCHES = {
    "ema.decay": schema.number(0.9999, "Decay of the moving average.", least=0, most=0.999999),
  }

Configs (`defaults`), their checks (`check`), flags with their `--help` (`define`) and the tables of
docs/settings.md (`table`) all come from these declarations. Numbers cannot be declared without a
range, and a range has no infinite end: values beyond it are refused in one line.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
from absl import flags

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

flags.disclaim_key_flags()  # a flag that `define` makes belongs to the module that calls it

REQUIRED = object()  # `Switch.absent` of a switch that every config has
LONGEST = {"integers": 64, "numbers": 1000, "texts": 100_000}  # elements of a list

LARGEST_SEED = 2**32 - 1  # JAX drops the bits above
LARGEST_STEP = 2**31 - 2  # iterations are counted in int32


@dataclasses.dataclass(frozen=True)
class Switch:
  """One thing that users may set.

  Attributes:
    kind: "integer", "number" (a finite float), "boolean", "text", or "integers", "numbers", "texts"
      (several of them).
    default: its value where users set nothing; None in flags that then follow something else.
    help: one sentence for users.
    least, most: the smallest and the largest number allowed; of "integers" and "numbers", of each.
    above: `least` itself is not allowed.
    choices: of "text", the allowed values; empty allows any text.
    enters_update: False where a run may continue with another value, because no update uses it.
    absent: the value in configs that were written before the switch existed, which changes nothing
      for them; REQUIRED where every config has the switch.
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
    """Says what `value` must be, or None where it is allowed."""
    several = self.kind.endswith("s")
    if several:
      fits = isinstance(value, list | tuple) and len(value) <= LONGEST[self.kind]
      fits = fits and all(map(self._fits, value))
    else:
      fits = self._fits(value)
    return None if fits else f"must be {self.allowed()}"

  def _fits(self, value) -> bool:
    """Whether one value, or one element, is allowed."""
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
  """A whole number in least..most."""
  return Switch("integer", default, help, least, most, **more)


def number(default, help: str, *, least: float, most: float, **more) -> Switch:
  """A finite number in least..most; `above=True` leaves `least` itself out."""
  return Switch("number", default, help, least, most, **more)


def boolean(default: bool, help: str, **more) -> Switch:
  """True or False."""
  return Switch("boolean", default, help, **more)


def choice(default: str | None, choices, help: str, **more) -> Switch:
  """One of the texts `choices`."""
  return Switch("text", default, help, choices=tuple(choices), **more)


def text(default: str | None, help: str, **more) -> Switch:
  """Any text: a name, a folder, a file."""
  return Switch("text", default, help, **more)


def integers(default, help: str, *, least: int, most: int, **more) -> Switch:
  """Whole numbers in least..most."""
  return Switch("integers", default, help, least, most, **more)


def numbers(default, help: str, *, least: float, most: float, **more) -> Switch:
  """Finite numbers in least..most."""
  return Switch("numbers", default, help, least, most, **more)


def texts(default, help: str, **more) -> Switch:
  """Any texts."""
  return Switch("texts", default, help, **more)


def within(prefix: str, switches: Mapping[str, Switch]) -> dict[str, Switch]:
  """`switches` with `prefix.` before each path."""
  return {f"{prefix}.{path}": switch for path, switch in switches.items()}


def defaults(switches: Mapping[str, Switch]) -> ml_collections.ConfigDict:
  """A config that holds every switch at its default."""
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
  """{dotted path: value} of nested dictionaries."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, dict | ml_collections.ConfigDict):
      flat.update(flatten(value, f"{prefix}{name}."))
    else:
      flat[f"{prefix}{name}"] = value
  return flat


def check(config, switches: Mapping[str, Switch], name: str = "config") -> None:
  """Compares every field of `config` with its declaration.

  Args:
    config: nested dictionaries, from flags or from a file.
    switches: all of them.
    name: what users call `config`.

  Raises:
    UserError: on a value that is not allowed, a field that nobody declares, or one that is missing
      (`Switch.absent` may be); names the field and what it must be.
  """
  flat = flatten(config)
  for path, value in flat.items():
    if path not in switches:
      raise UserError(f"unknown field {name}.{printable(path)}{_similar(path, switches)}")
    check_value(f"{name}.{path}", switches[path], value)
  for path, switch in switches.items():
    if path in flat:
      continue
    value = _found(config, path)
    if value is not REQUIRED:
      check_value(f"{name}.{path}", switch, value)
    elif switch.absent is REQUIRED:
      raise UserError(f"{name}.{path} is missing; it {switch.fault(None)}")


def _found(config, path: str):
  """What a nested config holds at `path`, an empty group included; REQUIRED where nothing."""
  for name in path.split("."):
    if not isinstance(config, dict | ml_collections.ConfigDict) or name not in config:
      return REQUIRED
    config = config[name]
  return config


def check_value(name: str, switch: Switch, value) -> None:
  """UserError where `value` is not allowed; `name` is what the user calls the switch."""
  fault = switch.fault(value)
  if fault:
    raise UserError(f"{name} is {shown(value)}, {fault}")


def set_fields(config, values: Mapping[str, Any]) -> None:
  """Sets fields of a nested config by dotted paths, in place.

  Unlike `ConfigDict.update_from_flattened_dict`, it adds no field: a misspelt path is refused.

  Args:
    config: a `ConfigDict`, locked or not.
    values: {dotted path: value}.

  Raises:
    UserError: where the config has no such field, or a group of fields is given one value.
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
  """Defines an absl flag of the calling module; its `--help` tells what is allowed."""
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
  """Reads the text of a flag by its switch; ValueError says what it must be."""

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
    """The value that `argument` spells, or `argument` itself where it spells none."""
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
  """Lines of a Markdown table, a row for each switch.

  Args:
    switches: see the module.
    prefix: written before each path.
    updates: add a column that says which switches may change when a run continues.
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


def shown(value) -> str:
  """A value as a message shows it: on one line, shortened where it is long."""
  if isinstance(value, dict | ml_collections.ConfigDict):
    return "a group of fields"
  try:
    words = printable(repr(value))
  except ValueError:  # Python writes no integer of more than 4300 digits
    return "a number of thousands of digits"
  return words if len(words) <= 60 else f"{words[:57]}..."


def _default(value) -> str:
  if value is None:
    return "none"
  if value in ("", (), []):
    return "empty"
  if isinstance(value, list):
    return f"`{','.join(map(str, value))}`"
  return f"`{_digits(value)}`" if isinstance(value, int | float) else f"`{value}`"


def _digits(value) -> str:
  """A number as a person writes it: 1e-08 as 1e-08, 0.5 as 0.5, 4294967295 in full."""
  if isinstance(value, bool) or isinstance(value, int):
    return str(value)
  return f"{value:.10g}" if math.isfinite(value) else str(value)


def _similar(path: str, known) -> str:
  """A hint at the field that was probably meant."""
  close = difflib.get_close_matches(path, list(known), n=1, cutoff=0.5)
  last = [other for other in known if other.split(".")[-1] == path.split(".")[-1]]
  found = last or close
  return f"; did you mean {found[0]}?" if found else ""
