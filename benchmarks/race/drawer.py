"""Draws the clips of one trained run of the league; `league.py` starts it as a process.

  python benchmarks/race/drawer.py --job=JOB.json

JOB.json has "workdir", "output" (the .npz to write), "count", "frames", "side" (clips are averaged
to it), "standing_passes", "classes" (0: no labels), "given" (an .npz of clips to continue, or null)
and "seed". Class i modulo the number of classes is drawn for clip i.

Exit codes: 0 done; 2 bad input.
"""

import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings  # noqa: F401 - makes the package importable

from race import job
from vidgan_jax.runtime import door


def averaged(clips: np.ndarray, side: int) -> np.ndarray:
  """Clips uint8 [N, T, H, W, 3], averaged over squares to height and width `side`."""
  factor = clips.shape[2] // side
  if factor == 1:
    return clips
  count, frames = clips.shape[:2]
  squares = clips.reshape(count, frames, side, factor, side, factor, 3)
  return np.rint(squares.mean(axis=(3, 5), dtype=np.float32)).astype(np.uint8)


def draw(work: dict) -> dict[str, np.ndarray]:
  """{"clips": uint8 [N, T, side, side, 3]}, and "labels" [N] of a system with classes."""
  from vidgan_jax.sampling import run as runs

  run = runs.load(work["workdir"], standing_passes=work["standing_passes"], report=door.report)
  if work["given"]:
    with np.load(work["given"]) as stored:
      given = stored["clips"][: work["count"]]
    clips = run.predict(given, 1, work["seed"], batch_size=32)[:, 0]
    return {"clips": averaged(clips, work["side"])}
  labels = np.arange(work["count"]) % max(1, work["classes"])
  frames = work["frames"] if work["frames"] != run.gan.frames else None
  clips = run.sample(work["seed"], labels=labels, frames=frames, batch_size=32)
  arrays = {"clips": averaged(clips, work["side"])}
  return {**arrays, "labels": labels} if work["classes"] else arrays


def main(argv: list[str]) -> int:
  """Draws the clips of a job."""
  del argv
  work = job.begin()

  output = pathlib.Path(work["output"])
  temporary = output.with_name(f"writing_{output.name}")
  np.savez(temporary, **draw(work))
  os.replace(temporary, output)
  return 0


if __name__ == "__main__":
  job.define()
  door.run(main)
