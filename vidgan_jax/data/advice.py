"""What lies at a path that a source cannot read, and the command that makes it readable.

Nothing is unpacked here, and no more of a file is read than its first or last bytes.
"""

import os
import shlex
import struct
from collections.abc import Iterable, Iterator

from vidgan_jax.data.formats import index
from vidgan_jax.data.sources import folder_tree, split_folders
from vidgan_jax.data.sources.folder_tree import PICTURE_ENDINGS, VIDEO_ENDINGS
from vidgan_jax.runtime.errors import UserError

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_ARCHIVES = (".zip", *_TARS)
_OTHER_ARCHIVES = (".rar", ".7z")  # UCF-101 and HMDB51 come as .rar
_ARRAYS = (".npy", ".npz")
_RECORDS = (".tfrecord", ".tfrecords")
# Options that other sources have as well; those of classes and splits are the source's own.
_GENERAL = ("--resize=", "--crop=", "--stride=", "--frame_rate=", "--quality=", "--lossless")
_TFDS_LEVELS = 3  # folders above the files of TensorFlow Datasets: NAME/CONFIG/VERSION
_LOOKED_AT = 10_000  # files of an archive or a folder
_MAX_DIRECTORY = 2**26  # bytes of a zip's list of files
_BLOCK = 512  # bytes of a tar


def prepare_command(
  directory: str, resolution: int | None, options: str = "", given: str = "VIDEOS"
) -> str:
  """The command that makes a prepared data set.

  Args:
    directory: where to; "" names none.
    resolution: of its pictures' smaller side, pixels; None leaves it out.
    options: the experiment's own, of `vidgan_jax.prepare`.
    given: what it is made of.
  """
  size = "" if resolution is None else f" --resolution={resolution}"
  return (
    f"python -m vidgan_jax.prepare {options or '--source=SOURCE'} --input={shlex.quote(given)} "
    f"--output={shlex.quote(directory or 'DIR')}{size}"
  )


def beside(directory: str, ending: str) -> str:
  """The path of a folder beside another one, called as that is and `ending`."""
  return f"{directory.rstrip(os.sep)}_{ending}"


def advice(path: str, resolution: int | None = None, options: str = "") -> str | None:
  """What a file or folder holds and what to do with it, as the end of a sentence.

  Args:
    path: a file, or a folder without videos.
    resolution: of the model's clips, pixels; None where none is known.
    options: of `prepare` for the data of this experiment.

  Returns:
    Such as "is a zip archive of pictures; prepare them with: ..."; None where nothing is known
    about it.
  """
  general = " ".join(one for one in options.split() if one.startswith(_GENERAL))

  def command(source: str, given: str, output: str = "") -> str:
    output = output or beside(given, "prepared")
    return prepare_command(output, resolution, f"--source={source} {general}".strip(), given)

  try:
    if os.path.isdir(path):
      return _of_folder(path, command)
    return _of_file(path, command) if os.path.isfile(path) else None
  except (OSError, UserError, struct.error):  # advice is not worth another error
    return None


def tfds_folder(directory: str) -> str | None:
  """The folder in `directory` of a set that TensorFlow Datasets prepared, of its newest version."""
  for depth in range(_TFDS_LEVELS + 1):
    for folder in sorted(_folders(directory, depth), key=_versions, reverse=True):
      there = lambda name, folder=folder: os.path.isfile(os.path.join(folder, name))
      if there("dataset_info.json") and there("features.json") and not there(index.FILE_NAME):
        return folder
  return None


def _folders(directory: str, depth: int) -> list[str]:
  """The folders so many levels below a folder, those that are not hidden."""
  if depth == 0:
    return [directory]
  try:
    names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
  except OSError:
    return []
  paths = [os.path.join(directory, name) for name in names[:_LOOKED_AT]]
  return [one for path in paths if os.path.isdir(path) for one in _folders(path, depth - 1)]


def _versions(path: str) -> list:
  """A key that puts 1.10.0 behind 1.9.0."""
  parts = os.path.basename(path).split(".")
  return [(True, int(part)) if part.isdecimal() else (False, part) for part in parts]


def _of_folder(path: str, command) -> str | None:
  """`advice` for a folder."""
  tfds = tfds_folder(path)
  if tfds:
    return (
      "holds a set that TensorFlow Datasets prepared; convert it (pip install -r "
      f"requirements-data.txt) with: {command('tfds', tfds, beside(path, 'prepared'))}"
    )
  tree = folder_tree.read_tree(path)
  files = [os.path.join(folder, name) for folder, names in tree.folders for name in names]
  archives = [name for name in files if name.lower().endswith((*_ARCHIVES, *_OTHER_ARCHIVES))]
  if any(name.lower().endswith(VIDEO_ENDINGS) for name in files):
    return f"holds videos; prepare them with: {command('folder', path)}"
  if any(name.lower().endswith(PICTURE_ENDINGS) for name in files):
    source = _frames_source(files)
    return f"holds folders of pictures; prepare them with: {command(source, path)}"
  if archives:
    inside = _of_file(os.path.join(path, archives[0]), command)
    return f"holds archives, such as {archives[0]}, which {inside}"
  if any(name.lower().endswith(_RECORDS) for name in files):
    return (
      f"holds TFRecords; those of BAIR robot pushing are prepared with: {command('bair', path)}"
    )
  arrays = [name for name in files if name.lower().endswith(_ARRAYS)]
  if arrays:
    return f"holds {arrays[0]}, which {_of_file(os.path.join(path, arrays[0]), command)}"
  return None


def _frames_source(files: Iterable[str]) -> str:
  """The options that prepare folders of pictures: without classes where each has its own folder."""
  clips = {os.path.dirname(name) for name in files if name.lower().endswith(PICTURE_ENDINGS)}
  parts = [(one, os.path.dirname(one)) for one in clips]
  try:
    places, _ = split_folders.place("", parts, split_folders.AUTO, "")
  except UserError:  # it is not clear which folders are splits: `prepare` asks for it
    return "frames"
  classes = {place.folders[0] for place in places if place.folders}
  return "frames --class_level=0" if len(classes) > len(clips) / 2 else "frames"


def _of_file(path: str, command) -> str | None:
  """`advice` for a file."""
  name = path.lower()
  folder = os.path.splitext(path)[0].removesuffix(".tar")
  if name.endswith(_ARCHIVES):
    is_zip = name.endswith(".zip")
    files = list(_zip_names(path) if is_zip else _tar_names(path))
    kind = "zip" if is_zip else "tar"
    pictures = any(one.lower().endswith(PICTURE_ENDINGS) for one in files)
    videos = any(one.lower().endswith(VIDEO_ENDINGS) for one in files)
    what = "pictures" if pictures and not videos else "videos" if videos else "files"
    source = _frames_source(files) if what == "pictures" else "folder"
    if videos and all("/" not in one.removeprefix("./") for one in files):
      source = "folder --class_level=0"  # WebDataset keeps labels in files of their own
    target = shlex.quote(folder)
    unpack = f"mkdir -p {target} && tar -xf {shlex.quote(path)} -C {target}"
    if is_zip:
      unpack = f"python -m zipfile -e {shlex.quote(path)} {target}"
    return f"is a {kind} archive of {what}; unpack and prepare it with: {unpack} && " + command(
      source, folder
    )
  if name.endswith(_OTHER_ARCHIVES):
    target = shlex.quote(folder)
    return (
      f"is an archive that Python cannot unpack; unpack it with: 7z x -o{target} "
      f"{shlex.quote(path)} (or unar), and give the folder {target} instead"
    )
  if name.endswith(".npz"):
    return "is an archive of arrays, which config.data.name=npz reads"
  if name.endswith(".npy"):
    prepared = command("moving_mnist", path, beside(folder, "prepared"))
    return f"is an array; Moving MNIST's is prepared with: {prepared}"
  if name.endswith(VIDEO_ENDINGS):
    return f"is a video; its folder is what is read: {shlex.quote(os.path.dirname(path) or '.')}"
  return None


def _zip_names(path: str) -> Iterator[str]:
  """Names of the files of a zip, none where its list is damaged or large."""
  with open(path, "rb") as file:
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 2**16 - 22))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
      return
    length, offset = struct.unpack_from("<II", tail, at + 12)
    if length > min(size, _MAX_DIRECTORY):
      return
    file.seek(offset)
    listing = file.read(length)
  at = 0
  for _ in range(_LOOKED_AT):
    if listing[at : at + 4] != b"PK\1\2" or len(listing) < at + 46:
      return
    lengths = struct.unpack_from("<HHH", listing, at + 28)
    yield listing[at + 46 : at + 46 + lengths[0]].decode("utf-8", "replace")
    at += 46 + sum(lengths)


def _tar_names(path: str) -> Iterator[str]:
  """Names of the files of a tar, none where it is compressed."""
  with open(path, "rb") as file:
    for _ in range(_LOOKED_AT):
      header = file.read(_BLOCK)
      try:
        size = int(header[124:136].strip(b" \0") or b"0", 8)
      except ValueError:
        return
      if header[257:262] != b"ustar" or size < 0:
        return
      yield header[:100].split(b"\0")[0].decode("utf-8", "replace")
      file.seek(-(-size // _BLOCK) * _BLOCK, os.SEEK_CUR)
