"""Assigns the videos of a folder to splits and classes, by UCF-101's lists or by folders alone.

Lists are not trusted: no path may lead out of the folder, and every label is checked.
"""

import dataclasses
import os
from collections.abc import Iterator

from vidgan_jax.data import advice
from vidgan_jax.data.sources import folder_tree, split_folders
from vidgan_jax.data.sources.folder_tree import VIDEO_ENDINGS
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import composed, file_text, folded, printable

LISTS_FOLDER = "ucfTrainTestlist"
_MAX_LIST_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class ListedClip:
  """One video of a split: its path relative to the folder, and its 0-based label."""

  path: str
  label: int


@dataclasses.dataclass(frozen=True)
class Listing:
  """The videos of a split.

  Attributes:
    clips: the videos that exist, in the order of the lists or of their names.
    class_names: names in label order, empty for a folder without classes.
    missing: paths in the lists that do not exist.
    ignored: number of files whose endings are not those of videos (0 with lists).
    unassigned: (path, reason) of videos in no class folder or in no split folder.
    remarks: lines of text for the user: which folders are splits, which cannot be read, which
      contain no clips.
  """

  clips: tuple[ListedClip, ...]
  class_names: tuple[str, ...]
  missing: tuple[str, ...] = ()
  ignored: int = 0
  unassigned: tuple[tuple[str, str], ...] = ()
  remarks: tuple[str, ...] = ()


def list_folder(
  directory: str,
  split: str,
  split_number: int = 1,
  lists: str | None = None,
  *,
  by_folders: str = split_folders.AUTO,
  labelled: bool = True,
) -> Listing:
  """Lists the videos of a split.

  Args:
    directory: the folder; see `video_folder.VideoFolder` for the layouts.
    split: "train", "val", "test" or "all".
    split_number: number of the lists, 1 for trainlist01.txt.
    lists: folder of UCF-101's lists; None uses the one in `directory`, if it exists.
    by_folders: without lists, which folders are splits; see `split_folders.parse`.
    labelled: without lists, whether to leave out videos in no class folder.

  Returns:
    The videos, with 0-based labels.

  Raises:
    UserError: there is no such folder, it has no videos or no such split, or a list is missing or
      malformed.
  """
  if not os.path.isdir(directory):
    raise UserError(f"{directory}: no such folder")
  try:
    inside = os.path.join(directory, LISTS_FOLDER)
    if lists is not None or os.path.isdir(inside):
      if by_folders != split_folders.AUTO:
        raise UserError(
          f"{directory}: has split lists; split_folders is only for folders without lists"
        )
      return _from_lists(directory, lists or inside, split, split_number)
    return _from_folders(directory, split, by_folders, labelled)
  except OSError as error:
    raise UserError(f"{error.filename}: not readable ({error.strerror})") from error


def _from_folders(directory: str, split: str, by_folders: str, labelled: bool) -> Listing:
  """Lists the videos of a folder without lists; the topmost folders except splits are classes."""
  tree = folder_tree.read_tree(directory)
  names = [(folder, os.path.join(folder, file)) for folder, files in tree.folders for file in files]
  videos = [(path, folder) for folder, path in names if is_video(path)]
  remarks = tree.remarks([path for path, _ in videos], "video")
  if not videos:
    content = advice.advice(directory)
    reasons = "; ".join([f"it {content}"] if content else remarks)
    raise UserError(
      f"{directory}: contains no video files ({', '.join(VIDEO_ENDINGS)})"
      f"{reasons and f'; {reasons}'}"
    )
  assignments, line = split_folders.assign_splits(
    directory, videos, by_folders, "config.data.split_folders"
  )
  if line is None and split not in ("train", "all"):
    raise UserError(
      f"{directory}: has no {LISTS_FOLDER} folder and no folders named like splits, so there is no "
      f"{split} split"
    )
  known = sorted({assignment.split for assignment in assignments if assignment.split})
  in_split = known if split == "all" else [split]
  if not any(assignment.split in in_split for assignment in assignments):
    raise UserError(
      f"{directory}: has no split '{split}', known are: {', '.join(known) or 'none'} ({line})"
    )
  # The classes are those of all splits, so that labels mean the same in each split.
  spelled = {}
  for assignment in assignments:
    if assignment.folders and assignment.split:
      name = assignment.folders[0]
      spelled.setdefault(composed(file_text(name)), name)
  class_names = sorted(map(file_text, spelled.values()))
  labels = {composed(name): label for label, name in enumerate(class_names)}
  clips, unassigned, deep = [], [], []
  for (path, _), assignment in zip(videos, assignments, strict=True):
    if assignment.split is None:
      unassigned.append((path, "is in no split folder"))
    elif assignment.split in in_split and assignment.folders:
      clips.append(ListedClip(path, labels[composed(file_text(assignment.folders[0]))]))
      deep += [path] if len(assignment.folders) > 1 else []
    elif assignment.split in in_split and not (labelled and class_names):
      clips.append(ListedClip(path, 0))
    elif assignment.split in in_split:
      unassigned.append((path, "is in no class folder"))
  if deep:
    example = printable(file_text(deep[0]))
    remarks.append(
      f"{len(deep)} clips are in sub-folders of their class folders, such as {example}; prepare a "
      "set with vidgan prepare --class_level=2 to use the folders one level deeper as classes"
    )
  return Listing(
    tuple(clips),
    tuple(class_names),
    ignored=len(names) - len(videos),
    unassigned=tuple(unassigned),
    remarks=tuple([line] if line else []) + tuple(remarks),
  )


def is_video(name: str) -> bool:
  """Whether a file name has the ending of a video."""
  return name.lower().endswith(VIDEO_ENDINGS)


def _from_lists(directory: str, folder: str, split: str, split_number: int) -> Listing:
  """Lists the videos in UCF-101's lists."""
  class_names = read_class_index(os.path.join(folder, "classInd.txt"))
  kinds = ("train", "test") if split == "all" else (split,)
  if kinds[0] not in ("train", "test"):
    raise UserError(f"{directory}: its lists have only the splits train and test, not '{split}'")
  on_disk = _OnDisk(directory)
  clips, missing = [], []
  for kind in kinds:
    for listed in read_split_list(
      os.path.join(folder, f"{kind}list{split_number:02d}.txt"), class_names
    ):
      path = on_disk.find(listed.path)
      if path is None:
        missing.append(listed.path)
      else:
        clips.append(ListedClip(path, listed.label))
  remarks = ()
  if on_disk.unreadable:
    named = folder_tree.abbreviated(on_disk.unreadable)
    remarks = (f"WARNING: folders that cannot be read are left out: {named}",)
  return Listing(tuple(clips), class_names, tuple(missing), remarks=remarks)


def read_class_index(path: str) -> tuple[str, ...]:
  """Reads `classInd.txt`: lines "number name", numbered from 1 without gaps.

  Returns:
    The names, in the order of the 0-based labels.

  Raises:
    UserError: the file is missing or malformed; the message gives the line.
  """
  names = []
  for number, line in read_lines(path):
    parts = line.split(None, 1)
    if len(parts) != 2 or parts[0] != str(len(names) + 1):
      raise UserError(f"{path}, line {number}: expected '{len(names) + 1} ClassName', not '{line}'")
    names.append(parts[1])
  if not names:
    raise UserError(f"{path}: contains no class names")
  return tuple(names)


def read_split_list(path: str, class_names: tuple[str, ...]) -> list[ListedClip]:
  """Reads a split list: lines "Class/video.avi 1" (train) or "Class/video.avi" (test).

  Args:
    path: the list.
    class_names: names in label order. A line without a number belongs to the class with the name of
      its folder.

  Returns:
    The clips, with 0-based labels and the paths of the list.

  Raises:
    UserError: the file is missing, a label is outside the classes, a folder is not a class, or a
      path leads out of the folder; the message gives the line.
  """
  by_name = {folded(name): label for label, name in enumerate(class_names)}
  clips = []
  for number, line in read_lines(path):
    where = f"{path}, line {number}"
    video, _, last = line.rpartition(" ")
    has_label = bool(video) and last.lstrip("+-").isdecimal()
    video = (video.rstrip() if has_label else line).replace("\\", "/")
    parts = video.split("/")
    if video.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in video:
      raise UserError(f"{where}: path '{video}' leads out of the folder")
    if has_label:
      try:
        label = int(last) - 1
      except ValueError as error:  # several signs, or thousands of digits
        raise UserError(f"{where}: label {last[:20]} is not a number") from error
      if not 0 <= label < len(class_names):
        raise UserError(f"{where}: label {last} is outside the range 1..{len(class_names)}")
    else:
      label = by_name.get(folded(parts[0]))
      if label is None:
        raise UserError(f"{where}: '{parts[0]}' is not one of the {len(class_names)} classes")
    clips.append(ListedClip(video, label))
  return clips


def read_lines(path: str) -> Iterator[tuple[int, str]]:
  """Yields (line number, line) of the lines of a text file that are not empty; CRLF or LF.

  Raises:
    UserError: there is no such file, or it is larger than 256 MiB.
  """
  if not os.path.isfile(path):
    raise UserError(f"{path}: no such file")
  if os.path.getsize(path) > _MAX_LIST_BYTES:
    raise UserError(f"{path}: larger than {_MAX_LIST_BYTES} bytes, which is too large for a list")
  with open(path, encoding="utf-8-sig", errors="replace") as file:
    for number, line in enumerate(file, start=1):
      if line.strip():
        yield number, line.strip()


class _OnDisk:
  """Finds listed paths in a folder without regard to case.

  UCF-101's lists contain HandstandPushups/v_HandStandPushups_g01_c01.avi; copies of the data use
  either spelling for the folder and for the file.
  """

  def __init__(self, directory: str):
    self._directory = directory
    self._folders: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    self.unreadable: list[str] = []

  def find(self, listed: str) -> str | None:
    """Returns the path of a listed file relative to the folder, as on disk; None if missing."""
    path = ""
    for part in listed.split("/"):
      if part in ("", "."):
        continue
      exact, by_folded = self._in_folder(path)
      name = exact.get(part) or by_folded.get(folded(part))
      if name is None:
        return None
      path = os.path.join(path, name)
    return path if os.path.isfile(os.path.join(self._directory, path)) else None

  def _in_folder(self, folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns names on disk in a folder, by their text and by their folded text.

    Both are empty if it is not a folder or cannot be read.
    """
    if folder not in self._folders:
      try:
        names = sorted(os.listdir(os.path.join(self._directory, folder)), reverse=True)
      except NotADirectoryError:
        names = []
      except OSError as error:
        if not folder:
          raise
        names = []
        self.unreadable.append(f"{folder} ({error.strerror})")
      exact = {file_text(name): name for name in names}
      self._folders[folder] = exact, {folded(file_text(name)): name for name in names}
    return self._folders[folder]
