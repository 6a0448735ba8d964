"""Draws the clips of one trained run of the league; `league.py` starts it as a process.

  python benchmarks/race/drawer.py --job=JOB.json

JOB.json has "workdir", "output" (the .npz to write), "count", "frames", "side" (clips are averaged
to it), "standing_passes", "classes" (0: no labels), "given" (an .npz of clips to continue, or null)
and "seed". Class i modulo the number of classes is drawn for clip i.

Exit codes: 0 done; 2 bad input.
"""

import json
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings  # noqa: F401 - makes the package importable
from absl import flags

from vidgan_jax.runtime import door

_JOB = flags.DEFINE_string("job", None, "The JSON file of the job.", required=True)


def averaged(clips: np.ndarray, side: int) -> np.ndarray:
  """Clips uint8 [N, T, H, W, 3], averaged over squares to height and width `side`."""
  factor = clips.shape[2] // side
  if factor == 1:
    return clips
  count, frames = clips.shape[:2]
  squares = clips.reshape(count, frames, side, factor, side, factor, 3)
  return np.rint(squares.mean(axis=(3, 5), dtype=np.float32)).astype(np.uint8)


def draw(job: dict) -> dict[str, np.ndarray]:
  """{"clips": uint8 [N, T, side, side, 3]}, and "labels" [N] of a system with classes."""
  from vidgan_jax.sampling import run as runs

  run = runs.load(job["workdir"], standing_passes=job["standing_passes"], report=door.report)
  if job["given"]:
    with np.load(job["given"]) as stored:
      given = stored["clips"][: job["count"]]
    clips = run.predict(given, 1, job["seed"], batch_size=32)[:, 0]
    return {"clips": averaged(clips, job["side"])}
  labels = np.arange(job["count"]) % max(1, job["classes"])
  frames = job["frames"] if job["frames"] != run.gan.frames else None
  clips = run.sample(job["seed"], labels=labels, frames=frames, batch_size=32)
  arrays = {"clips": averaged(clips, job["side"])}
  return {**arrays, "labels": labels} if job["classes"] else arrays


def main(argv: list[str]) -> int:
  """Draws the clips of a job."""
  del argv
  job = json.loads(pathlib.Path(_JOB.value).read_text(encoding="utf-8"))
  from vidgan_jax.runtime.hardware import compilation, memory

  memory.keep_freed_on_cpu()
  compilation.enable_cache(None, door.report)
  output = pathlib.Path(job["output"])
  temporary = output.with_name(f"writing_{output.name}")
  np.savez(temporary, **draw(job))
  os.replace(temporary, output)
  return 0


if __name__ == "__main__":
  door.run(main)
