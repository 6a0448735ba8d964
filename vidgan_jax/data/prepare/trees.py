"""Inputs in trees of files: videos, folders of frames, UCF-101 with its lists."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator

from PIL import Image

from vidgan_jax.data.prepare import inputs, picture_files
from vidgan_jax.data.prepare.inputs import Input, Listing, Unusable
from vidgan_jax.data.prepare.pictures import ArrayFrame
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import folder_tree, split_folders, split_lists
from vidgan_jax.data.sources.folder_tree import abbreviated
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import VideoError, decode_video
from vidgan_jax.runtime.text import composed, find_name


def list_ucf101(request: Request) -> Listing:
  """Lists UCF-101: a folder per class, and the official lists (`ucfTrainTestlist`)."""
  lists = request.lists[0] if request.lists else None
  if len(request.lists) > 1:
    raise UserError(f"{request.source} takes one folder of lists, not {len(request.lists)}")
  if lists is None and not os.path.isdir(os.path.join(request.input, split_lists.LISTS_FOLDER)):
    raise UserError(
      f"{request.input}: has no folder {split_lists.LISTS_FOLDER}; give its path with --lists"
    )
  splits, unusable = {}, {}
  for split in request.splits or ("train", "test"):
    if split not in ("train", "test"):
      raise UserError(f"{request.source} has only the splits train and test, not '{split}'")
    listing = split_lists.list_folder(request.input, split, request.list_number, lists)
    splits[split] = []
    for clip in listing.clips:
      # On disk the class may be spelled differently, so the name comes from the list.
      stem = os.path.splitext(os.path.basename(clip.path))[0]
      name = inputs.identifier(listing.class_names[clip.label], stem)
      splits[split].append(video_input(request, clip.path, name, clip.label))
    unusable[split] = [Unusable(path, "listed, but missing") for path in listing.missing]
  return Listing(listing.class_names, splits, unusable)


def list_videos(request: Request) -> Listing:
  """Lists any tree of videos; a folder on the path of a video may be its class."""
  clips, ignored, tree = [], 0, folder_tree.read_tree(request.input)
  for folder, files in tree.folders:
    for name in files:
      if split_lists.is_video(name):
        path = os.path.join(folder, name)
        clips.append((path, folder, inputs.identifier(os.path.splitext(path)[0])))
      else:
        ignored += 1
  build = lambda path, name, label: video_input(request, path, name, label)
  listing = _assign_folders(request, clips, build, ignored)
  return _with_remarks(listing, tree, [path for path, _, _ in clips], "video")


def list_frames(request: Request) -> Listing:
  """Lists a tree of folders of pictures; each folder that contains pictures is a clip."""
  clips, ignored, pictures, tree = [], 0, {}, folder_tree.read_tree(request.input)
  for folder, files in tree.folders:
    names = [name for name in files if name.lower().endswith(folder_tree.PICTURE_ENDINGS)]
    ignored += len(files) - len(names)
    if names:
      pictures[folder] = sorted(names, key=inputs.natural)
      clips.append((folder or ".", os.path.dirname(folder), inputs.identifier(folder or ".")))
  build = lambda path, name, label: _pictures_input(request, path, name, label, pictures)
  listing = _assign_folders(request, clips, build, ignored)
  return _with_remarks(listing, tree, [os.path.join(path, "") for path, _, _ in clips], "picture")


def _with_remarks(listing: Listing, tree: folder_tree.Tree, paths: list[str], what: str) -> Listing:
  """Adds remarks about folders without clips; see `Tree.remarks`."""
  remarks = (*listing.remarks, *tree.remarks(paths, what))
  return dataclasses.replace(listing, remarks=remarks)


def _assign_folders(
  request: Request,
  clips: list[tuple[str, str, str]],
  build: Callable[[str, str, int], Input],
  ignored: int,
) -> Listing:
  """Assigns clips to splits and classes by the folders on their paths.

  Args:
    request: the request.
    clips: (path, folder whose parts may be splits and classes, name) of each clip.
    build: returns the input of a path, a name and a label.
    ignored: see `Listing`.

  Raises:
    UserError: see `split_folders.assign_splits`, or a class is unknown.
  """
  assignments, remark = split_folders.assign_splits(
    request.input, [clip[:2] for clip in clips], request.split_folders, "--split_folders"
  )
  assigned, unusable, level, spelled = {}, {}, request.class_level, {}
  deep = []
  outside = [path for (path, _, _), at in zip(clips, assignments, strict=True) if at.split is None]
  for (path, _, name), at in zip(clips, assignments, strict=True):
    if at.split is None:
      continue
    class_name = None
    deep += [path] if 0 < level < len(at.folders) else []
    if 0 < level <= len(at.folders):
      class_name = inputs.identifier(at.folders[level - 1])
      # Names that differ only in their Unicode normal form are one class.
      class_name = spelled.setdefault(composed(class_name), class_name)
    assigned.setdefault(at.split, []).append((path, name, class_name))
  folder_names = sorted(spelled.values())
  if level > 1 and not folder_names:
    raise UserError(f"{request.input}: no clip is {level} folders deep; class_level is {level}")
  classes = tuple(folder_names)
  if request.classes and level:
    classes = inputs.read_class_names(request.classes)
  numbers = {name: find_name(name, classes) for name in folder_names}
  unknown = [name for name, label in numbers.items() if label is None]
  if unknown:
    raise UserError(
      f"{request.classes}: does not contain the class '{unknown[0]}', for which a folder exists"
    )
  splits = {}
  for split, named in assigned.items():
    splits[split], unusable[split] = [], []
    for path, name, class_name in named:
      if classes and class_name is None:
        unusable[split].append(Unusable(path, "is in no class folder"))
      else:
        label = None if class_name is None else numbers[class_name]
        splits[split].append(build(path, name, label or 0))
  remarks = [remark] if remark else []
  if outside:
    remarks.append(
      f"{len(outside)} clips are left out, because they are in no split folder: "
      f"{abbreviated(outside)}"
    )
  if deep:
    remarks.append(
      f"{len(deep)} clips are in sub-folders of their class folders, such as "
      f"{abbreviated(deep[:1])}; --class_level={level + 1} uses the folders one level deeper as "
      "classes"
    )
  return Listing(classes, splits, unusable, ignored, tuple(remarks))


def video_input(request: Request, path: str, name: str, label: int) -> Input:
  """The input of a video file; its path is relative to the input folder."""
  full = os.path.join(request.input, path)
  frames = functools.partial(decode_video, full)
  return Input(name, label, path, inputs.file_stamp(full), frames)


def _pictures_input(
  request: Request, folder: str, name: str, label: int, pictures: dict[str, list[str]]
) -> Input:
  """The input of a folder of pictures; `pictures` has the sorted file names of each folder."""
  names = pictures["" if folder == "." else folder]
  full = os.path.join(request.input, folder)
  stamps = [f"{file} {inputs.file_stamp(os.path.join(full, file))}" for file in names]
  frames = functools.partial(_read_pictures, full, names)
  return Input(name, label, folder, "\0".join(map(inputs.identifier, stamps)), frames)


def _read_pictures(folder: str, names: list[str]) -> Iterator[ArrayFrame]:
  """Yields the frames of a folder of pictures; raises VideoError if one of them is not usable."""
  size = None
  for number, name in enumerate(names):
    try:
      image = picture_files.read(os.path.join(folder, name))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
      raise VideoError(folder, f"{name} is not readable as a picture ({error})") from error
    size = size or image.shape
    if image.shape != size:
      raise VideoError(folder, f"the size of the pictures changes at {name}")
    yield ArrayFrame(folder, number, image)
