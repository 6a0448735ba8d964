import dataclasses
import json
import os
import pickle

import numpy as np
import pytest

from vidgan_jax.data.formats import index
from vidgan_jax.runtime.errors import UserError

ROWS = [
  (0, 0, 0, 2, 0, 64, 85, 25.0),
  (1, 0, 2, 3, 1, 64, 64, 0.0),
]
FRAMES = [(40, 10, 1), (60, 10, 2), (40, 5, 3), (50, 5, 4), (60, 5, 2**32 - 1)]


def build(root, rows=ROWS, frames=FRAMES, **changes):
  clips, frames = np.array(rows, index.CLIP), np.array(frames, index.FRAME)
  checksums = index.write_index(root, "train", clips, frames)
  names = [index.shard_name("set", "train", number, 2) for number in range(2)]
  shards = tuple(index.Shard(name, 100, "0" * 64) for name in names)
  split = index.Split(len(clips), len(frames), shards, checksums)
  prepared = index.Prepared("set", ("a", "b"), {"quality": 95}, {}, {"train": split}, 1)
  prepared = dataclasses.replace(prepared, **changes)
  index.write_prepared(root, prepared)
  return prepared


def test_what_is_written_comes_back(tmp_path):
  prepared = build(tmp_path)
  assert index.read_prepared(tmp_path) == prepared
  clips, frames = index.read_index(tmp_path, prepared, "train")
  assert clips.tolist() == ROWS and frames.tolist() == FRAMES
  assert isinstance(clips, np.memmap) and not clips.flags.writeable
  assert index.CLIP.itemsize == 36 and index.FRAME.itemsize == 16


def test_an_empty_split_comes_back(tmp_path):
  prepared = build(tmp_path, rows=[], frames=[])
  assert [len(part) for part in index.read_index(tmp_path, prepared, "train")] == [0, 0]


@pytest.mark.parametrize(
  ("row", "words"),
  [
    ((2, 0, 2, 3, 1, 64, 64, 0.0), "row 1: its shard does not exist"),
    ((1, 90, 2, 3, 1, 64, 64, 0.0), "row 1: its record is outside its shard"),
    ((1, 2**64 - 12, 2, 3, 1, 64, 64, 0.0), "row 1: its record is outside its shard"),
    ((1, 0, 2, 0, 1, 64, 64, 0.0), "row 1: it has no frames"),
    ((1, 0, 1, 3, 1, 64, 64, 0.0), "row 1: its frames do not follow those of the clip before"),
    ((1, 0, 2, 3, 2, 64, 64, 0.0), "row 1: its label is outside the range of the classes"),
    ((1, 0, 2, 3, -1, 64, 64, 0.0), "row 1: its label is outside the range of the classes"),
    ((1, 0, 2, 4, 1, 64, 64, 0.0), "counts 6 frames, the index has 5"),
  ],
)
def test_rows_that_point_nowhere_are_refused(tmp_path, row, words):
  prepared = build(tmp_path, rows=[ROWS[0], row])
  with pytest.raises(UserError, match=words):
    index.read_index(tmp_path, prepared, "train")


def test_frames_outside_their_shard_are_refused(tmp_path):
  for offset, length in ((96, 5), (2**64 - 5, 5), (0, 101)):
    prepared = build(tmp_path, frames=[*FRAMES[:4], (offset, length, 0)])
    with pytest.raises(UserError, match="row 1: its frames are outside its shard"):
      index.read_index(tmp_path, prepared, "train")


def test_another_index_is_refused(tmp_path):
  prepared = build(tmp_path)
  path = tmp_path / "index" / "train-clips.npy"
  path.write_bytes(path.read_bytes()[:-1] + b"\x01")
  with pytest.raises(UserError, match=r"train-clips.npy: its checksum is not the one in"):
    index.read_index(tmp_path, prepared, "train")
  os.remove(path)
  with pytest.raises(UserError, match=r"train-clips\.npy: not readable"):
    index.read_index(tmp_path, prepared, "train")
  with pytest.raises(UserError, match="no split 'test', known are: train"):
    index.read_index(tmp_path, prepared, "test")


def test_nothing_is_unpickled(tmp_path):
  prepared = build(tmp_path)
  path = tmp_path / "index" / "train-clips.npy"
  for content in (pickle.dumps([1]), None):
    if content is None:
      np.save(path, np.array([None], object), allow_pickle=True)
    else:
      path.write_bytes(content)
    split = prepared.splits["train"]
    checksums = {**split.index, "clips": index.file_sha256(path)}
    changed = dataclasses.replace(split, index=checksums)
    with pytest.raises(UserError, match=r"not a readable \.npy file"):
      index.read_index(tmp_path, dataclasses.replace(prepared, splits={"train": changed}), "train")


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda c: c.update(format=2), "format 2, this version reads only 1"),
    (lambda c: c.pop("classes"), "malformed .*classes"),
    (lambda c: c.update(name="../x"), "malformed .*the name"),
    (lambda c: c["splits"].update({"a/b": c["splits"]["train"]}), "malformed .*the name"),
    (
      lambda c: c["splits"]["train"]["shards"][0].update(file="../../etc/passwd"),
      "shard 0 of split 'train' has an unexpected name",
    ),
    (lambda c: c["splits"].update(train=[]), "malformed"),
    (lambda c: c["splits"].clear(), "has no splits"),
    (lambda c: c["splits"]["train"]["shards"][0].update(bytes=-1), "an impossible size"),
  ],
)
def test_malformed_descriptions_are_refused_in_one_line(tmp_path, change, words):
  build(tmp_path)
  path = tmp_path / index.FILE_NAME
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))
  with pytest.raises(UserError, match=words) as caught:
    index.read_prepared(tmp_path)
  assert "\n" not in str(caught.value)


def test_what_is_no_prepared_set_is_told(tmp_path):
  with pytest.raises(UserError, match="is not a prepared data set"):
    index.read_prepared(tmp_path)
  (tmp_path / index.FILE_NAME).write_bytes(b"\xff\xfe")
  with pytest.raises(UserError, match="is not JSON"):
    index.read_prepared(tmp_path)
