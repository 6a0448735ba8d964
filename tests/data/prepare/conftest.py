import pathlib

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import pictures, run
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.runtime.files.video_writers import write_mp4

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def footage():
  """The folder of real videos; tests that need it are skipped if it is missing."""
  if not SHARED.is_dir():
    pytest.skip("needs the real footage in ../shared/data, which is not distributed")
  return SHARED


@pytest.fixture(scope="session")
def write_clip():
  """A function that writes a video of noise blocks, large enough to survive compression."""

  def write(path, frames=6, height=16, width=24, seed=0, rate=10):
    blocks = np.random.default_rng(seed).integers(
      256, size=(frames, height // 8, width // 8, 3), dtype=np.uint8
    )
    write_mp4(path, blocks.repeat(8, axis=1).repeat(8, axis=2), rate)

  return write


@pytest.fixture(scope="session")
def write_frames():
  """A function that writes a folder of PNGs, each of one colour: (clip number, frame, 0)."""

  def write(folder, frames=3, number=0, size=(12, 16)):
    folder.mkdir(parents=True)
    for frame in range(frames):
      color = (number, frame, 0)
      Image.new("RGB", size[::-1], color).save(folder / f"frame{frame}.png")

  return write


@pytest.fixture
def prepare(tmp_path):
  """A function (source, input, output name, ...) that prepares a set.

  The result has `directory`, `lines` (the messages) and the attributes of `index.Prepared`.
  """

  def call(source, given, output="out", **settings):
    directory, lines = tmp_path / output, []
    request = Request(source, str(given), str(directory), **settings)
    prepared = run.prepare(request, report=lines.append)
    return directory, prepared, lines

  return call


@pytest.fixture(scope="session")
def read_clips():
  """A function (directory, split) that returns {id: (frames [T, H, W, 3], label, frame rate)}.

  It reads frames by the index, and everything else from the records.
  """

  def read(directory, split="train"):
    prepared = index.read_prepared(directory)
    rows, frames = index.read_index(directory, prepared, split)
    clips = {}
    for row in rows:
      with open(directory / prepared.splits[split].shards[row["shard"]].file, "rb") as file:
        features = records.parse_example(records.read_record(file, int(row["record"])), "")
        images = []
        for frame in frames[int(row["first"]) : int(row["first"] + row["frames"])]:
          file.seek(int(frame["offset"]))
          images.append(pictures.decode(file.read(int(frame["length"]))))
      label = features.get("label", [None])[0]
      clips[features["id"][0].decode()] = np.stack(images), label, features["frame_rate"][0]
    return clips

  return read


@pytest.fixture(scope="session")
def contents():
  """A function that returns {path: bytes} of all files below a folder."""

  def read(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

  return read
