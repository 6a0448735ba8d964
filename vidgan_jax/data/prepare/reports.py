"""Reports of a preparation: its clips, classes and skipped inputs, and a sheet of random clips."""

import collections
import os
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import pictures
from vidgan_jax.data.sources.base import scarce_classes
from vidgan_jax.runtime.files.video_writers import contact_sheet
from vidgan_jax.runtime.text import printable

_BAR = 40  # characters of the longest bar
_LISTED_CLASSES = 24  # in the lines for the user; report.txt has all classes
_LISTED_REASONS = 8
_SHEET_CLIPS = 8
_SHEET_FRAMES = 8
_SHEET_SIDE = 128


def write_reports(
  staging: str,
  directory: str,
  prepared: index.Prepared,
  indices: dict[str, tuple[np.ndarray, np.ndarray]],
  skipped: dict[str, list[tuple[str, str]]],
  ignored: int,
  enlarged: Sequence[int] = (),
  remarks: Sequence[str] = (),
) -> list[str]:
  """Writes report.txt, skipped.txt and contact_sheet.png; equal sets give equal files.

  Args:
    staging: folder of the new files.
    directory: folder of the shards.
    prepared: content of prepared.json.
    indices: index.CLIP [N] and index.FRAME [M] by split.
    skipped: (path, reason) of the inputs that could not be used, by split.
    ignored: number of files whose names are not those of clips.
    enlarged: stored smaller side, in pixels, of each clip that was enlarged.
    remarks: see `inputs.Listing`.

  Returns:
    Lines of text for the user.

  Raises:
    UserError: a file cannot be written.
  """
  clips = {split: pair[0] for split, pair in indices.items()}
  lines = _summary(prepared, clips, skipped, ignored) + _enlarged(prepared, enlarged)
  lines += map(printable, remarks)
  histogram = _histogram(prepared, clips)
  skipped_lines = [
    printable(f"{split}: {path}: {reason}")
    for split, ones in skipped.items()
    for path, reason in ones
  ]
  for name, content in (("report.txt", lines + histogram), ("skipped.txt", skipped_lines)):
    index.write_text(os.path.join(staging, name), "".join(f"{line}\n" for line in content))
  _write_contact_sheet(os.path.join(staging, "contact_sheet.png"), directory, prepared, indices)
  if len(histogram) > _LISTED_CLASSES:
    more = len(histogram) - _LISTED_CLASSES
    histogram = [*histogram[:_LISTED_CLASSES], f"and {more} more in report.txt"]
  return lines + histogram


def _summary(
  prepared: index.Prepared,
  clips: dict[str, np.ndarray],
  skipped: dict[str, list[tuple[str, str]]],
  ignored: int,
) -> list[str]:
  """Lines with the numbers of clips, frames and classes, and the reasons of skipped inputs."""
  frames = sum(part.frames for part in prepared.splits.values())
  total = sum(part.clips for part in prepared.splits.values())
  classes = f"{len(prepared.classes)} classes" if prepared.classes else "no classes"
  lines = [f"{prepared.name}: {total} clips, {frames} frames, {classes}"]
  for split, part in prepared.splits.items():
    lengths = clips[split]["frames"]
    size = sum(shard.bytes for shard in part.shards)
    lines.append(
      f"{split}: {part.clips} clips, {part.frames} frames ({lengths.min()} to {lengths.max()} per "
      f"clip), {len(part.shards)} files, {_bytes(size)}, {_sizes(clips[split])}"
    )
    lines += _reasons(split, skipped[split])
    scarce = scarce_classes(clips[split]["label"], prepared.classes, least=0)
    lines += [f"{split}: {line}" for line in scarce]
  for split in skipped:
    if split not in prepared.splits and skipped[split]:
      lines += [f"{split}: no clips", *_reasons(split, skipped[split])]
  if ignored:
    lines.append(f"ignored: {ignored} files whose names are not those of clips")
  return lines


def _enlarged(prepared: index.Prepared, sides: Sequence[int]) -> list[str]:
  """A line about clips that were enlarged, which adds pixels but no detail."""
  if not sides:
    return []
  total = sum(part.clips for part in prepared.splits.values())
  low, high = min(sides), max(sides)
  span = f"{low}" if low == high else f"{low} to {high}"
  return [
    f"enlarged: {len(sides)} of {total} clips, from a smaller side of {span} pixels to "
    f"{prepared.settings['resolution']}"
  ]


def _histogram(prepared: index.Prepared, clips: dict[str, np.ndarray]) -> list[str]:
  """One line per split and class, with the number of clips and a bar."""
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
  """Lines with the number of skipped inputs per kind of reason, and an example of each kind."""
  kinds = collections.defaultdict(list)
  for path, reason in skipped:
    kinds[re.sub(r"[0-9.]+", "N", reason)].append((path, reason))
  ordered = sorted(kinds.values(), key=lambda pairs: (-len(pairs), pairs[0]))
  lines = [f"{split}: {len(skipped)} skipped, listed in skipped.txt"] if skipped else []
  for pairs in ordered[:_LISTED_REASONS]:
    path, reason = pairs[0]
    lines.append(printable(f"  {len(pairs)}, such as {path}: {reason}"))
  if len(ordered) > _LISTED_REASONS:
    lines.append(f"  and {sum(map(len, ordered[_LISTED_REASONS:]))} for other reasons")
  return lines


def _sizes(rows: np.ndarray) -> str:
  """The three most frequent picture sizes, as WIDTHxHEIGHT."""
  sizes = collections.Counter(zip(rows["width"].tolist(), rows["height"].tolist(), strict=True))
  frequent = ", ".join(f"{width}x{height}" for (width, height), _ in sizes.most_common(3))
  return frequent + (f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else "")


def _bytes(size: int) -> str:
  return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _write_contact_sheet(
  path: str,
  directory: str,
  prepared: index.Prepared,
  indices: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
  """Writes a picture of random clips: a row per clip, with frames from its first to its last.

  Each frame is cropped to its central square.
  """
  clips = [(split, row) for split, (rows, _) in indices.items() for row in range(len(rows))]
  chosen = np.random.default_rng(0).permutation(len(clips))[:_SHEET_CLIPS]
  selected = [(split, indices[split][0][row]) for split, row in (clips[n] for n in chosen)]
  side = min([_SHEET_SIDE, *(int(min(row["height"], row["width"])) for _, row in selected)])
  sheet = np.empty((len(selected), _SHEET_FRAMES, side, side, 3), np.uint8)
  for number, (split, row) in enumerate(selected):
    shard = prepared.splits[split].shards[row["shard"]].file
    first, frames = int(row["first"]), indices[split][1]
    with open(os.path.join(directory, shard), "rb") as file:
      steps = np.linspace(0, int(row["frames"]) - 1, _SHEET_FRAMES).astype(int)
      for column, step in enumerate(steps):
        frame = frames[first + step]
        file.seek(int(frame["offset"]))
        image = pictures.decode(file.read(int(frame["length"])))
        sheet[number, column] = _central_square(image, side)
  contact_sheet(sheet, path)


def _central_square(image: np.ndarray, side: int) -> np.ndarray:
  """The central square of a picture, resized to [side, side, 3]."""
  height, width, _ = image.shape
  short = min(height, width)
  top, left = (height - short) // 2, (width - short) // 2
  square = Image.fromarray(image).crop((left, top, left + short, top + short))
  return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))
