"""What was prepared and what was not: text for the user, and a picture of random clips."""

import collections
import os
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import pictures
from vidgan_jax.runtime.files.video_files import contact_sheet
from vidgan_jax.runtime.text import printable

_BAR = 40  # characters of the longest bar
_SHOWN_CLASSES = 24  # more are in the file alone
_SHOWN_REASONS = 8
_SHEET_CLIPS = 8
_SHEET_FRAMES = 8
_SHEET_SIDE = 128


def write_reports(
  staging: str,
  directory: str,
  prepared: index.Prepared,
  indices: dict[str, tuple[np.ndarray, np.ndarray]],
  skipped: dict[str, list[tuple[str, str]]],
  aside: int,
  enlarged: Sequence[int] = (),
  remarks: Sequence[str] = (),
) -> list[str]:
  """Writes report.txt, skipped.txt and contact_sheet.png; the same set has the same files.

  Args:
    staging: folder to write to.
    directory: folder of the shards.
    prepared: what prepared.json says.
    indices: index.CLIP [N] and index.FRAME [M] by split.
    skipped: (path, reason) of the inputs that could not be used, by split.
    aside: number of files that are no clips by their names.
    enlarged: pixels of the smaller side of each clip that was made larger.
    remarks: see `inputs.Listing`.

  Returns:
    Lines for the user.

  Raises:
    UserError: a file cannot be written.
  """
  clips = {split: pair[0] for split, pair in indices.items()}
  lines = _summary(prepared, clips, skipped, aside) + _enlarged(prepared, enlarged)
  lines += map(printable, remarks)
  histogram = _histogram(prepared, clips)
  told = [
    printable(f"{split}: {path}: {reason}")
    for split, ones in skipped.items()
    for path, reason in ones
  ]
  for name, content in (("report.txt", lines + histogram), ("skipped.txt", told)):
    index.write_text(os.path.join(staging, name), "".join(f"{line}\n" for line in content))
  _write_contact_sheet(os.path.join(staging, "contact_sheet.png"), directory, prepared, indices)
  if len(histogram) > _SHOWN_CLASSES:
    more = len(histogram) - _SHOWN_CLASSES
    histogram = [*histogram[:_SHOWN_CLASSES], f"and {more} more in report.txt"]
  return lines + histogram


def _summary(prepared: index.Prepared, clips, skipped, aside: int) -> list[str]:
  """Numbers of clips, frames and classes, and what was skipped."""
  frames = sum(part.frames for part in prepared.splits.values())
  total = sum(part.clips for part in prepared.splits.values())
  classes = f"{len(prepared.classes)} classes" if prepared.classes else "no classes"
  lines = [f"{prepared.name}: {total} clips, {frames} frames, {classes}"]
  for split, part in prepared.splits.items():
    lengths = clips[split]["frames"]
    size = sum(shard.bytes for shard in part.shards)
    lines.append(
      f"{split}: {part.clips} clips, {part.frames} frames ({lengths.min()} to {lengths.max()} a "
      f"clip), {len(part.shards)} files, {_bytes(size)}, {_sizes(clips[split])}"
    )
    lines += _reasons(split, skipped[split])
  for split in skipped:
    if split not in prepared.splits and skipped[split]:
      lines += [f"{split}: no clips", *_reasons(split, skipped[split])]
  if aside:
    lines.append(f"left aside: {aside} files that are no clips by their names")
  return lines


def _enlarged(prepared: index.Prepared, sides: Sequence[int]) -> list[str]:
  """A line about clips that were made larger, which adds pixels and nothing to see."""
  if not sides:
    return []
  total = sum(part.clips for part in prepared.splits.values())
  low, high = min(sides), max(sides)
  span = f"{low}" if low == high else f"{low} to {high}"
  return [
    f"made larger: {len(sides)} of {total} clips, whose smaller side had {span} pixels instead of "
    f"{prepared.settings['resolution']}"
  ]


def _histogram(prepared: index.Prepared, clips: dict[str, np.ndarray]) -> list[str]:
  """Clips by class and split, a line each with a bar."""
  lines = []
  for split, rows in clips.items():
    counts = np.bincount(rows["label"], minlength=len(prepared.classes))
    names = [printable(name) for name in prepared.classes]
    width = max(map(len, names), default=0)
    for label, name in enumerate(names):
      bar = "#" * int(np.ceil(counts[label] * _BAR / counts.max()))
      lines.append(f"{split} {label:4d} {name:{width}s} {counts[label]:6d} {bar}".rstrip())
  return lines


def _reasons(split: str, skipped: list[tuple[str, str]]) -> list[str]:
  """How many inputs were skipped for which kind of reason, with an example each."""
  kinds = collections.defaultdict(list)
  for path, reason in skipped:
    kinds[re.sub(r"[0-9.]+", "N", reason)].append((path, reason))
  ordered = sorted(kinds.values(), key=lambda ones: (-len(ones), ones[0]))
  lines = [f"{split}: {len(skipped)} skipped, all of them in skipped.txt"] if skipped else []
  for ones in ordered[:_SHOWN_REASONS]:
    path, reason = ones[0]
    lines.append(printable(f"  {len(ones)}, such as {path}: {reason}"))
  if len(ordered) > _SHOWN_REASONS:
    lines.append(f"  and {sum(map(len, ordered[_SHOWN_REASONS:]))} for other reasons")
  return lines


def _sizes(rows: np.ndarray) -> str:
  """The commonest sizes of pictures."""
  sizes = collections.Counter(zip(rows["width"].tolist(), rows["height"].tolist(), strict=True))
  shown = ", ".join(f"{width}x{height}" for (width, height), _ in sizes.most_common(3))
  return shown + (f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else "")


def _bytes(size: int) -> str:
  return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _write_contact_sheet(path: str, directory: str, prepared: index.Prepared, indices) -> None:
  """Writes a picture of random clips: a row per clip, its frames from the first to the last.

  Of each frame the middle square is shown.
  """
  every = [(split, row) for split, (clips, _) in indices.items() for row in range(len(clips))]
  chosen = np.random.default_rng(0).permutation(len(every))[:_SHEET_CLIPS]
  rows = [indices[every[place][0]][0][every[place][1]] for place in chosen]
  side = min([_SHEET_SIDE, *(int(min(row["height"], row["width"])) for row in rows)])
  sheet = np.empty((len(rows), _SHEET_FRAMES, side, side, 3), np.uint8)
  for number, (place, row) in enumerate(zip(chosen, rows, strict=True)):
    split = every[place][0]
    shard = prepared.splits[split].shards[row["shard"]].file
    first, frames = int(row["first"]), indices[split][1]
    with open(os.path.join(directory, shard), "rb") as file:
      steps = np.linspace(0, int(row["frames"]) - 1, _SHEET_FRAMES).astype(int)
      for column, step in enumerate(steps):
        frame = frames[first + step]
        file.seek(int(frame["offset"]))
        image = pictures.decode(file.read(int(frame["length"])))
        sheet[number, column] = _middle_square(image, side)
  contact_sheet(sheet, path)


def _middle_square(image: np.ndarray, side: int) -> np.ndarray:
  height, width, _ = image.shape
  short = min(height, width)
  top, left = (height - short) // 2, (width - short) // 2
  square = Image.fromarray(image).crop((left, top, left + short, top + short))
  return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))
