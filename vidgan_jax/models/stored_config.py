"""Reads a run's config.json, and compares it with other configs.

Older files lack switches that were added later. `schema.Switch.absent` gives their value. This
module knows the switches of all models, so that a model can declare such a switch in its own file.
"""

import contextlib
import json
import zlib
from typing import Any

import ml_collections

from vidgan_jax.models import switches
from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files

# Switches that were added later and are always part of the identity of a config. All other switches
# that were added later are left out of it while they have their `absent` value, so that the
# identity of older runs does not change.
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

# Groups of switches that were added later as a whole.
_LATER_GROUPS = ("augmentation", "r1")


def from_json(text: str | bytes) -> ml_collections.ConfigDict:
  """Reads a config that `configuration.to_json` wrote.

  Switches that did not exist when it was written get the value that changes nothing
  (`schema.Switch.absent`).

  Raises:
    ValueError: `text` is not a config.
  """
  content = json_files.parse(text, "config.json")
  for name in ("data", "ema", "model", "optimizer"):
    if not isinstance(content, dict) or not isinstance(content.get(name), dict):
      raise ValueError(f"it holds no config (no {name!r} with fields)")
  config = ml_collections.ConfigDict(content)
  added = _added(config)
  for group in _LATER_GROUPS:
    if group not in config:
      prefix = f"{group}."
      config[group] = {n.removeprefix(prefix): v for n, v in added.items() if n.startswith(prefix)}
  for name, value in added.items():
    *path, last = name.split(".")
    part = config
    for step in path:
      part = part.get(step) if isinstance(part, ml_collections.ConfigDict) else None
    if isinstance(part, ml_collections.ConfigDict) and part and last not in part:
      part[last] = value
  return config


def identity(config: ml_collections.ConfigDict) -> str:
  """Returns eight hexadecimal digits that are equal for configs with the same updates."""
  added = _added(config)
  entering = {
    path: value
    for path, value in _entering(config).items()
    if path not in added or path in _IN_IDENTITY or value != _as_json(added[path])
  }
  text = json.dumps(entering, sort_keys=True, default=str)
  return f"{zlib.crc32(text.encode()):08x}"


def first_difference(old: ml_collections.ConfigDict, new: ml_collections.ConfigDict) -> str | None:
  """Names the first field, in alphabetical order, that differs and enters an update.

  Fields that no update uses (number of iterations, intervals, folders, the guard) may differ.

  Returns:
    "field: old value there, new value here", or None.
  """
  before, after = _entering(old), _entering(new)
  for name in sorted({*before, *after}):
    if before.get(name) != after.get(name):
      return f"{name}: {before.get(name)!r} there, {after.get(name)!r} here"
  return None


def first_model_difference(
  old: ml_collections.ConfigDict, new: ml_collections.ConfigDict
) -> str | None:
  """As `first_difference`, of two `config.model`."""
  whole = lambda model: ml_collections.ConfigDict({"model": model})
  return first_difference(whole(old), whole(new))


def _switches(config: ml_collections.ConfigDict) -> dict[str, schema.Switch]:
  """All switches of the config's model; those of every model if its name is unknown."""
  with contextlib.suppress(UserError):
    return switches.of_model(config.get("model"))
  return {**base_switches.SWITCHES, **schema.within("model", base_switches.MODEL)}


def _added(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{path: value in older files} of the switches that were added later."""
  every = _switches(config).items()
  return {path: switch.absent for path, switch in every if switch.absent is not schema.REQUIRED}


def _entering(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{path: value} of all fields that enter an update; tuples as lists, as in JSON."""
  free = {path for path, switch in _switches(config).items() if not switch.enters_update}
  fields = schema.flatten(config).items()
  return {path: _as_json(value) for path, value in fields if path not in free}


def _as_json(value: Any) -> Any:
  return list(value) if isinstance(value, tuple) else value
