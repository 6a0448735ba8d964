"""Writes docs/settings.md, the tables of all switches and flags, from their declarations.

python -m vidgan_jax.models.settings_page
"""

import importlib.util
import pathlib
import re

# `absl.app` defines flags that differ between versions of absl. It is imported before the commands,
# so that `command_flags` does not list its flags.
from absl import app, flags  # noqa: F401

from vidgan_jax.models import switches
from vidgan_jax.runtime.config import base_switches, schema

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "settings.md"
COMMANDS = ("train", "sample", "evaluate", "prepare", "analyze", "summarize", "export", "web")

_HEAD = """# All settings

Written by `python -m vidgan_jax.models.settings_page` from the declarations in the code; do not
edit. Commands check all values before they compute or write anything, and refuse a wrong one with a
one-line message.

## Fields of a config

Set a field on the command line, `--config.optimizer.eps=1e-6`, or in a config file. Lists are
written in quotes: `--config.model.generator.multipliers="(2,1)"`. The last column says whether an
existing run may continue with another value. `vidgan summarize --config=...` checks a
config without running it.
"""


def page() -> str:
  """Returns the Markdown text of the whole page."""
  lines = [_HEAD, "### Every config", "", *schema.table(base_switches.SWITCHES, "config.")]
  for name in sorted(switches.SYSTEMS):
    lines += ["", f"### Models: {name}", "", *schema.table(switches.system(name), "config.model.")]
  for command in COMMANDS:
    lines += ["", f"## Flags of vidgan {command}", "", *_flags(command)]
  return "\n".join(lines) + "\n"


def command_flags(command: str) -> list[flags.Flag]:
  """Returns the flags that a command defines, in the order of its file.

  Several commands define flags of the same name, which absl refuses within one process. Therefore
  this function removes the command's flags from `absl.flags.FLAGS` again.
  """
  before = set(flags.FLAGS)
  spec = importlib.util.find_spec(f"vidgan_jax.{command}")
  assert spec and spec.loader
  spec.loader.exec_module(importlib.util.module_from_spec(spec))
  defined = [flags.FLAGS[name] for name in flags.FLAGS if name not in before]
  flags.FLAGS.remove_flag_values([flag.name for flag in defined])
  return defined


def _flags(command: str) -> list[str]:
  """Returns the lines of the table of a command's flags."""
  rows = {}
  for flag in command_flags(command):
    switch = getattr(flag.parser, "switch", None)
    if switch is None:
      switch = _switch_of(flag)
    rows[flag.name] = switch
  return schema.table(rows, "--", updates=False)


def _switch_of(flag: flags.Flag) -> schema.Switch:
  """Describes an absl flag that is a text, a list of texts or a boolean as a switch."""
  choices = tuple(getattr(flag.parser, "enum_values", ()))
  several = isinstance(flag.parser, flags.ListParser)
  kind = "boolean" if flag.boolean else "texts" if several else "text"
  sentence = re.sub(r"^<[^>]*>: ", "", flag.help)  # the table lists the choices in another column
  return schema.Switch(kind, flag.default, sentence, choices=choices)


if __name__ == "__main__":
  PAGE.write_text(page(), encoding="utf-8")
  print(f"written: {PAGE}")
