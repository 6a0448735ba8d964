"""The classifier of the embedded set, opened with the weights that come with the package.

`embedded_training` remakes them. Their file has the form of all files of weights, see `extractor`.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidgan_jax.evaluation import extractor
from vidgan_jax.evaluation.networks import moving_shapes as network
from vidgan_jax.evaluation.weights import archives
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

FILE = pathlib.Path(__file__).parent / "weights" / f"{network.NAME}.npz"
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
    "origin": "vidgan_jax.evaluation.embedded_training",
    "parameters": sum(array.size for array in arrays.values()),
    "training": dict(training),
    "weights_hash": digest,
  }
  text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
  archives.write(path, {**arrays, _ABOUT: text})
  return digest


def open_embedded(path: str | os.PathLike = FILE) -> extractor.Extractor:
  """The classifier with weights, by default the package's.

  Raises:
    UserError: the file is missing, damaged, or of another network.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(
      f"{path} is missing; python -m vidgan_jax.evaluation.embedded_training --output={path} "
      "makes it"
    )
<<<<<<< HEAD
  if path.stat().st_size > _MAX_BYTES:
    raise UserError(f"{path}: larger than the {_MAX_BYTES} bytes that {network.NAME} may take")
  example = np.zeros((1, network.MIN_FRAMES, *network.INPUT_SIZE, 3), np.float32)
  shapes = jax.eval_shape(network.MovingShapesClassifier().init, jax.random.key(0), example)
  expected = {name: leaf.shape for name, leaf in _leaves(shapes)}
  try:
    with np.load(path, allow_pickle=False) as archive:
      about = json.loads(bytes(archive["__about__"]))
      if about["network"] != network.NAME:
        raise UserError(f"{path}: holds weights of {about['network']}, not of {network.NAME}")
      if {*archive.files} != {*expected, "__about__"}:
        raise UserError(f"{path}: its arrays are not those of {network.NAME}")
      arrays = {name: archive[name] for name in expected}
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise UserError(f"{path}: no readable file of weights ({error})") from error
  for name, shape in expected.items():
    if arrays[name].shape != shape or arrays[name].dtype != np.float32:
      raise UserError(
        f"{path}: {name} should be float32 {list(shape)}, is {arrays[name].dtype} "
        f"{list(arrays[name].shape)}"
      )
  if weights_hash(arrays) != about["sha256"]:
    raise UserError(f"{path}: the weights are not those that its hash was taken of")
  return unflatten(arrays), about


def _leaves(tree, prefix=""):
  """(path, leaf) of nested dictionaries."""
  for name, value in tree.items():
    if hasattr(value, "items"):
      yield from _leaves(value, f"{prefix}{name}/")
    else:
      yield f"{prefix}{name}", value


def open_embedded(path=FILE):
  """The classifier as an `Extractor`, by default with the package's weights.

  Raises:
    UserError: see `load`.
  """
  from vidgan_jax.evaluation.extractor import Extractor
  from vidgan_jax.evaluation.networks import moving_shapes as network

  variables, about = load(path)
  return Extractor(
=======
  about = extractor.read_about(path)
  if about["network"] != network.NAME:
    raise UserError(f"{path} holds {printable(about['network'])[:80]}, not {network.NAME}")
  shapes = _shapes()
  arrays = archives.read(path, {**shapes, _ABOUT: None}, _MAX_BYTES)
  del arrays[_ABOUT]
  for name in shapes:
    if name not in arrays or arrays[name].dtype != np.float32:
      found = arrays[name].dtype if name in arrays else "missing"
      raise UserError(f"{path}: {name} is {found}, wanted float32")
  digest = extractor.weights_hash(arrays)
  if digest != about.get("weights_hash"):
    raise UserError(f"{path}: damaged or altered: its weights have another hash than it tells")
  return extractor.Extractor(
>>>>>>> embedded
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
  )
