"""The tasks of the league: what is trained on, and what the drawn clips are compared with."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from race.entries import FRAMES, SIDE, Stage

TRAINED, SCORED, DRAWN = 2048, 2000, 1000  # clips


@dataclasses.dataclass(frozen=True)
class Task:
  """Clips to learn, at the size of each stage, and clips to compare with.

  Attributes:
    name: of the task.
    names: of the classes.
    protocol: of `vidgan evaluate`; empty if no network can score the clips.
    folder: of its files.
    weights: file of a classifier that takes the place of the protocol's network; None if the
      package has it.
    learned: name of the file of training clips at the size that is scored.
    drawn: number of clips that each system draws.
    fields: maps a stage to the fields of a config that read the training clips at its size; None
      for files .npz.
  """

  name: str
  names: list[str]
  protocol: str
  folder: pathlib.Path
  weights: str | None = None
  learned: str = f"train_{SIDE}_every1.npz"
  drawn: int = DRAWN
  fields: Callable[[Stage], dict[str, Any]] | None = None

  @property
  def classes(self) -> int:
    """Number of classes."""
    return len(self.names)

  @property
  def real(self) -> pathlib.Path:
    """Clips that drawn ones are compared with, and their labels."""
    return self.folder / "real.npz"

  @property
  def held_out(self) -> pathlib.Path:
    """Held-out clips: the row of real clips, and what predictions continue."""
    return self.folder / "held_out.npz"

  def data(self, stage: Stage) -> dict[str, Any]:
    """The fields of a config that read the training clips at the size of a stage."""
    if self.fields is not None:
      return self.fields(stage)
    name = f"train_{stage.side}_every{stage.every}.npz"
    return {
      "data.name": "npz",
      "data.directory": str(self.folder / name),
      "data.stride": 1,
      "data.view": "area",  # the files have the size of the stage already
      "data.view_resolution": 0,
      "data.time_step": 1.0,
    }


def shapes(folder: pathlib.Path, clips: int = TRAINED, scored: int = SCORED) -> Task:
  """The built-in moving shapes: eight classes on plain backgrounds, 16 frames of 32x32.

  Args:
    folder: for the files. Files that exist are kept; they depend only on the arguments.
    clips: number of training clips.
    scored: number of real clips that drawn ones are compared with.
  """
  from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES, MovingShapes
  from vidgan_jax.runtime.subsampling import nearest

  task = Task("shapes", list(CLASS_NAMES[:8]), "moving_shapes", folder)

  def drawn(split: str, side: int, begin: int, count: int) -> dict[str, np.ndarray]:
    source = MovingShapes(
      begin + count, FRAMES, side, task.classes, 0, split, cache_bytes=0, variety=0.0
    )
    examples = [source.example(i, np.random.default_rng(0)) for i in range(begin, begin + count)]
    labels = np.array([label for _, label in examples], np.int64)
    return {"clips": np.stack([clip for clip, _ in examples]), "labels": labels}

  def smaller() -> dict[str, np.ndarray]:
    full = drawn("train", SIDE, 0, clips)
    return {**full, "clips": nearest(full["clips"], 2, 2)}

  made: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    f"train_{SIDE}_every1.npz": lambda: drawn("train", SIDE, 0, clips),
    f"train_{2 * SIDE}_every1.npz": lambda: drawn("train", 2 * SIDE, 0, clips),
    f"train_{SIDE // 2}_every2.npz": smaller,
    task.real.name: lambda: drawn("test", SIDE, 0, scored),
    task.held_out.name: lambda: drawn("test", SIDE, scored, scored // 2),
  }
  write_missing(folder, made, {"clips": clips, "scored": scored})
  return task


def write_missing(folder: pathlib.Path, made: dict[str, Callable], about: dict) -> None:
  """Writes the files that do not exist, or all if they are of other arguments.

  Args:
    folder: for the files.
    made: {name of the .npz: function that returns its arrays}.
    about: the arguments that the files depend on.
  """
  folder.mkdir(parents=True, exist_ok=True)
  record = folder / "about.json"
  if not record.exists() or json.loads(record.read_text(encoding="utf-8")) != about:
    for name in made:
      (folder / name).unlink(missing_ok=True)
    record.write_text(json.dumps(about), encoding="utf-8")
  for name, arrays in made.items():
    if not (folder / name).exists():
      temporary = folder / f"writing_{os.getpid()}_{name}"
      np.savez(temporary, **arrays())
      os.replace(temporary, folder / name)
