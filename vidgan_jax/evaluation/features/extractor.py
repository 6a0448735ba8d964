"""Networks that compute features of clips, and the files with their weights.

A weights file is an .npz without pickled objects. It holds float32 arrays under their paths
("params/fc/kernel"), constants that preprocessing needs ("constants/mean"), and "__about__", JSON
that describes their origin. `convert` writes such files from weights that others published.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz, paths
from vidgan_jax.runtime.text import printable

FORMAT = 1
_ABOUT, _CONSTANTS = "__about__", "constants/"
_MAX_ABOUT_BYTES = 2**16
_ABOUT_FORM = {"format": range(FORMAT, FORMAT + 1), "network": str, "weights_hash?": str}


@dataclasses.dataclass(frozen=True, eq=False)
class Extractor:
  """A network with its weights.

  Attributes:
    name: name of the network, see `NETWORKS`.
    weights_hash: hash of the variables, see `weights_hash`.
    outputs: {name of the output: its size}.
    min_frames: the smallest number of frames of a clip.
    input_size: height and width of clips after preprocessing; None if any size is accepted.
    variables: variables of the Flax module, float32 NumPy arrays.
    apply: (variables, clips float32 [B, T, H, W, 3]) -> {output: float32 [B, size]}. A pure
      function for `jax.jit`; it computes products at the highest precision.
    constants: arrays that preprocessing needs, such as C3D's "mean" clip [16, 128, 171, 3].
    about: origin of the weights, from their file.
    class_names: names of the classes of "logits", in their order; empty if they are not known.
    code: identifies the code of the network, and is stored with cached features: a key of
      `code.VERSIONS`, or name and version of a network from outside this project.
  """

  name: str
  weights_hash: str
  outputs: Mapping[str, int]
  min_frames: int
  input_size: tuple[int, int] | None
  variables: Any
  apply: Callable[[Any, jax.Array], dict[str, jax.Array]]
  constants: Mapping[str, np.ndarray]
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  class_names: tuple[str, ...] = ()
  code: str = ""


@dataclasses.dataclass(frozen=True)
class Parts:
  """A network without weights. See `Extractor` for attributes that are not listed here.

  Attributes:
    module: the Flax module; it maps clips to a dictionary of outputs.
    constants: {name of the constant: its shape}.
    apply: replaces the function of the module if the network resizes clips itself. It then takes
      clips of any size, and `input_size` is the size that the module takes.
  """

  module: Any
  outputs: Mapping[str, int]
  min_frames: int
  input_size: tuple[int, int] | None
  constants: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
  apply: Callable[[Any, jax.Array], dict[str, jax.Array]] | None = None
  class_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Network:
  """An entry in the list of networks.

  Attributes:
    what: the network and its training data, in a few words.
    weights_source: the published weights that users have to download.
    build: () -> `Parts`; imports the module of the network.
    code: key in `code.VERSIONS`.
    options: further flags of the conversion, besides source and output.
    file: the weights file, if it is part of this package.
  """

  what: str
  weights_source: str
  build: Callable[[], Parts]
  code: str
  options: str = ""
  file: pathlib.Path | None = None


def _i3d(classes: int) -> Callable[[], Parts]:
  def build():
    i3d = importlib.import_module("vidgan_jax.evaluation.features.architectures.i3d")
    outputs = i3d.outputs(classes)
    return Parts(i3d.I3D(classes), outputs, i3d.MIN_FRAMES, i3d.INPUT_SIZE)

  return build


def _c3d() -> Parts:
  from vidgan_jax.evaluation.features.architectures import c3d

  return Parts(c3d.C3D(), c3d.OUTPUTS, c3d.MIN_FRAMES, c3d.INPUT_SIZE, c3d.CONSTANTS)


def _r2plus1d() -> Parts:
  from vidgan_jax.evaluation.features.architectures import r2plus1d

  return Parts(r2plus1d.R2Plus1D(), r2plus1d.OUTPUTS, r2plus1d.MIN_FRAMES, None)


def _moving_shapes() -> Parts:
  from vidgan_jax.evaluation.features.architectures import moving_shapes as network

  module, size = network.MovingShapesClassifier(), network.INPUT_SIZE
  return Parts(
    module,
    network.OUTPUTS,
    network.MIN_FRAMES,
    size,
    apply=network.apply,
    class_names=CLASS_NAMES,
  )


NETWORKS: Mapping[str, Network] = {  # users download the weights of these
  "i3d_kinetics400": Network(
    "I3D trained only on Kinetics-400, the network of FVD",
    "TF-Hub's deepmind/i3d-kinetics-400/1, or rgb_scratch of deepmind/kinetics-i3d",
    _i3d(400),
    "i3d",
  ),
  "i3d_kinetics600": Network(
    "I3D trained on Kinetics-600, the network of DVD-GAN's FID and IS",
    "rgb_scratch_kin600 of deepmind/kinetics-i3d",
    _i3d(600),
    "i3d",
  ),
  "i3d_kinetics400_imagenet": Network(
    "I3D inflated from ImageNet and trained on Kinetics-400; its FVD is not comparable with others",
    "rgb_imagenet of deepmind/kinetics-i3d",
    _i3d(400),
    "i3d",
  ),
  "c3d_ucf101": Network(
    "C3D fine-tuned on UCF-101, the network of TGAN's IS and FID",
    "conv3d_deepnetA_ucf.npz and mean2.npz of pfnet-research/tgan",
    _c3d,
    "c3d",
    " --mean=mean2.npz --allow_unknown",  # this project has no checksums of these files
  ),
  "r2plus1d_kinetics400": Network(
    "R(2+1)D-18 trained on Kinetics-400",
    "torchvision's r2plus1d_18-91a641e6.pth",
    _r2plus1d,
    "r2plus1d",
  ),
}
PACKAGED = "moving_shapes_classifier"
_PACKAGED = Network(
  "the classifier of the built-in moving shapes",
  "",
  _moving_shapes,
  "moving_shapes",
  file=pathlib.Path(__file__).with_name(f"{PACKAGED}.npz"),
)


def load_extractor(name: str, path: str | os.PathLike | None = None) -> Extractor:
  """Opens a network with its weights.

  Args:
    name: one of `NETWORKS`, or "moving_shapes_classifier", whose weights are part of this package.
    path: the weights file; None for `default_path(name)`, or the file in the package.

  Raises:
    UserError: the network is unknown, or its file is missing, damaged or of another network. If it
      is missing, the message says how to make it.
  """
  network = find(name)
  if path is None:
    path = network.file or default_path(name)
  else:
    path = pathlib.Path(paths.fetched(path, "--weights"))
  if not path.is_file():
    raise UserError(_missing(name, network, path))
  parts = network.build()
  shapes = variable_shapes(parts)
  constants = {f"{_CONSTANTS}{key}": shape for key, shape in parts.constants.items()}
  about = read_about(path)
  if about["network"] != name:
    other = NETWORKS.get(about["network"])
    what = f" ({other.what})" if other else ""
    stored = printable(about["network"])[:80]
    raise UserError(f"{path} holds {stored}{what}, not {name} ({network.what})")
  arrays = npz.read(path, {**shapes, **constants, _ABOUT: None})
  del arrays[_ABOUT]
  for key, array in arrays.items():
    if array.dtype != np.float32:
      raise UserError(f"{path}: {key} is {array.dtype}, expected float32")
  stored_constants = {k.removeprefix(_CONSTANTS): arrays.pop(k) for k in constants if k in arrays}
  missing = sorted(set(shapes) - set(arrays))
  if missing:
    raise UserError(f"{path}: {missing[0]} is missing, and {len(missing) - 1} more arrays")
  loaded = from_arrays(name, arrays, stored_constants, about)
  if loaded.weights_hash != about.get("weights_hash"):
    raise UserError(
      f"{path}: damaged or altered: the weights do not have the hash that the file states"
    )
  return loaded


def from_arrays(name: str, arrays: Mapping, constants: Mapping, about: Mapping) -> Extractor:
  """A network with the given variables; see `save` for the arguments.

  Raises:
    UserError: the network is unknown.
  """
  network = find(name)
  parts = network.build()
  module = parts.module
  return Extractor(
    name=name,
    weights_hash=weights_hash(arrays),
    outputs=dict(parts.outputs),
    min_frames=parts.min_frames,
    input_size=None if parts.apply else parts.input_size,
    variables=traverse_util.unflatten_dict(dict(arrays), sep="/"),
    apply=parts.apply or (lambda variables, clips: module.apply(variables, clips)),
    constants=constants,
    about=about,
    class_names=parts.class_names,
    code=network.code,
  )


def _missing(name: str, network: Network, path: pathlib.Path) -> str:
  """The message for a missing weights file, with the command that makes it."""
  if network.file:
    return (
      f"{path} is missing; python -m vidgan_jax.evaluation.features.embedded_training "
      f"--output={path} makes it"
    )
  return (
    f"no weights of {name} ({network.what}): {path} is missing. Download "
    f"{network.weights_source}, and run vidgan evaluate --convert={name} "
    f"--source=FILE_OR_FOLDER{network.options} --output={path}. To try the command without it, "
    "--weights=random takes random weights, whose scores are comparable with no published score"
  )


def find(name: str) -> Network:
  """The network of this name.

  Raises:
    UserError: there is no such network; the message lists all names.
  """
  networks = {**NETWORKS, PACKAGED: _PACKAGED}
  if name not in networks:
    raise UserError(f"unknown network {printable(name)!r}; known: {', '.join(networks)}")
  return networks[name]


def default_path(name: str) -> pathlib.Path:
  """The default path of a network's weights: in $VIDGAN_JAX_WEIGHTS or in the user's cache.

  Raises:
    UserError: there is neither the variable nor a home folder.
  """
  given = os.environ.get("VIDGAN_JAX_WEIGHTS")
  folder = paths.local(given, "VIDGAN_JAX_WEIGHTS") if given else paths.cache("weights")
  if folder is None:
    raise UserError("no home folder for weights of networks: set VIDGAN_JAX_WEIGHTS to a folder")
  return pathlib.Path(folder) / f"{name}.npz"


def variable_shapes(parts: Parts) -> dict[str, tuple[int, ...]]:
  """{path: shape} of a network's variables; nothing is computed."""
  size = parts.input_size or (16, 16)
  clips = jax.ShapeDtypeStruct((1, parts.min_frames, *size, 3), np.float32)
  variables = jax.eval_shape(parts.module.init, jax.random.key(0), clips)
  leaves = traverse_util.flatten_dict(variables, sep="/")
  return {path: leaf.shape for path, leaf in leaves.items()}


def save(
  path: str | os.PathLike,
  name: str,
  arrays: Mapping[str, np.ndarray],
  about: Mapping[str, Any],
  constants: Mapping[str, np.ndarray] | None = None,
) -> str:
  """Writes a file that `load_extractor` opens; returns the hash of the weights.

  Args:
    path: the file; an existing one is replaced.
    name: name of the network.
    arrays: {path: variable}, float32, with the shapes of the network.
    about: description of their origin, stored as JSON.
    constants: float32 arrays that preprocessing needs.

  Raises:
    UserError: an array is missing, unknown, of another shape or type, or not finite; or the file
      cannot be written.
  """
  parts = find(name).build()
  constants = dict(constants or {})
  _check(name, arrays, variable_shapes(parts))
  _check(name, constants, {k: s for k, s in parts.constants.items() if k in constants})
  digest = weights_hash(arrays)
  about = {**about, "format": FORMAT, "network": name, "weights_hash": digest}
  about["parameters"] = sum(a.size for path, a in arrays.items() if path.startswith("params/"))
  text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
  prefixed = {f"{_CONSTANTS}{key}": array for key, array in constants.items()}
  npz.write(path, {**arrays, **prefixed, _ABOUT: text})
  return digest


def _check(name: str, arrays, shapes) -> None:
  """Raises a UserError if the arrays do not have the names, shapes and types of a network."""
  for word, names in (
    ("is missing", set(shapes) - set(arrays)),
    ("belongs to no layer", set(arrays) - set(shapes)),
  ):
    if names:
      raise UserError(f"{name}: {printable(min(names))} {word} ({len(names)} such arrays)")
  for path, shape in shapes.items():
    array = arrays[path]
    if array.shape != tuple(shape) or array.dtype != np.float32:
      given = f"{array.dtype} {list(array.shape)}"
      raise UserError(f"{name}: {path} is {given}, expected float32 {list(shape)}")
    if not np.isfinite(array).all():
      raise UserError(f"{name}: {path} is not finite")


def read_about(path: str | os.PathLike) -> dict[str, Any]:
  """Reads the description of a weights file's origin.

  Raises:
    UserError: the file is damaged, or not a weights file of this project.
  """
  arrays = npz.read(path, only=_ABOUT, max_bytes=_MAX_ABOUT_BYTES)
  try:
    about = json_files.parse(arrays[_ABOUT].tobytes(), str(path), _ABOUT_FORM)
  except (KeyError, json_files.JsonError):
    raise UserError(
      f"{path} is not a weights file that --convert wrote; convert published weights first"
    ) from None
  return about


def weights_hash(arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 in hexadecimal of paths and little-endian float32 bytes, in the order of paths.

  Args:
    arrays: {path such as "params/fc/kernel": array}.
  """
  digest = hashlib.sha256()
  for path in sorted(arrays):
    digest.update(path.encode())
    digest.update(np.ascontiguousarray(arrays[path], "<f4").data)
  return digest.hexdigest()


def random_note(extractor: Extractor) -> str | None:
  """What the scores of a network with random weights state; None for other weights."""
  seed = extractor.about.get("random_weights")
  what = f"{extractor.name} with random weights, {seed}: not comparable with published scores"
  return what if seed else None


def unverified(extractor: Extractor) -> list[str]:
  """A warning if the weights are random, or could not be compared with a published file."""
  if random := random_note(extractor):
    return [random]
  if extractor.about.get("verified", True):
    return []
  return [
    f"the weights of {extractor.name} are not verified: they match no published file known to this "
    "project"
  ]
