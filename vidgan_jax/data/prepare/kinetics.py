"""Inputs of Kinetics-400, -600 and -700: class folders or one flat folder, with csv files.

The csv files have the columns label, youtube_id, time_start, time_end, split, and in some releases
is_cc. Videos are named <youtube_id>_<start %06d>_<end %06d>.mp4 or <youtube_id>.mp4.
"""

import collections
import csv
import dataclasses
import os
import re
from collections.abc import Iterator

from vidgan_jax.data.prepare import inputs, trees
from vidgan_jax.data.prepare.inputs import Listing, Unusable
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import folder_tree, split_folders, split_lists
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import composed, file_text, find_name, folded

_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_YOUTUBE_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
_MAX_SECONDS = 999_999  # six digits


@dataclasses.dataclass(frozen=True)
class _Row:
  """A row of a csv file; the label is empty in test lists without labels."""

  where: str
  label: str
  youtube_id: str
  start: int
  end: int
  split: str

  @property
  def stem(self) -> str:
    return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}"


def list_kinetics(request: Request) -> Listing:
  """Lists Kinetics: the csv files decide splits and classes; without them the folders do."""
  lists = request.lists or tuple(
    os.path.join(request.input, name)
    for name in sorted(os.listdir(request.input) if os.path.isdir(request.input) else ())
    if name.lower().endswith(".csv")
  )
  if not lists:
    return trees.list_videos(request)
  if request.split_folders != split_folders.AUTO:
    raise UserError(
      f"split_folders is only for folders without lists; {lists[0]} defines the splits"
    )
  rows = [row for path in lists for row in _read_csv(path)]
  classes = _class_names(request, rows)
  numbers = {label: find_name(label, classes) or 0 for label in {row.label for row in rows}}
  tree = folder_tree.read_tree(request.input)
  on_disk, ignored = _videos_on_disk(tree)
  splits = {row.split: [] for row in rows}
  unusable = {split: [] for split in splits}
  times = collections.Counter(row.youtube_id for row in rows)
  used = set()
  for row in rows:
    # A file name without times identifies a clip only if the video has no other clips.
    short = row.youtube_id if times[row.youtube_id] == 1 else ""
    path = on_disk.get(row.stem) or on_disk.get(short)
    if path is None:
      unusable[row.split].append(Unusable(f"{row.stem}.mp4", "listed, but missing"))
    elif classes and request.class_level and not row.label:
      unusable[row.split].append(Unusable(path, "has no label in its list"))
      used.add(path)
    else:
      label = numbers.get(row.label, 0)
      splits[row.split].append(trees.video_input(request, path, row.stem, label))
      used.add(path)
  ignored += len(set(on_disk.values()) - used)
  remarks = tree.remarks(on_disk.values(), "video")
  return Listing(classes, splits, unusable, ignored, tuple(remarks))


def _class_names(request: Request, rows: list[_Row]) -> tuple[str, ...]:
  """Class names in label order: those of the file --classes, or all labels, sorted."""
  if not request.classes:
    spelled = {composed(row.label): row.label for row in reversed(rows) if row.label}
    return tuple(sorted(spelled.values()))
  names = inputs.read_class_names(request.classes)
  known = {"", *map(folded, names)}
  for row in rows:
    if folded(row.label) not in known:
      raise UserError(f"{row.where}: '{row.label}' is not one of the {len(names)} classes")
  return names


def _videos_on_disk(tree: folder_tree.Tree) -> tuple[dict[str, str], int]:
  """Returns the paths of videos by file name without ending, and the number of other files."""
  videos, ignored = {}, 0
  for folder, files in tree.folders:
    for name in files:
      if split_lists.is_video(name):
        videos.setdefault(os.path.splitext(file_text(name))[0], os.path.join(folder, name))
      else:
        ignored += not name.lower().endswith(".csv")
  return videos, ignored


def _read_csv(path: str) -> Iterator[_Row]:
  """Yields the rows of a csv file.

  Raises:
    UserError: the file cannot be read, or a line is malformed; the message gives the line.
  """
  header = None
  for number, line in split_lists.read_lines(path):
    where = f"{path}, line {number}"
    try:
      cells = next(csv.reader([line], strict=True))
    except csv.Error as error:
      raise UserError(f"{where}: {error}") from error
    if header is None:
      header = {name.strip(): column for column, name in enumerate(cells)}
      missing = [name for name in _COLUMNS if name not in header]
      if missing:
        raise UserError(f"{where}: has no column '{missing[0]}'; this is not a list of Kinetics")
      continue
    if len(cells) != len(header):
      raise UserError(f"{where}: {len(cells)} columns instead of {len(header)}")
    yield _row(where, {name: cells[column].strip() for name, column in header.items()})


def _row(where: str, cells: dict[str, str]) -> _Row:
  """Parses the cells of a line, given by column name."""
  times = []
  for name in ("time_start", "time_end"):
    try:
      times.append(int(float(cells[name])))
    except (ValueError, OverflowError):
      times.append(-1)
    if not 0 <= times[-1] <= _MAX_SECONDS:
      raise UserError(f"{where}: {name} is '{cells[name]}', not in 0..{_MAX_SECONDS}")
  if not _YOUTUBE_ID.fullmatch(cells["youtube_id"]):
    raise UserError(f"{where}: '{cells['youtube_id']}' is not a youtube_id")
  split = cells["split"].lower()
  split = split_folders.split_of(split) or split
  start, end = times
  return _Row(where, cells.get("label", ""), cells["youtube_id"], start, end, split)
