"""Options that set fields of a config, --config.FIELD=VALUE, and messages about wrong ones."""

import difflib
import re
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable


def check(argv: list[str]) -> None:
  """UserError if an option --config.PATH=VALUE has a PATH that no field can have."""
  for option in argv[1:]:
    if option == "--":
      return
    found = re.match(r"--?config\.([^=]*)", option)
    if not found or re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", found[1]):
      continue
    part = re.fullmatch(r"([\w.]+)\[[^]]*\]", found[1])
    if part:
      raise UserError(
        f"{printable(found[0])}: a part of a value cannot be set; write the whole value, "
        f"--config.{part[1]}=..."
      )
    raise UserError(unknown(argv, [option]))


def unknown(argv: list[str], options: list[str]) -> str:
  """The message for an unknown field of a config, with a similar known field if there is one.

  Args:
    argv: the command line.
    options: the options that set fields, --config.FIELD=VALUE.
  """
  # A flag of its own reads the config without the wrong fields.
  alone = flags.FlagValues()
  config_flags.DEFINE_config_file("config", None, "", alone)
  named_config = [argv[0], *[option for option in argv[1:] if re.match("--?config=", option)]]
  given, sys.argv = sys.argv, named_config  # ml_collections looks there for fields
  try:
    alone(named_config)
  finally:
    sys.argv = given
  config = alone["config"].value  # None without --config
  known = [] if config is None else _paths(config)
  for option in options:
    path = re.sub(r"^--?config\.|=.*$", "", option, flags=re.DOTALL)
    if path in known:
      continue
    last = path.rpartition(".")[2]
    # Fields of a similar name anywhere, the one with the most similar path first.
    names = difflib.get_close_matches(
      last, [each.rpartition(".")[2] for each in known], cutoff=0.75
    )
    similar = [each for each in known if each.rpartition(".")[2] in names]
    similar = difflib.get_close_matches(path, similar or known, n=1, cutoff=0.0 if similar else 0.8)
    meant = f"; did you mean {similar[0]!r}?" if similar else ""
    return f"unknown config field {printable(path)!r} in {option}{meant}"
  return f"unknown config field in {' '.join(options)}"


def _paths(config: ConfigDict, prefix: str = "") -> list[str]:
  """The fields of a config and their groups, such as "model" and "model.resolution"."""
  paths = []
  for name in config:
    value = config.get(name)
    paths.append(f"{prefix}{name}")
    if isinstance(value, ConfigDict):
      paths += _paths(value, f"{prefix}{name}.")
  return paths
