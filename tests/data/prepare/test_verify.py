import dataclasses
import json
import shutil

import google_crc32c
import numpy as np
import pytest

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import pictures, verify
from vidgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_clip):
  """A folder of six small videos in two classes."""
  folder = tmp_path_factory.mktemp("videos")
  for number in range(6):
    write_clip(folder / f"c{number % 2}" / f"{number}.mp4", frames=3, seed=number)
  return folder


@pytest.fixture
def prepared(made, prepare):
  """The prepared set of these videos, in two shards."""
  return prepare("folder", made, clips_per_shard=4)[0]


def faults(directory):
  lines = []
  with pytest.raises(UserError, match=r"faults? found$") as caught:
    verify.verify(directory, report=lines.append)
  assert str(caught.value) == f"{directory}: {len(lines)} fault{'s'[: len(lines) > 1]} found"
  return [line.removeprefix(f"{directory}/") for line in lines]


def test_a_sound_set_has_no_faults(prepared):
  lines = []
  verify.verify(prepared, report=lines.append)
  assert lines == [f"{prepared}: 6 clips, 18 frames in 2 files, no faults"]


def test_what_is_no_set_is_refused(tmp_path):
  with pytest.raises(UserError, match="is not a prepared data set"):
    verify.verify(tmp_path)
  (tmp_path / ".preparing").mkdir()
  with pytest.raises(UserError, match="preparation was not finished; run its prepare command"):
    verify.verify(tmp_path)


def test_a_changed_byte_is_found_in_its_record(prepared):
  path = prepared / "folder-train.tfrecord-00000-of-00002"
  content = bytearray(path.read_bytes())
  rows = np.load(prepared / "index" / "train-clips.npy")
  content[int(rows["record"][2]) + 200] ^= 1
  path.write_bytes(content)
  assert faults(prepared) == [
    f"{path.name}: has changed since it was written (its checksum differs)",
    f"{path.name}, record 2: damaged (its checksum differs)",
  ]


def test_files_that_are_gone_cut_or_swapped_are_found(prepared, tmp_path):
  first, second = sorted(prepared.glob("*tfrecord*"))
  content = second.read_bytes()
  second.write_bytes(content[:-3])
  lines = faults(prepared)
  assert lines[0] == f"{second.name}: has {len(content) - 3} bytes instead of {len(content)}"
  assert "cut off" in lines[1] and lines[2] == f"{second.name}: contains 1 clips, the index has 2"
  second.unlink()
  assert faults(prepared) == [f"{second.name}: is missing"]
  shutil.copy(first, second)
  lines = faults(prepared)
  assert f"{second.name}, record 3: is not in the index" in lines
  assert any("2 clips have the same id 'c" in line for line in lines)
  info = (prepared / "dataset_info.json").read_text()
  (prepared / "dataset_info.json").write_text(info.replace('"4"', '"3"'))
  line = "dataset_info.json: the index has other numbers of clips in 'train'"
  assert line in faults(prepared)
  (prepared / "dataset_info.json").write_text(info.replace("splits", "parts"))
  assert "dataset_info.json: malformed (splits is missing)" in faults(prepared)
  (prepared / "features.json").unlink()
  assert "features.json: not readable (No such file or directory)" in faults(prepared)


def rewrite(directory, change, classes=None):
  """Applies change(features) to record 1, and writes the first shard with valid checksums."""
  prepared = index.read_prepared(directory)
  clips, frames = (np.array(part) for part in index.read_index(directory, prepared, "train"))
  old = prepared.splits["train"].shards[0]
  content, position = b"", 0
  for number, (_, payload) in enumerate(records.read_records(directory / old.file)):
    features = records.parse_example(payload, "")
    if number == 1:
      change(features)
    payload, offsets = records.encode_example(features)
    row = clips[number]
    row["record"] = position
    for number, offset in enumerate(offsets["video"][: row["frames"]]):
      frame = frames[int(row["first"]) + number : int(row["first"]) + number + 1]
      frame["offset"] = position + records.HEADER_BYTES + offset
      frame["length"] = len(features["video"][number])
      frame["crc32c"] = google_crc32c.value(features["video"][number])
    content += records.frame_record(payload)
    position = len(content)
  (directory / old.file).write_bytes(content)
  shard = index.Shard(old.file, len(content), index.file_sha256(directory / old.file))
  split = prepared.splits["train"]
  checksums = index.write_index(directory, "train", clips, frames)
  split = dataclasses.replace(split, shards=(shard, split.shards[1]), index=checksums)
  classes = prepared.classes if classes is None else classes
  prepared = dataclasses.replace(prepared, splits={"train": split}, classes=classes)
  index.write_prepared(directory, prepared)


def drop_frame(features):
  features["video"] = features["video"][:2]


JPEG = pictures.encode(np.zeros((8, 8, 3), np.uint8), 95)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda f: f.update(label=[7]), "label 7 is outside the range 0..1"),
    (lambda f: f.update(label=[-1]), "label -1 is outside the range 0..1"),
    (lambda f: f.update(label=[1 - f["label"][0]]), "label "),  # the index has the other label
    (lambda f: f.update(label=[b"x"]), "the values of feature 'label' are not int"),
    (lambda f: f.update(label=[1, 1]), "feature 'label' has 2 values instead of one"),
    (lambda f: f.pop("label"), "has the features frame_rate, id, video instead of frame_rate, id,"),
    (lambda f: f.update(frame_rate=[9.0]), "frame rate 9.0, the index has 10.0"),
    (drop_frame, "2 frames, the index has 3"),
    (lambda f: f["video"].__setitem__(1, b"no picture"), "frame 1: does not decode"),
    (lambda f: f["video"].__setitem__(2, JPEG), "frame 2: 8x8 pixels, not 24x16"),
  ],
)
def test_records_that_hold_something_else_are_found(prepared, change, words):
  rewrite(prepared, change)
  lines = faults(prepared)
  where = "folder-train.tfrecord-00000-of-00002, record 1: "
  assert any(line.startswith(where + words) for line in lines)
  assert all(line.startswith(where) for line in lines)


def test_labels_are_compared_with_the_classes(prepared):
  rewrite(prepared, lambda features: None, classes=("c0",))
  assert "its label is outside the range of the classes" in faults(prepared)[0]


@pytest.mark.parametrize(
  ("field", "words"),
  [
    ("offset", "frame 1 is not at the position in the index"),
    ("crc32c", "frame 1: its checksum is not the one in the index"),
  ],
)
def test_an_index_that_says_otherwise_is_found(prepared, field, words):
  description = index.read_prepared(prepared)
  clips, frames = (np.array(part) for part in index.read_index(prepared, description, "train"))
  frames[field][4] ^= 1
  checksums = index.write_index(prepared, "train", clips, frames)
  split = dataclasses.replace(description.splits["train"], index=checksums)
  index.write_prepared(prepared, dataclasses.replace(description, splits={"train": split}))
  (line,) = faults(prepared)
  assert line.endswith(f"record 1: {words}")


def test_damage_of_small_files_is_found(prepared):
  """Flipped bits in reports, in the files for TensorFlow Datasets, and in class names."""
  names = sorted(path.name for path in prepared.iterdir() if path.is_file())
  small = [name for name in names if "tfrecord" not in name and name != "prepared.json"]
  assert "label.labels.txt" in small and "skipped.txt" in small and len(small) == 6
  for name in small:
    path = prepared / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 3)):
      path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
      assert any(line.startswith(name) for line in faults(prepared))
    path.unlink()
    assert f"{name}: is missing" in faults(prepared)
    path.write_bytes(whole)


def test_damage_of_the_description_is_found(prepared):
  path = prepared / "prepared.json"
  whole = path.read_bytes()
  generator = np.random.default_rng(0)
  for position in generator.integers(len(whole), size=40).tolist():
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    with pytest.raises(UserError, match=r"prepared\.json: |faults? found$"):
      verify.verify(prepared, report=lambda line: None)
  # Another class name, and renamed members, in valid JSON.
  path.write_bytes(whole.replace(b'"c0"', b'"C0"'))
  assert faults(prepared) == [
    "prepared.json: has changed since it was written (its checksum differs)"
  ]
  for name in (b'"checksum"', b'"files"'):
    path.write_bytes(whole.replace(name, b'"x"'))
    assert faults(prepared) == [
      "prepared.json: has changed since it was written (its checksum differs)"
    ]


def test_sets_of_earlier_versions_are_verified_with_a_note(prepared):
  path = prepared / "prepared.json"
  content = json.loads(path.read_text())
  del content["files"], content["checksum"]
  path.write_text(json.dumps(content))
  (prepared / "report.txt").write_text("another")
  lines = []
  verify.verify(prepared, report=lines.append)
  assert "its small files have no checksums" in lines[0] and lines[1].endswith("no faults")
  content["files"] = {"../outside": "0"}
  path.write_text(json.dumps(content))
  assert "prepared.json: names a file outside the set, ../outside" in faults(prepared)
