"""Draws the clips of a row and scores them with a protocol of the project."""

import json
import pathlib

import numpy as np

from race import processes
from race.entries import FRAMES, SIDE, Entry
from race.tasks import Task

SEED = 0  # of latents and of resamplings, the same for all rows


def draw(entry: Entry, task: Task, workdir: pathlib.Path, folder: pathlib.Path) -> float:
  """Draws the clips of a trained system into `folder`/clips.npz; returns processor seconds."""
  job = {
    "workdir": str(workdir),
    "output": str(folder / "clips.npz"),
    "count": task.drawn,
    "frames": FRAMES,
    "side": SIDE,
    "standing_passes": entry.standing_passes,
    "classes": task.classes if entry.conditional else 0,
    "given": str(task.held_out) if entry.given else None,
    "seed": SEED,
  }
  log = folder / "log.txt"
  done = processes.check(processes.run_job("drawer", job, log), f"drawing {entry.name}", log)
  return done.seconds


def evaluate(task: Task, folder: pathlib.Path) -> tuple[list[dict], float]:
  """Scores `folder`/clips.npz.

  Returns:
    records {"metric", "value", "interval", "std", "fingerprint", "network", "real"}, and processor
    seconds. "real" is the score of real clips that the evaluation states beside the value.
  """
  pixels = [motion(task, folder), nearest(task, folder)]
  if not task.protocol:
    return pixels, 0.0
  log, output = folder / "log.txt", folder / "scores.json"
  job = {
    "clips": str(folder / "clips.npz"),
    "real": str(task.real),
    "names": task.names,
    "protocol": task.protocol,
    "metrics": ["vendi"],
    "weights": task.weights,
    "seed": SEED,
    "output": str(output),
  }
  seconds = processes.check(processes.run_job("scorer", job, log), f"scoring {folder}", log).seconds
  records = json.loads(output.read_text(encoding="utf-8"))
  return [_short(record) for record in records] + pixels, seconds


def _short(record: dict) -> dict:
  """What a row keeps of a record of an evaluation."""
  kept = ("metric", "value", "interval", "std", "fingerprint", "network", "count_generated")
  floor = record["floor"] and record["floor"]["value"]
  return {name: record[name] for name in kept} | {"real": floor}


def motion(task: Task, folder: pathlib.Path) -> dict:
  """How much clips move: their mean change between frames over that of real clips.

  1 is as much as real clips, 0 a frozen clip.
  """
  changes = lambda path: np.array(
    [np.abs(np.diff(clip.astype(np.int16), axis=0)).mean() for clip in _clips(path)]
  )
  return _ratio("motion", changes(folder / "clips.npz"), changes(task.real))


def nearest(task: Task, folder: pathlib.Path) -> dict:
  """How far clips are from the nearest training clip, relative to held-out real clips.

  The distance is the root mean square difference of pixels. Below 1, clips are closer to training
  clips than new real ones are; a copy has 0.
  """
  learned = _flat(_clips(task.folder / task.learned))
  squares = (learned**2).sum(1)

  def distances(path: pathlib.Path) -> np.ndarray:
    found = []
    for begin in range(0, len(clips := _clips(path)), 100):
      part = _flat(clips[begin : begin + 100])
      all_of_it = (part**2).sum(1)[:, None] + squares - 2 * part @ learned.T
      found.append(np.sqrt(all_of_it.min(1).clip(0) / part.shape[1]))
    return np.concatenate(found)

  return _ratio("nearest", distances(folder / "clips.npz"), distances(task.held_out))


def _clips(path: pathlib.Path) -> np.ndarray:
  """Clips of a file, uint8 [N, T, H, W, 3]."""
  with np.load(path) as stored:
    return stored["clips"]


def _flat(clips: np.ndarray) -> np.ndarray:
  """Every second frame, averaged over squares of two pixels, float32 [N, numbers]."""
  count, _, height, width, _ = clips.shape
  halves = clips[:, ::2].reshape(count, -1, height // 2, 2, width // 2, 2, 3)
  return halves.mean(axis=(3, 5), dtype=np.float32).reshape(count, -1)


def _ratio(metric: str, drawn: np.ndarray, real: np.ndarray) -> dict:
  """The record of a mean over drawn clips [N], divided by that over real clips [M].

  Its interval is a bootstrap over the drawn clips.
  """
  from vidgan_jax.evaluation.protocols import fingerprint
  from vidgan_jax.evaluation.statistics import intervals

  of_real = float(real.mean())
  ratio = lambda values: float(values.mean() / of_real)
  low, high = intervals.bootstrap(ratio, [drawn])
  fields = {"metric": metric, "count": len(drawn), "real_count": len(real)}
  fields["real"] = fingerprint.of_arrays({"real": real})
  return {
    "metric": metric,
    "value": ratio(drawn),
    "interval": [float(low), float(high)],
    "std": None,
    "fingerprint": fingerprint.of_column(fields),
    "network": "none",
    "count_generated": len(drawn),
    "real": 1.0,
  }
