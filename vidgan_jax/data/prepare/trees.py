"""Inputs that are trees of files: videos, folders of frames, UCF-101 with its lists."""

import dataclasses
import functools
import os
from collections.abc import Iterator

from PIL import Image

from vidgan_jax.data.prepare import inputs, picture_files
from vidgan_jax.data.prepare.inputs import Input, Listing, Unusable
from vidgan_jax.data.prepare.pictures import ArrayFrame
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import folder_tree, split_folders, split_lists
from vidgan_jax.data.sources.folder_tree import shown
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import VideoError, decode_video
from vidgan_jax.runtime.text import composed, find_name


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
  clips, aside, tree = [], 0, folder_tree.read_tree(request.input)
  for folder, files in tree.folders:
    for name in files:
      if split_lists.is_video(name):
        path = os.path.join(folder, name)
        clips.append((path, folder, inputs.identifier(os.path.splitext(path)[0])))
      else:
        aside += 1
  build = lambda path, name, label: video(request, path, name, label)
  listing = _in_folders(request, clips, build, aside)
  return _with_remarks(listing, tree, [path for path, _, _ in clips], "video")


def list_frames(request: Request) -> Listing:
  """A tree of folders of pictures: each folder that holds pictures is a clip."""
  clips, aside, pictures, tree = [], 0, {}, folder_tree.read_tree(request.input)
  for folder, files in tree.folders:
    names = [name for name in files if name.lower().endswith(folder_tree.PICTURE_ENDINGS)]
    aside += len(files) - len(names)
    if names:
      pictures[folder] = sorted(names, key=inputs.natural)
      clips.append((folder or ".", os.path.dirname(folder), inputs.identifier(folder or ".")))
  build = lambda path, name, label: _pictures(request, path, name, label, pictures)
  listing = _in_folders(request, clips, build, aside)
  return _with_remarks(listing, tree, [os.path.join(path, "") for path, _, _ in clips], "picture")


def _with_remarks(listing: Listing, tree, paths: list[str], what: str) -> Listing:
  """Adds what there is to say about folders that give no clips; see `Tree.remarks`."""
  remarks = (*listing.remarks, *tree.remarks(paths, what))
  return dataclasses.replace(listing, remarks=remarks)


def _in_folders(request: Request, clips, build, aside: int) -> Listing:
  """Sorts clips, (path, folder, name) each, into splits and classes by the folders on their way.

  Raises:
    UserError: see `split_folders.place`, or a class is unknown.
  """
  places, remark = split_folders.place(
    request.input, [one[:2] for one in clips], request.split_folders, "--split_folders"
  )
  placed, unusable, level, spelled = {}, {}, request.class_level, {}
  deep = []
  outside = [path for (path, _, _), at in zip(clips, places, strict=True) if at.split is None]
  for (path, _, name), at in zip(clips, places, strict=True):
    if at.split is None:
      continue
    class_name = None
    deep += [path] if 0 < level < len(at.folders) else []
    if 0 < level <= len(at.folders):
      class_name = inputs.identifier(at.folders[level - 1])
      class_name = spelled.setdefault(composed(class_name), class_name)  # NFC and NFD are one
    placed.setdefault(at.split, []).append((path, name, class_name))
  found = sorted(spelled.values())
  if level > 1 and not found:
    raise UserError(f"{request.input}: no clip lies {level} folders deep; class_level is {level}")
  classes = inputs.read_class_names(request.classes) if request.classes and level else tuple(found)
  numbers = {name: find_name(name, classes) for name in found}
  unknown = [name for name, label in numbers.items() if label is None]
  if unknown:
    raise UserError(f"{request.classes}: names no class '{unknown[0]}', which has a folder")
  splits = {}
  for split, ones in placed.items():
    splits[split], unusable[split] = [], []
    for path, name, class_name in ones:
      if classes and class_name is None:
        unusable[split].append(Unusable(path, "lies in no class folder"))
      else:
        splits[split].append(build(path, name, numbers.get(class_name, 0)))
  remarks = [remark] if remark else []
  if outside:
    remarks.append(
      f"{len(outside)} clips are left out, for they lie in none of these folders: {shown(outside)}"
    )
  if deep:
    remarks.append(
      f"{len(deep)} clips lie deeper in their class folders, such as {shown(deep[:1])}; "
      f"--class_level={level + 1} takes the folders one level deeper for classes"
    )
  return Listing(classes, splits, unusable, aside, tuple(remarks))


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
    try:
      image = picture_files.read(os.path.join(folder, name))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
      raise VideoError(folder, f"{name} is not readable as a picture ({error})") from error
    size = size or image.shape
    if image.shape != size:
      raise VideoError(folder, f"changes its size at {name}")
    yield ArrayFrame(folder, number, image)
