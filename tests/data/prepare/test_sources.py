"""The listing of each source, and its frames."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.formats import index, records
from vidgan_jax.data.prepare import inputs, run
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import split_lists
from vidgan_jax.data.sources.prepared import Prepared
from vidgan_jax.runtime.errors import UserError


def listed(source, given, **settings):
  request = Request(source, str(given), "out", **settings)
  return inputs.select(run.SOURCES[source](request), request)


def by_id(listing, split="train"):
  return {clip.id: clip.label for clip in listing.splits[split]}


def touch(path, content=b""):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)


# Trees of videos.


def test_a_tree_of_videos_has_its_top_folders_as_classes(tmp_path):
  for name in ("b é/x y.mp4", "a/1.mp4", "a/deep/2.MP4", "a/notes.txt", "loose.avi", ".x/1.mp4"):
    touch(tmp_path / name)
  listing = listed("folder", tmp_path)
  assert listing.classes == ("a", "b é")
  assert by_id(listing) == {"b é/x y": 1, "a/1": 0, "a/deep/2": 0}
  assert listing.unusable["train"] == [inputs.Unusable("loose.avi", "is in no class folder")]
  assert listing.ignored == 1
  assert [line for line in listing.remarks if "deeper" in line] == [
    "1 clips are in sub-folders of their class folders, such as a/deep/2.MP4; --class_level=2 uses "
    "the folders one level deeper as classes"
  ]
  listing = listed("folder", tmp_path, class_level=0)
  assert not any("deeper" in line for line in listing.remarks)
  assert listing.classes == () and set(by_id(listing).values()) == {0} and len(by_id(listing)) == 4


def test_another_folder_on_the_way_may_be_the_class(tmp_path):
  """MUG-FED has subject/emotion/..."""
  for name in ("001/anger/1.mp4", "001/joy/1.mp4", "002/anger/1.mp4", "002/odd.mp4"):
    touch(tmp_path / name)
  listing = listed("folder", tmp_path, class_level=2)
  assert listing.classes == ("anger", "joy")
  assert by_id(listing) == {"001/anger/1": 0, "001/joy/1": 1, "002/anger/1": 0}
  assert [one.path for one in listing.unusable["train"]] == ["002/odd.mp4"]


def test_folders_named_like_splits_are_splits(tmp_path):
  """BDD100K has train, val and test."""
  for name in ("train/1.mov", "val/1.mov", "testing/x/2.mov"):
    touch(tmp_path / name)
  listing = listed("folder", tmp_path, class_level=0)
  assert {split: list(by_id(listing, split)) for split in listing.splits} == {
    "train": ["train/1"], "val": ["val/1"], "test": ["testing/x/2"]
  }  # fmt: skip
  assert list(listed("folder", tmp_path, class_level=0, splits=("val",)).splits) == ["val"]
  with pytest.raises(UserError, match="no split 'dev', known are: test, train, val"):
    listed("folder", tmp_path, class_level=0, splits=("dev",))
  touch(tmp_path / "other" / "1.mov")
  for settings in ({}, {"class_level": 0}):
    with pytest.raises(UserError, match="'other' is beside 'testing', whose name is that of a"):
      listed("folder", tmp_path, **settings)


def test_split_folders_may_be_capitalized(tmp_path):
  for name in ("Train/a/1.mov", "VALID/a/1.mov"):
    touch(tmp_path / name)
  listing = listed("folder", tmp_path)
  assert sorted(listing.splits) == ["train", "val"] and listing.classes == ("a",)


def test_splits_may_be_called_after_the_data(tmp_path):
  """SkyTimelapse has sky_train and sky_test, which contain a folder per film with its clips."""
  for name in ("sky_train/film/clip1/0.jpg", "sky_train/film/clip2/0.jpg", "sky_test/b/c/0.jpg"):
    touch(tmp_path / name)
  listing = listed("frames", tmp_path, class_level=0)
  assert {split: len(clips) for split, clips in listing.splits.items()} == {"train": 2, "test": 1}
  assert "sky_test is test, sky_train is train (--split_folders=none" in listing.remarks[0]
  listing = listed("frames", tmp_path, split_folders="none")
  assert list(listing.splits) == ["train"] and listing.classes == ("sky_test", "sky_train")
  listing = listed("frames", tmp_path, split_folders="film=held_out", class_level=0)
  assert list(listing.splits) == ["held_out"] and len(listing.splits["held_out"]) == 2
  assert "1 clips are left out" in listing.remarks[1] and "sky_test/b/c" in listing.remarks[1]


def test_splits_may_lie_below_the_classes(tmp_path):
  for name in ("a/train/1.mp4", "a/test/2.mp4", "b/train/3.mp4"):
    touch(tmp_path / name)
  listing = listed("folder", tmp_path)
  assert listing.classes == ("a", "b")
  assert by_id(listing) == {"a/train/1": 0, "b/train/3": 1}
  assert by_id(listing, "test") == {"a/test/2": 0}


def test_folders_that_give_no_clips_are_told(tmp_path, unreadable):
  for name in ("a/1.mp4", "notes/1.txt", "lost+found/1.mp4"):
    touch(tmp_path / "in" / name)
  unreadable(tmp_path / "in" / "lost+found")
  listing = listed("folder", tmp_path / "in")
  assert listing.classes == ("a",) and listing.remarks == (
    "WARNING: folders that cannot be read are left out: lost+found (Permission denied)",
    "folders without a video: notes",
  )
  unreadable(tmp_path / "in")
  with pytest.raises(UserError, match=r"in: not readable \(Permission denied\)"):
    listed("folder", tmp_path / "in")


def test_classes_are_the_same_in_every_form_of_unicode(tmp_path):
  for name in ("train/caf\u00e9/1.mp4", "test/cafe\u0301/2.mp4", "train/b/3.mp4"):
    touch(tmp_path / "in" / name)
  listing = listed("folder", tmp_path / "in")
  assert len(listing.classes) == 2 and by_id(listing, "test") == {"test/cafe\u0301/2": 1}
  (tmp_path / "classes.txt").write_text("CAFE\u0301\nb\n", encoding="utf-8")
  listing = listed("folder", tmp_path / "in", classes=str(tmp_path / "classes.txt"))
  assert by_id(listing) == {"train/caf\u00e9/1": 0, "train/b/3": 1}
  (tmp_path / "classes.txt").write_text("cafe\u0301\ncaf\u00e9\n", encoding="utf-8")
  with pytest.raises(UserError, match="more than once"):
    listed("folder", tmp_path / "in", classes=str(tmp_path / "classes.txt"))


def test_a_clip_beside_split_folders_is_refused(tmp_path):
  for name in ("train/1.mov", "loose.mov"):
    touch(tmp_path / name)
  with pytest.raises(UserError, match=r"'loose\.mov' is beside 'train'"):
    listed("folder", tmp_path)


def test_class_names_may_be_given(tmp_path):
  for name in ("data/b/1.mp4", "data/c/1.mp4"):
    touch(tmp_path / name)
  (tmp_path / "classes.txt").write_text("c\r\na\r\nb\r\n")
  classes = str(tmp_path / "classes.txt")
  listing = listed("folder", tmp_path / "data", classes=classes)
  assert listing.classes == ("c", "a", "b") and by_id(listing) == {"b/1": 2, "c/1": 0}
  for content, words in (
    ("a\nb\n", "does not contain the class 'c'"),
    ("a\na\n", "'a' more than once"),
  ):
    (tmp_path / "classes.txt").write_text(content)
    with pytest.raises(UserError, match=words):
      listed("folder", tmp_path / "data", classes=classes)


def test_names_that_differ_in_their_ending_stay_apart(tmp_path):
  for name in ("1.avi", "1.mp4", "2.mp4"):
    touch(tmp_path / name)
  assert set(by_id(listed("folder", tmp_path))) == {"1.avi", "1.mp4", "2"}
  touch(tmp_path / "1.avi.mp4")
  names = {"1.avi", "1.mp4", "1.avi.mp4", "2"}
  listing = listed("folder", tmp_path)
  assert set(by_id(listing)) == names and not listing.unusable["train"]


def test_a_label_that_is_no_number_is_refused_with_its_line(tmp_path):
  for label in ("+-5", "1" * 5000):
    (tmp_path / "list.txt").write_text(f"a/1.avi 1\na/2.avi {label}\n")
    with pytest.raises(UserError, match=r"list\.txt, line 2: label .{3,20} is not a number"):
      split_lists.read_split_list(str(tmp_path / "list.txt"), ("a",))


def test_links_are_followed_once(tmp_path):
  touch(tmp_path / "elsewhere" / "1.mp4")
  data = tmp_path / "data"
  data.mkdir()
  (data / "class").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "elsewhere" / "loop").symlink_to(data)
  assert set(by_id(listed("folder", data))) == {"class/1"}


def test_names_that_are_no_text_stay_on_one_line(tmp_path):
  for name in (b"a\xff.mp4", b"line\nbreak.mp4", b"\x1b[31mred.mp4"):
    with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
      pass
  names = set(by_id(listed("folder", tmp_path)))
  assert names == {"a\\udcff", "line\\nbreak", "\\x1b[31mred"}
  assert all(name.encode().decode().isprintable() for name in names)


def test_the_order_is_a_fair_sample_of_the_classes(tmp_path):
  for number in range(60):
    touch(tmp_path / f"c{number // 20}" / f"{number}.mp4")
  whole = listed("folder", tmp_path).splits["train"]
  part = listed("folder", tmp_path, limit=15).splits["train"]
  assert [clip.id for clip in part] == [clip.id for clip in whole[:15]]
  assert {clip.label for clip in part} == {0, 1, 2}


def test_an_input_without_clips_is_refused(tmp_path):
  touch(tmp_path / "notes.txt")
  for source in ("folder", "frames", "kinetics", "bair"):
    with pytest.raises(UserError, match=f"contains no clips for --source={source}"):
      listed(source, tmp_path)


# Folders of frames.


def test_folders_of_pictures_are_clips(tmp_path, write_frames, prepare, read_clips):
  data = tmp_path / "data"
  write_frames(data / "a" / "clip1", frames=12, number=1)
  write_frames(data / "b" / "clip 2", frames=2, number=2)
  Image.new("L", (16, 12), 9).save(data / "b" / "clip 2" / "frame10.png")
  Image.new("RGBA", (16, 12), (2, 11, 0, 128)).save(data / "b" / "clip 2" / "frame11.PNG")
  directory, prepared, _ = prepare("frames", data, quality=None)
  clips = read_clips(directory)
  assert prepared.classes == ("a", "b") and set(clips) == {"a/clip1", "b/clip 2"}
  frames, label, rate = clips["a/clip1"]
  assert frames.shape == (12, 12, 16, 3) and (label, rate) == (0, 0.0)
  assert frames[:, 0, 0].tolist() == [[1, number, 0] for number in range(12)]  # frame10 is last
  assert clips["b/clip 2"][0][:, 5, 5].tolist() == [[2, 0, 0], [2, 1, 0], [9, 9, 9], [1, 6, 0]]


def test_pictures_that_cannot_be_used_are_told(tmp_path, write_frames, prepare):
  data = tmp_path / "data"
  write_frames(data / "good")
  faults = {
    "cut": "frame1.png is not readable as a picture",
    "size": "the size of the pictures changes at frame1.png",
    "depth": "frame1.png is not readable as a picture (it has pixels of mode F, which is not an ",
    "text": "frame1.png is not readable as a picture",
  }
  for name in faults:
    write_frames(data / name)
  path = data / "cut" / "frame1.png"
  path.write_bytes(path.read_bytes()[:-30])
  Image.new("RGB", (12, 16)).save(data / "size" / "frame1.png")
  Image.new("F", (16, 12)).save(data / "depth" / "frame1.png", format="TIFF")
  (data / "text" / "frame1.png").write_text("<html>")
  directory, prepared, _ = prepare("frames", data)
  assert prepared.skipped == 4 and prepared.splits["train"].clips == 1
  skipped = (directory / "skipped.txt").read_text()
  for name, reason in faults.items():
    assert f"train: {name}: {reason}" in skipped


# UCF-101.


def ucf_folder(root, train, test, classes):
  lists = root / split_lists.LISTS_FOLDER
  lists.mkdir(parents=True)
  content = [f"{number} {name}" for number, name in enumerate(classes, start=1)]
  for name, lines in (("classInd", content), ("trainlist01", train), ("testlist01", test)):
    lists.joinpath(f"{name}.txt").write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def test_the_official_lists_number_and_label_every_clip(footage, tmp_path):
  """Every listed clip is an empty file here, with the spelling of the published archive."""
  lists = footage / "lists" / "ucf101"
  names = split_lists.read_class_index(str(lists / "classInd.txt"))
  for kind in ("train", "test"):
    for clip in split_lists.read_split_list(str(lists / f"{kind}list01.txt"), names):
      touch(tmp_path / clip.path.replace("HandstandPushups/", "HandStandPushups/"))
  listing = listed("ucf101", tmp_path, lists=(str(lists),))
  assert {split: len(clips) for split, clips in listing.splits.items()} == {
    "train": 9537, "test": 3783
  }  # fmt: skip
  assert len(listing.classes) == 101 and not any(listing.unusable.values())
  for split in listing.splits:
    labels = by_id(listing, split)
    assert set(labels.values()) == set(range(101))
    assert all(listing.classes[label] == name.split("/")[0] for name, label in labels.items())
    assert any(name.startswith("HandstandPushups/v_HandStandPushups") for name in labels)


def test_a_partial_ucf_folder_works_and_says_what_is_missing(tmp_path, write_clip, prepare):
  data = tmp_path / "data"
  ucf_folder(
    data,
    ["Archery/v_Archery_g02_c01.avi 1", "Archery/v_Archery_g03_c01.avi 1", "Bowling/gone.avi 2"],
    ["Bowling/v_Bowling_g01_c01.avi"],
    ["Archery", "Bowling"],
  )
  for name in ("Archery/v_Archery_g02_c01.avi", "Bowling/v_Bowling_g01_c01.avi"):
    (data / name).parent.mkdir(exist_ok=True)
    write_clip(tmp_path / "clip.mp4")
    shutil.copy(tmp_path / "clip.mp4", data / name)
  directory, prepared, lines = prepare("ucf101", data)
  assert prepared.classes == ("Archery", "Bowling")
  clips = {split: index.read_index(directory, prepared, split)[0] for split in prepared.splits}
  assert clips["train"]["label"].tolist() == [0] and clips["test"]["label"].tolist() == [1]
  assert prepared.skipped == 2
  assert (directory / "skipped.txt").read_text().splitlines() == [
    "train: Archery/v_Archery_g03_c01.avi: listed, but missing",
    "train: Bowling/gone.avi: listed, but missing",
  ]
  assert any(
    "2, such as Archery/v_Archery_g03_c01.avi: listed, but missing" in line for line in lines
  )


def test_a_split_that_is_missing_as_a_whole_is_told(tmp_path, write_clip, prepare):
  ucf_folder(tmp_path / "data", ["A/a.mp4 1"], ["A/b.mp4"], ["A"])
  write_clip(tmp_path / "data" / "A" / "a.mp4")
  _, prepared, lines = prepare("ucf101", tmp_path / "data")
  assert list(prepared.splits) == ["train"] and prepared.skipped == 1
  assert "test: no clips" in lines and "  1, such as A/b.mp4: listed, but missing" in lines
  with pytest.raises(UserError, match=r"split 'test' is empty \(1 unusable, such as A/b.mp4"):
    prepare("ucf101", tmp_path / "data", "other", splits=("test",))


def test_lists_that_are_missing_are_asked_for(tmp_path):
  touch(tmp_path / "Archery" / "v_Archery_g01_c01.avi")
  with pytest.raises(UserError, match=r"has no folder ucfTrainTestlist.*--lists"):
    listed("ucf101", tmp_path)
  ucf_folder(tmp_path, ["Archery/gone.avi 1"], [], ["Archery"])
  with pytest.raises(
    UserError, match=r"contains no clips for --source=ucf101 \(1 unusable, such as Archery/gone"
  ):
    listed("ucf101", tmp_path)
  with pytest.raises(UserError, match=r"trainlist04.txt: no such file"):
    listed("ucf101", tmp_path, split_number=4)


# Kinetics.

HEADERS = (
  "label,youtube_id,time_start,time_end,split",
  "label,youtube_id,time_start,time_end,split,is_cc",
)


def write_csv(path, header, rows):
  extra = ",0" * (header.count(",") - 4)
  path.write_text("\r\n".join([header, *(row + extra for row in rows)]) + "\r\n")


@pytest.mark.parametrize("header", HEADERS)
def test_kinetics_lists_decide_splits_and_classes(tmp_path, header):
  data = tmp_path / "data"
  touch(data / "abseiling" / "0wR5jVB-WPk_000417_000427.mp4")
  touch(data / "air_drumming" / "_x-y_z_12345_000000_000010.mp4")  # the id contains underscores
  touch(data / "plain_id_01.mp4")
  touch(data / "stranger.mp4")
  rows = [
    "abseiling,0wR5jVB-WPk,417,427,train",
    "air drumming,_x-y_z_12345,0,10,train",
    '"passing American football (in game)",plain_id_01,5,15,validate',
    "abseiling,gone0000000,1,11,train",
  ]
  write_csv(data / "all.csv", header, rows)
  listing = listed("kinetics", data)
  assert listing.classes == ("abseiling", "air drumming", "passing American football (in game)")
  assert by_id(listing) == {"0wR5jVB-WPk_000417_000427": 0, "_x-y_z_12345_000000_000010": 1}
  assert by_id(listing, "val") == {"plain_id_01_000005_000015": 2}
  assert [one.path for one in listing.unusable["train"]] == ["gone0000000_000001_000011.mp4"]
  assert listing.ignored == 1
  assert list(listed("kinetics", data, splits=("val",)).splits) == ["val"]
  listing = listed("kinetics", data, class_level=0)
  assert listing.classes == () and set(by_id(listing, "val").values()) == {0}


def test_classes_of_kinetics_are_the_same_in_every_form_of_unicode(tmp_path):
  header = "label,youtube_id,time_start,time_end,split\n"
  rows = {"train": "caf\u00e9,aaaaaaaaaaa", "test": "cafe\u0301,bbbbbbbbbbb"}
  for split, row in rows.items():
    content = f"{header}{row},0,10,{split}\nzoo,ccccccccc{split[:2]},0,10,{split}\n"
    (tmp_path / f"{split}.csv").write_text(content, encoding="utf-8")
    touch(tmp_path / f"{row.split(',')[1]}_000000_000010.mp4")
    touch(tmp_path / f"ccccccccc{split[:2]}_000000_000010.mp4")
  (tmp_path / "classes.txt").write_text("zoo\nCAFE\u0301\n", encoding="utf-8")
  for classes, label in ((None, 0), (str(tmp_path / "classes.txt"), 1)):
    listing = listed("kinetics", tmp_path, classes=classes)
    assert len(listing.classes) == 2
    assert by_id(listing)["aaaaaaaaaaa_000000_000010"] == label
    assert by_id(listing, "test")["bbbbbbbbbbb_000000_000010"] == label


def test_kinetics_without_lists_has_its_folders(tmp_path):
  for name in ("train/abseiling/a_000001_000011.mp4", "val/yoga/b_000001_000011.mp4"):
    touch(tmp_path / name)
  listing = listed("kinetics", tmp_path)
  assert listing.classes == ("abseiling", "yoga") and list(listing.splits) == ["train", "val"]


def test_a_name_without_times_is_that_of_one_clip_only(tmp_path):
  touch(tmp_path / "twice.mp4")
  write_csv(tmp_path / "a.csv", HEADERS[0], ["yoga,twice,1,11,train", "yoga,twice,21,31,train"])
  with pytest.raises(UserError, match=r"contains no clips for --source=kinetics \(2 unusable"):
    listed("kinetics", tmp_path)


def test_lists_of_kinetics_and_folders_cannot_both_decide_splits(tmp_path):
  touch(tmp_path / "train" / "one_000001_000011.mp4")
  write_csv(tmp_path / "a.csv", HEADERS[0], ["yoga,one,1,11,train"])
  with pytest.raises(UserError, match=r"split_folders is only for folders without lists; .*a\.csv"):
    listed("kinetics", tmp_path, split_folders="train=test")


def test_the_real_lists_of_kinetics_are_read(footage, tmp_path):
  lists = footage / "lists" / "kinetics"
  touch(tmp_path / "3yaoNwz99xM_000062_000072.mp4")
  listing = listed(
    "kinetics", tmp_path, lists=(str(lists / "kinetics-400_val.csv"),),
    classes=str(lists / "label_map_400.txt"),
  )  # fmt: skip
  assert len(listing.classes) == 400 and by_id(listing, "val") == {"3yaoNwz99xM_000062_000072": 0}
  assert len(listing.unusable["val"]) == 19905
  touch(tmp_path / "yq_M1PMw2hY_000038_000048.mp4")
  head = (str(lists / "kinetics-600_val_head.csv"),)
  listing = listed("kinetics", tmp_path, lists=head, classes=str(lists / "label_map_600.txt"))
  assert len(listing.classes) == 600 and set(by_id(listing, "val").values()) == {0}


@pytest.mark.parametrize(
  ("rows", "words"),
  [
    (["yoga,abc,1,11"], "line 2: 4 columns instead of 5"),
    (
      ["yoga,abc,1,11,train", "yoga,../../etc/x,1,11,train"],
      "line 3: '../../etc/x' is not a youtube",
    ),
    (["yoga,abc,x,11,train"], "line 2: time_start is 'x'"),
    (["yoga,abc,1,1e999,train"], "line 2: time_end is '1e999'"),
    (['"yoga,abc,1,11,train'], "line 2: unexpected end of data"),
  ],
)
def test_malformed_lists_of_kinetics_are_refused_by_line(tmp_path, rows, words):
  (tmp_path / "a.csv").write_text("\n".join([HEADERS[0], *rows]))
  with pytest.raises(UserError, match=words):
    listed("kinetics", tmp_path)


def test_other_csv_files_and_other_classes_are_refused(tmp_path):
  (tmp_path / "a.csv").write_text("name,size\nx,1\n")
  with pytest.raises(UserError, match="line 1: has no column 'youtube_id'"):
    listed("kinetics", tmp_path)
  write_csv(tmp_path / "a.csv", HEADERS[0], ["yoga,abc,1,11,train"])
  (tmp_path / "classes.txt").write_text("abseiling\n")
  with pytest.raises(UserError, match="line 2: 'yoga' is not one of the 1 classes"):
    listed("kinetics", tmp_path, classes=str(tmp_path / "classes.txt"))


# Arrays and records.


def test_moving_mnist_comes_out_exactly(tmp_path, prepare, read_clips):
  array = np.random.default_rng(0).integers(256, size=(20, 5, 64, 64), dtype=np.uint8)
  np.save(tmp_path / "mnist_test_seq.npy", array)
  directory, prepared, _ = prepare("moving_mnist", tmp_path / "mnist_test_seq.npy", quality=None)
  clips = read_clips(directory, "test")
  assert set(clips) == {f"{number:05d}" for number in range(5)} and prepared.classes == ()
  for name, (frames, label, rate) in clips.items():
    assert label is None and rate == 0.0
    assert np.array_equal(frames, np.repeat(array[:, int(name), ..., None], 3, -1))


def moving_digits(frames, clips):
  """Squares that move one pixel per frame, uint8 [frames, clips, 16, 16]; all clips differ."""
  array = np.zeros((frames, clips, 16, 16), np.uint8)
  for clip in range(clips):
    for frame in range(frames):
      top, left = (3 * clip + frame) % 12, (7 * clip) % 12
      array[frame, clip, top : top + 4, left : left + 4] = 255 - clip
  return array


@pytest.mark.parametrize(("frames", "clips"), [(20, 8), (20, 30), (20, 20), (10, 6), (6, 10)])
@pytest.mark.parametrize("channel", [None, 2, 4])
def test_moving_mnist_may_have_its_clips_first(tmp_path, frames, clips, channel):
  array = moving_digits(frames, clips)
  digests = set()
  for number, order in enumerate((array, array.swapaxes(0, 1))):
    stored = order if channel is None else np.expand_dims(order, channel)
    np.save(tmp_path / "a.npy", stored)
    inputs_of = listed("moving_mnist", tmp_path / "a.npy").splits["test"]
    assert len(inputs_of) == clips
    for one in inputs_of:
      shown = np.stack([frame.image[..., 0] for frame in one.frames()])
      assert (shown == array[:, int(one.id)]).all(), number
    digests.add(tuple(one.id for one in inputs_of))
  assert len(digests) == 1


def test_an_order_that_nothing_tells_is_refused(tmp_path):
  noise = np.random.default_rng(0).integers(256, size=(20, 20, 4, 4), dtype=np.uint8)
  for array in (noise, noise[:8, :8], noise[:5, :8]):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(
      UserError, match=r"does not tell frames and clips apart: .* equally similar"
    ):
      listed("moving_mnist", tmp_path / "a.npy")


def test_moving_mnist_of_zeros_and_ones_is_refused(tmp_path, prepare):
  np.save(tmp_path / "a.npy", np.minimum(moving_digits(20, 3), 1))
  with pytest.raises(UserError, match=r"no pixel is above 1; they must be in 0\.\.255"):
    prepare("moving_mnist", tmp_path / "a.npy")
  np.save(tmp_path / "a.npy", moving_digits(20, 3) / np.float32(255))
  with pytest.raises(UserError, match=r"float32 \[20, 3, 16, 16\]; convert pixels in 0\.\.1 by"):
    prepare("moving_mnist", tmp_path / "a.npy")
  np.save(tmp_path / "a.npy", moving_digits(20, 3) > 0)
  with pytest.raises(UserError, match=r"bool \[20, 3, 16, 16\]; .* np\.uint8\(clips\) \* 255"):
    prepare("moving_mnist", tmp_path / "a.npy")


def test_moving_mnist_with_its_axes_in_another_order_is_refused(tmp_path):
  np.save(tmp_path / "a.npy", moving_digits(20, 30).transpose(1, 2, 3, 0))
  with pytest.raises(UserError, match="16x20 are not square; the last two axes"):
    listed("moving_mnist", tmp_path / "a.npy")


def test_arrays_of_another_kind_are_refused_and_nothing_is_unpickled(tmp_path):
  path = tmp_path / "mnist_test_seq.npy"
  for array in (
    np.zeros((2, 2), np.uint8),
    np.zeros((2, 2, 2, 2)),
    np.zeros((0, 2, 2, 2), np.uint8),
  ):
    np.save(path, array)
    with pytest.raises(UserError, match=r"is not uint8 \[frames, clips|is empty"):
      listed("moving_mnist", tmp_path)
  np.save(path, np.array([{}], object), allow_pickle=True)
  with pytest.raises(UserError, match=r"not a readable \.npy file"):
    listed("moving_mnist", path)
  path.unlink()
  with pytest.raises(UserError, match=r"mnist_test_seq\.npy: no such file$"):
    listed("moving_mnist", tmp_path)


def test_other_data_of_the_same_size_is_noticed(tmp_path):
  def digests():
    return listed("moving_mnist", tmp_path / "a.npy").digest(), listed(
      "bair", tmp_path / "bair"
    ).digest()

  def write(value):
    np.save(tmp_path / "a.npy", np.full((2, 3, 4, 4), value, np.uint8))
    content = b"".join(records.frame_record(bytes([one] * 9)) for one in (value, 5))
    touch(tmp_path / "bair" / "train" / "a.tfrecords", content)

  write(1)
  before = digests()
  assert digests() == before
  write(2)
  assert all(one != other for one, other in zip(digests(), before, strict=True))


def test_the_records_of_bair_are_read(footage, prepare, read_clips):
  directory, prepared, _ = prepare("bair", footage / "bair_records", quality=None, camera="main")
  assert {split: part.clips for split, part in prepared.splits.items()} == {"test": 1, "train": 1}
  ((name, (frames, label, _)),) = read_clips(directory, "train").items()
  assert name == "train/traj_1792_to_2047/000" and label is None
  assert frames.shape == (30, 64, 64, 3)
  path = next(footage.glob("bair_records/*/*/train/*"))
  features = records.parse_example(next(records.read_records(path))[1], "")
  for number, frame in enumerate(frames):
    assert frame.tobytes() == features[f"{number}/image_main/encoded"][0]


def both_cameras(folder, **cameras):
  """Writes a record of three frames; each camera shows one grey value."""
  features = {
    f"{number}/image_{camera}/encoded": [bytes([value]) * 12288]
    for number in range(3)
    for camera, value in cameras.items()
  }
  for split in ("train", "test"):
    content = records.frame_record(records.encode_example(features)[0])
    touch(folder / split / "traj_0_to_0.tfrecords", content)


@pytest.mark.parametrize(("options", "value"), [({}, 70), ({"camera": "main"}, 20)])
def test_bair_is_prepared_from_the_camera_of_the_benchmark(
  tmp_path, prepare, read_clips, options, value
):
  both_cameras(tmp_path / "data", main=20, aux1=70)
  directory, prepared, _ = prepare("bair", tmp_path / "data", quality=None, **options)
  assert prepared.settings["camera"] == options.get("camera", "aux1")
  ((_, (frames, _, _)),) = read_clips(directory, "test").items()
  assert frames.shape == (3, 64, 64, 3) and np.all(frames == value)


def test_a_camera_that_is_not_in_the_records_is_refused(tmp_path, prepare):
  both_cameras(tmp_path / "data", main=20)
  with pytest.raises(UserError, match=r"no frames of camera aux1, only of main; --camera=main"):
    prepare("bair", tmp_path / "data")


def test_other_sources_have_no_camera(tmp_path, prepare):
  both_cameras(tmp_path / "data", main=20)
  with pytest.raises(UserError, match="only bair has several cameras"):
    prepare("folder", tmp_path / "data", camera="main")


def test_a_set_of_the_other_camera_is_refused_by_a_config_that_names_one(tmp_path, prepare):
  both_cameras(tmp_path / "data", main=20, aux1=70)
  directory, _, _ = prepare("bair", tmp_path / "data", quality=None, camera="main")
  options = dict(frames=2, resolution=64, num_classes=0)
  Prepared([directory], prepare="--source=bair", **options)
  with pytest.raises(UserError, match="from camera main, but the config is for camera aux1"):
    Prepared([directory], prepare="--source=bair --camera=aux1", **options)
  path = directory / "prepared.json"  # as sets were before cameras were named
  content = json.loads(path.read_text())
  del content["settings"]["camera"]
  path.write_text(json.dumps(content))
  with pytest.raises(UserError, match="from camera main"):
    Prepared([directory], prepare="--source=bair --camera=aux1", **options)


def test_damaged_records_of_bair_are_skipped_by_number(tmp_path, prepare):
  good = {f"{number}/image_main/encoded": [bytes([number]) * 12288] for number in range(3)}
  short = {**good, "1/image_main/encoded": [b"x"]}
  contents = [records.encode_example(one)[0] for one in (good, short, good, {"other": [1]}, good)]
  data = b"".join(map(records.frame_record, contents))
  starts = np.cumsum([0] + [len(records.frame_record(one)) for one in contents])
  damaged = bytearray(data)
  damaged[starts[2] + 500] ^= 1  # a payload
  damaged[starts[4]] ^= 1  # a length: later records cannot be located
  touch(tmp_path / "data" / "train" / "traj_0_to_4.tfrecords", bytes(damaged))
  directory, prepared, _ = prepare("bair", tmp_path / "data", camera="main")
  assert prepared.splits["train"].clips == 1 and prepared.skipped == 4
  skipped = (directory / "skipped.txt").read_text()
  for words in (
    "record 1: frame 1 has 1 bytes, not 64x64x3",
    "record 2: damaged (its checksum differs)",
    "record 3: contains no frames",
    "record 4: damaged, or not a TFRecord file",
  ):
    assert words in skipped


def test_without_tensorflow_its_sets_are_refused_with_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  with pytest.raises(UserError, match=r"pip install -r requirements-data\.txt"):
    listed("tfds", tmp_path)
