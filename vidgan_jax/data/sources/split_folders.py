"""Decides which folders on the path of a clip are splits, for training and for `prepare` alike.

Folders such as train and test, Training and Validation, sky_train and sky_test, skytrain and
skytest, train_set and test_set are splits if all folders beside them are splits too. They may be
above or below the classes (SPLIT/CLASS/clip or CLASS/SPLIT/clip). If only some folders have names
like splits, the user must decide, because test clips must not be used for training.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

from vidgan_jax.data.formats import index
from vidgan_jax.data.sources.folder_tree import abbreviated
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import file_text, folded, printable

AUTO, NONE = "auto", "none"

_SPLITS = {
  "train": ("train", "training", "trainset", "trainingset"),
  "val": ("val", "valid", "validate", "validation", "valset", "eval", "evaluation", "dev"),
  "test": ("test", "testing", "testset"),
}
_WORDS = {word: split for split, words in _SPLITS.items() for word in words}
# Words that do not distinguish data sets: train_set and test_videos are plain splits too.
_PLAIN = frozenset(
  ("set", "split", "data", "dataset", "video", "videos", "clip", "clips", "frames", "images")
)
_MAX_LEVELS = 8  # folders on a clip's path that may be splits


@dataclasses.dataclass(frozen=True)
class Assignment:
  """The split of a clip, and the remaining folders on its path.

  Attributes:
    split: its split; None if the user named the split folders and the clip is in none of them.
    folders: the folders on its path except the split folder, the topmost first.
  """

  split: str | None
  folders: tuple[str, ...]


def split_of(name: str) -> str | None:
  """The split that a name such as "Training" stands for, in any case; None for other names."""
  return _WORDS.get(folded(file_text(name)))


def _reading(name: str) -> tuple[str | None, tuple[str, ...]]:
  """Reads the name of a folder word by word.

  Returns:
    (split, all words with "*" in place of the split's). "sky_train" gives ("train", ("sky", "*")).
    The words are empty if none distinguishes a data set: "train_set" gives ("train", ()). Names
    without exactly one split word give (None, ()).
  """
  text = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", file_text(name))
  words = [word for word in re.split(r"[\W_]+", folded(text)) if word]
  positions = [position for position, word in enumerate(words) if word in _WORDS]
  if len(positions) != 1:
    return None, ()
  split, words[positions[0]] = _WORDS[words[positions[0]]], "*"
  plain = all(word == "*" or word in _PLAIN or word.isdecimal() for word in words)
  return split, () if plain else tuple(words)


def _joined(names: set[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
  """Reads names without a separator, such as skytrain and skytest, that differ only in the split.

  A single such name is not enough: "grain train" may be a class, and "protest" is not a split.

  Returns:
    {name: (split, words)} as `_reading` returns them.
  """
  readings = {}
  for name in names:
    for split in _SPLITS:
      before = folded(file_text(name)).removesuffix(split)
      if before and before != folded(file_text(name)):
        readings[name] = split, (before, "*")
  splits_of_words = {}
  for split, words in readings.values():
    splits_of_words.setdefault(words, set()).add(split)
  return {
    name: (split, words)
    for name, (split, words) in readings.items()
    if len(splits_of_words[words]) > 1
  }


def parse(option: str) -> dict[str, str] | None:
  """Parses the option that says which folders are splits.

  Args:
    option: "auto" decides by the names; "none" treats no folder as a split; "FOLDER=SPLIT,..."
      names the split folders.

  Returns:
    {folded name of a folder: its split}, empty for "none"; None for "auto".

  Raises:
    UserError: the option has another form.
  """
  if option in (AUTO, NONE):
    return None if option == AUTO else {}
  splits = {}
  for pair in option.split(","):
    folder, _, split = (part.strip() for part in pair.partition("="))
    if not folder or not index.NAME.fullmatch(split):
      raise UserError(
        f"split_folders is '{option}'; it must be auto, none, or FOLDER=SPLIT,... with splits of "
        "lower-case letters, digits and underscores"
      )
    splits[folded(file_text(folder))] = split
  return splits


def assign_splits(
  directory: str, clips: Sequence[tuple[str, str]], option: str, flag: str
) -> tuple[list[Assignment], str | None]:
  """Decides the split of each clip by the folders on its path.

  Args:
    directory: folder of all clips, for messages.
    clips: (path of the clip, path of the folder whose parts may be splits and classes), relative.
    option: see `parse`.
    flag: the user's name of the option, such as "--split_folders".

  Returns:
    An assignment for each clip, and a line of text for the user; None if no folder is a split.

  Raises:
    UserError: some folders have names like splits and folders beside them do not.
  """
  parts = [tuple(folder.split(os.sep)) if folder else () for _, folder in clips]
  given = parse(option)
  if given is None:
    level, names = _find_level(directory, [path for path, _ in clips], parts, flag)
    if level is None:
      return [Assignment("train", folders) for folders in parts], None
    assignments = [
      Assignment(names[folders[level]], folders[:level] + folders[level + 1 :]) for folders in parts
    ]
  elif not given:
    return [Assignment("train", folders) for folders in parts], None
  else:
    assignments, names = [], {}
    for folders in parts:
      level = next((n for n, name in enumerate(folders) if folded(file_text(name)) in given), None)
      if level is None:
        assignments.append(Assignment(None, folders))
        continue
      split = names[folders[level]] = given[folded(file_text(folders[level]))]
      assignments.append(Assignment(split, folders[:level] + folders[level + 1 :]))
    unknown = sorted(given.keys() - {folded(file_text(name)) for name in names})
    if unknown:
      raise UserError(
        f"{directory}: {flag} names '{unknown[0]}', but no clip is in a folder of this name"
      )
  named = abbreviated([f"{name} is {split}" for name, split in sorted(names.items())])
  return assignments, f"split folders: {named} ({flag}=none treats no folder as a split)"


def _find_level(
  directory: str, paths: list[str], parts: list[tuple[str, ...]], flag: str
) -> tuple[int | None, dict[str, str]]:
  """Returns the first level whose folders are all splits, and {folder: split}; None if none is.

  Raises:
    UserError: only some of the folders of a level are splits.
  """
  for level in range(min(_MAX_LEVELS, max(map(len, parts), default=0) or 1)):
    names, others = set(), set()
    for path, folders in zip(paths, parts, strict=True):
      (names.add(folders[level]) if len(folders) > level else others.add(os.path.basename(path)))
    files = {name: split for name in others if (split := split_of(name)) is not None}
    if level == 0 and not names and len(set(files.values())) > 1:
      _refuse(directory, files, set(), flag)
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
    if not others or any(len(s) > 1 for s in by_words.values()) or exact - {"train"}:
      _refuse(directory, splits, others, flag)
    if exact and level == 0:
      _refuse(directory, splits, others, flag)
  return None, {}


def _refuse(directory: str, splits: dict[str, str], others: set[str], flag: str) -> None:
  """Raises UserError: the names of the folders do not determine which of them are splits."""
  first = min(splits)
  other = min(others) if others else next(name for name in sorted(splits) if name != first)
  raise UserError(
    f"{directory}: '{printable(file_text(other))}' is beside '{printable(file_text(first))}', "
    f"whose name is that of a split; all or none must be splits. {flag}=none treats no folder as a "
    f"split, {flag}={printable(file_text(first))}={splits[first]},... names the split folders"
  )
