"""Parameters of all config files, their identities, and what `summarize` tells of some."""

import functools
import hashlib
import json
import pathlib

import jax
import ml_collections

from tests.pins import experiments
from vidgan_jax.analysis.cost import summary
from vidgan_jax.models import registry, stored_config, switches
from vidgan_jax.runtime.config import configuration, schema

SWITCHES = pathlib.Path(__file__).parent / "data" / "switches.json"
LISTED = (("dvd_gan", "kinetics600_64x12"), ("tgan", "svc"), ("mocogan", "base"))
SUMMARIZED = (
  ("dvd_gan", "kinetics600_64x12,runlocal"),
  ("tgan", "f_c1,runlocal"),
  ("mocogan", "categorical,runlocal"),
  ("vgan", "ucf101_16,runlocal"),
  ("progressive_vgan", "shapes,runlocal"),
)


def _hash(value) -> str:
  text = json.dumps(value, sort_keys=True, default=list)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _listing(variables) -> dict[str, str]:
  """{name of an array of a network: its type and shape}."""
  return {
    jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
  }


def _as_pinned(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The config without the switches that were added since the pins were written, if they are off.

  So a new switch changes no pin. `data/switches.json` lists the switches of that time; systems that
  are not in it keep all of theirs.
  """
  pinned = json.loads(SWITCHES.read_text()).get(config.model.name)
  if pinned is None:
    return config
  content = config.to_dict()
  for path, switch in switches.of_model(config.model.name).items():
    *groups, last = path.split(".")
    group = functools.reduce(dict.__getitem__, groups, content)
    if path not in pinned and group.get(last) == switch.absent:
      del group[last]
  without_empty_groups = {name: part for name, part in content.items() if part != {}}
  return ml_collections.ConfigDict(without_empty_groups)


def parameters() -> dict:
  """{"FILE:ROW": config's identity and digests, and of each network count and digest}.

  "listed" holds all arrays of `LISTED`.
  """
  found, of_model, listed = {}, {}, {}
  for file, row in experiments.rows():
    loaded = experiments.load(file, row)
    config = _as_pinned(loaded)
    fields = schema.flatten(config)
    model = _hash(schema.flatten(config.model))
    if model not in of_model:  # rows that differ in data or rates alone have one model
      variables = summary.abstract_variables(registry.build(loaded))
      networks = {"generator": variables["generator"], **variables["discriminators"]}
      networks = {name: _listing(network) for name, network in networks.items()}
      counts = summary.count_parameters(variables)
      of_model[model] = {
        name: [counts[name]["total"], _hash(arrays)] for name, arrays in networks.items()
      }
      if (file, row) in LISTED:
        listed[f"{file}:{row}"] = networks
    found[f"{file}:{row}"] = {
      "identity": stored_config.identity(config),
      "fields": _hash(fields),
      "json": hashlib.sha256(configuration.to_json(config).encode()).hexdigest()[:16],
      "networks": of_model[model],
    }
  return {"configs": found, "listed": listed}


def summaries() -> dict:
  """{"FILE:ROW": the JSON of `summarize`}."""
  return {
    f"{file}:{row}": json.loads(json.dumps(summary.summarize(experiments.load(file, row))))
    for file, row in SUMMARIZED
  }
