"""The task of real clips: six actions of nine people, divided by person (Gorelick et al. 2007)."""

import json
import pathlib
import sys

import numpy as np

from race import features, processes, tasks
from race.entries import FRAMES, SIDE
from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

STRIDE = 2  # frames of the video between two frames of a clip
_FULL = 2 * SIDE  # pixels of the prepared set
_EVERY = 2  # frames between the beginnings of two windows of a video
_UPDATES = 500  # of the classifier whose features score the clips
_DRAWN = 600  # clips; the held-out people give little more


def task(folder: pathlib.Path, videos: str | None) -> tasks.Task:
  """Prepares the videos, cuts the clips to score against, and trains the classifier once.

  Args:
    folder: for the files. What exists is kept.
    videos: folder of the videos in UCF-101's layout, with its lists; needed the first time.

  Returns:
    the task. Without a protocol, if the classifier is wrong too often on held-out people.

  Raises:
    UserError: the videos are missing or cannot be prepared.
  """
  prepared = folder / "prepared"
  if not (prepared / "prepared.json").exists():
    _prepare(videos, prepared, folder / "log.txt")
  made = {
    "real.npz": lambda: windows(prepared, "train", None),
    "held_out.npz": lambda: windows(prepared, "test", _DRAWN),
  }
  tasks.write_missing(folder, made, {"drawn": _DRAWN, "every": _EVERY})
  names = class_names(prepared)
  file = folder / features.FILE
  if not file.exists():
    work = {
      "trained": str(folder / "real.npz"),
      "held_out": str(folder / "held_out.npz"),
      "names": names,
      "folder": str(folder),
      "steps": _UPDATES,
    }
    log = folder / "log.txt"
    processes.check(processes.run_job("features", work, log), "training the classifier", log)
  trained = json.loads(file.read_text(encoding="utf-8"))
  usable = trained["clips"] >= features.ENOUGH
  if not usable:
    door.report(
      f"the classifier names {trained['clips']:.0%} of the held-out people's clips rightly, less "
      f"than {features.ENOUGH:.0%}: its features are not used"
    )
  weights = str(folder / "classifier.npz")
  protocol = "moving_shapes" if usable else ""
  return tasks.Task(
    "weizmann",
    names,
    protocol,
    folder,
    weights,
    learned="real.npz",
    drawn=_DRAWN,
    fields=lambda stage: data(prepared, stage.side, stage.every),
  )


def _prepare(videos: str | None, prepared: pathlib.Path, log: pathlib.Path) -> None:
  """Runs `vidgan prepare`."""
  if videos is None:
    raise UserError("the task weizmann needs --videos, the folder of its videos")
  if not pathlib.Path(videos).is_dir():
    raise UserError(f"--videos={videos} is not a folder of videos in UCF-101's layout")
  command = [sys.executable, "-m", "vidgan_jax.prepare", "--source=ucf101", f"--input={videos}"]
  command += [f"--output={prepared}", f"--resolution={_FULL}"]
  processes.check(processes.run(command, log), "vidgan prepare", log)


def data(prepared: pathlib.Path, side: int, every: int) -> dict:
  """The fields of a config that read the prepared set at the size of a stage."""
  small = side < SIDE
  return {
    "data.name": "prepared",
    "data.directory": str(prepared),
    "data.stride": STRIDE * every,
    "data.split": "train",
    "data.crop": "center",
    "data.horizontal_flip": False,  # left and right are classes
    "data.view": "nearest" if small else "area",
    "data.view_resolution": SIDE if small else 0,
    "data.time_step": 1.0,
  }


def _source(prepared: pathlib.Path, split: str) -> object:
  """The clips of a split at the size that is scored."""
  import settings

  from vidgan_jax.data import build

  config = settings.config_of("tgan:shapes", data(prepared, SIDE, 1))
  return build.build_source(
    config.data,
    frames=FRAMES,
    resolution=SIDE,
    num_classes=len(class_names(prepared)),
    split=split,
    report=lambda line: None,
  )


def class_names(prepared: pathlib.Path) -> list[str]:
  """Names of the classes of a prepared set."""
  content = json.loads((prepared / "prepared.json").read_text(encoding="utf-8"))
  return list(content["classes"])


def windows(prepared: pathlib.Path, split: str, count: int | None) -> dict[str, np.ndarray]:
  """Windows of all videos of a split, evenly spaced.

  Args:
    prepared: the prepared set.
    split: "train" or "test".
    count: number of windows, evenly chosen; None takes all.

  Returns:
    {"clips": uint8 [N, 16, 32, 32, 3], "labels": int [N], "videos": int [N]}.
  """
  from vidgan_jax.evaluation.clips import FixedWindow

  source = _source(prepared, split)
  clips, labels, videos = [], [], []
  for video in range(source.num_examples):
    last = None
    for begin in range(0, 10_000, _EVERY if count is None else 1):
      clip, label = source.example(video, FixedWindow(begin))
      if last is not None and np.array_equal(clip, last):
        break  # the video has no later window
      last = clip
      clips.append(clip)
      labels.append(label)
      videos.append(video)
  chosen = np.arange(len(clips))
  if count is not None:
    chosen = np.linspace(0, len(clips) - 1, count).astype(int)
  arrays = {"clips": np.stack(clips), "labels": np.array(labels), "videos": np.array(videos)}
  return {name: values[chosen] for name, values in arrays.items()}
