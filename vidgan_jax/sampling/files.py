"""Writes generated clips to files, and reads the labels of `--labels`."""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import captions, locks, paths, video_writers
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.runtime.text import find_name

_NAMES = ("grid.mp4", "grid.gif", "contact_sheet.png", "stages.mp4", "samples.npz", "clips")
_NUMBER = r"0|[1-9][0-9]{0,8}"  # a class number in `--labels`
_CLIP = re.compile(r"\d{5,}(_[A-Za-z0-9-]*)?\.mp4")  # names of the files in the folder "clips"
_PARTIAL = ".partial"
_SHOWN = 5  # how many names of existing files an error message lists


@contextlib.contextmanager
def new_output(output: str | os.PathLike, overwrite: bool) -> Iterator[pathlib.Path]:
  """Yields a temporary folder for `write_samples`; on success, its files become `output`.

  If `output` does not exist, the temporary folder is OUTPUT.partial, which is renamed at the end.
  If `output` exists, it may be a mounted folder or the current folder of a process, so it is not
  replaced. The temporary folder is then OUTPUT/.partial, and its files are moved to `output` at the
  end, samples.npz last. If the process is killed within the block, `output` is unchanged and the
  temporary folder remains. The next call for the same output removes it.

  Args:
    output: the output folder; created if it does not exist.
    overwrite: replace samples in `output`. Other files in it stay.

  Raises:
    UserError: `output` is not empty and `overwrite` is False, the folder cannot be written, another
      process writes samples there, or a file or folder that is no sample has the name of a sample
      or of the temporary folder.
  """
  check_output(output, overwrite)
  with contextlib.ExitStack() as stack:
    with _system_errors_as_user_errors(output):
      target = pathlib.Path(os.path.realpath(output))
      inside = target.is_dir()
      partial = target / _PARTIAL if inside else target.with_name(target.name + _PARTIAL)
      # The lock is on the folder itself (name=None). A lock file in it would be one of the results.
      stack.enter_context(locks.held(partial, f"write samples to {output}", name=None))
      _remove_leftover(partial)
    try:
      yield partial
      with _system_errors_as_user_errors(output):
        if partial.parent == target:
          _check_replaceable(target, overwrite)  # files may have appeared since the first check
          _move_up(partial, target)
        else:
          partial.rename(target)  # fails if a folder with files has appeared there meanwhile
    except BaseException:
      shutil.rmtree(partial, ignore_errors=True)
      raise


def check_output(output: str | os.PathLike, overwrite: bool) -> None:
  """Raises the errors of `new_output` that are known before clips are generated; creates nothing.

  Args:
    output, overwrite: see `new_output`.

  Raises:
    UserError: see `new_output`.
  """
  if not str(output):  # "" would be the current folder
    raise UserError("the output folder has no name")
  paths.check_writable(output)
  with _system_errors_as_user_errors(output):
    target = pathlib.Path(os.path.realpath(output))
    if target.is_dir():
      _check_replaceable(target, overwrite)


@contextlib.contextmanager
def _system_errors_as_user_errors(output: str | os.PathLike) -> Iterator[None]:
  """Turns an OSError into a UserError."""
  try:
    yield
  except OSError as error:
    raise UserError(f"cannot write samples to {output}: {error}") from error


def _check_replaceable(output: pathlib.Path, overwrite: bool) -> None:
  """UserError if a folder has files and `overwrite` is False, or if it has unexpected entries.

  An unexpected entry is a folder with the name of a sample file, or a file called "clips".
  """
  present = {path.name for path in output.iterdir()} - {_PARTIAL}
  for name in present.intersection(_NAMES):
    if (output / name).is_dir() != (name == "clips"):
      kind = "is not a folder" if name == "clips" else "is a folder"
      raise UserError(f"{output / name} {kind}; samples cannot be written there, move it elsewhere")
  if present and not overwrite:
    names = [name for name in _NAMES if name in present] + sorted(present.difference(_NAMES))
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise UserError(
      f"{output} already holds {shown}; --overwrite replaces samples in it and leaves the rest"
    )


def _remove_leftover(partial: pathlib.Path) -> None:
  """Empties a temporary folder that a killed process left; UserError if it holds other files."""
  for path in partial.rglob("*"):
    *folders, name = path.relative_to(partial).parts
    # The part of an unfinished file's name that `atomic_file` adds does not count.
    name = re.sub(r"^\.(.+)\.\d+\.\d+\.tmp$", r"\1", name)
    known = _CLIP.fullmatch(name) if folders == ["clips"] else not folders and name in _NAMES
    is_folder = not folders and name == "clips"
    if not known or path.is_symlink() or path.is_dir() != is_folder:
      raise UserError(f"{partial} contains {path.name}, which is not a sample; move it elsewhere")
  for path in partial.iterdir():
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _move_up(partial: pathlib.Path, output: pathlib.Path) -> None:
  """Moves samples into a folder and replaces the samples in it."""
  # samples.npz is removed first and moved last: if it exists, all its other files exist too.
  (output / "samples.npz").unlink(missing_ok=True)
  (output / "clips").mkdir(exist_ok=True)
  for old in (output / "clips").iterdir():
    if _CLIP.fullmatch(old.name):
      old.unlink()  # the folder must not hold clips of two requests
  files = [path for path in partial.rglob("*") if path.is_file()]
  for path in sorted(files, key=lambda path: path.name == "samples.npz"):
    os.replace(path, output / path.relative_to(partial))
  shutil.rmtree(partial)


def parse_labels(text: str, class_names: Sequence[str], num_classes: int) -> list[int]:
  """Parses class numbers and names separated by commas, such as "0,3,jetskiing".

  If the whole text is the name of a class, it may contain commas. A word such as "3" may be the
  number of one class and the name of another. It is then refused; "name:3" and "index:3" are
  unambiguous. Numbers have no leading zeros: "007" is a name.

  Raises:
    UserError: a name is unknown or ambiguous, or a number is out of range.
  """
  if not num_classes:
    raise UserError("this model has no classes; leave --labels out")
  whole = find_name(text, class_names)
  if whole is not None and not re.fullmatch(_NUMBER, text):
    return [whole]
  return [_label(word.strip(), class_names, num_classes) for word in text.split(",")]


def _label(word: str, class_names: Sequence[str], num_classes: int) -> int:
  """Returns the number of the class that one word in `parse_labels` names."""
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
    raise UserError(
      f"label {word!r} is neither a number in 0..{num_classes - 1} nor the name of a class{known}"
    )
  return number


def _word(name: str) -> str:
  """A class name as part of a file name, without characters that could change the folder."""
  return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]


_MARK = (255, 140, 0)  # colour of the border around given frames
_BORDER = 2  # pixels


def marked(clips: np.ndarray, given: int) -> np.ndarray:
  """Puts a coloured border around given frames and a grey one around the others.

  Args:
    clips: uint8 [N, T, H, W, 3].
    given: number of given frames at the start; with 0, the clips are returned as they are.

  Returns:
    uint8 [N, T, H + 4, W + 4, 3]; the pixels inside the border are unchanged.
  """
  if not given:
    return clips
  number, frames, height, width, _ = clips.shape
  shape = (number, frames, height + 2 * _BORDER, width + 2 * _BORDER, 3)
  bordered = np.full(shape, 127, np.uint8)
  bordered[:, :given] = _MARK
  bordered[:, :, _BORDER:-_BORDER, _BORDER:-_BORDER] = clips
  return bordered


def write_samples(
  folder: str | os.PathLike,
  clips: np.ndarray,
  labels: np.ndarray | Sequence[int],
  class_names: Sequence[str],
  *,
  columns: int,
  frame_rate: float = 8.0,
  given: int = 0,
) -> None:
  """Writes a video of all clips in a grid, an image of their frames, the clips, and the arrays.

  The files are grid.mp4, grid.gif, contact_sheet.png (one row per clip, one column per frame),
  clips/NUMBER_CLASS.mp4, and samples.npz with `clips` and `labels`. Small clips are enlarged, and
  grid and contact sheet show class names above them.

  Args:
    folder: an empty folder, see `new_output`.
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or float [N, num_classes] weights.
    class_names: names by label; may be empty.
    columns: columns of the grid.
    frame_rate: frames per second.
    given: number of given frames at the start of each clip, which grid and contact sheet mark with
      a coloured border.

  Raises:
    UserError: a file cannot be written.
  """
  folder = pathlib.Path(folder)
  scale = max(1, 128 // clips.shape[2])
  shown = marked(clips, given)
  number, frames, side = shown.shape[:3]
  names = [class_names[int(n)] for n in labels] if np.ndim(labels) == 1 and class_names else None

  def tiles(columns: int, rows: int, gap: int | None = None) -> np.ndarray:
    """The clips for a picture of this form, with their names; see `captions.captioned`."""
    large = captions.enlarged(shown, captions.scale_of(side, columns, rows))
    return large if names is None else captions.captioned(large, names, gap)

  grid = video_writers.grid(tiles(columns, -(-number // columns)), columns, padding=4)
  video_writers.write_mp4(folder / "grid.mp4", grid, frame_rate)
  video_writers.write_gif(folder / "grid.gif", grid, frame_rate)
  video_writers.contact_sheet(tiles(frames, number, 2), folder / "contact_sheet.png", padding=2)
  for index, clip in enumerate(clips):
    name = f"{index:05d}"
    if names is not None:
      name += "_" + _word(names[index])
    video_writers.write_mp4(folder / "clips" / f"{name}.mp4", clip, frame_rate, scale=scale)
  with atomic_file(folder / "samples.npz") as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, clips=clips, labels=labels)


def write_stages(folder: str | os.PathLike, clips: np.ndarray, *, frame_rate: float = 8.0) -> None:
  """Writes stages.mp4, one row per clip with its stages side by side.

  Args:
    folder: see `write_samples`.
    clips: uint8 [N, T, H, stages * W, 3].
    frame_rate: frames per second.
  """
  scale = max(1, 128 // clips.shape[2])
  grid = video_writers.grid(clips, 1)
  video_writers.write_mp4(pathlib.Path(folder) / "stages.mp4", grid, frame_rate, scale=scale)


def list_files(output: str | os.PathLike, count: int, stages: bool = False) -> list[str]:
  """Returns lines with the paths of the files that were written.

  Args:
    output: the folder.
    count: number of clips that `write_samples` wrote.
    stages: whether `write_stages` wrote a file, too.
  """
  output = pathlib.Path(output)
  return [
    *([f"stages side by side: {output / 'stages.mp4'}"] if stages else []),
    f"grid: {output / 'grid.mp4'} and {output / 'grid.gif'}",
    f"frames as columns: {output / 'contact_sheet.png'}",
    f"{count} clips: {output / 'clips'}",
    f"uint8 clips and labels: {output / 'samples.npz'}",
  ]
