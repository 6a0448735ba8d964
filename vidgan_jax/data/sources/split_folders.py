"""Which folders on a clip's path are splits: the same answer for training and for `prepare`.

Folders such as train and test, Training and Validation, sky_train and sky_test, skytrain and
skytest, train_set and test_set are splits where all folders beside them are; they may lie above or
below the classes (SPLIT/CLASS/clip or CLASS/SPLIT/clip). Where some are named like splits and
others are not, the user is asked, for test clips must not be trained on.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

from vidgan_jax.data.formats import index
from vidgan_jax.data.sources.folder_tree import shown
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import file_text, folded, printable

AUTO, NONE = "auto", "none"

_SPLITS = {
  "train": ("train", "training", "trainset", "trainingset"),
  "val": ("val", "valid", "validate", "validation", "valset", "eval", "evaluation", "dev"),
  "test": ("test", "testing", "testset"),
}
_WORDS = {word: split for split, words in _SPLITS.items() for word in words}
# Words that say nothing else about a folder: train_set and test_videos are splits as well.
_PLAIN = frozenset(
  ("set", "split", "data", "dataset", "video", "videos", "clip", "clips", "frames", "images")
)
_MAX_LEVELS = 8  # folders on a clip's path that are looked at


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a clip lies.

  Attributes:
    split: its split; None where the user named the split folders and it lies in none.
    folders: the folders on its way without the one that is the split, the topmost first.
  """

  split: str | None
  folders: tuple[str, ...]


def split_of(name: str) -> str | None:
  """The split that a name alone stands for, in whatever case; None where it is none."""
  return _WORDS.get(folded(file_text(name)))


def _reading(name: str) -> tuple[str | None, tuple[str, ...]]:
  """(split, other words) of a folder's name, such as ("train", ("sky", "*")); None without one."""
  text = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", file_text(name))
  words = [word for word in re.split(r"[\W_]+", folded(text)) if word]
  found = [place for place, word in enumerate(words) if word in _WORDS]
  if len(found) != 1:
    return None, ()
  split, words[found[0]] = _WORDS[words[found[0]]], "*"
  plain = all(word == "*" or word in _PLAIN or word.isdecimal() for word in words)
  return split, () if plain else tuple(words)


def _joined(names: set[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
  """Readings of names such as skytrain and skytest: alike but for the split, without a separator.

  One such name alone tells nothing: "grain train" may be a class, and "protest" is no split.
  """
  found = {}
  for name in names:
    for split in _SPLITS:
      before = folded(file_text(name)).removesuffix(split)
      if before and before != folded(file_text(name)):
        found[name] = split, (before, "*")
  several = {}
  for split, words in found.values():
    several.setdefault(words, set()).add(split)
  return {name: own for name, own in found.items() if len(several[own[1]]) > 1}


def parse(option: str) -> dict[str, str] | None:
  """Reads what a user says about split folders.

  Args:
    option: "auto" decides by the names; "none" takes no folder for a split; "FOLDER=SPLIT,..."
      names them.

  Returns:
    {folded name of a folder: its split}, empty for "none"; None for "auto".

  Raises:
    UserError: it is of another form.
  """
  if option in (AUTO, NONE):
    return None if option == AUTO else {}
  splits = {}
  for pair in option.split(","):
    folder, _, split = (part.strip() for part in pair.partition("="))
    if not folder or not index.NAME.fullmatch(split):
      raise UserError(
        f"split_folders is '{option}'; it must be auto, none, or FOLDER=SPLIT,... with splits in "
        "small letters, digits and underscores"
      )
    splits[folded(file_text(folder))] = split
  return splits


def place(
  directory: str, clips: Sequence[tuple[str, str]], option: str, flag: str
) -> tuple[list[Place], str | None]:
  """Decides the split of each clip by the folders on its path.

  Args:
    directory: folder of all of them, for messages.
    clips: (path of the clip, path of the folder whose parts may be splits and classes), relative.
    option: see `parse`.
    flag: how a user gives the option, such as "--split_folders".

  Returns:
    A place for each clip, and a line for the user; None where no folder is a split.

  Raises:
    UserError: some folders are named like splits and those beside them are not.
  """
  parts = [tuple(folder.split(os.sep)) if folder else () for _, folder in clips]
  given = parse(option)
  if given is None:
    level, names = _find_level(directory, [path for path, _ in clips], parts, flag)
    if level is None:
      return [Place("train", folders) for folders in parts], None
    places = [
      Place(names[folders[level]], folders[:level] + folders[level + 1 :]) for folders in parts
    ]
  elif not given:
    return [Place("train", folders) for folders in parts], None
  else:
    places, names = [], {}
    for folders in parts:
      level = next((n for n, name in enumerate(folders) if folded(file_text(name)) in given), None)
      if level is None:
        places.append(Place(None, folders))
        continue
      names[folders[level]] = given[folded(file_text(folders[level]))]
      places.append(Place(names[folders[level]], folders[:level] + folders[level + 1 :]))
    unknown = sorted(given.keys() - {folded(file_text(name)) for name in names})
    if unknown:
      raise UserError(
        f"{directory}: {flag} names '{unknown[0]}', and no clip lies in such a folder"
      )
  named = shown([f"{name} is {split}" for name, split in sorted(names.items())])
  return places, f"folders taken for splits: {named} ({flag}=none takes none)"


def _find_level(
  directory: str, paths: list[str], parts: list[tuple[str, ...]], flag: str
) -> tuple[int | None, dict[str, str]]:
  """The first level whose folders are all splits, with {folder: split}; None where there is none.

  Raises:
    UserError: only a part of the folders of a level are splits.
  """
  for level in range(min(_MAX_LEVELS, max(map(len, parts), default=0) or 1)):
    names, others = set(), set()
    for path, folders in zip(paths, parts, strict=True):
      (names.add(folders[level]) if len(folders) > level else others.add(os.path.basename(path)))
    if level == 0 and not names and len({split_of(name) for name in others} - {None}) > 1:
      _refuse(directory, {name: split_of(name) for name in others if split_of(name)}, set(), flag)
    readings = {name: _reading(name) for name in names}
    readings |= _joined({name for name, (split, _) in readings.items() if not split})
    splits = {name: split for name, (split, _) in readings.items() if split}
    if not splits:
      continue
    others |= names - splits.keys()
    by_words = {}
    for split, words in readings.values():
      if split:
        by_words.setdefault(words, set()).add(split)
    several = len(set(splits.values())) > 1
    if not others:
      # "toy train" and "steam train" are classes; "toy_train" and "toy_test" are splits.
      if set(by_words) == {()} or len(names) == 1 or (several and len(by_words) == 1):
        return level, splits
      if not several:
        continue
    exact = by_words.get((), set())
    if not others or any(len(found) > 1 for found in by_words.values()) or exact - {"train"}:
      _refuse(directory, splits, others, flag)
    if exact and level == 0:
      _refuse(directory, splits, others, flag)
  return None, {}


def _refuse(directory: str, splits: dict[str, str], others: set[str], flag: str) -> None:
  """Raises UserError: the folders' names leave open which are splits."""
  first = min(splits)
  other = min(others) if others else next(name for name in sorted(splits) if name != first)
  raise UserError(
    f"{directory}: '{printable(file_text(other))}' lies beside '{printable(file_text(first))}', "
    f"which is named like a split; all or none must be splits. {flag}=none takes no folder for a "
    f"split, {flag}={printable(file_text(first))}={splits[first]},... names those that are"
  )
