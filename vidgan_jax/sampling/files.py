"""Drawn clips as files."""

import contextlib
import errno
import os
import pathlib
import re
import shutil

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks, video_writers
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.runtime.text import find_name

_NAMES = ("grid.mp4", "grid.gif", "contact_sheet.png", "samples.npz", "clips")
_NUMBER = r"0|[1-9][0-9]{0,8}"
_CLIP = re.compile(r"\d{5,}(_[A-Za-z0-9-]*)?\.mp4")
_PARTIAL = ".partial"
_SHOWN = 5  # names in a refusal


@contextlib.contextmanager
def new_output(output, overwrite: bool):
  """Gives a folder for `write_samples`, whose files come to `output` when the block ends well.

  A process killed within the block leaves `output` as it was and a folder OUTPUT.partial, which the
  next one removes: the files are written there, and it is renamed at the end. A folder that exists
  stays the same one (it may be mounted, or somebody's current folder): its files are written into
  OUTPUT/.partial and moved up at the end, samples.npz last.

  Args:
    output: the folder, created if need be.
    overwrite: replace samples that lie there; other files in it stay.

  Raises:
    UserError: the folder holds something and `overwrite` is not set, it cannot be written, another
      process writes there, or what bears the name of a sample or of the partial folder is none.
  """
  if not str(output):  # "" would be the current folder
    raise UserError("the output folder has no name")
  with contextlib.ExitStack() as stack:
    with _one_line(output):
      place = pathlib.Path(os.path.realpath(output))
      if place.is_dir():
        partial = place / _PARTIAL
        _check_free(place, overwrite)
      elif os.path.lexists(place):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
      else:
        partial = place.with_name(place.name + _PARTIAL)
      # The folder itself, which is renamed at the end: nobody comes in between.
      stack.enter_context(locks.held(partial, f"write samples to {output}", name=None))
      _remove_leftover(partial)
    try:
      yield partial
      with _one_line(output):
        if partial.parent == place:
          _check_free(place, overwrite)  # drawing takes its time
          _move_up(partial, place)
        else:
          partial.rename(place)  # fails where files have come there meanwhile
    except BaseException:
      shutil.rmtree(partial, ignore_errors=True)
      raise


@contextlib.contextmanager
def _one_line(output):
  """Turns what the system refuses into UserErrors."""
  try:
    yield
  except OSError as error:
    raise UserError(f"cannot write samples to {output}: {error}") from error


def _check_free(output, overwrite):
  """UserError where a folder holds something, or with `overwrite` something that must not go."""
  held = {path.name for path in output.iterdir()} - {_PARTIAL}
  for name in held.intersection(_NAMES):
    if (output / name).is_dir() != (name == "clips"):
      raise UserError(f"{output / name} is in the way: {'no' if name == 'clips' else 'a'} folder")
  if held and not overwrite:
    names = [name for name in _NAMES if name in held] + sorted(held.difference(_NAMES))
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise UserError(
      f"{output} already holds {shown}; --overwrite replaces samples in it and leaves the rest"
    )


def _remove_leftover(partial):
  """Empties the folder that a killed process left; UserError where it is another one."""
  for path in partial.rglob("*"):
    *folders, name = path.relative_to(partial).parts
    # As `atomic_file` calls what it has not finished.
    name = re.sub(r"^\.(.+)\.\d+\.\d+\.tmp$", r"\1", name)
    known = _CLIP.fullmatch(name) if folders == ["clips"] else not folders and name in _NAMES
    is_folder = not folders and name == "clips"
    if not known or path.is_symlink() or path.is_dir() != is_folder:
      raise UserError(f"{partial} is in the way: {path.name} in it is no sample; move it elsewhere")
  for path in partial.iterdir():
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _move_up(partial, output):
  """Moves samples into a folder, in place of those that lie there."""
  (output / "samples.npz").unlink(missing_ok=True)  # where it lies, all that belongs to it lies
  (output / "clips").mkdir(exist_ok=True)
  for old in (output / "clips").iterdir():
    if _CLIP.fullmatch(old.name):
      old.unlink()  # clips of two requests must not mix
  files = [path for path in partial.rglob("*") if path.is_file()]
  for path in sorted(files, key=lambda path: path.name == "samples.npz"):
    os.replace(path, output / path.relative_to(partial))
  shutil.rmtree(partial)


def parse_labels(text: str, class_names, num_classes: int) -> list[int]:
  """Reads "0,3,jetskiing": numbers or names, separated by commas.

  A name may itself hold commas where it is the whole text. A word that is the name of one class and
  the number of another, as "3" can be, is refused; "name:3" and "index:3" say which. Numbers have
  no leading zeros: "007" is a name.

  Raises:
    UserError: on an unknown or ambiguous name or a number out of range.
  """
  if not num_classes:
    raise UserError("this model has no classes; leave --labels out")
  whole = find_name(text, class_names)
  if whole is not None and not re.fullmatch(_NUMBER, text):
    return [whole]
  return [_label(word.strip(), class_names, num_classes) for word in text.split(",")]


def _label(word: str, class_names, num_classes: int) -> int:
  """The class that one word of `parse_labels` means."""
  name = find_name(word, class_names)
  prefix, _, rest = word.partition(":")
  if name is None and prefix == "name":
    name = find_name(rest, class_names)
  number = rest if name is None and prefix == "index" else word
  number = int(number) if re.fullmatch(_NUMBER, number) else None
  number = number if number is not None and number < num_classes else None
  if name is not None and number not in (None, name):
    raise UserError(
      f"label {word!r} is the name of class {name} and the number of class "
      f"{class_names[number]!r}; write name:{word} or index:{word}"
    )
  number = number if name is None else name
  if number is None:
    known = f"; known names: {', '.join(class_names[:20])}" if len(class_names) else ""
    known += ", ..." if len(class_names) > 20 else ""
    raise UserError(f"label {word!r} is no number in 0..{num_classes - 1} and no class{known}")
  return number


def _word(name: str) -> str:
  """A class name as part of a file name: nothing in it can lead out of the folder."""
  return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]


def write_samples(folder, clips, labels, class_names, *, columns: int, frame_rate: float = 8.0):
  """Writes a playing grid (MP4, GIF), a contact sheet, one MP4 per clip, and the raw numbers.

  Args:
    folder: an empty one, see `new_output`.
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or float [N, num_classes] weights.
    class_names: names by label, may be empty.
    columns: of the grid.
    frame_rate: frames per second.

  Raises:
    UserError: a file cannot be written.
  """
  folder = pathlib.Path(folder)
  scale = max(1, 128 // clips.shape[2])
  grid = video_writers.grid(clips, columns)
  video_writers.write_mp4(folder / "grid.mp4", grid, frame_rate, scale=scale)
  video_writers.write_gif(folder / "grid.gif", grid, frame_rate)
  video_writers.contact_sheet(clips, folder / "contact_sheet.png")
  for index, clip in enumerate(clips):
    name = f"{index:05d}"
    if np.ndim(labels) == 1 and len(class_names):
      name += "_" + _word(class_names[int(labels[index])])
    video_writers.write_mp4(folder / "clips" / f"{name}.mp4", clip, frame_rate, scale=scale)
  with atomic_file(folder / "samples.npz") as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, clips=clips, labels=labels)


def whereabouts(output, count: int) -> list[str]:
  """Lines that say where the files of `count` clips are."""
  output = pathlib.Path(output)
  return [
    f"grid: {output / 'grid.mp4'} and {output / 'grid.gif'}",
    f"frames as columns: {output / 'contact_sheet.png'}",
    f"{count} clips: {output / 'clips'}",
    f"uint8 clips and labels: {output / 'samples.npz'}",
  ]
