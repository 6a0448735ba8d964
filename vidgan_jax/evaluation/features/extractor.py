"""Networks that turn clips into features, and the files of their weights.

A file of ours is an .npz without pickle: float32 arrays at their paths ("params/fc/kernel"), what
else the network needs ("constants/mean"), and "__about__", JSON that tells where they are from.
`convert` makes it of files that others published.
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
    name: of the network, see `NETWORKS`.
    weights_hash: see `weights_hash`, of the variables alone.
    outputs: sizes by name.
    min_frames: of a clip.
    input_size: height and width that the network takes, after a protocol's preprocessing; None
      where any will do.
    variables: of the Flax module, float32 NumPy arrays.
    apply: (variables, clips float32 [B, T, H, W, 3]) -> {name: float32 [B, size]}, pure, to be
      jitted, with products at the highest precision.
    constants: what preprocessing needs besides, C3D's "mean" clip [16, 128, 171, 3].
    about: where the weights are from, as their file tells.
    code: which code it is: a part in `code.VERSIONS`, or name and version of a network from
      outside this project; stored with cached features.
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
  code: str = ""


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a network is, without weights; see `Extractor` for its attributes.

  Attributes:
    module: the Flax module, which maps clips to its outputs.
    constants: shapes by name.
    apply: in place of the module's own function where the network resizes clips by itself; it then
      takes clips of any size, and `input_size` is that of the module.
  """

  module: Any
  outputs: Mapping[str, int]
  min_frames: int
  input_size: tuple[int, int] | None
  constants: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
  apply: Callable[[Any, jax.Array], dict[str, jax.Array]] | None = None


@dataclasses.dataclass(frozen=True)
class Network:
  """One that an extractor can be opened for.

  Attributes:
    what: the network and what it was trained on, in a few words.
    bring: which file its user brings.
    build: () -> `Parts`; imports the network.
    code: its part in `code.VERSIONS`.
    options: of the conversion, besides source and output.
    file: of the weights, where they come with the package.
  """

  what: str
  bring: str
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
  return Parts(module, network.OUTPUTS, network.MIN_FRAMES, size, apply=network.apply)


NETWORKS: Mapping[str, Network] = {  # whose weights users bring
  "i3d_kinetics400": Network(
    "I3D trained on Kinetics-400 alone, the network of FVD",
    "TF-Hub's deepmind/i3d-kinetics-400/1, or rgb_scratch of deepmind/kinetics-i3d",
    _i3d(400),
    "i3d",
  ),
  "i3d_kinetics600": Network(
    "I3D trained on Kinetics-600, of DVD-GAN's FID and IS",
    "rgb_scratch_kin600 of deepmind/kinetics-i3d",
    _i3d(600),
    "i3d",
  ),
  "i3d_kinetics400_imagenet": Network(
    "I3D inflated from ImageNet and trained on Kinetics-400, whose FVD compares with no other",
    "rgb_imagenet of deepmind/kinetics-i3d",
    _i3d(400),
    "i3d",
  ),
  "c3d_ucf101": Network(
    "C3D fine-tuned on UCF-101, of TGAN's IS and FID",
    "conv3d_deepnetA_ucf.npz and mean2.npz of pfnet-research/tgan",
    _c3d,
    "c3d",
    " --mean=mean2.npz --allow_unknown",  # no checksum of these files is known
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
  "the classifier of the embedded set",
  "",
  _moving_shapes,
  "moving_shapes",
  file=pathlib.Path(__file__).with_name(f"{PACKAGED}.npz"),
)


def load_extractor(name: str, path: str | os.PathLike | None = None) -> Extractor:
  """Opens a network with its weights.

  Args:
    name: one of `NETWORKS` or "moving_shapes_classifier", whose weights come with the package.
    path: its file; None takes `default_path(name)`, or the package's.

  Raises:
    UserError: the network is unknown, or its file is missing, damaged or another network's. What is
      missing is named, and how to make it.
  """
  network = find(name)
  if path is None:
    path = network.file or default_path(name)
  else:
    path = pathlib.Path(paths.local(path, "--weights"))
  if not path.is_file():
    raise UserError(_missing(name, network, path))
  parts = network.build()
  shapes = variable_shapes(parts)
  constants = {f"{_CONSTANTS}{key}": shape for key, shape in parts.constants.items()}
  about = read_about(path)
  if about["network"] != name:
    other = NETWORKS.get(about["network"])
    what = f" ({other.what})" if other else ""
    found = printable(about["network"])[:80]
    raise UserError(f"{path} holds {found}{what}, not {name} ({network.what})")
  arrays = npz.read(path, {**shapes, **constants, _ABOUT: None})
  del arrays[_ABOUT]
  for key, array in arrays.items():
    if array.dtype != np.float32:
      raise UserError(f"{path}: {key} is {array.dtype}, wanted float32")
  kept = {k.removeprefix(_CONSTANTS): arrays.pop(k) for k in constants if k in arrays}
  missing = sorted(set(shapes) - set(arrays))
  if missing:
    raise UserError(f"{path}: {missing[0]} is missing, and {len(missing) - 1} more arrays")
  found = weights_hash(arrays)
  if found != about.get("weights_hash"):
    raise UserError(f"{path}: damaged or altered: the weights' hash is not the one written with it")
  module = parts.module
  return Extractor(
    name=name,
    weights_hash=found,
    outputs=dict(parts.outputs),
    min_frames=parts.min_frames,
    input_size=None if parts.apply else parts.input_size,
    variables=unflatten(arrays),
    apply=parts.apply or (lambda variables, clips: module.apply(variables, clips)),
    constants=kept,
    about=about,
    code=network.code,
  )


def _missing(name: str, network: Network, path: pathlib.Path) -> str:
  """The line on a file of weights that is not there: what to do about it."""
  if network.file:
    return (
      f"{path} is missing; python -m vidgan_jax.evaluation.features.embedded_training "
      f"--output={path} makes it"
    )
  return (
    f"no weights of {name} ({network.what}): {path} is missing. Bring {network.bring}, and run "
    f"python -m vidgan_jax.evaluate --convert={name} --source=FILE_OR_FOLDER{network.options} "
    f"--output={path}"
  )


def find(name: str) -> Network:
  """The network of this name; UserError where it is unknown."""
  known = {**NETWORKS, PACKAGED: _PACKAGED}
  if name not in known:
    raise UserError(f"unknown network {printable(name)!r}; known: {', '.join(known)}")
  return known[name]


def default_path(name: str) -> pathlib.Path:
  """Where a network's weights are looked for: in $VIDGAN_JAX_WEIGHTS or the user's cache."""
  given = os.environ.get("VIDGAN_JAX_WEIGHTS")
  folder = paths.local(given, "VIDGAN_JAX_WEIGHTS") if given else paths.cache("weights")
  if folder is None:
    raise UserError("no home folder for weights of networks: set VIDGAN_JAX_WEIGHTS to a folder")
  return pathlib.Path(folder) / f"{name}.npz"


def variable_shapes(parts: Parts) -> dict[str, tuple[int, ...]]:
  """Shapes of a network's variables at their paths; nothing is computed."""
  size = parts.input_size or (16, 16)
  clips = jax.ShapeDtypeStruct((1, parts.min_frames, *size, 3), np.float32)
  variables = jax.eval_shape(parts.module.init, jax.random.key(0), clips)
  return {path: leaf.shape for path, leaf in flatten(variables).items()}


def save(
  path: str | os.PathLike,
  name: str,
  arrays: Mapping[str, np.ndarray],
  about: Mapping[str, Any],
  constants: Mapping[str, np.ndarray] | None = None,
) -> str:
  """Writes a file that `load_extractor` opens; returns the weights' hash.

  Args:
    path: the file, which is replaced.
    name: of the network.
    arrays: its variables at their paths, float32 and of its shapes.
    about: what to tell of them, as JSON.
    constants: what preprocessing needs, float32.

  Raises:
    UserError: an array is missing, strange, of another shape or type, or not finite; or the file
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
  kept = {f"{_CONSTANTS}{key}": array for key, array in constants.items()}
  npz.write(path, {**arrays, **kept, _ABOUT: text})
  return digest


def _check(name: str, arrays, shapes) -> None:
  """Raises a UserError where arrays are not what a network takes."""
  for word, names in (
    ("is missing", set(shapes) - set(arrays)),
    ("belongs to no layer", set(arrays) - set(shapes)),
  ):
    if names:
      raise UserError(f"{name}: {printable(min(names))} {word} ({len(names)} such)")
  for path, shape in shapes.items():
    array = arrays[path]
    if array.shape != tuple(shape) or array.dtype != np.float32:
      found = f"{array.dtype} {list(array.shape)}"
      raise UserError(f"{name}: {path} is {found}, wanted float32 {list(shape)}")
    if not np.isfinite(array).all():
      raise UserError(f"{name}: {path} is not finite")


def read_about(path: str | os.PathLike) -> dict[str, Any]:
  """What a file of weights tells of itself; UserError where it is none of ours."""
  found = npz.read(path, only=_ABOUT, max_bytes=_MAX_ABOUT_BYTES)
  try:
    about = json_files.parse(found[_ABOUT].tobytes(), str(path), _ABOUT_FORM)
  except (KeyError, json_files.JsonError):
    raise UserError(
      f"{path} is no file of weights as --convert makes them; convert what you have first"
    ) from None
  return about


def weights_hash(arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 in hexadecimal over paths and little-endian float32 bytes, in the paths' order.

  Args:
    arrays: each at its path, "params/fc/kernel".
  """
  digest = hashlib.sha256()
  for path in sorted(arrays):
    digest.update(path.encode())
    digest.update(np.ascontiguousarray(arrays[path], "<f4").data)
  return digest.hexdigest()


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested dictionaries -> {"params/fc/kernel": leaf}."""
  found = {}
  for name, value in tree.items():
    path = f"{prefix}{name}"
    found |= flatten(value, f"{path}/") if isinstance(value, Mapping) else {path: value}
  return found


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """The inverse of `flatten`."""
  tree = {}
  for path, leaf in leaves.items():
    *parents, name = path.split("/")
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[name] = leaf
  return tree


def unverified(extractor: Extractor) -> list[str]:
  """A warning where nothing published is known to have these weights."""
  if extractor.about.get("verified", True):
    return []
  return [f"the weights of {extractor.name} are not verified: its published file is not known here"]
