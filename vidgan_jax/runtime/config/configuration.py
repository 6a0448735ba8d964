"""Configs: the fields of every config, the arguments of config files, and JSON."""

import json

import ml_collections

from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError


def base_config() -> ml_collections.ConfigDict:
  """Returns the fields that every experiment has, without `model`; see `base_switches`.

  A config file fills in `config.model` and changes what its experiment needs.
  """
  return schema.defaults(base_switches.SWITCHES)


def parse_argument(argument: str, known) -> tuple[str, bool]:
  """Reads a config file's argument, "name" or "name,runlocal".

  Args:
    argument: what follows the colon in --config=file.py:argument.
    known: names of the file's experiments; the first is the default.

  Returns:
    (name, whether to shrink the experiment so that it runs on a laptop).

  Raises:
    UserError: the argument is anything else; the message lists the known names.
  """
  known = list(known)
  words = [word for word in (argument or "").split(",") if word]
  runlocal = "runlocal" in words
  names = [word for word in words if word != "runlocal"]
  if len(names) > 1 or any(name not in known for name in names):
    raise UserError(
      f"unknown config argument {argument!r}; known: {', '.join(known)} "
      "(each also as name,runlocal)"
    )
  return (names[0] if names else known[0]), runlocal


def run_local(config) -> None:
  """Shrinks batch size, intervals and data of an experiment in place. The model stays."""
  schema.set_fields(
    config,
    {
      "batch_size": 2,
      "num_iterations": 3,
      "log_every": 1,
      "checkpoint_every": 2,
      "sample_every": 3,
      "analysis.every": 0,
      "evaluation.every": 0,
      "data.name": "moving_shapes",
      "data.num_examples": 64,
      "data.stride": 1,
    },
  )


def to_json(config) -> str:
  """The config as indented JSON."""
  return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"
