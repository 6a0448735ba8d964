"""A cache of decoded videos, in files with a checksum per frame.

A file is a `.npy` file of uint8 [T, H, W, 3], followed by the CRC32C of each frame (uint32,
little-endian), a marker, and the CRC32C of everything except the frames. Opening a file checks the
last checksum; reading a frame checks the frame's. So a flipped bit is detected, and a start does
not have to read all clips. Files of earlier versions, without checksums, count as missing.
"""

import io
import os
import threading
import weakref
from collections.abc import Callable

import google_crc32c
import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz, temporary
from vidgan_jax.runtime.files.atomic_files import atomic_file

_MARK = b"VGFRAMES"
_CRC_BYTES = 4


class Damaged(Exception):
  """A cache file is missing, damaged, or of an earlier version; decode the video again."""


def write(path: str | os.PathLike, video: np.ndarray) -> None:
  """Writes a cache file as a whole or not at all.

  Args:
    path: the file.
    video: uint8 [T, H, W, 3].

  Raises:
    UserError: the file cannot be written.
  """
  video = np.ascontiguousarray(video)
  checksums = np.array([google_crc32c.value(frame.tobytes()) for frame in video], "<u4").tobytes()
  with atomic_file(path) as temporary, open(temporary, "w+b") as file:
    np.save(file, video, allow_pickle=False)
    length = file.tell() - video.nbytes
    file.seek(0)
    around = file.read(length) + checksums + _MARK
    file.seek(0, os.SEEK_END)
    file.write(checksums + _MARK + google_crc32c.value(around).to_bytes(_CRC_BYTES, "little"))


def shape(path: str | os.PathLike) -> tuple[int, int, int, int]:
  """Returns the shape (T, H, W, 3) of a cache file; Damaged if the file is not valid."""
  with _opened(path) as file:
    return _description(file)[0]


def read(path: str | os.PathLike, frames: range) -> np.ndarray:
  """Reads frames of a cache file.

  Args:
    path: the file.
    frames: numbers of the frames, at least one.

  Returns:
    uint8 [len(frames), H, W, 3].

  Raises:
    Damaged: the file is not valid, or one of these frames is damaged.
  """
  with _opened(path) as file:
    (count, *size), offset, checksums = _description(file)
    if frames[-1] >= count or frames[0] < 0:
      raise Damaged(f"{os.fspath(path)}: has {count} frames")
    video = np.empty((len(frames), *size), np.uint8)
    for image, number in zip(video, frames, strict=True):
      file.seek(offset + number * image.nbytes)
      view = memoryview(image.reshape(-1))
      if file.readinto(view) != len(view) or google_crc32c.value(bytes(view)) != checksums[number]:
        raise Damaged(f"{os.fspath(path)}: frame {number} is damaged")
  return video


def _opened(path: str | os.PathLike) -> io.FileIO:
  try:
    return open(path, "rb", buffering=0)
  except OSError as error:
    raise Damaged(f"{os.fspath(path)}: {error.strerror}") from error


def _description(file: io.FileIO) -> tuple[tuple[int, int, int, int], int, list[int]]:
  """Returns shape, offset of the first frame, and checksums; Damaged if the file is not valid."""
  try:
    header = npz.read_header(file)
    if header.dtype != np.uint8 or len(header.shape) != 4 or header.shape[-1] != 3:
      raise ValueError("contains no frames")
    if header.fortran or not header.nbytes:
      raise ValueError("contains no frames")
    checksums = header.shape[0] * _CRC_BYTES
    rest = checksums + len(_MARK) + _CRC_BYTES
    if os.fstat(file.fileno()).st_size != header.offset + header.nbytes + rest:
      raise ValueError("is cut off, or has no checksums")
    file.seek(0)
    around = file.read(header.offset)
    file.seek(header.offset + header.nbytes)
    trailer = file.read(rest)
    around += trailer[:-_CRC_BYTES]
    if google_crc32c.value(around).to_bytes(_CRC_BYTES, "little") != trailer[-_CRC_BYTES:]:
      raise ValueError("its checksum differs")
  except (OSError, ValueError) as error:
    raise Damaged(f"{file.name}: {error}") from error
  return header.shape, header.offset, np.frombuffer(trailer, "<u4", header.shape[0]).tolist()


class FrameCache:
  """A folder of cache files; if it cannot be written, a temporary folder takes its place.

  Args:
    folder: the folder; None if the user has no cache folder.
    report: called with a line of text if the folder cannot be written.

  Attributes:
    folder: the folder.
  """

  def __init__(self, folder: str | None, report: Callable[[str], None]):
    self.folder, self._report = folder, report
    self._temporary: str | None = None
    self._lock = threading.Lock()

  @property
  def current(self) -> str:
    """The folder of new files."""
    return self._temporary or self.folder or ""

  def paths(self, name: str) -> list[str]:
    """Possible paths of a file, the newest first."""
    return [os.path.join(folder, name) for folder in (self._temporary, self.folder) if folder]

  def store(self, name: str, video: np.ndarray) -> str:
    """Writes a video, uint8 [T, H, W, 3]; returns the path of its file.

    Raises:
      UserError: neither the folder nor a temporary one can be written.
    """
    reason = "this user has no home folder"
    if self.folder is not None and self._temporary is None:
      path = os.path.join(self.folder, name)
      try:
        write(path, video)
        return path
      except UserError as error:
        reason = str(error)
    path = os.path.join(self._temporary_folder(reason), name)
    write(path, video)
    return path

  def _temporary_folder(self, reason: str) -> str:
    """The temporary folder, which is removed together with this object."""
    with self._lock:
      if self._temporary is None:
        try:
          self._temporary = temporary.make("vidgan_jax_frames_")
        except UserError as error:
          raise UserError(f"no folder for decoded frames can be written: {reason}") from error
        weakref.finalize(self, temporary.remove, self._temporary)
        self._report(
          f"WARNING: {reason}; decoded frames are in {self._temporary} until this program ends "
          "(set config.data.cache_directory to use another folder)"
        )
      return self._temporary
