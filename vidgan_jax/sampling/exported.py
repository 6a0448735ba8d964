"""The folder of an exported model: the averaged generator of a run, to be shared.

  export.json              the index: iteration, and size and SHA-256 of the files below
  config.json              the run's config, without paths of the machine it was trained on
  data.json                what the run recorded about its data: class names, number of clips
  generator.safetensors    average of the parameters, power-iteration vectors, running statistics
  earlier.safetensors      frozen earlier stages (SSW-GAN), if the model has any
  standing.safetensors     standing statistics for clips as in training
  samples.gif              a grid of clips
  README.md                the model card; it may be edited and is not in the index

There are no discriminators, no optimizer state and no Python objects. Files that differ from the
index are refused.
"""

import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import trees
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, tensors
from vidgan_jax.sampling import cascade

FORMAT = 1
GENERATOR, EARLIER, STANDING = "generator", "earlier", "standing"
GRID, CARD = "samples.gif", "README.md"
_PATHS = {"data.directory": "", "data.cache_directory": "", "data.mixture": ()}
_STAGE_PATHS = ("earlier_run", "earlier_samples")
_REMOVED = "removed"  # in place of the path of an earlier stage, where a path must be
_SIZE = range(0, 2**53)
_FORM = {
  "format": int,
  "vidgan_jax?": str,
  "step": range(0, 2**31),
  "fingerprint": str,
  "standing_passes": range(0, 1_000_000),
  "files": {str: {"bytes": _SIZE, "sha256": str}},
}


def file_name(part: str) -> str:
  """The name of the file with the arrays of one part of a model."""
  return f"{part}.safetensors"


# What the index may list; a path is none of these.
KNOWN = (states.CONFIG, states.DATA, *map(file_name, (GENERATOR, EARLIER, STANDING)), GRID)
_REQUIRED = (states.CONFIG, file_name(GENERATOR))


def without_paths(config: ConfigDict) -> ConfigDict:
  """A copy of a config without the paths of folders of this machine."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    for path, value in _PATHS.items():
      group, name = path.split(".")
      if name in config[group]:
        config[group][name] = value
    stage = config.model
    while stage is not None:
      for name in _STAGE_PATHS:
        if stage.get(name):
          stage[name] = _REMOVED
      stage = stage.get("earlier")
  return config


def flat(tree: Any) -> dict[str, np.ndarray]:
  """{path: array} of a tree of dictionaries."""
  return dict(zip(trees.leaf_names(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))


def shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
  """{path: (shape, type)} of a tree of arrays or of their shapes."""
  leaves = [(tuple(leaf.shape), np.dtype(leaf.dtype)) for leaf in jax.tree.leaves(tree)]
  return dict(zip(trees.leaf_names(tree), leaves, strict=True))


def generator_tree(state: Any) -> dict[str, Any]:
  """What is exported of a state: the average, and the vectors that normalise its weights."""
  return {
    "params": state.ema.params,
    "batch_stats": state.ema.batch_stats,
    "spectral": state.generator.spectral,
  }


def write_index(folder: pathlib.Path, step: int, standing_passes: int, version: str) -> str:
  """Writes export.json for the files in a folder; returns the model's fingerprint."""
  files = {}
  for name in KNOWN:
    if (folder / name).exists():
      digest, size = tensors.fingerprint(folder / name)
      files[name] = {"bytes": size, "sha256": digest}
  index: dict[str, Any] = {
    "format": FORMAT,
    "vidgan_jax": version,
    "step": step,
    "standing_passes": standing_passes,
    "files": files,
  }
  index["fingerprint"] = fingerprint(index)
  (folder / states.EXPORT).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
  return index["fingerprint"]


def fingerprint(index: Mapping[str, Any]) -> str:
  """16 hexadecimal digits of a hash of iteration, passes, config, data and arrays."""
  files = index["files"]
  parts = [f"{name} {files[name]['sha256']}" for name in sorted(files) if name != GRID]
  parts += [f"{name} {index[name]}" for name in ("step", "standing_passes")]
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def read_index(folder: str | os.PathLike) -> dict[str, Any]:
  """Reads export.json, and compares every file that it lists except the arrays, which `open` reads.

  Raises:
    UserError: the index is damaged, or a file is missing or was changed.
  """
  path = pathlib.Path(folder) / states.EXPORT
  try:
    index = json_files.read(path, {"format": int})
    if index["format"] != FORMAT:
      raise UserError(f"{path} has format {index['format']}; this version reads format {FORMAT}")
    json_files.check(index, _FORM, str(path))
  except (FileNotFoundError, json_files.JsonError) as error:
    raise UserError(f"{folder} is no exported model: {error}") from error
  files = index["files"]
  for name in [*files, *_REQUIRED]:
    if name not in KNOWN:
      raise UserError(f"{path} lists {name!r}, which is no file of an exported model")
    if name not in files or not re.fullmatch("[0-9a-f]{64}", files[name]["sha256"]):
      raise UserError(f"{path} has no SHA-256 of {name}")
  if index["fingerprint"] != fingerprint(index):
    raise UserError(f"{path} was changed: its fingerprint is not that of its content")
  for name, entry in files.items():
    if not name.endswith(".safetensors"):
      each = pathlib.Path(folder) / name
      tensors.check_digest(each, tensors.fingerprint(each, entry["bytes"])[0], entry["sha256"])
  return index


class Exported:
  """An exported model, read and checked; `sampling.run.load` makes a run of it.

  Attributes:
    config: the run's config, without paths.
    gan: its system.
    state: a `TrainState` with the average as its generator too, and without discriminators.
    frozen: see `models.contract.Context`.
    fingerprint: differs where config, data or arrays do; see `fingerprint`.
    standing_passes: passes of the standing statistics; 0 if there are none.
    statistics, stage_statistics: standing statistics of the model and of its earlier stages.
  """

  def __init__(self, folder: str | os.PathLike):
    """Reads the folder; UserError if a file is missing, changed or of another model."""
    self._folder, index = pathlib.Path(folder), read_index(folder)
    self._files, self.fingerprint = index["files"], index["fingerprint"]
    self.config = states.read_config(folder)
    self._mesh = meshes.make_mesh(jax.local_devices()[:1])
    self.gan, like = states.described(folder, self.config, self._mesh)
    read = self._read(GENERATOR, generator_tree(like))
    average = states.Average(read["params"], read["batch_stats"])
    network = states.Network(average.params, read["spectral"], average.batch_stats, None)
    step = jax.numpy.asarray(index["step"], jax.numpy.int32)
    self.state = states.TrainState(step, network, {}, average)
    self.frozen = {}
    if self._has(EARLIER):
      self.frozen = self._read(EARLIER, _frozen_shapes(self.gan))
    self.standing_passes, self.statistics, self.stage_statistics = 0, {}, {}
    if self._has(STANDING) and index["standing_passes"]:
      self.standing_passes = index["standing_passes"]
      wanted = {"own": like.ema.batch_stats, "stages": cascade.statistics_of(self.frozen)}
      found = self._read(STANDING, wanted, any_length=True)
      self.statistics, self.stage_statistics = found["own"], found["stages"]

  def _has(self, part: str) -> bool:
    return file_name(part) in self._files

  def _read(self, part: str, like: Any, any_length: bool = False) -> Any:
    """Reads the arrays of a part into the structure of `like`, onto the device."""
    name = file_name(part)
    entry = self._files[name]
    arrays = tensors.read(
      self._folder / name, entry["sha256"], entry["bytes"], shapes(like), any_length=any_length
    )
    leaves = [arrays[each] for each in trees.leaf_names(like)]
    tree = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return meshes.replicate(tree, self._mesh)


def _frozen_shapes(gan: VideoGan) -> dict[str, Any]:
  """Shapes of `Context.frozen` as `training.earlier` makes it for sampling."""
  found = {}
  for name, stage in gan.stages.items():
    variables = jax.eval_shape(lambda stage=stage: stage.init(jax.random.key(0))["generator"])
    statistics = variables.get(normalization.COLLECTION, {})
    found[name] = {
      "variables": {"params": variables["params"], normalization.COLLECTION: statistics},
      "frozen": _frozen_shapes(stage),
    }
  return found
