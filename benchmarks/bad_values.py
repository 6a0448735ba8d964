"""Passes bad values to every numeric switch of every config and command and prints the outcomes.

  JAX_PLATFORMS=cpu python benchmarks/bad_values.py [--only=ema] > table.md

The program finds all switches in configs and flags, so a new switch is tested without a change
here. Each value is passed on the command line and in config.json. It must be refused with a message
of one line, or work. For accepted values of the model's switches the program checks this by
building the whole state abstractly. Both ends of every range are among the values.
"""

import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
from absl import app, flags
from ml_collections import config_flags

from vidgan_jax.models import contract, registry, settings_page, stored_config, switches
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers, state

_ONLY = flags.DEFINE_string("only", "", "Test only switches whose name contains this text.")

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
# A small row of each system.
ROWS = (
  "quickstart.py:runlocal",
  "tgan.py:f_c1,runlocal",
  "mocogan.py:categorical,runlocal",
  "vgan.py:ucf101_16,runlocal",
  "tgan_v2.py:shapes,runlocal",
  "progressive_vgan.py:shapes,runlocal",
)
# Values that a person may type, by mistake or on purpose.
TEXTS = ("nan", "inf", "-inf", "-1", "0", f"{2**70}", f"{-(2**70)}", "1e400", "", "abc", "1.5")
TEXTS += ("True", "[1]", "None", "9" * 5000)
LISTS = (
  "()",
  "(0,)",
  "(-1,)",
  "(nan,)",
  "(1.5,)",
  "('a',)",
  f"({2**70},)",
  "abc",
  "3",
  "(",
  "(True,)",
)
LISTS += ("((1,),)", "1," * 1000)
# Values that a damaged or edited config.json may contain.
VALUES = (None, True, "1", [1], {}, [], float("nan"), float("inf"), 2**70, -1, 1.5, [None], [[1]])


class Verdict(NamedTuple):
  """The outcome for one value of one switch; `fault` if that outcome is an error of the program."""

  switch: str
  allowed: str
  value: str
  outcome: str
  fault: bool


def load(row: str, *arguments: str):
  """The config of `row` with flags `--config.NAME=VALUE`, parsed as the commands parse it."""
  argv = ["program", f"--config={CONFIGS / row}", *arguments]
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  values(argv)
  return holder.value


def numeric(config) -> dict[str, schema.Switch]:
  """The numeric switches of a config; raises AssertionError for one without a declared range."""
  declared = switches.of_model(config.model)
  result = {}
  for path, value in schema.flatten(config).items():
    switch = declared[path]
    if isinstance(value, bool | str) or switch.kind == "texts":
      continue
    if switch.least is None or switch.most is None:
      raise AssertionError(f"config.{path} has no range")
    result[path] = switch
  return result


def build(config) -> None:
  """Builds the state of a config and scores clips, abstractly: without allocating arrays."""
  switches.check(config)
  gan = registry.build(config, platform="cpu")
  gan.check_new()
  transforms = optimizers.build(config, gan.discriminators)
  made = jax.eval_shape(lambda: state.create(gan, transforms, config.seed))

  def scores(state):
    count = max(2, gan.batch_multiple)
    key, batch = jax.random.key(0), gan.example_batch(count)
    context = contract.Context(frozen=gan.example_frozen())
    latents, inputs = gan.latents(key, count), gan.generated_inputs(key, batch, context)
    inputs = gan.derive(context.frozen, latents, inputs)
    samples, _ = gan.generate(_variables(state.generator), latents, inputs, key, True)
    views = gan.views(key, samples, inputs, context)
    return {
      name: gan.discriminate(name, _variables(network), views[name], key)[0]
      for name, network in state.discriminators.items()
    }

  for name, output in jax.eval_shape(scores, made).items():
    for score in jax.tree.leaves(output):
      if not score.size:
        raise AssertionError(f"{name} scores nothing: {score.shape}")


def _variables(network) -> dict:
  names = ("params", "spectral", "batch_stats")
  return {name: getattr(network, name) for name in names if getattr(network, name)}


def outcome(use, parse, *arguments) -> tuple[str, bool]:
  """Runs `use(parse(*arguments))`; returns (its outcome in words, whether that is a fault)."""
  begin = time.perf_counter()
  try:
    use(parse(*arguments))
    words, fault = "accepted", False
  except UserError as error:
    words, fault = f"refused: {error}", "\n" in str(error)
  except flags.Error as error:
    words, fault = f"refused: {door.refusal(error)}", "\n" in door.refusal(error)
  except Exception as error:
    words, fault = f"TRACEBACK {type(error).__name__}: {error}", True
  slow = time.perf_counter() - begin > 30
  return (f"HANG, {words}", True) if slow else (words, fault)


def _shown(value) -> str:
  text = value if isinstance(value, str) else json.dumps(value)
  return text if len(text) <= 24 else f"{text[:12]}... ({len(text)} characters)"


def _ends(switch: schema.Switch) -> list[str]:
  ends = [switch.least, switch.most]
  return [f"({end},)" for end in ends] if switch.kind.endswith("s") else list(map(str, ends))


def of_config(row: str, only: str = "") -> Iterator[Verdict]:
  """Verdicts on all numeric switches of a config."""
  config = load(row)
  for path, switch in numeric(config).items():
    name = f"config.{path}"
    if only not in name:
      continue
    # Switches outside the model change no shapes: checking them is enough.
    use = build if path.startswith("model.") else switches.check
    texts = LISTS if switch.kind.endswith("s") else TEXTS
    for text in [*texts, *_ends(switch)]:
      words, fault = outcome(use, load, row, f"--config.{path}={text}")
      yield Verdict(f"{row.split('.')[0]} {name}", switch.allowed(), _shown(text), words, fault)
    for value in VALUES:
      words, fault = outcome(use, from_file, config, path, value)
      wrong = words == "accepted" and switch.fault(value) is not None
      yield Verdict(
        f"{row.split('.')[0]} config.json {path}",
        switch.allowed(),
        _shown(value),
        words,
        fault or wrong,
      )


def from_file(config, path: str, value):
  """The config that is read from a config.json in which the field `path` is `value`."""
  content = json.loads(configuration.to_json(config))
  *groups, name = path.split(".")
  part = content
  for group in groups:
    part = part[group]
  part[name] = value
  try:
    return stored_config.from_json(json.dumps(content))
  except ValueError as error:  # `training.state.read_config` reports it as one line too
    raise UserError(str(error)) from error


def of_command(command: str, only: str = "") -> Iterator[Verdict]:
  """Verdicts on all numeric flags of a command."""
  for flag in settings_page.command_flags(command):
    if only not in flag.name:
      continue
    if isinstance(flag.parser, flags.IntegerParser | flags.FloatParser):
      raise AssertionError(f"--{flag.name} of {command} has no range: use schema.define")
    switch = getattr(flag.parser, "switch", None)
    if switch is None or switch.least is None:
      continue
    ends = [str(switch.least), str(switch.most)]
    for text in [*TEXTS, "1,nan", *ends]:
      words, fault = outcome(bool, _parse, flag, text)
      yield Verdict(f"{command} --{flag.name}", switch.allowed(), _shown(text), words, fault)


def _parse(flag, text: str) -> None:
  values = flags.FlagValues()
  values[flag.name] = flag
  try:
    values(["program", f"--{flag.name}={text}"])
  finally:
    flag.unparse()


def verdicts(only: str = "") -> Iterator[Verdict]:
  """Verdicts on the numeric switches of all configs and commands."""
  for row in ROWS:
    yield from of_config(row, only)
  for command in settings_page.COMMANDS:
    yield from of_command(command, only)


def main(argv):
  """Prints the table; exits with 1 if there are faults."""
  del argv
  faults, count = 0, 0
  print("| switch | allowed | value | verdict |\n| --- | --- | --- | --- |")
  for verdict in verdicts(_ONLY.value):
    count, faults = count + 1, faults + verdict.fault
    cells = [*verdict[:3], ("FAULT: " if verdict.fault else "") + verdict.outcome]
    print("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
  print(f"\n{count} values, {faults} faults")
  sys.exit(1 if faults else 0)


if __name__ == "__main__":
  app.run(main)
