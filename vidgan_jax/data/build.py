"""From the `data` part of a configuration to a source."""

from collections.abc import Callable
from typing import Any

from vidgan_jax.data import sources
from vidgan_jax.data.moving_shapes import MovingShapes
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
      or "center"), `cache_directory` ("" for the default) and `min_clips`. Only the fields that the
      named source uses are read.
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


def _video_folder(config, frames, resolution, num_classes, split, report) -> sources.Source:
  # Imported here so that the synthetic and in-memory sources need no video library.
  from vidgan_jax.data.video_folder import VideoFolder

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


SOURCES = {"moving_shapes": _moving_shapes, "npz": _npz, "video_folder": _video_folder}
