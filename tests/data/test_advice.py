"""Data of other kinds is recognised, and the command in the message works."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data import advice
from vidgan_jax.data.formats import index
from vidgan_jax.data.sources.prepared import Prepared
from vidgan_jax.data.sources.video_folder import VideoFolder
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_writers import write_mp4


def picture():
  """A small PNG."""
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8), (200, 90, 10)).save(buffer, "PNG")
  return buffer.getvalue()


def video(tmp_path):
  write_mp4(tmp_path / "one.mp4", np.full((4, 16, 16, 3), 90, np.uint8), 10)
  return (tmp_path / "one.mp4").read_bytes()


def write_archive(path, files):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".zip":
    with zipfile.ZipFile(path, "w") as archive:
      for name, content in files.items():
        archive.writestr(name, content)
    return
  with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))


def both_refusals(path):
  """The error messages of Prepared and of VideoFolder for a path."""
  messages = []
  for build in (
    lambda: Prepared([path], frames=2, resolution=8),
    lambda: VideoFolder(path, frames=2, resolution=8, cache_directory=path),
  ):
    with pytest.raises(UserError) as caught:
      build()
    messages.append(str(caught.value))
  return messages


def run(line, cwd):
  """Runs the command at the end of a message."""
  python = shlex.quote(sys.executable)
  command = line.split(" with: ")[-1].replace("python ", f"{python} ")
  command = command.replace("vidgan prepare ", f"{python} -m vidgan_jax prepare ")
  root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(advice.__file__))))
  environment = {**os.environ, "PYTHONPATH": root}
  subprocess.run(command, shell=True, check=True, cwd=cwd, env=environment, capture_output=True)
  return re.search(r"--output=('[^']*'|\S+)", command)[1].strip("'")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_the_command_of_the_message_prepares_an_archive(tmp_path, kind):
  """StyleGAN-V uses zips of frames, WebDataset tars of videos."""
  path = tmp_path / "my data" / f"set.{kind}"
  frames = {f"clip{n}/{frame}.png": picture() for n in range(2) for frame in range(3)}
  videos = {f"00000{n}.{end}": b"1" for n in range(2) for end in ("cls", "json")}
  videos |= {f"00000{n}.mp4": video(tmp_path) for n in range(2)}
  write_archive(path, frames if kind == "zip" else videos)
  line = advice.advice(str(path), 8)
  descriptions = {"zip": "a zip archive of pictures", "tar": "a tar archive of videos"}
  assert line.startswith(
    f"is {descriptions.get(kind, 'a tar archive of files')}; unpack and prepare it"
  )
  directory = run(line, tmp_path)
  assert index.read_prepared(directory).splits["train"].clips == 2
  assert line in both_refusals(str(path))[0]


def test_a_folder_of_archives_is_told(tmp_path):
  write_archive(tmp_path / "data" / "0.tar", {"a.mp4": b"x", "a.cls": b"1"})
  for line in both_refusals(str(tmp_path / "data")):
    assert "contains archives, such as 0.tar, which is a tar archive of videos" in line
    assert "--source=folder --class_level=0" in line


def test_the_command_of_the_message_prepares_folders_of_pictures(tmp_path):
  """SkyTimelapse: split, film and clip are folders."""
  for clip in ("sky_train/film1/clip1", "sky_train/film2/clip1", "sky_test/film3/clip1"):
    (tmp_path / "sky" / clip).mkdir(parents=True)
    for frame in range(3):
      (tmp_path / "sky" / clip / f"{frame}.png").write_bytes(picture())
  for line in both_refusals(str(tmp_path / "sky")):
    assert "contains folders of pictures" in line and "--source=frames --class_level=0" in line
  prepared = index.read_prepared(run(advice.advice(str(tmp_path / "sky"), 8), tmp_path))
  assert {split: part.clips for split, part in prepared.splits.items()} == {"test": 1, "train": 2}
  assert not prepared.classes
  for number in range(5):  # with a class for several clips
    (tmp_path / "other" / "ab"[number % 2] / str(number)).mkdir(parents=True)
    (tmp_path / "other" / "ab"[number % 2] / str(number) / "0.png").write_bytes(picture())
  assert "--source=frames --input" in advice.advice(str(tmp_path / "other"))


@pytest.mark.parametrize("below", [".", "ucf101/ucf101_1/2.0.0"])
def test_a_set_of_tensorflow_datasets_is_known_with_the_command(tmp_path, below):
  folder = tmp_path / "data" / below
  folder.mkdir(parents=True)
  for name in ("dataset_info.json", "features.json"):
    (folder / name).write_text(json.dumps({}))
  (folder / "ucf101-train.tfrecord-00000-of-00001").write_bytes(b"")
  expected = (
    f"vidgan prepare --source=tfds --resize=area --input={folder} "
    f"--output={tmp_path}/data_prepared --resolution=8"
  )
  line = advice.advice(str(tmp_path / "data"), 8, "--source=ucf101 --lists=x --resize=area")
  assert line.endswith(expected.replace("/./", "/").replace("/. ", " "))
  for line in both_refusals(str(tmp_path / "data")):
    assert "a set that TensorFlow Datasets prepared" in line and "--source=tfds" in line


def test_the_newest_version_is_taken(tmp_path):
  for version in ("1.9.0", "1.10.0", "1.2.0"):
    (tmp_path / version).mkdir()
    for name in ("dataset_info.json", "features.json"):
      (tmp_path / version / name).write_text("{}")
  assert advice.tfds_folder(str(tmp_path)) == str(tmp_path / "1.10.0")


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("a.npz", "config.data.name=npz reads"),
    ("a.npy", "--source=moving_mnist"),
    ("a.mp4", "is a video; use its folder instead"),
    ("a.rar", "unpack it with: 7z x -o"),
  ],
)
def test_single_files_are_told(tmp_path, name, words):
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / name).write_bytes(b"anything")
  assert words in advice.advice(str(tmp_path / "in" / name))
  assert words in both_refusals(str(tmp_path / "in" / name))[0]


def test_archives_that_lie_about_themselves_take_no_memory(tmp_path):
  write_archive(tmp_path / "a.zip", {"a/0.png": picture()})
  content = bytearray((tmp_path / "a.zip").read_bytes())
  at = content.rindex(b"PK\5\6") + 12
  for length in (2**32 - 1, 2**31, 1):
    content[at : at + 4] = length.to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    assert "is a zip archive of files" in advice.advice(str(tmp_path / "a.zip"))
  write_archive(tmp_path / "a.tar", {"a/0.png": picture()})
  content = bytearray((tmp_path / "a.tar").read_bytes())
  for size in (b"77777777777", b"-0000000001", b"no number!!", b"\xff" * 11):
    content[124:135] = size
    (tmp_path / "a.tar").write_bytes(content)
    assert "is a tar archive of" in advice.advice(str(tmp_path / "a.tar"))
  for name in ("b.zip", "b.tar", "b.tar.gz", "b.npy"):
    (tmp_path / name).write_bytes(b"")
    assert advice.advice(str(tmp_path / name))


def test_the_list_of_a_zip_above_4_gib_is_read(tmp_path, monkeypatch):
  """Such a zip ends with 64-bit records, and its 32-bit end record contains 2**32 - 1."""
  monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
  path = tmp_path / "a.zip"
  write_archive(path, {"a/0.png": picture()})
  content = bytearray(path.read_bytes())
  end = content.rindex(b"PK\5\6")
  content[end + 12 : end + 20] = b"\xff" * 8
  path.write_bytes(content)
  assert zipfile.ZipFile(path).namelist() == ["a/0.png"]
  assert "is a zip archive of pictures" in advice.advice(str(path))
  record, end = content.rindex(b"PK\6\6"), content.rindex(b"PK\6\7") + 8
  for at in (end, record + 40, record + 48):
    for value in (2**64 - 1, 2**63, 2**40):
      damaged = bytearray(content)
      damaged[at : at + 8] = value.to_bytes(8, "little")
      path.write_bytes(damaged)
      assert "is a zip archive of files" in (advice.advice(str(path)) or "")


def test_nothing_is_known_of_nothing(tmp_path):
  (tmp_path / "a.h5").write_bytes(b"")
  assert advice.advice(str(tmp_path)) is None and advice.advice(str(tmp_path / "a.h5")) is None
  assert advice.advice(str(tmp_path / "none")) is None


def test_folders_of_pictures_beside_split_folders_are_known_too(tmp_path):
  for split in ("train", "test", "extra"):
    (tmp_path / "data" / split / "0").mkdir(parents=True)
    (tmp_path / "data" / split / "0" / "0.png").write_bytes(picture())
  for line in both_refusals(str(tmp_path / "data")):
    assert "contains folders of pictures; prepare them with: " in line
    assert "--source=frames --input=" in line


def test_a_folder_of_empty_folders_is_refused_with_their_names(tmp_path):
  (tmp_path / "data" / "sub").mkdir(parents=True)
  assert both_refusals(str(tmp_path / "data"))[1].endswith("; folders without a video: sub")
