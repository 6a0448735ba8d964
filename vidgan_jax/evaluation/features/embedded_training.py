"""Trains the classifier of the built-in moving shapes; this takes some minutes on two CPU cores.

  python -m vidgan_jax.evaluation.features.embedded_training --output=FILE.npz

Clips are drawn during training. All clips of a batch have the same length, 4 to 16 frames, and the
same size, 32, 48 or 64 pixels. The variety of a clip is 0 or 1 with a probability of 1/3 each, else
uniform in between. The same versions on the same kind of machine give the same weights. At the end,
the program prints the accuracy on held-out scenes by variety, length and size, and by class.

The scenes come from a seed that no config uses, so the classifier never sees the data of a run.

Exit codes: 0 done, 2 bad input.
"""

import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import flags

from vidgan_jax.data import pipeline
from vidgan_jax.data.sources import moving_shapes as data
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths

SEED = 761_234_057
LENGTHS = (4, 6, 8, 12, 16)  # in frames; the program is compiled for each
_LENGTH_SHARES = (0.2, 0.35, 0.2, 0.1, 0.15)
SIZES = (32, 48, 64)
_SIZE_SHARES = (0.7, 0.1, 0.2)
_WARM_UP = 40
_STEP_STREAM = 0x57E9  # separates the random numbers of batches from those of scenes


def draw_clips(
  split: str, begin: int, count: int, frames: int, resolution: int, varieties: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the scenes begin, begin + 1, ... of a split, all of one length and size.

  Args:
    split: "train" or "test".
    begin: index of the first scene; scene i has class i % 16.
    count: number of clips N.
    frames: frames of a clip T.
    resolution: height and width R.
    varieties: variety of each clip, [N].

  Returns:
    float32 [N, T, R, R, 3] in [-1, 1], and the labels, int32 [N].
  """
  labels = (begin + np.arange(count)) % len(data.CLASS_NAMES)
  clips = np.empty((count, frames, resolution, resolution, 3), np.float32)
  for i, (label, variety) in enumerate(zip(labels, varieties, strict=True)):
    scene = data.draw_scene(SEED, split, begin + i, int(label), float(variety))
    clips[i] = data.render(scene, frames, resolution)
  clips /= 127.5
  clips -= 1.0
  return clips, labels.astype(np.int32)


def training_batch(step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
  """(clips, labels) of one update, as `draw_clips` returns them; depends only on the arguments."""
  sequence = np.random.SeedSequence(SEED, spawn_key=(_STEP_STREAM, step))
  # Uses only uniform numbers, because other methods may give other numbers in other NumPy versions.
  u = np.random.Generator(np.random.PCG64(sequence)).random(2 + 2 * batch_size)
  pick = lambda values, shares, number: values[
    min(int(np.searchsorted(np.cumsum(shares), number)), len(values) - 1)
  ]
  kind, between = u[2 : 2 + batch_size], u[2 + batch_size :]
  varieties = np.where(kind < 1 / 3, 0.0, np.where(kind < 2 / 3, 1.0, between))
  frames, size = pick(LENGTHS, _LENGTH_SHARES, u[0]), pick(SIZES, _SIZE_SHARES, u[1])
  return draw_clips("train", step * batch_size, batch_size, frames, size, varieties)


def train(
  steps: int,
  batch_size: int,
  learning_rate: float,
  batch: Callable[[int, int], tuple[np.ndarray, np.ndarray]] = training_batch,
  report: Callable[[int, float, float], None] | None = None,
) -> tuple[dict, np.ndarray]:
  """Trains a classifier from newly initialised weights.

  Args:
    steps: number of updates.
    batch_size: clips per update.
    learning_rate: the highest learning rate of Adam's schedule.
    batch: (step, batch_size) -> (clips [N, T, R, R, 3] in [-1, 1], labels [N]).
    report: called with (step, mean loss, accuracy) every 50 updates, or None.

  Returns:
    (variables {"params": ...} as NumPy arrays, losses float [steps]).
  """
  import jax
  import optax

  from vidgan_jax.evaluation.features.architectures import moving_shapes as network

  model = network.MovingShapesClassifier()
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, learning_rate, min(_WARM_UP, steps // 4), max(steps, 1)
  )
  optimizer = optax.adam(schedule)

  def objective(variables, clips, labels):
    logits = model.apply(variables, clips)["logits"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), (logits.argmax(-1) == labels).mean()

  @jax.jit
  def update(variables, state, clips, labels):
    (loss, accuracy), gradients = jax.value_and_grad(objective, has_aux=True)(
      variables, clips, labels
    )
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(variables, updates), state, loss, accuracy

  example = np.zeros((1, network.MIN_FRAMES, *network.INPUT_SIZE, 3), np.float32)
  variables = jax.jit(model.init)(jax.random.key(SEED % 2**31), example)
  state = optimizer.init(variables)
  resize = jax.jit(network.resize)
  losses, accuracies = [], []
  with pipeline.Prefetcher(lambda step: batch(step, batch_size), depth=4, stop=steps) as batches:
    for step, (clips, labels) in batches:
      variables, state, loss, accuracy = update(variables, state, resize(clips), labels)
      losses.append(float(loss))
      accuracies.append(float(accuracy))
      if report and ((step + 1) % 50 == 0 or step + 1 == steps):
        report(step + 1, float(np.mean(losses[-50:])), float(np.mean(accuracies[-50:])))
  return jax.tree.map(np.asarray, variables), np.asarray(losses)


def confusion_matrix(
  variables: Mapping[str, Any],
  frames: int,
  resolution: int,
  variety: float,
  count: int,
  begin: int = 0,
) -> np.ndarray:
  """Classifies clips of the test split.

  Args:
    variables: variables of the classifier.
    frames, resolution, variety: length, size and variety of the clips.
    count: number of clips.
    begin: index of the first scene.

  Returns:
    int [16, 16]: number of clips of class i (row) that are classified as class j (column).
  """
  import jax

  from vidgan_jax.evaluation.features.architectures import moving_shapes as network

  apply = jax.jit(network.apply)
  table = np.zeros((len(data.CLASS_NAMES),) * 2, np.int64)
  for first in range(begin, begin + count, 64):
    size = min(64, begin + count - first)
    clips, labels = draw_clips("test", first, size, frames, resolution, np.full(size, variety))
    predictions = np.asarray(apply(variables, clips)["logits"]).argmax(-1)
    np.add.at(table, (labels, predictions), 1)
  return table


def accuracy_table(variables: Mapping[str, Any], count: int) -> str:
  """A table of the accuracy on held-out clips by variety, length and size, then by class at 32x32.

  Args:
    variables: variables of the classifier.
    count: number of clips for each entry.
  """
  row = lambda name, cells: f"{name:24}" + "".join(f"{cell:>13}" for cell in cells)
  percent = lambda table: f"{100 * np.trace(table) / table.sum():.1f} %"
  varieties, tables = (0.0, 0.5, 1.0), {}
  lines = [row(f"accuracy, {count} clips each", [f"variety {v:g}" for v in varieties])]
  for frames, size in [(4, 32), (6, 32), (8, 32), (16, 32), (6, 64), (16, 64)]:
    tables[frames, size] = [confusion_matrix(variables, frames, size, v, count) for v in varieties]
    lines.append(row(f"{frames} frames of {size}x{size}", map(percent, tables[frames, size])))
  lines.append(row("by class, 32x32", ["variety 0", "0.5", "1", "1 shape", "1 motion"]))
  at_32 = [matrices for (_, size), matrices in tables.items() if size == 32]
  sums = np.sum(at_32, axis=0)  # one matrix for each variety
  shapes = len(data.SHAPES)
  for i, name in enumerate(data.CLASS_NAMES):
    cells = [table[i, i] / table[i].sum() for table in sums]
    shares = sums[-1][i] / sums[-1][i].sum()  # of predictions for clips of class i, at variety 1
    cells += [shares[i % shapes :: shapes].sum(), shares[i // shapes * shapes :][:shapes].sum()]
    lines.append(row(name, [f"{100 * cell:.1f} %" for cell in cells]))
  return "\n".join(lines)


def save(path: str | os.PathLike, variables: Mapping[str, Any], training: Mapping) -> str:
  """Writes a weights file of the classifier; returns the hash of the weights.

  Args:
    path: the file; an existing one is replaced.
    variables: {"params": ...} of the network.
    training: settings of the training, stored in the file as JSON.

  Raises:
    UserError: the file cannot be written.
  """
  from flax import traverse_util  # imports JAX

  from vidgan_jax.evaluation.features import extractor

  leaves = traverse_util.flatten_dict(variables, sep="/")
  arrays = {path: np.asarray(leaf, np.float32) for path, leaf in leaves.items()}
  origin = "vidgan_jax.evaluation.features.embedded_training"
  about = {"origin": origin, "training": dict(training)}
  return extractor.save(path, extractor.PACKAGED, arrays, about)


def main(_) -> None:
  """Trains the classifier, writes the weights file and prints the table of accuracies."""
  options = flags.FLAGS
  output = pathlib.Path(paths.local(options.output, "--output"))
  if output.suffix != ".npz":
    raise UserError(f"--output={output} must end with .npz")
  if output.exists():
    raise UserError(f"--output={output} exists; it is not overwritten")
  output.parent.mkdir(parents=True, exist_ok=True)
  begin = time.perf_counter()

  def report(step, loss, accuracy):
    rate = step / (time.perf_counter() - begin)
    left = (options.steps - step) / rate
    door.report(
      f"update {step}/{options.steps}: loss {loss:.3f}, accuracy {100 * accuracy:.1f} %, "
      f"{left:.0f} s left"
    )

  variables, _ = train(options.steps, options.batch_size, options.learning_rate, report=report)
  door.report(f"trained in {time.perf_counter() - begin:.0f} s")
  about = {
    "steps": options.steps,
    "batch_size": options.batch_size,
    "learning_rate": options.learning_rate,
  }
  digest = save(output, variables, {**about, "seed": SEED})
  door.report(accuracy_table(variables, options.held_out))
  door.report(f"{output}: {output.stat().st_size} bytes, hash {digest}")


if __name__ == "__main__":
  # Defined here because a program that imports `train` may define flags with these names.
  flags.DEFINE_string("output", None, "The .npz file to write; it must not exist.")
  for flag, switch in {
    "steps": schema.integer(1000, "Number of updates.", least=1, most=1_000_000),
    "batch_size": schema.integer(64, "Clips per update.", least=1, most=65_536),
    "learning_rate": schema.number(
      2e-3, "Highest learning rate of Adam: warm-up, then cosine decay to 0.", least=0, most=10
    ),
    "held_out": schema.integer(320, "Clips per entry of the table.", least=16, most=1_000_000),
  }.items():
    schema.define(flag, switch)
  flags.mark_flag_as_required("output")
  door.run(main)
