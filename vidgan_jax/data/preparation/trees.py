"""Inputs that are trees of files: videos, folders of frames, UCF-101 with its lists."""

import functools
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image

from vidgan_jax.data import split_lists
from vidgan_jax.data.preparation import inputs
from vidgan_jax.data.preparation.inputs import Input, Listing, Unusable
from vidgan_jax.data.preparation.pictures import ArrayFrame
from vidgan_jax.data.preparation.settings import Request
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable
from vidgan_jax.runtime.video_files import VideoError, decode_video

_PICTURE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_PICTURE_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_PICTURE_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
_MAX_PIXELS = 2**26


def list_ucf101(request: Request) -> Listing:
  """UCF-101: a folder per class, and the official lists (`ucfTrainTestlist`)."""
  lists = request.lists[0] if request.lists else None
  if len(request.lists) > 1:
    raise UserError(f"{request.source} takes one folder of lists, not {len(request.lists)}")
  if lists is None and not os.path.isdir(os.path.join(request.input, split_lists.LISTS_FOLDER)):
    raise UserError(
      f"{request.input}: has no folder {split_lists.LISTS_FOLDER}; where are the lists (--lists)?"
    )
  splits, unusable = {}, {}
  for split in request.splits or ("train", "test"):
    if split not in ("train", "test"):
      raise UserError(f"{request.source} has the splits train and test, not '{split}'")
    listing = split_lists.list_folder(request.input, split, request.list_number, lists)
    splits[split] = []
    for clip in listing.clips:
      # The class is spelled in different ways on disk.
      stem = os.path.splitext(os.path.basename(clip.path))[0]
      name = inputs.identifier(listing.class_names[clip.label], stem)
      splits[split].append(video(request, clip.path, name, clip.label))
    unusable[split] = [Unusable(path, "listed, but not there") for path in listing.missing]
  return Listing(listing.class_names, splits, unusable)


def list_videos(request: Request) -> Listing:
  """Any tree of videos; a folder on the way to a video may be its class."""
  clips, aside = [], 0
  for folder, files in inputs.walk(request.input):
    for name in files:
      if split_lists.is_video(name):
        path = os.path.join(folder, name)
        clips.append((path, folder, inputs.identifier(os.path.splitext(path)[0])))
      else:
        aside += 1
  build = lambda path, name, label: video(request, path, name, label)
  return _in_folders(request, clips, build, aside)


def list_frames(request: Request) -> Listing:
  """A tree of folders of pictures: each folder that holds pictures is a clip."""
  clips, aside, pictures = [], 0, {}
  for folder, files in inputs.walk(request.input):
    names = [name for name in files if name.lower().endswith(_PICTURE_ENDINGS)]
    aside += len(files) - len(names)
    if names:
      pictures[folder] = sorted(names, key=inputs.natural)
      clips.append((folder or ".", os.path.dirname(folder), inputs.identifier(folder or ".")))
  build = lambda path, name, label: _pictures(request, path, name, label, pictures)
  return _in_folders(request, clips, build, aside)


def _in_folders(request: Request, clips, build, aside: int) -> Listing:
  """Sorts clips, (path, folder, name) each, into splits and classes by the folders on their way.

  Raises:
    UserError: some are in folders named like splits and others are not, or a class is unknown.
  """
  named, others = set(), set()
  for path, folder, _ in clips:
    top = path.split(os.sep)[0]
    (named if folder and inputs.split_of(top) else others).add(top)
  if named and others:
    raise UserError(
      f"{request.input}: '{printable(min(others))}' lies beside '{printable(min(named))}', which "
      f"is named like a split; all or none must be splits"
    )
  by_split = bool(named)
  placed, unusable, level = {}, {}, request.class_level
  for path, folder, name in clips:
    parts = folder.split(os.sep) if folder else []
    split = inputs.split_of(parts.pop(0)) if by_split else "train"
    class_name = inputs.identifier(parts[level - 1]) if 0 < level <= len(parts) else None
    placed.setdefault(split, []).append((path, name, class_name))
  found = sorted({one[2] for ones in placed.values() for one in ones if one[2] is not None})
  if level > 1 and not found:
    raise UserError(f"{request.input}: no clip lies {level} folders deep; class_level is {level}")
  classes = inputs.read_class_names(request.classes) if request.classes and level else tuple(found)
  unknown = sorted(set(found) - set(classes))
  if unknown:
    raise UserError(f"{request.classes}: names no class '{unknown[0]}', which has a folder")
  numbers = {name: label for label, name in enumerate(classes)}
  splits = {}
  for split, ones in placed.items():
    splits[split], unusable[split] = [], []
    for path, name, class_name in ones:
      if classes and class_name is None:
        unusable[split].append(Unusable(path, "lies in no class folder"))
      else:
        splits[split].append(build(path, name, numbers.get(class_name, 0)))
  return Listing(classes, splits, unusable, aside)


def video(request: Request, path: str, name: str, label: int) -> Input:
  """The input that a video file is; its path is relative to the input folder."""
  full = os.path.join(request.input, path)
  frames = functools.partial(decode_video, full)
  return Input(name, label, path, inputs.file_stamp(full), frames)


def _pictures(request, folder: str, name: str, label: int, pictures: dict) -> Input:
  names = pictures["" if folder == "." else folder]
  full = os.path.join(request.input, folder)
  stamps = [f"{one} {inputs.file_stamp(os.path.join(full, one))}" for one in names]
  frames = functools.partial(_read_pictures, full, names)
  return Input(name, label, folder, "\0".join(map(inputs.identifier, stamps)), frames)


def _read_pictures(folder: str, names: list[str]) -> Iterator[ArrayFrame]:
  """Yields the frames of a folder of pictures; raises VideoError where one cannot be used."""
  size = None
  for number, name in enumerate(names):
    path = os.path.join(folder, name)
    try:
      with Image.open(path, formats=_PICTURE_FORMATS) as picture:
        if picture.width * picture.height > _MAX_PIXELS:
          raise VideoError(folder, f"{name} has {picture.width}x{picture.height} pixels")
        if picture.mode not in _PICTURE_MODES:
          raise VideoError(folder, f"{name} has pixels of the kind {picture.mode}, not 8 bits each")
        size = size or picture.size
        if picture.size != size:
          raise VideoError(folder, f"changes its size at {name}")
        image = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
      raise VideoError(folder, f"{name} is not readable as a picture ({error})") from error
    yield ArrayFrame(folder, number, image)
