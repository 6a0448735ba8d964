"""One request for samples, from a run's folder to files."""

import itertools
import math
from typing import Any

import jax
import numpy as np

from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import files, generation, interpolation
from vidgan_jax.sampling import run as runs
from vidgan_jax.sampling.request import Request

_PER_LABEL, _STEPS = 2, 8  # clips of a class, and of a walk


def fulfil(request: Request, report=print) -> list[str]:
  """Draws and writes the clips; returns lines that say where they are.

  Raises:
    UserError: on bad input, or where the files cannot be written; the output is as before.
  """
  generation.check_truncation(request.truncation)
  if not 0.1 <= request.frame_rate <= 1000:
    raise UserError(f"frame_rate is {request.frame_rate}, must be in 0.1..1000")
  if request.interpolate and request.per_label is not None:
    raise UserError(
      "--per_label is not for --interpolate; --interpolation_steps=N sets the clips of a walk"
    )
  if request.interpolation_steps is not None and not request.interpolate:
    raise UserError("--interpolation_steps is for --interpolate")
  run = runs.load(
    request.workdir,
    step=request.checkpoint,
    use_ema=not request.live,
    standing_passes=request.standing_passes,
    report=report,
  )
  run.check_frames(request.frames)
  gan, classes = run.gan, run.gan.num_classes
  if request.per_label is not None and not classes:
    raise UserError("--per_label is for runs with classes, this one has none")
  per_label = request.per_label or _PER_LABEL if classes else 1
  steps = request.interpolation_steps or _STEPS
  if request.labels is not None:
    labels = files.parse_labels(request.labels, run.class_names, classes)
  else:
    labels = list(range(classes)) if classes else [0] * (8 if request.interpolate else 16)
    if request.interpolate == "class":
      labels = [label for pair in itertools.pairwise(labels) for label in pair]
  if request.interpolate:
    count = len(labels) * steps // (2 if request.interpolate == "class" else 1)
  else:
    count = len(labels) * per_label
  generation.check_size(gan, count, request.frames or gan.frames)
  options: dict[str, Any] = dict(frames=request.frames, truncation=request.truncation)
  key = streams.key(request.seed, streams.SAMPLING)
  if request.interpolate == "latent":
    latents, drawn = interpolation.latent_walk(gan, key, labels, steps, **options)
    columns = steps
  elif request.interpolate == "class":
    latents, drawn = interpolation.class_walk(gan, key, labels, steps, **options)
    columns = steps
  else:
    drawn = np.repeat(labels, per_label)
    latents = generation.draw_latents(gan, key, len(drawn), **options)
    columns = per_label if per_label > 3 else _columns(len(drawn))
  weights = "live weights" if request.live else "moving average"
  with files.new_output(request.output, request.overwrite) as folder:
    report(f"drawing {len(drawn)} clips at iteration {run.step} ({weights})")
    if (request.frames or 0) > gan.frames:
      report(f"{request.frames} frames: trained on {gan.frames}, what follows is extrapolated")
    try:
      clips = run.generate(latents, drawn, batch_size=request.batch_size, **options)
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      raise UserError(
        "not enough memory; fewer frames or a smaller batch_size need less"
      ) from error
    files.write_samples(
      folder, clips, drawn, run.class_names, columns=columns, frame_rate=request.frame_rate
    )
  return files.whereabouts(request.output, len(clips))


def _columns(count: int) -> int:
  return math.ceil(math.sqrt(count))
