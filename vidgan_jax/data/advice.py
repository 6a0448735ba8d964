"""Describes data that a source cannot read, and gives the command that makes it readable.

Nothing is unpacked, and only the first or last bytes of a file are read.
"""

import os
import shlex
import struct
from collections.abc import Callable, Iterable, Iterator

from vidgan_jax.data.formats import index
from vidgan_jax.data.sources import folder_tree, split_folders
from vidgan_jax.data.sources.folder_tree import PICTURE_ENDINGS, VIDEO_ENDINGS
from vidgan_jax.runtime.errors import UserError

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_ARCHIVES = (".zip", *_TARS)
_OTHER_ARCHIVES = (".rar", ".7z")  # UCF-101 and HMDB51 come as .rar
_ARRAYS = (".npy", ".npz")
_RECORDS = (".tfrecord", ".tfrecords")
# Options that apply to every source of `prepare`; those of classes and splits do not.
_GENERAL = ("--resize=", "--crop=", "--stride=", "--frame_rate=", "--quality=", "--lossless")
_TFDS_LEVELS = 3  # folders above the files of TensorFlow Datasets: NAME/CONFIG/VERSION
_MAX_NAMES = 10_000  # names that are read of an archive or a folder
_MAX_DIRECTORY = 2**26  # bytes of a zip's list of files
_BLOCK = 512  # bytes of a block of a tar archive
_ZIP64 = 2**32 - 1  # a zip's end record has this value if the zip64 end record holds the number


def prepare_command(
  directory: str, resolution: int | None, options: str = "", input_path: str = "VIDEOS"
) -> str:
  """The command that makes a prepared data set.

  Args:
    directory: folder of the new set; "" writes a placeholder.
    resolution: smaller side of its pictures, pixels; None omits the flag.
    options: options of `vidgan prepare` for this experiment.
    input_path: the data to prepare.
  """
  size = "" if resolution is None else f" --resolution={resolution}"
  return (
    f"vidgan prepare {options or '--source=SOURCE'} "
    f"--input={shlex.quote(input_path)} --output={shlex.quote(directory or 'DIR')}{size}"
  )


def sibling_folder(directory: str, ending: str) -> str:
  """The path of a folder beside `directory`, named DIRECTORY_ending."""
  return f"{directory.rstrip(os.sep)}_{ending}"


def advice(path: str, resolution: int | None = None, options: str = "") -> str | None:
  """Describes a file or folder and says what to do with it, as the end of a sentence.

  Args:
    path: a file, or a folder without videos.
    resolution: resolution of the model's clips, pixels; None if unknown.
    options: options of `vidgan prepare` for this experiment.

  Returns:
    A text such as "is a zip archive of pictures; prepare them with: ..."; None if the content is
    not recognised.
  """
  general = " ".join(option for option in options.split() if option.startswith(_GENERAL))

  def command(source: str, input_path: str, output: str = "") -> str:
    output = output or sibling_folder(input_path, "prepared")
    return prepare_command(output, resolution, f"--source={source} {general}".strip(), input_path)

  try:
    if os.path.isdir(path):
      return _folder_advice(path, command)
    return _file_advice(path, command) if os.path.isfile(path) else None
  except (OSError, UserError, struct.error):  # the caller reports its own error without advice
    return None


def tfds_folder(directory: str) -> str | None:
  """The newest version of a set in `directory` that TensorFlow Datasets prepared, or None."""
  for depth in range(_TFDS_LEVELS + 1):
    for folder in sorted(_folders(directory, depth), key=_version_key, reverse=True):
      has = lambda name, folder=folder: os.path.isfile(os.path.join(folder, name))
      if has("dataset_info.json") and has("features.json") and not has(index.FILE_NAME):
        return folder
  return None


def _folders(directory: str, depth: int) -> list[str]:
  """The folders `depth` levels below a folder, without hidden ones."""
  if depth == 0:
    return [directory]
  try:
    names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
  except OSError:
    return []
  paths = [os.path.join(directory, name) for name in names[:_MAX_NAMES]]
  return [inner for path in paths if os.path.isdir(path) for inner in _folders(path, depth - 1)]


def _version_key(path: str) -> list[tuple[bool, int | str]]:
  """A sort key that puts 1.10.0 after 1.9.0."""
  parts = os.path.basename(path).split(".")
  return [(True, int(part)) if part.isdecimal() else (False, part) for part in parts]


def _folder_advice(path: str, command: Callable[..., str]) -> str | None:
  """`advice` for a folder."""
  tfds = tfds_folder(path)
  if tfds:
    return (
      "contains a set that TensorFlow Datasets prepared; convert it (pip install -r "
      f"requirements-data.txt) with: {command('tfds', tfds, sibling_folder(path, 'prepared'))}"
    )
  tree = folder_tree.read_tree(path)
  files = [os.path.join(folder, name) for folder, names in tree.folders for name in names]
  archives = [name for name in files if name.lower().endswith((*_ARCHIVES, *_OTHER_ARCHIVES))]
  if any(name.lower().endswith(VIDEO_ENDINGS) for name in files):
    return f"contains videos; prepare them with: {command('folder', path)}"
  if any(name.lower().endswith(PICTURE_ENDINGS) for name in files):
    source = _frames_source(files)
    return f"contains folders of pictures; prepare them with: {command(source, path)}"
  if archives:
    inside = _file_advice(os.path.join(path, archives[0]), command)
    return f"contains archives, such as {archives[0]}, which {inside}"
  if any(name.lower().endswith(_RECORDS) for name in files):
    return f"contains TFRecords; prepare those of BAIR robot pushing with: {command('bair', path)}"
  arrays = [name for name in files if name.lower().endswith(_ARRAYS)]
  if arrays:
    return f"contains {arrays[0]}, which {_file_advice(os.path.join(path, arrays[0]), command)}"
  return None


def _frames_source(files: Iterable[str]) -> str:
  """The source option for folders of pictures; without classes if each clip has its own folder."""
  clips = {os.path.dirname(name) for name in files if name.lower().endswith(PICTURE_ENDINGS)}
  parts = [(clip, os.path.dirname(clip)) for clip in clips]
  try:
    locations, _ = split_folders.assign_splits("", parts, split_folders.AUTO, "")
  except UserError:  # unclear which folders are splits: `prepare` will ask the user
    return "frames"
  classes = {location.folders[0] for location in locations if location.folders}
  return "frames --class_level=0" if len(classes) > len(clips) / 2 else "frames"


def _file_advice(path: str, command: Callable[..., str]) -> str | None:
  """`advice` for a file."""
  name = path.lower()
  folder = os.path.splitext(path)[0].removesuffix(".tar")
  if name.endswith(_ARCHIVES):
    is_zip = name.endswith(".zip")
    files = list(_zip_names(path) if is_zip else _tar_names(path))
    kind = "zip" if is_zip else "tar"
    pictures = any(file.lower().endswith(PICTURE_ENDINGS) for file in files)
    videos = any(file.lower().endswith(VIDEO_ENDINGS) for file in files)
    content = "pictures" if pictures and not videos else "videos" if videos else "files"
    source = _frames_source(files) if content == "pictures" else "folder"
    if videos and all("/" not in file.removeprefix("./") for file in files):
      source = "folder --class_level=0"  # WebDataset stores labels in separate files
    target = shlex.quote(folder)
    unpack = f"mkdir -p {target} && tar -xf {shlex.quote(path)} -C {target}"
    if is_zip:
      unpack = f"python -m zipfile -e {shlex.quote(path)} {target}"
    return f"is a {kind} archive of {content}; unpack and prepare it with: {unpack} && " + command(
      source, folder
    )
  if name.endswith(_OTHER_ARCHIVES):
    target = shlex.quote(folder)
    return (
      f"is an archive that Python cannot unpack; unpack it with: 7z x -o{target} "
      f"{shlex.quote(path)} (or unar), and use the folder {target} instead"
    )
  if name.endswith(".npz"):
    return "is an archive of arrays; config.data.name=npz reads it"
  if name.endswith(".npy"):
    prepared = command("moving_mnist", path, sibling_folder(folder, "prepared"))
    return f"is an array; prepare the one of Moving MNIST with: {prepared}"
  if name.endswith(VIDEO_ENDINGS):
    return f"is a video; use its folder instead: {shlex.quote(os.path.dirname(path) or '.')}"
  return None


def _zip_names(path: str) -> Iterator[str]:
  """Yields the names of the files in a zip archive; none if its list is damaged or too large."""
  with open(path, "rb") as file:
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 2**16 - 22))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
      return
    length, offset = struct.unpack_from("<II", tail, at + 12)
    if _ZIP64 in (length, offset) and tail[at - 20 : at - 16] == b"PK\6\7":
      (record,) = struct.unpack_from("<Q", tail, at - 12)  # the zip64 end record, above 4 GiB
      file.seek(min(record, size))
      length, offset = struct.unpack("<40xQQ", file.read(56).ljust(56, b"\0"))
    if length > min(size, _MAX_DIRECTORY) or offset > size:
      return
    file.seek(offset)
    listing = file.read(length)
  at = 0
  for _ in range(_MAX_NAMES):
    if listing[at : at + 4] != b"PK\1\2" or len(listing) < at + 46:
      return
    lengths = struct.unpack_from("<HHH", listing, at + 28)
    yield listing[at + 46 : at + 46 + lengths[0]].decode("utf-8", "replace")
    at += 46 + sum(lengths)


def _tar_names(path: str) -> Iterator[str]:
  """Yields the names of the files in a tar archive; none if it is compressed."""
  with open(path, "rb") as file:
    for _ in range(_MAX_NAMES):
      header = file.read(_BLOCK)
      try:
        size = int(header[124:136].strip(b" \0") or b"0", 8)
      except ValueError:
        return
      if header[257:262] != b"ustar" or size < 0:
        return
      yield header[:100].split(b"\0")[0].decode("utf-8", "replace")
      file.seek(-(-size // _BLOCK) * _BLOCK, os.SEEK_CUR)
