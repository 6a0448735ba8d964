"""Trains the classifier whose features score real clips; `league.py` starts it as a process.

  python benchmarks/race/features.py --job=JOB.json

JOB.json has "trained" and "held_out" (files .npz with "clips" uint8 [N, 16, 32, 32, 3], "labels"
and "videos", the number of the video that a clip is a window of), "names" (of the classes),
"folder" (for the weights and "features.json") and "steps". The network is that of the built-in
moving shapes, trained from new weights on the training clips: shifted by up to three pixels and
with other brightness, never mirrored. features.json has the accuracy on the held-out clips.

Exit codes: 0 done; 2 bad input.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings  # noqa: F401 - makes the package importable

from race import job
from vidgan_jax.runtime import door

FILE, ENOUGH = "features.json", 0.8  # share of held-out clips that makes the features usable
_BATCH, _RATE, _SHIFT = 32, 2e-3, 3


def varied(clips: np.ndarray, random: np.random.Generator) -> np.ndarray:
  """Clips uint8 [N, T, H, W, 3] as float32 in [-1, 1], shifted, and lighter or darker."""
  values = clips.astype(np.float32) / 127.5 - 1.0
  for number, clip in enumerate(values):
    shift = random.integers(-_SHIFT, _SHIFT + 1, 2)
    gain, offset = random.uniform(0.8, 1.2), random.uniform(-0.15, 0.15)
    values[number] = np.roll(clip, shift, axis=(1, 2)) * gain + offset
  return values.clip(-1.0, 1.0)


def train(trained: str, steps: int) -> dict:
  """Variables of the classifier after `steps` updates; each class is drawn equally often."""
  from vidgan_jax.evaluation.features import embedded_training

  with np.load(trained) as stored:
    clips, labels = stored["clips"], stored["labels"]
  of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]

  def batch(step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([0, step])
    chosen = np.array([random.choice(of_class[i % len(of_class)]) for i in range(size)])
    return varied(clips[chosen], random), labels[chosen].astype(np.int32)

  report = lambda step, loss, share: door.report(f"update {step}: {loss:.3f}, {share:.3f} right")
  variables, _ = embedded_training.train(steps, _BATCH, _RATE, batch, report)
  return variables


def accuracies(variables: dict, held_out: str) -> tuple[float, float]:
  """Shares of held-out clips, and of videos by the mean of their clips, that are right."""
  import jax

  from vidgan_jax.evaluation.features.architectures import moving_shapes as network

  with np.load(held_out) as stored:
    clips, labels, videos = stored["clips"], stored["labels"], stored["videos"]
  apply = jax.jit(lambda batch: network.apply(variables, batch / 127.5 - 1.0)["logits"])
  parts = [apply(clips[i : i + 32].astype(np.float32)) for i in range(0, len(clips), 32)]
  logits = np.concatenate([np.asarray(part) for part in parts])
  right = logits.argmax(1) == labels
  of_videos = [
    logits[videos == v].mean(0).argmax() == labels[videos == v][0] for v in np.unique(videos)
  ]
  return float(right.mean()), float(np.mean(of_videos))


def main(argv: list[str]) -> int:
  """Trains the classifier of a job and writes its files."""
  del argv
  work = job.begin()
  from vidgan_jax.evaluation.features import embedded_training

  folder = pathlib.Path(work["folder"])
  variables = train(work["trained"], work["steps"])
  of_clips, of_videos = accuracies(variables, work["held_out"])
  about = {"steps": work["steps"], "batch_size": _BATCH, "learning_rate": _RATE}
  digest = embedded_training.save(folder / "classifier.npz", variables, about)
  result = {"clips": of_clips, "videos": of_videos, "hash": digest, "names": work["names"], **about}
  (folder / FILE).write_text(json.dumps(result, indent=1), encoding="utf-8")
  door.report(f"held-out people: {of_clips:.1%} of the clips, {of_videos:.1%} of the videos")
  return 0


if __name__ == "__main__":
  job.define()
  door.run(main)
