r"""A tiny run, its prepared set and kept features, made by an older version of this project.

  python -m tests.pins.old_run OUTPUT

data/old_run.zip holds what this command made at commit 681c236. Its features carry the hash of the
feature code that such files held then. It shows synthetic shapes alone. Do not make it again: the
tests show that later versions open it. Runs of other versions may get files of their own beside it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

from tests.pins import training
from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES, MovingShapes
from vidgan_jax.training import state

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIPS, FRAMES, SIDE, CLASSES = 12, 4, 8, 4
PREPARED, RUN, REFERENCE = "prepared", "run", "reference.npz"
ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "JAX_ENABLE_X64": "0",
  "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false",
  "OPENBLAS_NUM_THREADS": "1",
  "OMP_NUM_THREADS": "1",
}
_FIELDS = {
  "batch_size": 4,
  "checkpoint_every": 2,
  "sample_every": 0,
  "log_every": 1,
  "ema.start": 1,
  "data.name": "prepared",
  "data.directory": PREPARED,
  "model.frames": FRAMES,
  "model.resolution": SIDE,
  "model.num_classes": CLASSES,
  "model.latent_dim": 4,
  "model.embedding_dim": 4,
  "model.savings": False,
  "model.generator.channels": 4,
  "model.generator.multipliers": (2, 1),
  "model.discriminator.channels": 4,
  "model.discriminator.multipliers": (1, 2),
  "model.discriminator.sampled_frames": 2,
  "model.discriminator.temporal": False,
}


def run_command(folder, name: str, *arguments: str) -> str:
  """Runs a command of the package in `folder`; returns what it printed.

  Raises:
    RuntimeError: it failed; holds what it printed.
  """
  environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
  environment["VIDGAN_JAX_REFERENCES"] = str(pathlib.Path(folder) / "references")
  done = subprocess.run(
    [sys.executable, "-m", f"vidgan_jax.{name}", *arguments],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
  return done.stdout


def train(folder, iterations: int) -> str:
  """Trains the run, or goes on with it, up to so many iterations."""
  config = ROOT / "configs" / "quickstart.py"
  fields = {**_FIELDS, "num_iterations": iterations}
  flags = [f"--config.{name}={value}" for name, value in fields.items()]
  return run_command(folder, "train", f"--config={config}:runlocal", *flags, f"--workdir={RUN}")


def evaluate(folder) -> str:
  """Scores the run's newest checkpoint against kept features."""
  return run_command(
    folder,
    "evaluate",
    f"--workdir={RUN}",
    f"--reference={REFERENCE}",
    f"--real_count={CLIPS}",
    "--count=8",
    "--bootstrap=4",
  )


def go_on(folder) -> dict:
  """Opens the run in every way, and trains it for two more iterations.

  Returns:
    {"said": {command: what it printed}, "log": the log's entries, hexadecimal, "state": digests of
    its arrays by part, "clips": uint8 pixels, "scores": {metric: its record}, "darkness": content
    of that file}.
  """
  folder, said = pathlib.Path(folder), {}
  said["evaluate"] = evaluate(folder)
  said["train"] = train(folder, 4)
  said["sample"] = run_command(
    folder, "sample", f"--workdir={RUN}", "--output=drawn", "--labels=0,3", "--seed=5"
  )
  said["analyze"] = run_command(
    folder, "analyze", f"--workdir={RUN}", "--what=darkness", "--clips=8"
  )
  said["prepare"] = run_command(folder, "prepare", "--verify", f"--output={PREPARED}")
  run = folder / RUN
  log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
  results = json.loads((run / "evaluation" / "moving_shapes" / "results.json").read_text())
  _, _, end = state.load(run)
  with np.load(folder / "drawn" / "samples.npz", allow_pickle=False) as drawn:
    clips = drawn["clips"]
  return {
    "said": said,
    "log": [_plain(entry) for entry in log],
    "state": {part: training.described(tree) for part, tree in training.parts(end).items()},
    "clips": clips,
    "scores": {
      record["metric"]: {
        name: record[name] for name in ("value", "fingerprint", "number", "interval")
      }
      for record in results["records"]
    },
    "darkness": json.loads((run / "analysis" / "darkness.json").read_text()),
  }


def _plain(entry) -> dict:
  """A line of the log without what depends on the clock or the machine's speed."""
  kept = ("step", "loss", "gradient", "score", "sigma", "pixel", "finite")
  numbers = {name: value for name, value in entry.items() if name.startswith(kept)}
  return {name: float(value).hex() for name, value in sorted(numbers.items())}


def expect(folder) -> None:
  """Writes what `go_on` finds into the folder: expected.json, expected.npz."""
  with tempfile.TemporaryDirectory() as scratch:
    shutil.copytree(folder, scratch, dirs_exist_ok=True)
    found = go_on(scratch)
  arrays = {f"state/{part}": numbers for part, (_, numbers) in found["state"].items()}
  np.savez_compressed(pathlib.Path(folder) / "expected.npz", clips=found["clips"], **arrays)
  kept = {name: found[name] for name in ("log", "scores")}
  kept["state"] = {part: digests for part, (digests, _) in found["state"].items()}
  text = json.dumps(kept, indent=1, sort_keys=True) + "\n"
  (pathlib.Path(folder) / "expected.json").write_text(text)


def make(folder) -> None:
  """Writes the prepared set, the run of two iterations, its scores and the kept features."""
  folder = pathlib.Path(folder).absolute()
  source = MovingShapes(CLIPS, FRAMES, 2 * SIDE, CLASSES, 3, "train", variety=0.2)
  for number in range(CLIPS):
    clip, label = source.example(number, np.random.default_rng(number))
    place = folder / "frames" / CLASS_NAMES[int(label)] / f"clip{number:02}"
    place.mkdir(parents=True)
    for time, frame in enumerate(clip):
      Image.fromarray(frame).save(place / f"{time}.png")
  (folder / "classes.txt").write_text("\n".join(CLASS_NAMES[:CLASSES]) + "\n")
  arguments = ("--input=frames", f"--output={PREPARED}", f"--resolution={SIDE}")
  arguments = (*arguments, "--classes=classes.txt", "--clips_per_shard=6", "--name=shapes")
  run_command(folder, "prepare", "--source=frames", *arguments)
  train(folder, 2)
  evaluate(folder)
  for name in ("frames", "references", f"{RUN}/tensorboard"):
    shutil.rmtree(folder / name, ignore_errors=True)
  for name in ("classes.txt", f"{RUN}/curves.png", f"{RUN}/.lock"):
    (folder / name).unlink(missing_ok=True)
  for path in folder.rglob("report.html"):
    path.unlink()
  expect(folder)


if __name__ == "__main__":
  make(sys.argv[1])
