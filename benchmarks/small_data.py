"""Whether R1 and differentiable augmentation help DVD-GAN on some dozens of real clips.

  python benchmarks/small_data.py --videos=FOLDER [--iterations=1200] [--resolution=32]

FOLDER holds videos in UCF-101's layout with its lists of training and test clips. Each case trains
`configs/weizmann.py` at --resolution with the same seed, in a process of its own:

  off           neither R1 nor augmentation, as in the paper
  augmentation  colour, translation and cutout (Zhao et al. 2020)
  r1            R1 with weight --weight
  both          augmentation and R1

Columns, for the trained networks:

  memorised  for each discriminator, the probability that a clip of the training set has a higher
             score than a clip of the test set: 0.5 if the discriminator treats them alike, 1 if it
             has learned the training clips by heart
  test       Frechet distance between generated clips and windows of the test clips, and
  train      between generated clips and windows of the training clips, by features of the built-in
             classifier. That network was not trained on real videos: compare rows, not papers.
  real       the same distance between the windows of both sets
  diversity  mean distance between pixels of two generated clips of a class, relative to real ones

The test clips show other people than the training clips. One line of JSON per case is appended to
--results, and each case writes its samples to --output.

Exit codes: 0 done, 2 bad input.
"""

import os
import pathlib
import tempfile

import numpy as np
import programs
import settings  # makes the package importable
from absl import flags

from vidgan_jax.runtime.errors import UserError

_AUGMENTATION = {f"augmentation.{name}": True for name in ("colour", "translation", "cutout")}
CASES = {"off": {}, "augmentation": _AUGMENTATION, "r1": {}, "both": _AUGMENTATION}
_PASSES = 4  # windows of each video, at random positions

_CASES = settings.define_cases("cases", CASES)
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the runs; by default a temporary one.")
_ITERATIONS = flags.DEFINE_integer("iterations", 1200, "Of each run.", lower_bound=1)
_RESOLUTION = flags.DEFINE_integer("resolution", 32, "Height and width in pixels.", lower_bound=8)
_WEIGHT = flags.DEFINE_float("weight", 1.0, "Weight of R1.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the runs.", lower_bound=0)
settings.define_worker()
settings.define_results()


def changes(case: str) -> dict[str, object]:
  """What a case changes of `configs/weizmann.py`."""
  weight = {"r1.weight": _WEIGHT.value} if case in ("r1", "both") else {}
  return {
    "seed": _SEED.value,
    "model.resolution": _RESOLUTION.value,
    "data.directory": str(pathlib.Path(_VIDEOS.value).resolve()),
    "num_iterations": _ITERATIONS.value,
    "log_every": 20,
    "checkpoint_every": max(1, _ITERATIONS.value // 4),
    "sample_every": max(1, _ITERATIONS.value // 4),
    **CASES[case],
    **weight,
  }


def _windows(config, split: str) -> tuple[np.ndarray, np.ndarray]:
  """Windows of the clips of a split: uint8 [N, T, H, W, 3] and labels [N]."""
  from vidgan_jax.data import build
  from vidgan_jax.data.pipeline import augmentation_generator

  source = build.build_source(
    config.data,
    frames=config.model.frames,
    resolution=config.model.resolution,
    num_classes=config.model.num_classes,
    split=split,
    report=lambda line: None,
  )
  count = source.num_examples
  examples = [
    source.example(index, augmentation_generator(0, number * count + index))
    for number in range(_PASSES)
    for index in range(count)
  ]
  clips, labels = zip(*examples, strict=True)
  return np.stack(clips), np.asarray(labels)


def _scores(gan, network, name: str, clips: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Scores [N] of discriminator `name` for clips."""
  import jax
  import jax.numpy as jnp

  from vidgan_jax.models.contract import Context

  collections = ("params", "spectral", "batch_stats")
  variables = {c: getattr(network, c) for c in collections if getattr(network, c)}

  @jax.jit
  def apply(clip, label):
    batch, key = {"clip": clip, "label": label}, jax.random.key(0)
    context = Context(jnp.zeros((), jnp.int32), {})
    samples = gan.real_samples(key, batch, context)
    views = gan.views(key, samples, gan.real_inputs(key, batch, context), context)
    return gan.clip_scores(name, gan.discriminate(name, variables, views[name], key, False)[0])

  parts = range(0, len(clips), 8)
  return np.concatenate([np.asarray(apply(clips[i : i + 8], labels[i : i + 8])) for i in parts])


def _probability_above(x: np.ndarray, y: np.ndarray) -> float:
  """The probability that a number of `x` is larger than one of `y`; ties count one half."""
  difference = x[:, None] - y[None, :]
  return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def _diversity(clips: np.ndarray, labels: np.ndarray) -> float:
  """Mean over classes of the mean distance between pixels of two clips of the class."""
  distances = []
  for label in np.unique(labels):
    same = clips[labels == label].reshape(np.sum(labels == label), -1).astype(np.float64)
    pairs = [np.mean(np.abs(a - b)) for i, a in enumerate(same) for b in same[i + 1 :]]
    distances.append(np.mean(pairs))
  return float(np.mean(distances))


def _measure(case: str) -> dict:
  """Trains and measures one case."""
  with tempfile.TemporaryDirectory() as temporary:
    workdir = pathlib.Path(_OUTPUT.value or temporary) / case
    settings.train("weizmann.py", workdir, changes(case))
    return {"case": case, **_of_run(workdir)}


def _of_run(workdir: pathlib.Path) -> dict:
  import jax

  from vidgan_jax.evaluation import frechet_distance_of_features as distance
  from vidgan_jax.sampling import run as runs
  from vidgan_jax.training import state as states

  config, gan, state = states.load(workdir, None, report=lambda line: None)
  train, test = _windows(config, "train"), _windows(config, "test")
  labels = np.arange(40 * config.model.num_classes) % config.model.num_classes
  generated = runs.load(workdir, report=lambda line: None).sample(0, labels=labels)
  memorised = {}
  for name, network in state.discriminators.items():
    scores = [_scores(gan, network, name, *clips) for clips in (train, test)]
    memorised[name] = _probability_above(*scores)
  features = {n: programs.shape_features(c) for n, c in (("train", train[0]), ("test", test[0]))}
  drawn = programs.shape_features(generated)
  return {
    "device": jax.devices()[0].device_kind,
    "iterations": int(state.step),
    "resolution": config.model.resolution,
    "seed": config.seed,
    "r1_weight": config.r1.weight,
    "memorised": memorised,
    "test": distance(drawn, features["test"]),
    "train": distance(drawn, features["train"]),
    "real": distance(features["train"], features["test"]),
    "diversity": _diversity(generated, labels) / _diversity(*train),
  }


def _row(result: dict) -> list[str]:
  memorised = ", ".join(f"{name} {value:.2f}" for name, value in result["memorised"].items())
  distances = [f"{result[name]:.0f}" for name in ("test", "train", "real")]
  return [result["case"], memorised, *distances, f"{result['diversity']:.2f}"]


def main():
  """Trains and measures the cases one after the other."""
  if not os.path.isdir(_VIDEOS.value):
    raise UserError(f"--videos={_VIDEOS.value} is not a folder")
  names = settings.chosen(_CASES.value, CASES)
  settings.run_all(__file__, names, _row, "case memorised test train real diversity")


if __name__ == "__main__":
  settings.run(main, _measure)
