"""Which videos of a folder belong to which split and class: UCF-101's lists, or the folders alone.

Text in lists is not trusted: no path leaves the folder, and every label is checked.
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
    clips: those that are on disk, in the order of the lists or of their names.
    class_names: names in label order, empty for a folder without classes.
    missing: paths that are in the lists but not on disk.
    aside: number of files whose names are not those of videos (without lists only).
    unplaced: (path, reason) of videos that are in no class folder, or in no split's.
    remarks: lines for the user about folders: which are splits, which cannot be read, which give
      no clips.
  """

  clips: tuple[ListedClip, ...]
  class_names: tuple[str, ...]
  missing: tuple[str, ...] = ()
  aside: int = 0
  unplaced: tuple[tuple[str, str], ...] = ()
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
    split_number: which of the lists, 1 for trainlist01.txt.
    lists: folder of UCF-101's lists; None takes the one in the folder, if there is one.
    by_folders: without lists, which folders are splits; see `split_folders.parse`.
    labelled: without lists, whether videos in no class folder are of no use.

  Returns:
    The videos found, with 0-based labels.

  Raises:
    UserError: no such folder, no videos, a malformed or missing list, or a split that the folder
      does not have.
  """
  if not os.path.isdir(directory):
    raise UserError(f"{directory}: no such folder")
  try:
    inside = os.path.join(directory, LISTS_FOLDER)
    if lists is not None or os.path.isdir(inside):
      if by_folders != split_folders.AUTO:
        raise UserError(
          f"{directory}: has lists of its splits; split_folders is for folders without"
        )
      return _from_lists(directory, lists or inside, split, split_number)
    return _from_folders(directory, split, by_folders, labelled)
  except OSError as error:
    raise UserError(f"{error.filename}: not readable ({error.strerror})") from error


def _from_folders(directory: str, split: str, by_folders: str, labelled: bool) -> Listing:
  """Takes the topmost folders that are no splits as classes, or all videos without labels."""
  tree = folder_tree.read_tree(directory)
  names = [(folder, os.path.join(folder, file)) for folder, files in tree.folders for file in files]
  videos = [(path, folder) for folder, path in names if is_video(path)]
  remarks = tree.remarks([path for path, _ in videos], "video")
  if not videos:
    what = advice.advice(directory)
    found = "; ".join([f"it {what}"] if what else remarks)
    raise UserError(
      f"{directory}: holds no video files ({', '.join(VIDEO_ENDINGS)}){found and f'; {found}'}"
    )
  places, line = split_folders.place(directory, videos, by_folders, "config.data.split_folders")
  if line is None and split not in ("train", "all"):
    raise UserError(
      f"{directory}: has no {LISTS_FOLDER} folder and no folders named like splits, so there is no "
      f"{split} split"
    )
  known = sorted({place.split for place in places if place.split})
  in_split = known if split == "all" else (split,)
  if not any(place.split in in_split for place in places):
    raise UserError(
      f"{directory}: has no split '{split}', known are: {', '.join(known) or 'none'} ({line})"
    )
  # Classes are those of all splits, so that a label means the same in each.
  spelled = {}
  for place in places:
    if place.folders and place.split:
      spelled.setdefault(composed(file_text(place.folders[0])), place.folders[0])
  class_names = sorted(map(file_text, spelled.values()))
  labels = {composed(name): label for label, name in enumerate(class_names)}
  clips, unplaced, deep = [], [], []
  for (path, _), place in zip(videos, places, strict=True):
    if place.split is None:
      unplaced.append((path, "lies in no folder that is a split"))
    elif place.split in in_split and place.folders:
      clips.append(ListedClip(path, labels[composed(file_text(place.folders[0]))]))
      deep += [path] if len(place.folders) > 1 else []
    elif place.split in in_split and not (labelled and class_names):
      clips.append(ListedClip(path, 0))
    elif place.split in in_split:
      unplaced.append((path, "lies in no class folder"))
  if deep:
    example = printable(file_text(deep[0]))
    remarks.append(
      f"{len(deep)} clips lie deeper in their class folders, such as {example}; a set made by "
      "vidgan_jax.prepare --class_level=2 has the folders one level deeper as classes"
    )
  return Listing(
    tuple(clips),
    tuple(class_names),
    aside=len(names) - len(videos),
    unplaced=tuple(unplaced),
    remarks=tuple([line] if line else []) + tuple(remarks),
  )


def is_video(name: str) -> bool:
  """Whether a file's name ends as those of videos do."""
  return name.lower().endswith(VIDEO_ENDINGS)


def _from_lists(directory: str, folder: str, split: str, split_number: int) -> Listing:
  """Reads UCF-101's lists."""
  class_names = read_class_index(os.path.join(folder, "classInd.txt"))
  kinds = ("train", "test") if split == "all" else (split,)
  if kinds[0] not in ("train", "test"):
    raise UserError(f"{directory}: its lists have the splits train and test, not '{split}'")
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
    named = folder_tree.shown(on_disk.unreadable)
    remarks = (f"WARNING: folders that cannot be read are left out: {named}",)
  return Listing(tuple(clips), class_names, tuple(missing), remarks=remarks)


def read_class_index(path: str) -> tuple[str, ...]:
  """Reads `classInd.txt`: lines "number name", numbered from 1 without gaps.

  Returns:
    The names; position i has the 0-based label i.

  Raises:
    UserError: the file is missing or malformed; the message names the line.
  """
  names = []
  for number, line in read_lines(path):
    parts = line.split(None, 1)
    if len(parts) != 2 or parts[0] != str(len(names) + 1):
      raise UserError(f"{path}, line {number}: expected '{len(names) + 1} ClassName', not '{line}'")
    names.append(parts[1])
  if not names:
    raise UserError(f"{path}: names no classes")
  return tuple(names)


def read_split_list(path: str, class_names: tuple[str, ...]) -> list[ListedClip]:
  """Reads a split list: lines "Class/video.avi 1" (train) or "Class/video.avi" (test).

  Args:
    path: the list.
    class_names: names in label order. A line without a number belongs to the class its folder is
      named for.

  Returns:
    The clips with 0-based labels and paths as they are in the list.

  Raises:
    UserError: the file is missing, a label is outside the classes, a folder names no class, or a
      path leaves the folder; the message names the line.
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
      except ValueError as error:  # more than one sign, or thousands of digits
        raise UserError(f"{where}: label {last[:20]} is no number") from error
      if not 0 <= label < len(class_names):
        raise UserError(f"{where}: label {last} is outside the range 1..{len(class_names)}")
    else:
      label = by_name.get(folded(parts[0]))
      if label is None:
        raise UserError(f"{where}: '{parts[0]}' is none of the {len(class_names)} classes")
    clips.append(ListedClip(video, label))
  return clips


def read_lines(path: str) -> Iterator[tuple[int, str]]:
  """Yields (line number, line) of a text file's lines that are not empty; CRLF or LF.

  Raises:
    UserError: there is no such file, or it is too large for a list.
  """
  if not os.path.isfile(path):
    raise UserError(f"{path}: no such file")
  if os.path.getsize(path) > _MAX_LIST_BYTES:
    raise UserError(f"{path}: larger than {_MAX_LIST_BYTES} bytes, this is no list")
  with open(path, encoding="utf-8-sig", errors="replace") as file:
    for number, line in enumerate(file, start=1):
      if line.strip():
        yield number, line.strip()


class _OnDisk:
  """Finds listed paths in a folder, whatever their case.

  The official lists of UCF-101 say HandstandPushups/v_HandStandPushups_g01_c01.avi; copies of the
  data have either spelling in either place.
  """

  def __init__(self, directory: str):
    self._directory = directory
    self._folders: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    self.unreadable: list[str] = []

  def find(self, listed: str) -> str | None:
    """Returns the path on disk of a listed one, relative to the folder, or None."""
    found = ""
    for part in listed.split("/"):
      if part in ("", "."):
        continue
      exact, by_folded = self._in_folder(found)
      name = exact.get(part) or by_folded.get(folded(part))
      if name is None:
        return None
      found = os.path.join(found, name)
    return found if os.path.isfile(os.path.join(self._directory, found)) else None

  def _in_folder(self, folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """Names on disk of a folder's files by their text, and by its folded form.

    Both are empty where it is no folder, or cannot be read.
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
