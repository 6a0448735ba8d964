"""What every config holds besides its model, and how config files read their argument."""

import json
import zlib

import ml_collections

from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files


def base_config() -> ml_collections.ConfigDict:
  """Returns the fields that every experiment has, without `model`; see `base_switches`.

  A config file fills in `config.model` and changes what its experiment needs.
  """
  return schema.defaults(base_switches.SWITCHES)


def parse_argument(argument: str, known) -> tuple[str, bool]:
  """Reads a config file's argument, "name" or "name,runlocal".

  Args:
    argument: what follows the colon in --config=file.py:argument.
    known: names the file knows; the first is taken where the argument names none.

  Returns:
    (name, whether to shrink the experiment to a laptop).

  Raises:
    UserError: on anything else, listing what is known.
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
  """Shrinks batch, cadences and data of an experiment in place, not the model."""
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


def from_json(text: str) -> ml_collections.ConfigDict:
  """Reads what `to_json` wrote.

  Fields that did not exist yet when it was written have the values that change nothing.

  Raises:
    ValueError: where `text` is no config.
  """
  found = json_files.parse(text, "config.json")
  for name in ("data", "ema", "model", "optimizer"):
    if not isinstance(found, dict) or not isinstance(found.get(name), dict):
      raise ValueError(f"it holds no config (no {name!r} with fields)")
  config = ml_collections.ConfigDict(found)
  for name, value in _ADDED.items():
    *path, last = name.split(".")
    part = config
    for step in path:
      part = part.get(step) if isinstance(part, ml_collections.ConfigDict) else None
    if isinstance(part, ml_collections.ConfigDict) and part and last not in part:
      part[last] = value
  return config


_SWITCHES = {**base_switches.SWITCHES, **schema.within("model", base_switches.MODEL)}
_ADDED = {
  path: switch.absent for path, switch in _SWITCHES.items() if switch.absent is not schema.REQUIRED
}
_FREE = {path for path, switch in _SWITCHES.items() if not switch.enters_update}
# Switches that came later and are in the identities of runs since. Later ones are left out while
# they change nothing, so that the identity of a run stays what it was.
_IN_IDENTITY = {
  "microbatch",
  "optimizer.kind",
  "optimizer.rmsprop_decay",
  "optimizer.weight_decay",
  "model.shared_fakes",
  "data.split",
  "data.classes",
  "data.min_frames",
  "data.temporal_reversal",
}


def _entering(config) -> dict:
  """{field: value} of all that enters an update; tuples as lists, as JSON has them."""
  return {
    path: _as_json(value) for path, value in schema.flatten(config).items() if path not in _FREE
  }


def _as_json(value):
  return list(value) if isinstance(value, tuple) else value


def identity(config) -> str:
  """Eight digits that tell runs apart whose updates differ."""
  entering = {
    path: value
    for path, value in _entering(config).items()
    if path not in _ADDED or path in _IN_IDENTITY or value != _as_json(_ADDED[path])
  }
  text = json.dumps(entering, sort_keys=True, default=str)
  return f"{zlib.crc32(text.encode()):08x}"


def first_difference(old, new) -> str | None:
  """Names the first field, in the order of their names, in which a run's config differs.

  Fields that do not enter an update (lengths, cadences, folders, the guard) may differ.

  Returns:
    "field: old value there, new value here", or None.
  """
  old, new = _entering(old), _entering(new)
  for name in sorted({*old, *new}):
    if old.get(name) != new.get(name):
      return f"{name}: {old.get(name)!r} there, {new.get(name)!r} here"
  return None
