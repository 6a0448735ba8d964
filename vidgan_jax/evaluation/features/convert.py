"""Converts published weights to weights files of this project.

A source is recognised by its content, not by its name: an I3D by the checksums of its variables,
whichever program saved it; other files by their SHA-256. An unknown source is converted only if the
user allows it, and the result states that it is unknown.
"""

import dataclasses
import math
import os
import pathlib
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from vidgan_jax.evaluation.features import extractor
from vidgan_jax.evaluation.features.architectures import c3d, i3d, r2plus1d
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz, paths
from vidgan_jax.runtime.text import printable
from vidgan_jax.weights import i3d_for_torch, known
from vidgan_jax.weights.readers import tensor_bundle, torch

_I3D_CLASSES = {"i3d_kinetics400": 400, "i3d_kinetics600": 600, "i3d_kinetics400_imagenet": 400}
_C3D, _R2PLUS1D = "c3d_ucf101", "r2plus1d_kinetics400"
_MAX_SOURCE_BYTES = 2**31


@dataclasses.dataclass(frozen=True)
class _Converted:
  """Converted variables and how they were recognised.

  Attributes:
    arrays: {path: variable}.
    verified: how the source was recognised, in a few words; None if it was not.
    doubt: why it was not recognised.
  """

  arrays: Mapping[str, np.ndarray]
  verified: str | None
  doubt: str = ""


def convert(
  network: str,
  source: str | os.PathLike,
  output: str | os.PathLike | None = None,
  mean: str | os.PathLike | None = None,
  allow_unknown: bool = False,
  overwrite: bool = False,
  report: Callable[[str], None] = print,
) -> pathlib.Path:
  """Converts weights to a file that `extractor.load_extractor` opens.

  Args:
    network: one of `extractor.NETWORKS`.
    source: a TensorFlow checkpoint (its folder, prefix or one of its files, or the folder of a
      TF-Hub module), a PyTorch file (.pt, .pth, also TorchScript), or Chainer's .npz.
    output: the file to write; None for `extractor.default_path(network)`.
    mean: for C3D, the .npz with its "mean" clip.
    allow_unknown: also convert a valid source that is not a known published file; the result states
      that it is unknown.
    overwrite: replace an existing `output`.
    report: called with lines for the user.

  Returns:
    the path of the written file.

  Raises:
    UserError: the source is missing, damaged, of another network or unknown, or the output exists.
      Nothing is written then.
  """
  what = extractor.find(network)
  if what.file:
    raise UserError(f"the weights of {network} are part of the package: nothing to convert")
  source = pathlib.Path(paths.local(source, "--source"))
  output = None if output is None else pathlib.Path(paths.local(output, "--output"))
  mean = None if mean is None else paths.local(mean, "--mean")
  output = output if output is not None else extractor.default_path(network)
  if output.suffix != ".npz":
    raise UserError(f"--output={output}: weights files must end with .npz")
  if output.exists() and not overwrite:
    raise UserError(f"{output} exists; nothing is overwritten without --overwrite")
  paths.check_writable(output.parent)
  if mean is not None and network != _C3D:
    raise UserError(f"{network} has no mean clip; only {_C3D} has one")
  form = _form(source)
  digests = known.digests(source) if form != "tensorflow" else None
  file = known.by_digests(digests) if digests else None
  if file:
    report(f"{source} is {file.title}{f': {file.note}' if file.note else ''}")
    _check_known(network, source, file)
  converted = _converted(network, source, form, file, digests)
  if not converted.verified and not allow_unknown:
    raise UserError(
      f"{source} is readable, but cannot be verified as {what.what}: {converted.doubt}. Scores "
      "with other weights are not comparable with published scores; --allow_unknown converts it"
    )
  if not converted.verified:
    report(f"{source} is unknown ({converted.doubt}); the converted file states this")
  about: dict[str, Any] = {
    "origin": {
      "name": source.name,
      "form": form,
      **(dataclasses.asdict(digests) if digests else {}),
    },
    "verified": converted.verified,
    "unknown": None if converted.verified else converted.doubt,
  }
  constants = {}
  if mean is not None:
    constants["mean"] = read_mean(mean)
    about["mean"] = {"name": pathlib.Path(mean).name, **dataclasses.asdict(known.digests(mean))}
  elif network == _C3D:
    report("no mean clip is given (--mean): protocols that subtract it will refuse these weights")
  digest = extractor.save(output, network, converted.arrays, about, constants)
  if converted.verified:
    report(f"verified: {converted.verified}")
  report(f"{network}: {output}, hash {digest[:12]}")
  return output


def _converted(network, source, form, file, digests) -> _Converted:
  """The variables of a network from `source`; see `convert`.

  Args:
    network, source: see `convert`.
    form: from `_form`.
    file: the known file that `source` is, or None.
    digests: digests of `source`; None for TensorFlow.
  """
  if network in _I3D_CLASSES:
    return _i3d(network, source, form)
  make, required_form, kind = {
    _C3D: (_c3d, "npz", "Chainer's .npz"),
    _R2PLUS1D: (_r2plus1d, "torch", "torchvision's .pth"),
  }[network]
  checkpoints = [*source.glob("*.index"), *source.glob("variables/*.index")]
  if source.is_dir() and not checkpoints:
    raise UserError(f"{source} is a folder; {network} is converted from one file, {kind}")
  if form != required_form:
    file = file or known.identify(source)
    title = file.title if file else "a file of another kind"
    raise UserError(f"{source} is {title}; {network} is converted from {kind}")
  doubt = f"no published file known to this project has its SHA-256 {digests.sha256}"
  return _Converted(make(source), file.title if file else None, doubt)


def _form(source: pathlib.Path) -> str:
  """The format of a source: "tensorflow", "torch" or "npz"."""
  tensorflow = source.suffix == ".index" or ".data-" in source.name
  if source.is_dir() or tensorflow or source.with_name(f"{source.name}.index").is_file():
    return "tensorflow"
  if not source.is_file():
    raise UserError(f"--source={source}: no such file or folder")
  if source.stat().st_size > _MAX_SOURCE_BYTES:
    raise UserError(f"{source}: larger than the limit of {_MAX_SOURCE_BYTES} bytes")
  if tarfile.is_tarfile(source):
    raise UserError(
      f"{source} is an archive: unpack it into a new folder (mkdir DIR && tar -xf {source} -C "
      "DIR), and give --source=DIR"
    )
  if not zipfile.is_zipfile(source):
    return "torch"  # if it is something else, the reader of PyTorch files refuses it
  try:
    with zipfile.ZipFile(source) as archive:
      members = archive.namelist()
  except Exception as error:  # zipfile raises many types of errors for damaged files
    raise UserError(f"{source}: damaged ({printable(str(error))})") from error
  if "__about__.npy" in members:
    network = printable(extractor.read_about(source)["network"])
    raise UserError(f"{source} is already converted: it has weights of {network}")
  return "npz" if members and all(name.endswith(".npy") for name in members) else "torch"


def _check_known(network: str, source, file: known.KnownFile) -> None:
  """Raises a UserError if a known file has weights of another network, or no weights."""
  if file.network is not None and file.network != network:
    raise UserError(_other_network(source, file.title, file.network, network))
  if file.network is None and file.note:
    raise UserError(f"{source} is {file.title}: {file.note}")


def _other_network(source, title: str, actual: str, requested: str) -> str:
  """The message for a source with weights of another network than requested."""
  networks = extractor.NETWORKS
  return (
    f"{source} is {title}: {networks[actual].what}, not {networks[requested].what}. Convert it "
    f"with --convert={actual}; for {requested}, download {networks[requested].weights_source}"
  )


def _i3d(network: str, source, form: str) -> _Converted:
  """Converts an I3D; UserError if it is another published I3D than the requested one."""
  if form == "tensorflow":
    index = tensor_bundle.read_index(source)
    names = [name for name in index.entries if i3d.path_of(name)]
    arrays = tensor_bundle.read(source, names)
  elif form == "torch":
    arrays = _i3d_of_torch(source)
  else:
    raise UserError(f"{source}: I3D is converted from TensorFlow checkpoints or PyTorch files")
  likeness = known.match_i3d_arrays(arrays)
  if likeness.network is not None and likeness.network != network:
    title = f"DeepMind's {likeness.checkpoint}"
    raise UserError(_other_network(source, title, likeness.network, network))
  variables = traverse_util.flatten_dict(
    i3d.from_tensorflow(arrays, _I3D_CLASSES[network]), sep="/"
  )
  if likeness.network:
    return _Converted(variables, f"{likeness} of deepmind/kinetics-i3d")
  doubt = "no variable has the checksum of a published I3D"
  return _Converted(variables, None, str(likeness) if likeness.checkpoint else doubt)


def _i3d_of_torch(source) -> dict[str, np.ndarray]:
  """I3D's variables in a file of PyTorch, in TensorFlow's layout by DeepMind's names.

  Those of a state dict have known names. A TorchScript program may name its numbers in any way, so
  they are found by their checksums, which exist for the published networks alone.
  """
  arrays = _without_wrapper(torch.read(source))
  if not torch.is_torchscript(source):
    return i3d_for_torch.to_deepmind(arrays)
  found, likeness = known.i3d_arrays_by_content(arrays.values())
  if likeness.network is not None:
    return found
  try:
    return i3d_for_torch.to_deepmind({n: a for n, a in arrays.items() if a.ndim})
  except UserError:
    what = str(likeness) if likeness.checkpoint else f"none of its {len(arrays)} arrays is of I3D"
    raise UserError(
      f"{source} is a TorchScript program that cannot be recognised: {what}. If it was frozen or "
      "optimised for inference, batch normalisation is folded into its kernels, and the published "
      "numbers cannot be recovered; bring TF-Hub's deepmind/i3d-kinetics-400/1 or a state dict"
    ) from None


def _c3d(source) -> dict[str, np.ndarray]:
  """Converts Chainer's npz of C3D."""
  arrays = {}
  for name, array in npz.read(source).items():
    try:
      path, axes = c3d.from_chainer(name)
    except KeyError:
      raise UserError(f"{source}: {printable(name)!r} is not a variable of C3D") from None
    if array.ndim != len(axes) or path in arrays:
      shape = list(array.shape)
      raise UserError(f"{source}: {printable(name)!r} of shape {shape} is not a variable of C3D")
    arrays[path] = np.ascontiguousarray(array.transpose(axes))
  return arrays


def _r2plus1d(source) -> dict[str, np.ndarray]:
  """Converts torchvision's state dict of R(2+1)D-18."""
  shapes = extractor.variable_shapes(extractor.find(_R2PLUS1D).build())
  names, arrays = r2plus1d.from_torchvision(), {}
  for name, array in _without_wrapper(torch.read(source)).items():
    if name.endswith(".num_batches_tracked"):
      continue
    if name not in names:
      raise UserError(
        f"{source}: {printable(name)!r} is not a variable of torchvision's r2plus1d_18"
      )
    path = names[name]
    try:
      arrays[path] = np.ascontiguousarray(r2plus1d.convert_array(array, shapes[path]))
    except ValueError as error:
      raise UserError(f"{source}: {name!r} has shape {error}") from error
  return arrays


def _without_wrapper(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Removes the prefix "module." from names of a state dict that was saved from several GPUs."""
  return {name.removeprefix("module."): array for name, array in state.items()}


def read_mean(path: str | os.PathLike) -> np.ndarray:
  """Reads C3D's mean clip: float32 [16, 128, 171, 3], channels BGR, 0..255.

  Args:
    path: an .npz with an array "mean" of shape [3, 16, 128, 171]; it may have additional axes of
      size 1, or be flat.

  Raises:
    UserError: the file has no such array.
  """
  arrays = npz.read(path, only="mean")
  if "mean" not in arrays:
    raise UserError(f"{path} has no array 'mean'")
  mean = arrays["mean"]
  frames, height, width, channels = c3d.CONSTANTS["mean"]
  shape = (channels, frames, height, width)
  if tuple(n for n in mean.shape if n != 1) not in (shape, (math.prod(shape),)):
    raise UserError(f"{path}: 'mean' is {list(mean.shape)}, expected {list(shape)}")
  clip = mean.reshape(shape).astype(np.float32).transpose(1, 2, 3, 0)
  if not np.isfinite(clip).all() or clip.min() < 0 or clip.max() > 255:
    raise UserError(f"{path}: 'mean' must be in 0..255")
  return np.ascontiguousarray(clip)
