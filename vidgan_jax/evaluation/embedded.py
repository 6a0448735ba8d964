"""The weights of the embedded set's classifier that come with the package.

`embedded_training` remakes them. They are an .npz of float32 arrays, each at its path in the
variables ("params/embedding/kernel"), and of "__about__", JSON in bytes. Nothing is unpickled.
"""

import hashlib
import json
import pathlib
import zipfile
import zlib

import numpy as np

from vidgan_jax.runtime.errors import UserError

FILE = pathlib.Path(__file__).parent / "weights" / "moving_shapes_classifier.npz"
_MAX_BYTES = 2_000_000


def weights_hash(arrays: dict[str, np.ndarray]) -> str:
  """SHA-256, in hexadecimal, over paths and little-endian float32 bytes in the paths' order.

  Args:
    arrays: each variable at its path.
  """
  digest = hashlib.sha256()
  for path in sorted(arrays):
    digest.update(path.encode())
    digest.update(np.ascontiguousarray(arrays[path], "<f4").tobytes())
  return digest.hexdigest()


def flatten(variables) -> dict[str, np.ndarray]:
  """Nested dictionaries of arrays -> {"params/embedding/kernel": float32 array}."""
  arrays = {}
  for name, value in variables.items():
    inner = flatten(value) if hasattr(value, "items") else {"": np.asarray(value, np.float32)}
    arrays.update({f"{name}/{path}".rstrip("/"): array for path, array in inner.items()})
  return arrays


def unflatten(arrays: dict[str, np.ndarray]) -> dict:
  """The inverse of `flatten`."""
  variables = {}
  for path, array in arrays.items():
    *parents, name = path.split("/")
    place = variables
    for parent in parents:
      place = place.setdefault(parent, {})
    place[name] = array
  return variables


def save(path, variables, about: dict) -> str:
  """Writes weights; returns their hash.

  Args:
    path: the file, which is replaced.
    variables: {"params": ...} of the network.
    about: how they were made, to be kept as JSON beside network, size and hash.
  """
  from vidgan_jax.evaluation.networks.moving_shapes import NAME

  arrays = flatten(variables)
  digest = weights_hash(arrays)
  about = {"network": NAME, "origin": "embedded_training", "training": about, "sha256": digest}
  about["parameters"] = int(sum(array.size for array in arrays.values()))
  text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
  # Not numpy.savez: it writes the time of day, and equal weights should be equal files.
  with zipfile.ZipFile(path, "w") as archive:
    for name, array in sorted({**arrays, "__about__": text}.items()):
      member = zipfile.ZipInfo(f"{name}.npy")
      member.compress_type = zipfile.ZIP_DEFLATED
      with archive.open(member, "w") as stream:
        np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
  return digest


def load(path=FILE) -> tuple[dict, dict]:
  """Reads weights of the classifier, by default the package's.

  Args:
    path: a file of `save`.

  Returns:
    The variables, {"params": ...} of float32 NumPy arrays, and what is told about them.

  Raises:
    UserError: the file is missing, damaged, too large, or of another network.
  """
  import jax

  from vidgan_jax.evaluation.networks import moving_shapes as network

  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(
      f"{path}: no such file; python -m vidgan_jax.evaluation.embedded_training makes one"
    )
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
    name=network.NAME,
    weights_hash=about["sha256"],
    outputs=dict(network.OUTPUTS),
    min_frames=network.MIN_FRAMES,
    input_size=network.INPUT_SIZE,
    variables=variables,
    apply=network.apply,
    constants={},
  )
