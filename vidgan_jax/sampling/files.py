"""Drawn clips as files."""

import os
import pathlib
import re

import numpy as np

from vidgan_jax.runtime import video_files
from vidgan_jax.runtime.errors import UserError

_NAMES = ("grid.mp4", "grid.gif", "contact_sheet.png", "samples.npz", "clips")


def prepare_output(output, overwrite: bool) -> pathlib.Path:
  """Makes the folder; UserError where samples lie there already or it cannot be written."""
  if not str(output):  # "" would be the current folder
    raise UserError("the output folder has no name")
  output = pathlib.Path(output)
  try:
    output.mkdir(parents=True, exist_ok=True)
    taken = [name for name in _NAMES if (output / name).exists()]
    if not os.access(output, os.W_OK | os.X_OK):
      raise PermissionError(f"no permission to write in {output}")
    for name in taken:
      if (output / name).is_dir() != (name == "clips"):
        raise UserError(f"{output / name} is in the way: {'no' if name == 'clips' else 'a'} folder")
  except OSError as error:
    raise UserError(f"cannot write samples to {output}: {error}") from error
  if taken and not overwrite:
    raise UserError(f"{output} already holds {', '.join(taken)}; --overwrite replaces them")
  return output


def parse_labels(text: str, class_names, num_classes: int) -> list[int]:
  """Reads "0,3,jetskiing": numbers or names, separated by commas.

  A name may itself hold commas where it is the whole text.

  Raises:
    UserError: on an unknown name or a number out of range.
  """
  if not num_classes:
    raise UserError("this model has no classes; leave --labels out")
  names = {name.lower(): index for index, name in enumerate(class_names)}
  words = [text] if text.lower() in names else [word.strip() for word in text.split(",")]
  labels = []
  for word in words:
    if word.lower() in names:
      labels.append(names[word.lower()])
    elif re.fullmatch(r"\d{1,9}", word) and int(word) < num_classes:
      labels.append(int(word))
    else:
      known = f"; known names: {', '.join(class_names[:20])}" if len(class_names) else ""
      known += ", ..." if len(class_names) > 20 else ""
      raise UserError(f"label {word!r} is no number in 0..{num_classes - 1} and no class{known}")
  return labels


def _word(name: str) -> str:
  """A class name as part of a file name: nothing in it can lead out of the folder."""
  return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]


def write_samples(output, clips, labels, class_names, *, columns: int, frame_rate: float = 8.0):
  """Writes a playing grid (MP4, GIF), a contact sheet, one MP4 per clip, and the raw numbers.

  Args:
    output: folder, see `prepare_output`.
    clips: uint8 [N, T, H, W, 3].
    labels: int [N], or float [N, num_classes] weights.
    class_names: names by label, may be empty.
    columns: of the grid.
    frame_rate: frames per second.

  Returns:
    lines that say what was written.
  """
  output = pathlib.Path(output)
  scale = max(1, 128 // clips.shape[2])
  grid = video_files.grid(clips, columns)
  video_files.write_mp4(output / "grid.mp4", grid, frame_rate, scale=scale)
  video_files.write_gif(output / "grid.gif", grid, frame_rate)
  video_files.contact_sheet(clips, output / "contact_sheet.png")
  with video_files.atomic_file(output / "samples.npz") as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, clips=clips, labels=labels)
  folder = output / "clips"
  try:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.mp4"):
      old.unlink()  # `prepare_output` allowed it; clips of two runs must not mix
  except OSError as error:
    raise UserError(f"cannot write samples to {folder}: {error}") from error
  for index, clip in enumerate(clips):
    name = f"{index:05d}"
    if np.ndim(labels) == 1 and len(class_names):
      name += "_" + _word(class_names[int(labels[index])])
    video_files.write_mp4(folder / f"{name}.mp4", clip, frame_rate, scale=scale)
  return [
    f"grid: {output / 'grid.mp4'} and {output / 'grid.gif'}",
    f"frames as columns: {output / 'contact_sheet.png'}",
    f"{len(clips)} clips: {folder}",
    f"uint8 clips and labels: {output / 'samples.npz'}",
  ]
