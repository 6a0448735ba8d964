"""Makes files of weights from those that others published.

A source is recognised by its content, not by its name: an I3D by the checksums of its variables,
whichever program saved it, other files by their digests. An unknown source is converted only on
request, and the file written says so.
"""

import dataclasses
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping

import numpy as np

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
  """Variables of ours and what is known of them.

  Attributes:
    arrays: at their paths.
    verified: how they were recognised, in a few words; None where they were not.
    doubt: why not, and what they may be.
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
    source: a checkpoint of TensorFlow (its folder, prefix or one of its files; TF-Hub's module as
      a folder), a file of PyTorch (.pt, .pth), or Chainer's .npz.
    output: the file to write; None takes `extractor.default_path(network)`.
    mean: for C3D, the .npz with its "mean" clip.
    allow_unknown: convert what is well-formed but not known; the file written says so.
    overwrite: replace `output` where it exists.
    report: called with lines on what was found and done.

  Returns:
    the file written.

  Raises:
    UserError: the source is missing, damaged, another network's or not known, or the output exists.
      Nothing is written then.
  """
  what = extractor.find(network)
  if what.file:
    raise UserError(f"the weights of {network} come with the package; there is nothing to convert")
  source = pathlib.Path(paths.local(source, "--source"))
  output = None if output is None else pathlib.Path(paths.local(output, "--output"))
  mean = None if mean is None else paths.local(mean, "--mean")
  output = output if output is not None else extractor.default_path(network)
  if output.suffix != ".npz":
    raise UserError(f"--output={output}: files of weights are .npz")
  if output.exists() and not overwrite:
    raise UserError(f"{output} exists; nothing is overwritten without --overwrite")
  if mean is not None and network != _C3D:
    raise UserError(f"{network} has no mean clip; only {_C3D} has")
  form = _form(source)
  found = known.digests(source) if form != "tensorflow" else None
  file = known.by_digests(found) if found else None
  if file:
    report(f"{source} is {file.title}{f': {file.note}' if file.note else ''}")
    _check_known(network, source, file)
  converted = _converted(network, source, form, file, found)
  if not converted.verified and not allow_unknown:
    raise UserError(
      f"{source} is well-formed, but not known to be {what.what}: {converted.doubt}. Scores made "
      "with other weights are comparable with no published ones; --allow_unknown converts it"
    )
  if not converted.verified:
    report(f"{source} is unknown ({converted.doubt}); the file written says so")
  about = {
    "origin": {"name": source.name, "form": form, **(dataclasses.asdict(found) if found else {})},
    "verified": converted.verified,
    "unknown": None if converted.verified else converted.doubt,
  }
  constants = {}
  if mean is not None:
    constants["mean"] = read_mean(mean)
    about["mean"] = {"name": pathlib.Path(mean).name, **dataclasses.asdict(known.digests(mean))}
  elif network == _C3D:
    report("no mean clip given: protocols that subtract one will ask for it")
  digest = extractor.save(output, network, converted.arrays, about, constants)
  if converted.verified:
    report(f"verified: {converted.verified}")
  report(f"{network}: {output}, hash {digest[:12]}")
  return output


def _converted(network, source, form, file, found):
  """The arrays of a network from `source`; see `convert`.

  Args:
    network, source: see `convert`.
    form: from `_form`.
    file: the known file that `source` is, or None.
    found: digests of `source`; None for TensorFlow.
  """
  if network in _I3D_CLASSES:
    return _i3d(network, source, form)
  make, wanted, kind = {
    _C3D: (_c3d, "npz", "Chainer's .npz"),
    _R2PLUS1D: (_r2plus1d, "torch", "torchvision's .pth"),
  }[network]
  checkpoints = [*source.glob("*.index"), *source.glob("variables/*.index")]
  if source.is_dir() and not checkpoints:
    raise UserError(f"{source} is a folder; {network} is made of one file, {kind}")
  if form != wanted:
    file = file or known.identify(source)
    named = file.title if file else "a file of another kind"
    raise UserError(f"{source} is {named}; {network} is made of {kind}")
  doubt = f"no file known here has its SHA-256 {found.sha256}"
  return _Converted(make(source), file.title if file else None, doubt)


def _form(source: pathlib.Path) -> str:
  """What wrote a source: "tensorflow", "torch" or "npz"."""
  tensorflow = source.suffix == ".index" or ".data-" in source.name
  if source.is_dir() or tensorflow or source.with_name(f"{source.name}.index").is_file():
    return "tensorflow"
  if not source.is_file():
    raise UserError(f"--source={source}: no such file or folder")
  if source.stat().st_size > _MAX_SOURCE_BYTES:
    raise UserError(f"{source}: more than the {_MAX_SOURCE_BYTES} bytes that are read")
  if not zipfile.is_zipfile(source):
    return "torch"  # or nothing that is known, which its reader tells
  try:
    with zipfile.ZipFile(source) as archive:
      members = archive.namelist()
  except Exception as error:  # damage reaches every branch of zipfile
    raise UserError(f"{source}: damaged ({printable(str(error))})") from error
  if "__about__.npy" in members:
    network = printable(extractor.read_about(source)["network"])
    raise UserError(f"{source} is converted already, to weights of {network}")
  return "npz" if members and all(name.endswith(".npy") for name in members) else "torch"


def _check_known(network: str, source, file: known.KnownFile) -> None:
  """Raises where a known file holds other weights than those wanted."""
  if file.network not in (None, network):
    raise UserError(_another(source, file.title, file.network, network))
  if file.network is None and file.note:
    raise UserError(f"{source} is {file.title}: {file.note}")


def _another(source, title: str, found: str, wanted: str) -> str:
  """The line on weights of another network than wanted."""
  what = extractor.NETWORKS
  return (
    f"{source} is {title}: {what[found].what}, not {what[wanted].what}. It is converted as "
    f"--convert={found}; for {wanted} bring {what[wanted].bring}"
  )


def _i3d(network: str, source, form: str) -> _Converted:
  """I3D of any source; a UserError where it is another of DeepMind's."""
  if form == "tensorflow":
    index = tensor_bundle.read_index(source)
    names = [name for name in index.entries if i3d.path_of(name)]
    arrays = tensor_bundle.read(source, names)
  elif form == "torch":
    arrays = i3d_for_torch.to_deepmind(_without_wrapper(torch.read(source)))
  else:
    raise UserError(f"{source}: I3D is made of checkpoints of TensorFlow or files of PyTorch")
  likeness = known.match_i3d_arrays(arrays)
  if likeness.network not in (None, network):
    raise UserError(
      _another(source, f"DeepMind's {likeness.checkpoint}", likeness.network, network)
    )
  variables = extractor.flatten(i3d.from_tensorflow(arrays, _I3D_CLASSES[network]))
  if likeness.network:
    return _Converted(variables, f"{likeness} of deepmind/kinetics-i3d")
  doubt = str(likeness) if likeness.checkpoint else "no variable has a checksum known here"
  return _Converted(variables, None, doubt)


def _c3d(source) -> dict[str, np.ndarray]:
  """C3D of Chainer's npz."""
  arrays = {}
  for name, array in npz.read(source).items():
    try:
      path, axes = c3d.from_chainer(name)
    except KeyError:
      raise UserError(f"{source}: {printable(name)!r} is no variable of C3D") from None
    if array.ndim != len(axes) or path in arrays:
      raise UserError(f"{source}: {printable(name)!r} of {list(array.shape)} is not C3D's")
    arrays[path] = np.ascontiguousarray(array.transpose(axes))
  return arrays


def _r2plus1d(source) -> dict[str, np.ndarray]:
  """R(2+1)D-18 of torchvision's state dict."""
  shapes = extractor.variable_shapes(extractor.find(_R2PLUS1D).build())
  names, arrays = r2plus1d.from_torchvision(), {}
  for name, array in _without_wrapper(torch.read(source)).items():
    if name.endswith(".num_batches_tracked"):
      continue
    if name not in names:
      raise UserError(f"{source}: {printable(name)!r} is no variable of torchvision's r2plus1d_18")
    try:
      arrays[names[name]] = np.ascontiguousarray(r2plus1d.to_ours(array, shapes[names[name]]))
    except ValueError as error:
      raise UserError(f"{source}: {name!r} is {error}") from error
  return arrays


def _without_wrapper(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Names without the "module." of a state dict saved from several GPUs."""
  return {name.removeprefix("module."): array for name, array in state.items()}


def read_mean(path: str | os.PathLike) -> np.ndarray:
  """C3D's mean clip as float32 [16, 128, 171, 3], blue first, 0..255.

  Args:
    path: an .npz with "mean", [3, 16, 128, 171], with axes of one among these, or flat.

  Raises:
    UserError: it holds no such array.
  """
  arrays = npz.read(path, only="mean")
  if "mean" not in arrays:
    raise UserError(f"{path} has no array 'mean'")
  mean = arrays["mean"]
  frames, height, width, colours = c3d.CONSTANTS["mean"]
  wanted = (colours, frames, height, width)
  if tuple(n for n in mean.shape if n != 1) not in (wanted, (math.prod(wanted),)):
    raise UserError(f"{path}: 'mean' is {list(mean.shape)}, wanted {list(wanted)}")
  clip = mean.reshape(wanted).astype(np.float32).transpose(1, 2, 3, 0)
  if not np.isfinite(clip).all() or clip.min() < 0 or clip.max() > 255:
    raise UserError(f"{path}: 'mean' is not within 0..255")
  return np.ascontiguousarray(clip)
