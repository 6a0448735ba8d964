"""Draws the clips of a row and scores them with a protocol of the project."""

import json
import pathlib

import numpy as np

from race import processes
from race.entries import FRAMES, SIDE, Entry
from race.tasks import DRAWN, Task

SEED = 0  # of latents and of resamplings, the same for all rows


def draw(entry: Entry, task: Task, workdir: pathlib.Path, folder: pathlib.Path) -> float:
  """Draws the clips of a trained system into `folder`/clips.npz; returns processor seconds."""
  job = {
    "workdir": str(workdir),
    "output": str(folder / "clips.npz"),
    "count": DRAWN,
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
  return [_short(record) for record in records] + [motion(task, folder)], seconds


def _short(record: dict) -> dict:
  """What a row keeps of a record of an evaluation."""
  kept = ("metric", "value", "interval", "std", "fingerprint", "network", "count_generated")
  floor = record["floor"] and record["floor"]["value"]
  return {name: record[name] for name in kept} | {"real": floor}


def motion(task: Task, folder: pathlib.Path) -> dict:
  """How much clips move: their mean change between frames over that of real clips.

  1 is as much as real clips, 0 a frozen clip. Its interval is a bootstrap over the drawn clips.
  """
  from vidgan_jax.evaluation.protocols import fingerprint
  from vidgan_jax.evaluation.statistics import intervals

  changes = [_changes(path) for path in (folder / "clips.npz", task.real)]
  of_real = float(changes[1].mean())
  ratio = lambda values: float(values.mean() / of_real)
  low, high = intervals.bootstrap(ratio, [changes[0]])
  fields = {"metric": "motion", "count": len(changes[0]), "real_count": len(changes[1])}
  fields["real"] = fingerprint.of_arrays({"changes": changes[1]})
  return {
    "metric": "motion",
    "value": ratio(changes[0]),
    "interval": [float(low), float(high)],
    "std": None,
    "fingerprint": fingerprint.of_column(fields),
    "network": "none",
    "count_generated": len(changes[0]),
    "real": 1.0,
  }


def _changes(path: pathlib.Path) -> np.ndarray:
  """Mean absolute difference of neighbouring frames of each clip, [N]."""
  with np.load(path) as stored:
    clips = stored["clips"]
  return np.array([np.abs(np.diff(c.astype(np.int16), axis=0)).mean() for c in clips])
