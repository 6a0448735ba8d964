"""From the `data` part of a configuration to a source, and to the batches of it."""

import os
from collections.abc import Callable
from typing import Any

from vidgan_jax.data import sources
from vidgan_jax.data.moving_shapes import MovingShapes
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.runtime.errors import UserError


def build_source(
  config: Any,
  *,
  frames: int,
  resolution: int,
  num_classes: int,
  split: str = "train",
  report: Callable[[str], None] = print,
) -> sources.Source:
  """Builds the source a configuration names.

  Args:
    config: an object with the fields `name` (see SOURCES), `directory` (the .npz file or the
      folder), `num_examples`, `seed`, `stride`, `split_number`, `horizontal_flip`, `crop` ("random"
      or "center"), `cache_directory` ("" for the default), `min_clips`; for prepared sets
      `prepare`, `mixture` (further folders), `classes`, `min_frames`, `temporal_reversal` and
      `damaged`. Only the fields that the named source uses are read.
    frames: frames per clip.
    resolution: height and width in pixels.
    num_classes: number of classes the model is built for; 0 drops the labels.
    split: "train" or "test" ("all" too for a folder).
    report: receives each line about what was found and skipped.

  Returns:
    The source, with source.num_classes == num_classes.

  Raises:
    UserError: the name is unknown, or the source does not fit what is asked for.
  """
  if config.name not in SOURCES:
    raise UserError(f"unknown data source '{config.name}', known are: {', '.join(SOURCES)}")
  if num_classes < 0:
    raise UserError(f"num_classes={num_classes} is negative; 0 means unlabelled")
  return SOURCES[config.name](config, frames, resolution, num_classes, split, report)


def build_batches(
  config: Any,
  source: sources.Source,
  *,
  batch_size: int,
  steps: int,
  seed: int,
  part: tuple[int, int] = (0, 1),
  report: Callable[[str], None] = print,
) -> Batches:
  """Builds the batches of a source as a configuration wants them computed.

  Args:
    config: an object with the fields `reader` (see READERS; only prepared sets know another than
      python) and `workers` (see `Batches`).
    source: see `build_source`.
    batch_size: clips per batch, over all hosts.
    steps: batches per iteration.
    seed: of order and augmentation.
    part: (this host, number of hosts).
    report: receives lines for the user.

  Returns:
    A function of an iteration; whatever the reader, it gives the same bytes.

  Raises:
    UserError: the reader is unknown or not installed, or an argument is outside its range.
  """
  if config.reader not in READERS:
    raise UserError(f"unknown data.reader '{config.reader}', known are: {', '.join(READERS)}")
  arguments = (source, batch_size, steps, seed, *part)
  if config.reader == "tensorflow":
    from vidgan_jax.data.prepared import Prepared
    from vidgan_jax.data.tensorflow_pipeline import TensorFlowBatches

    if isinstance(source, Prepared):
      return TensorFlowBatches(*arguments, workers=config.workers, report=report)
  return Batches(*arguments, workers=config.workers)


def _moving_shapes(config, frames, resolution, num_classes, split, report) -> sources.Source:
  del report
  return MovingShapes(
    config.num_examples,
    frames,
    resolution,
    num_classes,
    config.seed,
    split,
    variety=config.variety,
  )


def _npz(config, frames, resolution, num_classes, split, report) -> sources.Source:
  del split  # one file is one split: the configuration names another file for another split
  source = sources.load_npz(
    config.directory,
    frames=frames,
    stride=config.stride,
    resolution=resolution,
    num_classes=num_classes,
    horizontal_flip=config.horizontal_flip,
  )
  report(f"{config.directory}: {source.num_examples} clips, {source.num_classes} classes")
  return source


def _prepared(config, frames, resolution, num_classes, split, report) -> sources.Source:
  # Imported here so that the synthetic and in-memory sources need no video library.
  from vidgan_jax.data.prepared import Prepared

  return Prepared(
    [config.directory, *config.mixture],
    frames=frames,
    resolution=resolution,
    stride=config.stride,
    split=split,
    num_classes=num_classes,
    classes=config.classes,
    min_frames=config.min_frames,
    min_clips=config.min_clips,
    crop=config.crop,
    horizontal_flip=config.horizontal_flip,
    temporal_reversal=config.temporal_reversal,
    damaged=config.damaged,
    prepare=config.prepare,
    report=report,
  )


def _video_folder(config, frames, resolution, num_classes, split, report) -> sources.Source:
  from vidgan_jax.data import index, prepared_folder
  from vidgan_jax.data.video_folder import VideoFolder

  if os.path.isfile(os.path.join(config.directory, index.FILE_NAME)):
    return _prepared(config, frames, resolution, num_classes, split, report)
  if not os.path.isdir(config.directory):
    make = prepared_folder.prepare_command(config.directory, resolution, config.prepare)
    raise UserError(prepared_folder.no_such_folder(config.directory, make))
  return VideoFolder(
    config.directory,
    frames=frames,
    resolution=resolution,
    stride=config.stride,
    split=split,
    split_number=config.split_number,
    num_classes=num_classes,
    crop=config.crop,
    horizontal_flip=config.horizontal_flip,
    cache_directory=config.cache_directory or None,
    min_clips=config.min_clips,
    report=report,
  )


SOURCES = {
  "moving_shapes": _moving_shapes,
  "npz": _npz,
  "video_folder": _video_folder,
  "prepared": _prepared,
}
READERS = ("python", "tensorflow")
