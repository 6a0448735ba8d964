"""MP4 files of clips that the page shows, in a temporary folder of limited size."""

import collections
import os
import pathlib
import secrets
import threading

import numpy as np

from vidgan_jax.runtime.files import video_writers

_SIDE = 128  # pixels; smaller clips are enlarged, as `vidgan sample` does


class KeptClips:
  """Writes clips, and removes the oldest ones when they take too much space.

  Args:
    folder: an existing, empty folder.
    most_bytes: size of all files; the newest file always stays.
  """

  def __init__(self, folder: str | os.PathLike, most_bytes: int = 2**28):
    self._folder, self._most = pathlib.Path(folder), most_bytes
    self._sizes: collections.OrderedDict[str, int] = collections.OrderedDict()
    self._lock = threading.Lock()

  def write(self, clip: np.ndarray, frame_rate: float) -> str:
    """Writes a clip, uint8 [T, H, W, 3]; returns the name of its file."""
    name = f"{secrets.token_hex(16)}.mp4"
    path = self._folder / name
    scale = max(1, _SIDE // clip.shape[1])
    video_writers.write_mp4(path, clip, frame_rate, scale=scale)
    with self._lock:
      self._sizes[name] = path.stat().st_size
      while len(self._sizes) > 1 and sum(self._sizes.values()) > self._most:
        oldest, _ = self._sizes.popitem(last=False)
        (self._folder / oldest).unlink(missing_ok=True)
    return name

  def path(self, name: str) -> pathlib.Path | None:
    """The path of a file that `write` has returned; None if there is none, or it was removed."""
    with self._lock:
      return self._folder / name if name in self._sizes else None
