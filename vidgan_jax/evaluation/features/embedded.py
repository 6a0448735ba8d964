"""The classifier of the embedded set, opened with the weights that come with the package.

`embedded_training` remakes them. Their file has the form of all files of weights, see `extractor`.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidgan_jax.evaluation.features import extractor
from vidgan_jax.evaluation.features.architectures import moving_shapes as network
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.text import printable

FILE = pathlib.Path(__file__).with_name(f"{network.NAME}.npz")
_MAX_BYTES = 2_000_000
_ABOUT = "__about__"


def _shapes() -> dict[str, tuple[int, ...]]:
  """Shapes of the classifier's variables at their paths."""
  module = network.MovingShapesClassifier()
  parts = extractor.Parts(module, network.OUTPUTS, network.MIN_FRAMES, network.INPUT_SIZE)
  return extractor.variable_shapes(parts)


def save(path: str | os.PathLike, variables: Mapping[str, Any], training: Mapping[str, Any]) -> str:
  """Writes weights of the classifier; returns their hash.

  Args:
    path: the file, which is replaced.
    variables: {"params": ...} of the network.
    training: how they were made, kept as JSON beside name and hash.

  Raises:
    UserError: the file cannot be written.
  """
  arrays = {k: np.asarray(v, np.float32) for k, v in extractor.flatten(variables).items()}
  digest = extractor.weights_hash(arrays)
  about = {
    "format": extractor.FORMAT,
    "network": network.NAME,
    "origin": "vidgan_jax.evaluation.features.embedded_training",
    "parameters": sum(array.size for array in arrays.values()),
    "training": dict(training),
    "weights_hash": digest,
  }
  text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
  npz.write(path, {**arrays, _ABOUT: text})
  return digest


def open_embedded(path: str | os.PathLike = FILE) -> extractor.Extractor:
  """The classifier with weights, by default the package's.

  Raises:
    UserError: the file is missing, damaged, or of another network.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(
      f"{path} is missing; python -m vidgan_jax.evaluation.features.embedded_training "
      f"--output={path} makes it"
    )
  about = extractor.read_about(path)
  if about["network"] != network.NAME:
    raise UserError(f"{path} holds {printable(about['network'])[:80]}, not {network.NAME}")
  shapes = _shapes()
  arrays = npz.read(path, {**shapes, _ABOUT: None}, _MAX_BYTES)
  del arrays[_ABOUT]
  for name in shapes:
    if name not in arrays or arrays[name].dtype != np.float32:
      found = arrays[name].dtype if name in arrays else "missing"
      raise UserError(f"{path}: {name} is {found}, wanted float32")
  digest = extractor.weights_hash(arrays)
  if digest != about.get("weights_hash"):
    raise UserError(f"{path}: damaged or altered: its weights have another hash than it tells")
  return extractor.Extractor(
    name=network.NAME,
    weights_hash=digest,
    outputs=dict(network.OUTPUTS),
    min_frames=network.MIN_FRAMES,
    # None: of any resolution, the network resizes by itself.
    input_size=None,
    variables=extractor.unflatten(arrays),
    apply=network.apply,
    constants={},
    about=about,
    code="moving_shapes",
  )
