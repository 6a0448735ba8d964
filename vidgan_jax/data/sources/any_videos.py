"""Videos at any path: a folder of videos or of folders of pictures, a zip of either, or one video.

The videos are sorted by the names on their paths, so that their order does not depend on the file
system. If folders hold videos (CLASS/VIDEO), the topmost of them that differ are the classes.
"""

import collections
import contextlib
import dataclasses
import io
import os
from collections.abc import Collection, Generator, Iterator

import numpy as np
from PIL import Image

from vidgan_jax.data.prepare import picture_files
from vidgan_jax.data.prepare.inputs import natural
from vidgan_jax.data.sources import folder_tree, split_folders
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import Resize, VideoError, decode_video
from vidgan_jax.runtime.files.zip_files import ZipFolder
from vidgan_jax.runtime.text import composed, file_text, printable


def at(path: str | os.PathLike) -> bool:
  """Whether a path names a folder, a zip or a video, and not an .npz file."""
  name = os.fspath(path).lower()
  return os.path.isdir(path) or name.endswith((".zip", *folder_tree.VIDEO_ENDINGS))


@dataclasses.dataclass(frozen=True)
class Video:
  """One video.

  Attributes:
    name: its path inside the folder or zip, with "/" between folders.
    label: number of its class; 0 without classes.
    pictures: paths of its pictures in order; empty for a video file.
  """

  name: str
  label: int
  pictures: tuple[str, ...] = ()


class AnyVideos:
  """The videos at a path.

  If there are video files, other files are ignored. Otherwise each folder with pictures is a video,
  whose pictures are sorted with their numbers in numerical order. Folders that contain everything
  are no classes, and neither are folders if each holds one video.

  Args:
    path: a folder, a zip file or a video file.

  Attributes:
    path: the same.
    videos: sorted by name.
    class_names: sorted; empty without classes.
    ignored: number of other files.

  Raises:
    UserError: the path does not exist or cannot be read, there are no videos, only some are in
      class folders, or the folders are splits.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = os.fspath(path)
    self._zip, self._folder, one = None, self.path, False
    if os.path.isdir(self.path):
      files = _files(self.path)
    elif self.path.lower().endswith(".zip"):
      self._zip = ZipFolder(self.path)
      files = [name for name in self._zip.names if folder_tree.is_of_user(name)]
    elif os.path.isfile(self.path):
      self._folder, name = os.path.split(self.path)
      files, one = [name], True
    else:
      raise UserError(f"{self.path}: no such file or folder")
    videos = [Video(name, 0) for name in files if name.lower().endswith(folder_tree.VIDEO_ENDINGS)]
    self.ignored = len(files) - len(videos)
    if not videos:
      videos = _of_pictures(files)
      self.ignored = len(files) - sum(len(video.pictures) for video in videos)
    if not videos:
      raise UserError(f"{self.path}: contains no videos and no folders of pictures")
    videos.sort(key=lambda video: [file_text(part) for part in video.name.split("/")])
    self._one = one
    classes = _classes(self.path, videos)
    self.class_names = tuple(sorted(set(classes)))
    labels = {name: label for label, name in enumerate(self.class_names)}
    self.videos = tuple(
      dataclasses.replace(video, label=labels[name]) if classes else video
      for video, name in zip(videos, classes or [""] * len(videos), strict=True)
    )

  def shown(self, video: Video) -> str:
    """The whole path of a video, for messages."""
    inside = video.name not in ("", ".") and not self._one
    return f"{self.path}/{printable(file_text(video.name))}" if inside else self.path

  def length(self, video: Video) -> int:
    """Number of frames. It decodes the whole video file, because headers are not reliable.

    Raises:
      UserError: the video is broken.
    """
    if video.pictures:
      return len(video.pictures)
    with self._decoded(video) as frames:
      return sum(1 for _ in frames)

  def frames(
    self, video: Video, numbers: Collection[int], resize: Resize | None = None
  ) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yields some frames in order; no other picture is read or converted.

    Args:
      video: one of `videos`.
      numbers: of the frames, from 0.
      resize: see `video_files.DecodedFrame.picture`.

    Yields:
      (number, uint8 [H, W, 3]).

    Raises:
      UserError: the video is broken.
    """
    if video.pictures:
      yield from self._pictures(video, sorted(numbers), resize)
      return
    last = max(numbers)
    with self._decoded(video) as frames:
      for frame in frames:
        if frame.index in numbers:
          yield frame.index, frame.picture(resize)
        if frame.index == last:
          return

  @contextlib.contextmanager
  def _decoded(self, video: Video) -> Iterator:
    """The frames of a video file; its errors name the video, and not a temporary file."""
    with contextlib.ExitStack() as stack:
      if self._zip is None:
        file = os.path.join(self._folder, video.name)
      else:
        file = stack.enter_context(self._zip.copied(video.name))
      frames = stack.enter_context(contextlib.closing(decode_video(file)))
      try:
        yield frames
      except VideoError as error:
        raise VideoError(self.shown(video), error.reason) from error

  def _pictures(self, video: Video, numbers: list[int], resize: Resize | None) -> Iterator:
    size = None
    for number in numbers:
      name = video.pictures[number]
      shown = printable(file_text(name.rpartition("/")[2]))
      try:
        if self._zip is None:
          image = picture_files.read(os.path.join(self._folder, name))
        else:
          image = picture_files.read(io.BytesIO(self._zip.read(name)))
      except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise VideoError(
          self.shown(video), f"{shown} is not readable as a picture ({reason})"
        ) from error
      size = size or image.shape
      if image.shape != size:
        raise VideoError(self.shown(video), f"the size of the pictures changes at {shown}")
      yield number, image if resize is None else resize(image, image.shape[:2])


def _files(folder: str) -> list[str]:
  """Paths of all files in a folder, relative to it, with "/" between folders."""
  tree = folder_tree.read_tree(folder)
  if tree.unreadable:
    path, reason = tree.unreadable[0]
    raise UserError(f"{folder}: the folder {printable(file_text(path))} is not readable ({reason})")
  return [
    os.path.join(path, name).replace(os.sep, "/") for path, names in tree.folders for name in names
  ]


def _of_pictures(files: list[str]) -> list[Video]:
  """A video for each folder with pictures; pictures beside such folders are no video."""
  pictures = collections.defaultdict(list)
  for name in files:
    if name.lower().endswith(folder_tree.PICTURE_ENDINGS):
      pictures[os.path.dirname(name)].append(name)
  if len(pictures) > 1:
    pictures.pop("", None)
  return [
    Video(folder or ".", 0, tuple(sorted(names, key=natural))) for folder, names in pictures.items()
  ]


def _classes(path: str, videos: list[Video]) -> list[str]:
  """The name of the class of each video; an empty list without classes."""
  folders = [tuple(video.name.split("/")[:-1]) for video in videos]
  above = 0  # number of folders that contain everything
  while len({folder[above : above + 1] for folder in folders}) == 1 and folders[0][above:]:
    above += 1
  names = [composed(printable(file_text(f[above]))) if f[above:] else "" for f in folders]
  if len(set(names)) in (1, len(names)):
    return []
  if "" in names:
    name = printable(file_text(videos[names.index("")].name))
    raise UserError(
      f"{path}: {name} is in no class folder, but {len(names) - names.count('')} other videos are; "
      "put all videos into one folder, or each into the folder of its class"
    )
  splits = sorted(name for name in set(names) if split_folders.split_of(name))
  if len(splits) > 1:
    raise UserError(
      f"{path}: its folders {', '.join(splits)} are splits, not classes; give the path of one"
    )
  return names
