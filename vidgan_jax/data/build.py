"""Builds a source, and its batches, from the `data` part of a configuration."""

import copy
import os
from collections.abc import Callable
from typing import Any

from vidgan_jax.data import advice
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.data.sources import base as sources
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.data.sources.nearest_view import NearestView
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths


def build_source(
  config: Any,
  *,
  frames: int,
  resolution: int,
  num_classes: int,
  split: str | None = None,
  report: Callable[[str], None] = print,
) -> sources.Source:
  """Builds the source that a configuration names.

  Args:
    config: an object with the fields `name` (see SOURCES), `directory` (the .npz file or the
      folder), `num_examples`, `seed`, `variety`, `time_step`, `stride`, `view` ("area" or
      "nearest"), `view_resolution`, `split`, `split_folders`, `split_number`, `horizontal_flip`,
      `crop` ("random" or "center"), `cache_directory` ("" for the default), `min_clips`; for
      prepared sets `prepare`, `mixture` (further folders), `classes`, `min_frames`,
      `temporal_reversal` and `damaged`. Options that the named source does not support are refused.
    frames: frames per clip.
    resolution: height and width in pixels.
    num_classes: number of classes of the model; 0 drops the labels.
    split: "train" or "test"; also "val" or "all" for folders, and any split of a prepared set.
      None takes the split of the configuration.
    report: called with each line of text about clips in use and skipped clips.

  Returns:
    The source, with source.num_classes == num_classes.

  Raises:
    UserError: the name is unknown, the source does not fit the arguments, or its pictures contain
      only 0 and 1.
  """
  if config.name not in SOURCES:
    raise UserError(f"unknown data source '{config.name}', known are: {', '.join(SOURCES)}")
  if num_classes < 0:
    raise UserError(f"num_classes={num_classes} is negative; 0 means unlabelled")
  split = split or config.split
  config = _with_local_paths(config)
  side = _stored_resolution(config, resolution)
  source = SOURCES[config.name](config, frames, side, num_classes, split, report)
  if config.name in ("video_folder", "prepared"):
    sources.check_examples(source, config.directory)
  return source if side == resolution else NearestView(source, resolution)


def _stored_resolution(config, resolution: int) -> int:
  """Height and width of the clips that the view of `config` is taken from, in pixels."""
  side = getattr(config, "view_resolution", 0)
  if getattr(config, "view", "area") == "area" or side in (0, resolution):
    return resolution
  if side < resolution or side % resolution:
    raise UserError(
      f"config.data.view_resolution is {side}, must be a multiple of the model's resolution, "
      f"{resolution}"
    )
  return side


def _with_local_paths(config):
  """A copy of the configuration with `~` expanded, and data in buckets copied to local folders."""
  config = copy.deepcopy(config)
  config.directory = paths.fetched(config.directory, "config.data.directory")
  config.cache_directory = paths.local(config.cache_directory, "config.data.cache_directory")
  config.mixture = tuple(paths.all_fetched(config.mixture, "config.data.mixture"))
  return config


def build_batches(
  config: Any,
  source: sources.Source,
  *,
  batch_size: int,
  steps: int,
  seed: int,
  part: tuple[int, int] = (0, 1),
  begin: int = 0,
  shown: int = 0,
  report: Callable[[str], None] = print,
) -> Batches:
  """Builds the batches of a source.

  Args:
    config: an object with the fields `reader` (see READERS; only prepared sets support
      "tensorflow") and `workers` (see `Batches`).
    source: see `build_source`.
    batch_size: clips per batch, over all hosts.
    steps: batches per iteration.
    seed: seed of order and augmentation.
    part: (this host, number of hosts).
    begin: first iteration.
    shown: number of examples before it; see `Batches`.
    report: called with each line of text for the user.

  Returns:
    A function of an iteration; all readers give the same bytes.

  Raises:
    UserError: the reader is unknown or not installed, or an argument is outside its range.
  """
  if config.reader not in READERS:
    raise UserError(f"unknown data.reader '{config.reader}', known are: {', '.join(READERS)}")
  arguments = (batch_size, steps, seed, *part)
  if config.reader == "tensorflow":
    from vidgan_jax.data.sources.prepared import Prepared
    from vidgan_jax.data.tensorflow_pipeline import TensorFlowBatches

    if isinstance(source, Prepared):
      return TensorFlowBatches(
        source, *arguments, workers=config.workers, begin=begin, shown=shown, report=report
      )
    report(
      "config.data.reader=tensorflow reads only prepared sets; these clips are read without it"
    )
  return Batches(source, *arguments, workers=config.workers, begin=begin, shown=shown)


def _refuse(config, unsupported: dict[str, Any], instead: str) -> None:
  """Raises UserError if an unsupported field is not at its default.

  Args:
    config: see `build_source`.
    unsupported: the default of each field that this source does not support.
    instead: the end of the message: what supports the field.
  """
  for field, default in unsupported.items():
    value = getattr(config, field, default)
    value = tuple(value) if isinstance(default, tuple) else value
    if value != default:
      raise UserError(
        f"config.data.{field}={value!r} is not supported by data.name={config.name}; {instead}"
      )


# Fields that only folders of videos support, and fields that only prepared sets support.
_VIDEO_FOLDER_FIELDS = {"split_folders": "auto"}
_VIDEO_FOLDERS_INSTEAD = "folders of videos support it (config.data.name=video_folder)"
_PREPARED_FIELDS = {"mixture": (), "classes": (), "min_frames": 0, "temporal_reversal": False}


def check_new(config) -> None:
  """UserError if a new run would not read the folder that `config.data.directory` names.

  Runs that exist already report it instead (`build_source`), because they must stay readable.
  """
  if config.name == "moving_shapes" and config.directory:
    raise UserError(
      f"config.data.directory is {config.directory!r}, but config.data.name=moving_shapes reads no "
      "folder: --config.data.name=video_folder reads folders of videos, prepared the output of "
      "vidgan prepare, npz a file of clips"
    )


def _moving_shapes(config, frames, resolution, num_classes, split, report) -> sources.Source:
  instead = "prepared sets support it (config.data.name=prepared)"
  _refuse(config, {**_PREPARED_FIELDS, "horizontal_flip": False}, instead)
  _refuse(config, _VIDEO_FOLDER_FIELDS, _VIDEO_FOLDERS_INSTEAD)
  if config.directory:
    report(f"{config.directory} is not read: config.data.name=moving_shapes reads no folder")
  return MovingShapes(
    config.num_examples,
    frames,
    resolution,
    num_classes,
    config.seed,
    split,
    variety=config.variety,
    time_step=getattr(config, "time_step", 1.0),
  )


def _npz(config, frames, resolution, num_classes, split, report) -> sources.Source:
  del split  # one file is one split: the configuration names another file for another split
  _refuse(config, _PREPARED_FIELDS, "prepared sets support it (config.data.name=prepared)")
  _refuse(config, _VIDEO_FOLDER_FIELDS, _VIDEO_FOLDERS_INSTEAD)
  if os.path.isdir(config.directory):
    content = advice.advice(config.directory, resolution, _prepare_options(config)) or "is a folder"
    raise UserError(f"{config.directory}: is not an .npz file; it {content}")
  source = sources.load_npz(
    config.directory,
    frames=frames,
    stride=config.stride,
    resolution=resolution,
    num_classes=num_classes,
    horizontal_flip=config.horizontal_flip,
  )
  report(f"{config.directory}: {source.num_examples} clips, {source.num_classes} classes")
  for line in sources.scarce_classes(source.labels, source.class_names):
    report(f"{config.directory}: {line}")
  return source


def _prepared(config, frames, resolution, num_classes, split, report) -> sources.Source:
  # Imported here so that the synthetic and in-memory sources need no video library.
  from vidgan_jax.data.sources.prepared import Prepared

  _refuse(config, _VIDEO_FOLDER_FIELDS, "vidgan prepare takes --split_folders instead")
  return Prepared(
    [config.directory, *config.mixture],
    frames=frames,
    resolution=resolution,
    stride=config.stride,
    split=split,
    split_number=config.split_number,
    num_classes=num_classes,
    classes=config.classes,
    min_frames=config.min_frames,
    min_clips=config.min_clips,
    crop=config.crop,
    horizontal_flip=config.horizontal_flip,
    temporal_reversal=config.temporal_reversal,
    damaged=config.damaged,
    prepare=_prepare_options(config),
    report=report,
  )


def _prepare_options(config) -> str:
  """Options of the command that prepares a set for this configuration; "" if none are known."""
  if config.prepare and config.split_number != 1:
    return f"{config.prepare} --split_number={config.split_number}"
  return config.prepare


def _video_folder(config, frames, resolution, num_classes, split, report) -> sources.Source:
  from vidgan_jax.data.formats import index
  from vidgan_jax.data.sources import prepared_folder
  from vidgan_jax.data.sources.video_folder import VideoFolder

  directory = config.directory
  holds_set = os.path.isfile(os.path.join(directory, index.FILE_NAME))
  if not os.path.isdir(directory) or holds_set or prepared_folder.is_unfinished(directory):
    return _prepared(config, frames, resolution, num_classes, split, report)
  if advice.tfds_folder(directory):
    content = advice.advice(directory, resolution, _prepare_options(config))
    raise UserError(f"{directory}: {content}")
  output = advice.sibling_folder(directory, "prepared")
  command = advice.prepare_command(output, resolution, _prepare_options(config), directory)
  _refuse(
    config,
    _PREPARED_FIELDS,
    f"{directory} contains videos, and only a prepared set supports it; make one with: {command}",
  )
  return VideoFolder(
    config.directory,
    frames=frames,
    resolution=resolution,
    stride=config.stride,
    split=split,
    split_folders=getattr(config, "split_folders", "auto"),
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
