"""What the command `sample` does: opens a run, generates clips, and writes them to files."""

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

import vidgan_jax.training.state as states
from vidgan_jax.models.contract import Arrays
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import memory
from vidgan_jax.sampling import conditioning, files, generation, interpolation
from vidgan_jax.sampling import run as runs
from vidgan_jax.sampling.request import Request

_PER_LABEL, _STEPS = 2, 8  # default number of clips per class, and per interpolation
_CLIPS, _WALKS = 16, 8  # default number of clips, and of interpolations, without classes
_GIVEN, _FUTURES = 8, 4  # default number of given clips of a split, and of clips for each


def fulfil(request: Request, report: Callable[[str], None] = print) -> list[str]:
  """Generates and writes the clips; returns lines with the paths of the files.

  Raises:
    UserError: on bad input, or if files cannot be written. The output folder is then unchanged.
  """
  requests.check(request)
  _check_interpolation(request)
  files.check_output(request.output, request.overwrite)
  run = runs.load(
    request.workdir,
    step=request.checkpoint,
    use_ema=not request.live,
    standing_passes=request.standing_passes,
    report=report,
  )
  given = _given(request, run, report)  # first, because standing statistics may need these clips
  run.check_frames(request.frames)
  if request.show_stages and not run.gan.stages:
    raise UserError("--show_stages needs a run with earlier stages; this run has none")
  drawn = _draw(request, run, given)
  weights = "live weights" if request.live else "moving average"
  with files.new_output(request.output, request.overwrite) as folder:
    report(f"generating {len(drawn.labels)} clips at iteration {run.step} ({weights})")
    if (request.frames or 0) > run.gan.frames and not run.gan.stages:
      report(
        f"{request.frames} frames: the run was trained on {run.gan.frames}; the frames after these "
        "are extrapolated"
      )
    with memory.reported_if_full("fewer frames or a smaller batch_size need less"):
      shown = run.generate(
        drawn.latents, drawn.labels, show_stages=request.show_stages, **drawn.options
      )
      clips = shown[:, :, :, -run.gan.resolution :]  # the last stage is on the right
    files.write_samples(
      folder,
      clips,
      drawn.labels,
      run.class_names,
      columns=drawn.columns,
      frame_rate=request.frame_rate,
      given=run.gan.given_frames,
    )
    if request.show_stages:
      files.write_stages(folder, shown, frame_rate=request.frame_rate)
  return files.list_files(request.output, len(clips), stages=request.show_stages)


def _check_interpolation(request: Request) -> None:
  """UserError if flags contradict each other."""
  if request.interpolate and request.per_label is not None:
    raise UserError(
      "--per_label cannot be combined with --interpolate; --interpolation_steps=N sets the number "
      "of clips per interpolation"
    )
  if request.interpolation_steps is not None and not request.interpolate:
    raise UserError("--interpolation_steps needs --interpolate")


@dataclasses.dataclass(frozen=True)
class _Drawn:
  """The latents and labels of the N clips to generate.

  Attributes:
    latents: {name: [N, ...]}.
    labels: class numbers [N], or weights that mix class embeddings [N, num_classes].
    columns: of the grid of clips.
    options: further arguments of `Run.generate`.
  """

  latents: Arrays
  labels: np.ndarray
  columns: int
  options: dict[str, Any]


def _draw(request: Request, run: runs.Run, given: np.ndarray | None) -> _Drawn:
  """Draws what the request asks for; `given` are the clips to continue, or None."""
  gan = run.gan
  labels, per_label = _labels(request, run, given)
  steps = request.interpolation_steps or _STEPS
  if request.interpolate:
    count = len(labels) * steps // (2 if request.interpolate == "class" else 1)
  else:
    count = len(labels) * per_label
  generation.check_size(gan, count, request.frames or gan.frames)
  options: dict[str, Any] = dict(frames=request.frames, truncation=request.truncation)
  key = streams.key(request.seed, streams.SAMPLING)
  if request.interpolate:
    walk = interpolation.latent_walk
    if request.interpolate == "class":
      walk = interpolation.class_walk
    latents, clip_labels = walk(gan, key, labels, steps, **options)
    columns = steps
  else:
    clip_labels = np.repeat(labels, per_label)
    latents = generation.draw_latents(gan, key, len(clip_labels), **options)
    columns = per_label if per_label > 3 else _columns(len(clip_labels))
  if given is not None:
    columns = steps if request.interpolate else per_label
    options["conditioning"] = {"clip": np.repeat(given, columns, axis=0)}
  options["batch_size"] = request.batch_size
  return _Drawn(latents, clip_labels, columns, options)


def _labels(request: Request, run: runs.Run, given: np.ndarray | None) -> tuple[list[int], int]:
  """The labels to generate, and the number of clips of each; with `given` clips, one label each.

  For walks between classes, each two labels are the ends of one.
  """
  classes = run.gan.num_classes
  if request.per_label is not None and not classes:
    raise UserError(
      "--per_label needs a run with classes; this run has none, --count=N sets the number of clips"
    )
  if request.count is not None and (classes or given is not None):
    instead = "--per_label and --labels choose clips of classes"
    if given is not None:
      instead = "--given and --futures set the number of clips"
    raise UserError(f"--count is for runs without classes that generate whole clips; {instead}")
  per_label = request.per_label or _PER_LABEL if classes else 1
  if request.labels is not None:
    return files.parse_labels(request.labels, run.class_names, classes), per_label
  if given is not None:
    return [0] * len(given), request.futures or _FUTURES
  many = request.count or (_WALKS if request.interpolate else _CLIPS)
  labels = list(range(classes)) if classes else [0] * many
  if request.interpolate == "class":
    labels = [label for pair in itertools.pairwise(labels) for label in pair]
  return labels, per_label


def _given(request: Request, run: runs.Run, report: Callable[[str], None]) -> np.ndarray | None:
  """The clips to continue, uint8 [N, T, H, W, 3], for a run that continues given frames, or None.

  Clips of a split also serve for standing statistics: each batch of statistics is of many clips,
  as in training. One video would give statistics of that video alone.

  Raises:
    UserError: a flag does not fit the run, or there are no such clips.
  """
  gan = run.gan
  if not gan.needs_conditioning:
    for name in ("conditioning", "futures", "given", "data_directory"):
      if getattr(request, name) is not None:
        raise UserError(f"--{name}: this run continues no given frames; it generates whole clips")
    return None
  if not request.conditioning:
    raise UserError(
      f"this run continues {gan.given_frames} given frame(s): --conditioning names a split of its "
      "data (such as test), an .npz with clips, or videos"
    )
  if request.interpolate and request.futures is not None:
    raise UserError("--futures cannot be combined with --interpolate")
  config = run.config.copy_and_resolve_references()
  whole = os.path.isfile(request.conditioning)  # names of files may contain commas
  words = [request.conditioning] if whole else request.conditioning.split(",")
  if len(words) == 1 and re.fullmatch(r"\w+", words[0]) and not os.path.isfile(words[0]):
    states.check_data_named(request.workdir, config, request.data_directory)
    if request.data_directory is not None:
      with config.unlocked():
        config.data.directory = request.data_directory
    run.conditioning = conditioning.of_split(config, gan, words[0], request.seed, report)
    available = run.conditioning.count
    _check_given(request.given, available)
    return run.conditioning(0, request.given or min(_GIVEN, available))[:, : gan.given_frames]
  if request.data_directory is not None:
    raise UserError("--data_directory needs --conditioning=SPLIT; files are read as they are")
  clips = conditioning.read(words, gan, config.data.stride)[:, : gan.given_frames]
  _check_given(request.given, len(clips))
  return clips[: request.given]


def _check_given(requested: int | None, available: int) -> None:
  """UserError if more given clips are requested than there are."""
  if requested is not None and requested > available:
    raise UserError(f"--given={requested}, but --conditioning has {available} clip(s)")


def _columns(count: int) -> int:
  """Columns of a nearly square grid of `count` clips."""
  return math.ceil(math.sqrt(count))
