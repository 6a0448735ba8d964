"""Decoded frames of videos, kept in files that know their own checksums.

A file is a `.npy` of uint8 [T, H, W, 3]. Behind the frames lie the CRC32C of each of them (uint32,
little-endian), a mark, and the CRC32C of all but the frames. Opening compares the latter, reading
those of the frames that are read: a flipped bit is noticed, and no start has to read all clips.
Files without checksums, of earlier versions, count as absent.
"""

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable

import google_crc32c
import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.runtime.files.atomic_files import atomic_file

_MARK = b"VGFRAMES"
_CRC_BYTES = 4


class Damaged(Exception):
  """A file that is gone, damaged, or of an earlier version; its clip has to be decoded again."""


def write(path: str | os.PathLike, video: np.ndarray) -> None:
  """Writes a file whole or not at all.

  Args:
    path: of the file.
    video: uint8 [T, H, W, 3].

  Raises:
    UserError: it cannot be written.
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
  """(T, H, W, 3) of a file's frames; Damaged where it is not what `write` wrote."""
  with _opened(path) as file:
    return _description(file)[0]


def read(path: str | os.PathLike, frames: range) -> np.ndarray:
  """Reads some frames.

  Args:
    path: of the file.
    frames: numbers of the frames, at least one.

  Returns:
    uint8 [len(frames), H, W, 3].

  Raises:
    Damaged: the file is not what `write` wrote, or one of the frames is damaged.
  """
  with _opened(path) as file:
    (count, *size), offset, checksums = _description(file)
    if frames[-1] >= count or frames[0] < 0:
      raise Damaged(f"{os.fspath(path)}: has {count} frames")
    found = np.empty((len(frames), *size), np.uint8)
    for image, number in zip(found, frames, strict=True):
      file.seek(offset + number * image.nbytes)
      view = memoryview(image.reshape(-1))
      if file.readinto(view) != len(view) or google_crc32c.value(bytes(view)) != checksums[number]:
        raise Damaged(f"{os.fspath(path)}: frame {number} is damaged")
  return found


def _opened(path):
  try:
    return open(path, "rb", buffering=0)
  except OSError as error:
    raise Damaged(f"{os.fspath(path)}: {error.strerror}") from error


def _description(file) -> tuple[tuple[int, int, int, int], int, list[int]]:
  """Shape, where the frames begin, and their checksums; Damaged where anything is wrong."""
  try:
    header = npz.read_header(file)
    if header.dtype != np.uint8 or len(header.shape) != 4 or header.shape[-1] != 3:
      raise ValueError("holds no frames")
    if header.fortran or not header.nbytes:
      raise ValueError("holds no frames")
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
  """A folder of decoded clips; where it cannot be written, a temporary one is used.

  Args:
    folder: of the files; None where there is none.
    report: receives a line where the folder cannot be written.

  Attributes:
    folder: of the files.
  """

  def __init__(self, folder: str | None, report: Callable[[str], None]):
    self.folder, self._report = folder, report
    self._temporary, self._lock = None, threading.Lock()

  @property
  def current(self) -> str:
    """The folder that new files go to."""
    return self._temporary or self.folder or ""

  def paths(self, name: str) -> list[str]:
    """Paths that the file of a clip may have, the newest first."""
    return [os.path.join(folder, name) for folder in (self._temporary, self.folder) if folder]

  def keep(self, name: str, video: np.ndarray) -> str:
    """Writes a clip, uint8 [T, H, W, 3]; returns the path of its file.

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
    path = os.path.join(self._other(reason), name)
    write(path, video)
    return path

  def _other(self, reason: str) -> str:
    """The temporary folder, which goes with this object."""
    with self._lock:
      if self._temporary is None:
        try:
          self._temporary = tempfile.mkdtemp(prefix="vidgan_jax_frames_")
        except OSError as error:
          raise UserError(f"no folder for decoded frames can be written: {reason}") from error
        weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        self._report(
          f"WARNING: {reason}; decoded frames are in {self._temporary} until this program ends "
          "(config.data.cache_directory names another folder)"
        )
      return self._temporary
