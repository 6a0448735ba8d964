import gc
import io
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest

from vidgan_jax.data.sources import split_lists
from vidgan_jax.data.sources.video_folder import VideoFolder
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import read_video
from vidgan_jax.runtime.files.video_writers import write_mp4
from vidgan_jax.training import state as states

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"
needs_footage = pytest.mark.skipif(
  not SHARED.is_dir(), reason="needs the real footage in ../shared/data, which is not distributed"
)


def write_clip(path, frames=6, height=16, width=24, seed=0):
  """Writes a video of noise blocks, large enough to survive compression."""
  blocks = np.random.default_rng(seed).integers(
    256, size=(frames, height // 8, width // 8, 3), dtype=np.uint8
  )
  write_mp4(path, blocks.repeat(8, axis=1).repeat(8, axis=2), 10)


def folder_with_lists(root, train, test=(), classes=("Alpha", "Beta"), newline="\r\n"):
  """Makes a folder in UCF-101's layout; every listed path gets a video."""
  lists = root / split_lists.LISTS_FOLDER
  lists.mkdir(parents=True)
  index = [f"{i + 1} {name}" for i, name in enumerate(classes)]
  for name, lines in (("classInd", index), ("trainlist01", train), ("testlist01", test)):
    lists.joinpath(f"{name}.txt").write_bytes("".join(f"{x}{newline}" for x in lines).encode())
  return root


def open_folder(root, cache, **arguments):
  arguments = dict(frames=4, resolution=8, report=lambda line: None) | arguments
  return VideoFolder(root, cache_directory=cache, **arguments)


def labels_of(source):
  generator = np.random.default_rng(0)
  return [source.example(index, generator)[1] for index in range(source.num_examples)]


@needs_footage
def test_weizmann_is_split_by_person(tmp_path):
  root = SHARED / "ucf_weizmann"
  train = open_folder(root, tmp_path, frames=12, resolution=64)
  test = open_folder(root, tmp_path, frames=12, resolution=64, split="test")
  assert (train.num_examples, test.num_examples) == (56, 16)
  assert train.class_names == (
    "BendLeft", "BendRight", "JumpingJack", "WaveLeft", "WaveRight", "WaveTwo"
  )  # fmt: skip
  for split, source in (("train", train), ("test", test)):
    listed = split_lists.list_folder(str(root), split).clips
    held_out = ["_g01_" in clip.path or "_g02_" in clip.path for clip in listed]
    assert all(held_out) if split == "test" else not any(held_out)
    assert all(clip.path.startswith(train.class_names[clip.label]) for clip in listed)
    assert labels_of(source) == [clip.label for clip in listed]
  clip, _ = train.example(0, np.random.default_rng(0))
  assert clip.shape == (12, 64, 64, 3) and clip.dtype == np.uint8 and clip.std() > 10
  assert train.report.frames + test.report.frames == 4146 + 1144


@needs_footage
def test_real_clips_have_the_frames_that_decode(tmp_path):
  source = open_folder(SHARED / "clips", tmp_path, frames=48, resolution=16)
  assert source.num_examples == 11 and not source.report.skipped
  assert source.report.frames == 164 + 107 + 240 + 251 + 72 + 74 + 48 + 83 + 303 + 332 + 327


@needs_footage
def test_odd_files_are_used_or_skipped_with_a_reason(tmp_path):
  lines = []
  source = open_folder(SHARED / "odd", tmp_path, frames=3, resolution=32, report=lines.append)
  reasons = dict(source.report.skipped)
  assert set(reasons) == {
    "bitflips.avi", "corrupted.mp4", "empty.avi", "header_only.avi", "html_error_page.mp4",
    "no_moov_or_cut.mp4", "one_frame.mp4", "truncated.avi",
  }  # fmt: skip
  assert "damaged" in reasons["bitflips.avi"] and "cut off" in reasons["truncated.avi"]
  assert reasons["one_frame.mp4"] == "too short: 1 frames, 3 are needed"
  assert source.num_examples == 16 and source.num_classes == 0
  assert len(lines) < 12 and any("8 files skipped" in line for line in lines)
  with pytest.raises(UserError, match="16 usable clips, 17 are needed"):
    open_folder(SHARED / "odd", tmp_path, frames=3, resolution=32, min_clips=17)


@needs_footage
def test_the_official_lists_are_read():
  lists = SHARED / "lists" / "ucf101"
  names = split_lists.read_class_index(str(lists / "classInd.txt"))
  assert len(names) == 101 and names[0] == "ApplyEyeMakeup"
  for number, sizes in ((1, (9537, 3783)), (2, (9586, 3734)), (3, (9624, 3696))):
    for kind, size in zip(("train", "test"), sizes, strict=True):
      clips = split_lists.read_split_list(str(lists / f"{kind}list{number:02d}.txt"), names)
      assert len(clips) == size and {clip.label for clip in clips} == set(range(101))
      assert all(clip.path.split("/")[0] == names[clip.label] for clip in clips)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_labels_in_lists_count_from_one(tmp_path, newline):
  root = folder_with_lists(
    tmp_path / "data", ["Beta/b.mp4 2", "Alpha/a.mp4 1"], ["Beta/t.mp4"], newline=newline
  )
  for name in ("Beta/b.mp4", "Alpha/a.mp4", "Beta/t.mp4"):
    write_clip(root / name)
  assert labels_of(open_folder(root, tmp_path / "cache")) == [1, 0]
  assert labels_of(open_folder(root, tmp_path / "cache", split="test")) == [1]
  assert labels_of(open_folder(root, tmp_path / "cache", split="all")) == [1, 0, 1]
  assert labels_of(open_folder(root, tmp_path / "cache", num_classes=0)) == [0, 0]


@pytest.mark.parametrize(
  "on_disk", ["HandStandPushups/v_HandStandPushups_g01_c01.mp4", "HandstandPushups/v_x.mp4"]
)
def test_listed_names_are_found_whatever_their_case(tmp_path, on_disk):
  listed = "HandstandPushups/" + on_disk.split("/")[1].replace("v_HandStand", "v_HandstanD")
  root = folder_with_lists(tmp_path / "d", [listed + " 1"], [listed], ("HandstandPushups",))
  write_clip(root / on_disk)
  for split in ("train", "test"):
    source = open_folder(root, tmp_path / "cache", split=split)
    assert source.num_examples == 1 and source.report.missing == ()


def test_the_exact_name_wins_over_another_case(tmp_path):
  root = folder_with_lists(tmp_path / "data", ["Alpha/a.mp4 1"])
  write_clip(root / "Alpha" / "a.mp4", frames=5)
  write_clip(root / "Alpha" / "A.mp4", frames=9)
  assert open_folder(root, tmp_path / "cache").report.frames == 5


def test_listed_files_that_are_missing_are_told_in_one_line(tmp_path):
  root = folder_with_lists(
    tmp_path / "data", ["Alpha/a.mp4 1", "Alpha/gone.mp4 1", "Beta/gone.mp4 2"]
  )
  write_clip(root / "Alpha" / "a.mp4")
  lines = []
  source = open_folder(root, tmp_path / "cache", report=lines.append)
  assert source.report.missing == ("Alpha/gone.mp4", "Beta/gone.mp4")
  assert [line for line in lines if "gone" in line] == [
    "2 listed clips do not exist, such as Alpha/gone.mp4"
  ]
  assert source.num_classes == 2  # a class without clips keeps its label


@pytest.mark.parametrize(
  "path", ["../secret.mp4", "Alpha/../../secret.mp4", "/etc/passwd", "..\\secret.mp4", "C:/x.mp4"]
)
def test_no_listed_path_leaves_the_folder(tmp_path, path):
  write_clip(tmp_path / "secret.mp4")
  for train, test in (([path + " 1"], []), ([], [path])):
    root = folder_with_lists(tmp_path / f"data{len(test)}", train, test)
    with pytest.raises(UserError, match=r"line 1: path .* leads out of the folder"):
      open_folder(root, tmp_path / "cache", split="test" if test else "train")


@pytest.mark.parametrize(
  ("train", "classes", "words"),
  [
    (["Alpha/a.mp4 1", "Alpha/a.mp4 3"], ("Alpha", "Beta"), "line 2: label 3 .* 1..2"),
    (["Alpha/a.mp4 0"], ("Alpha", "Beta"), "label 0"),
    (["Gamma/a.mp4"], ("Alpha", "Beta"), "'Gamma' is not one of the 2 classes"),
    (["Alpha/a.mp4 1"], (), "contains no class names"),
  ],
)
def test_malformed_lists_are_refused_by_line(tmp_path, train, classes, words):
  root = folder_with_lists(tmp_path / "data", train, classes=classes)
  with pytest.raises(UserError, match=words):
    open_folder(root, tmp_path / "cache")


def test_class_numbers_must_follow_each_other(tmp_path):
  path = tmp_path / "classInd.txt"
  path.write_text("1 Alpha\n3 Beta\n")
  with pytest.raises(UserError, match="line 2: expected '2 ClassName'"):
    split_lists.read_class_index(str(path))


def test_without_lists_classes_are_the_folders_in_order(tmp_path):
  root = tmp_path / "data"
  for name in ("b é/x y.mp4", "a/1.mp4", "a/2.MP4"):
    write_clip(root / name)
  (root / "a" / "notes.txt").write_text("no video")
  (root / "empty").mkdir()
  write_clip(root / ".hidden" / "1.mp4")
  write_clip(root / "a" / "._1.mp4")
  source = open_folder(root, tmp_path / "cache", num_classes=2)
  assert source.class_names == ("a", "b é") and labels_of(source) == [0, 0, 1]
  assert source.report.ignored == 1
  with pytest.raises(UserError, match="no test split"):
    open_folder(root, tmp_path / "cache", split="test")
  for expected in (1, 3):
    with pytest.raises(UserError, match=f"2 classes, but num_classes is {expected}"):
      open_folder(root, tmp_path / "cache", num_classes=expected)


@pytest.mark.parametrize(
  "names",
  [("train", "test"), ("Training", "TEST"), ("sky_train", "sky_test"), ("train_set", "test_set")],
)
@pytest.mark.parametrize("order", ["split/class", "class/split", "split"])
def test_folders_named_like_splits_are_splits(tmp_path, names, order):
  """Otherwise test clips would be used for training."""
  root, lines = tmp_path / "data", []
  for split, frames in zip(names, (6, 5), strict=True):
    for name in "ab":
      parts = {"split/class": (split, name), "class/split": (name, split), "split": (split,)}
      write_clip(root.joinpath(*parts[order], f"{name}.mp4"), frames=frames)
  for split, frames in (("train", 6), ("test", 5)):
    source = open_folder(root, tmp_path / "cache", split=split, report=lines.append)
    assert source.report.frames == 2 * frames
    assert source.class_names == (() if order == "split" else ("a", "b"))
    assert labels_of(source) == ([0, 0] if order == "split" else [0, 1])
  assert open_folder(root, tmp_path / "cache", split="all").num_examples == 4
  named = [line for line in lines if "split folders: " in line]
  assert len(named) == 2 and all(f"{name} is" in named[0] for name in names)
  assert "config.data.split_folders=none" in named[0]
  with pytest.raises(UserError, match="has no split 'val', known are: test, train"):
    open_folder(root, tmp_path / "cache", split="val")


def test_users_say_which_folders_are_splits(tmp_path):
  root = tmp_path / "data"
  for name in ("bus", "train", "test"):
    write_clip(root / name / "1.mp4")
  with pytest.raises(UserError, match=r"'bus' is beside 'test'.*config\.data\.split_folders=none"):
    open_folder(root, tmp_path / "cache")
  none = open_folder(root, tmp_path / "cache", split_folders="none")
  assert none.class_names == ("bus", "test", "train")
  some = open_folder(root, tmp_path / "cache", split_folders="bus=train,test=test")
  assert some.num_examples == 1 and some.num_classes == 0
  assert some.report.skipped == (("train/1.mp4", "is in no split folder"),)


def test_deeper_folders_belong_to_the_class_above_them(tmp_path):
  root = tmp_path / "data"
  for name in ("a/0.mp4", "b/part1/0.mp4", "b/part2/deep/0.mp4", "loose.mp4"):
    write_clip(root / name)
  source = open_folder(root, tmp_path / "cache")
  assert source.class_names == ("a", "b") and labels_of(source) == [0, 1, 1]
  assert source.report.skipped == (("loose.mp4", "is in no class folder"),)
  remarks = "\n".join(source.report.remarks)
  assert "2 clips are in sub-folders of their class folders, such as b/part1/0.mp4;" in remarks
  assert "--class_level=2" in remarks
  assert open_folder(root, tmp_path / "cache", num_classes=0).num_examples == 4


def test_folders_that_give_nothing_are_told(tmp_path, unreadable):
  root = tmp_path / "data"
  for name in ("a/0.mp4", "secret/0.mp4", ".git/0.mp4", "__MACOSX/a/0.mp4", "a/._0.mp4"):
    write_clip(root / name)
  (root / "empty" / "inside").mkdir(parents=True)
  (root / "Thumbs.db").write_bytes(b"")
  (root / "a" / "loop").symlink_to(root)
  unreadable(root / "secret")
  source = open_folder(root, tmp_path / "cache")
  assert source.class_names == ("a",) and source.num_examples == 1 and source.report.ignored == 0
  assert source.report.remarks == (
    "WARNING: folders that cannot be read are left out: secret (Permission denied)",
    "links to folders that are read under another path: a/loop",
    "folders without a video: empty",
  )


def test_a_link_to_a_class_does_not_take_its_place(tmp_path):
  root = tmp_path / "data"
  for name in ("b/0.mp4", "b 2/0.mp4", "c/0.mp4"):
    write_clip(root / name)
  (root / "a").symlink_to(root / "c")
  source = open_folder(root, tmp_path / "cache")
  assert source.class_names == ("b", "b 2", "c") and labels_of(source) == [0, 1, 2]
  assert source.report.remarks == ("links to folders that are read under another path: a",)


def test_unreadable_folders_of_lists_are_told(tmp_path, unreadable):
  root = folder_with_lists(tmp_path / "data", ["Alpha/a.mp4 1", "Beta/b.mp4 2"])
  for name in ("Alpha/a.mp4", "Beta/b.mp4"):
    write_clip(root / name)
  unreadable(root / "Beta")
  source = open_folder(root, tmp_path / "cache")
  assert source.num_examples == 1 and source.report.missing == ("Beta/b.mp4",)
  assert "Beta (Permission denied)" in source.report.remarks[0]


def test_one_class_may_be_spelled_in_two_forms_of_unicode(tmp_path):
  """macOS stores accents and letters separately."""
  root = tmp_path / "data"
  write_clip(root / "train" / "caf\u00e9" / "0.mp4")
  write_clip(root / "test" / "cafe\u0301" / "0.mp4")
  write_clip(root / "test" / "b" / "0.mp4")
  for split, labels in (("train", [1]), ("test", [0, 1])):
    source = open_folder(root, tmp_path / "cache", split=split)
    assert labels_of(source) == labels and source.num_classes == 2
    assert source.class_names[0] == "b" and source.class_names[1].startswith("caf")


def test_a_copy_with_names_in_another_form_is_the_same_data(tmp_path):
  for number, name in enumerate(("caf\u00e9", "cafe\u0301")):
    write_clip(tmp_path / str(number) / name / f"{name}.mp4")
  one, other = (open_folder(tmp_path / str(n), tmp_path / "cache").description() for n in (0, 1))
  assert one["checksum"] == other["checksum"]
  # Earlier versions stored the checksum of the names in their Unicode form on disk.
  earlier = {**other, "checksum": other["checksum_of_plain_names"]}
  (tmp_path / states.DATA).write_text(json.dumps(earlier))
  states.check_data(tmp_path, other)
  (tmp_path / states.DATA).write_text(json.dumps({**earlier, "checksum": "0"}))
  with pytest.raises(UserError, match="was trained on other data: checksum 0 there"):
    states.check_data(tmp_path, other)


def test_names_in_no_encoding_have_a_checksum(tmp_path):
  write_clip(tmp_path / "data" / "b\udcff" / "1.mp4")
  assert open_folder(tmp_path / "data", tmp_path / "cache").description()["checksum"]


def test_a_flat_folder_is_unlabelled(tmp_path):
  write_clip(tmp_path / "data" / "1.mp4")
  source = open_folder(tmp_path / "data", tmp_path / "cache")
  assert source.num_classes == 0 and labels_of(source) == [0]
  with pytest.raises(UserError, match="num_classes=5 should be 0"):
    open_folder(tmp_path / "data", tmp_path / "cache", num_classes=5)


def test_crops_move_along_the_long_side(tmp_path):
  for name, (height, width) in {"wide": (16, 48), "tall": (48, 16)}.items():
    root = tmp_path / name
    write_clip(root / "1.mp4", height=height, width=width)
    stored, _ = read_video(root / "1.mp4", short_side=8)
    assert sorted(stored.shape[1:3]) == [8, 24]
    source = open_folder(root, tmp_path / "cache", frames=6)
    generator = np.random.default_rng(0)
    crops = {source.example(0, generator)[0].tobytes() for _ in range(300)}
    assert len(crops) == 17
    centre = open_folder(root, tmp_path / "cache", frames=6, crop="center")
    clip, _ = centre.example(0, generator)
    expected = stored[:, :, 8:16] if name == "wide" else stored[:, 8:16]
    assert (clip == expected).all()


def test_windows_keep_the_stride_and_flips_mirror(tmp_path):
  write_clip(tmp_path / "data" / "1.mp4", frames=9, height=16, width=16)
  stored, _ = read_video(tmp_path / "data" / "1.mp4", short_side=8)
  source = open_folder(tmp_path / "data", tmp_path / "cache", stride=2, horizontal_flip=True)
  generator = np.random.default_rng(0)
  seen = {source.example(0, generator)[0].tobytes() for _ in range(100)}
  windows = [stored[start : start + 8 : 2] for start in (0, 1)]
  assert seen == {w.tobytes() for w in windows} | {w[:, :, ::-1].tobytes() for w in windows}
  again = [source.example(0, np.random.default_rng(5))[0] for _ in range(2)]
  assert (again[0] == again[1]).all()


def test_the_cache_is_used_and_follows_changed_files(tmp_path, monkeypatch):
  path = tmp_path / "data" / "1.mp4"
  write_clip(path, frames=6, seed=0)
  first = open_folder(tmp_path / "data", tmp_path / "cache").example(0, np.random.default_rng(0))
  decoded = []
  monkeypatch.setattr(
    "vidgan_jax.data.sources.video_folder.read_video",
    lambda *args, **kw: decoded.append(args) or read_video(*args, **kw),
  )
  again = open_folder(tmp_path / "data", tmp_path / "cache").example(0, np.random.default_rng(0))
  assert not decoded and (again[0] == first[0]).all()
  open_folder(tmp_path / "data", tmp_path / "cache", resolution=12)
  open_folder(tmp_path / "data", tmp_path / "cache")
  assert len(decoded) == 1  # another resolution is another entry
  write_clip(path, frames=7, seed=1)
  assert open_folder(tmp_path / "data", tmp_path / "cache").report.frames == 7
  assert len(decoded) == 2
  shutil.copystat(__file__, path)  # the same content with another time is decoded again
  open_folder(tmp_path / "data", tmp_path / "cache")
  assert len(decoded) == 3


def test_a_folder_that_was_moved_is_the_same_and_changed_files_are_not(tmp_path):
  """So a run may continue after its folder was moved."""
  for number in range(2):
    write_mp4(tmp_path / "a" / "x" / f"{number}.mp4", np.full((4, 16, 16, 3), 90, np.uint8), 10)
  shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
  os.utime(tmp_path / "b" / "x" / "0.mp4", (1, 1))
  options = dict(frames=2, resolution=16, report=lambda line: None)
  identity = lambda name: VideoFolder(
    tmp_path / name, cache_directory=tmp_path / "cache", **options
  ).identity()
  assert identity("a") == identity("b")
  noise = np.random.default_rng(0).integers(256, size=(4, 16, 16, 3), dtype=np.uint8)
  write_mp4(tmp_path / "b" / "x" / "1.mp4", noise, 10)
  assert identity("a") != identity("b")


def test_damaged_cache_files_are_made_again(tmp_path):
  write_clip(tmp_path / "data" / "1.mp4")
  cache = tmp_path / "cache"
  open_folder(tmp_path / "data", cache)
  (stored,) = cache.iterdir()  # nothing temporary is left behind
  whole = stored.read_bytes()
  other = io.BytesIO()
  np.save(other, np.zeros((9, 8, 8, 3), np.float32))
  old = io.BytesIO()  # from a version without checksums
  np.save(old, np.zeros((6, 8, 8, 3), np.uint8))
  bit = bytearray(whole)
  bit[20] ^= 1  # in the header
  for content in (b"", whole[:-5], b"x" * len(whole), other.getvalue(), old.getvalue(), bytes(bit)):
    stored.write_bytes(content)
    assert open_folder(tmp_path / "data", cache).report.frames == 6
    assert stored.read_bytes() == whole


def test_clips_whose_cache_file_is_damaged_later_are_decoded_again(tmp_path):
  write_clip(tmp_path / "data" / "1.mp4")
  lines = []
  source = open_folder(tmp_path / "data", tmp_path / "cache", report=lines.append)
  expected, _ = source.example(0, np.random.default_rng(0))
  (stored,) = (tmp_path / "cache").iterdir()
  whole = stored.read_bytes()
  lines.clear()
  for position in (20, 128 + 2 * 8 * 12 * 3 + 5, len(whole) - 1, None):
    if position is None:
      stored.unlink()
    else:
      stored.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
    np.testing.assert_array_equal(source.example(0, np.random.default_rng(0))[0], expected)
    assert stored.read_bytes() == whole
  assert len(lines) == 1 and "decoded again" in lines[0]
  stored.unlink()
  (tmp_path / "data" / "1.mp4").unlink()
  with pytest.raises(UserError, match=r"1\.mp4"):
    source.example(0, np.random.default_rng(0))


def test_the_default_cache_is_in_the_users_cache_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  write_clip(tmp_path / "data" / "1.mp4")
  folders = {open_folder(tmp_path / "data", None, resolution=r).report.cache for r in (8, 8, 12)}
  assert len(folders) == 2
  assert {os.path.dirname(folder) for folder in folders} == {str(tmp_path / "xdg" / "vidgan_jax")}


def test_an_unwritable_cache_is_told_and_another_folder_taken(tmp_path, monkeypatch):
  write_clip(tmp_path / "data" / "1.mp4")
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
  monkeypatch.setattr(tempfile, "tempdir", None)
  (tmp_path / "elsewhere").mkdir()
  lines = []
  source = open_folder(tmp_path / "data", tmp_path / "file" / "cache", report=lines.append)
  assert source.example(0, np.random.default_rng(0))[0].shape[0] == source.frames
  (warning,) = [line for line in lines if line.startswith("WARNING")]
  assert str(tmp_path / "file") in warning and "\n" not in warning
  assert len(list((tmp_path / "elsewhere").iterdir())) == 1
  del source
  gc.collect()
  assert not list((tmp_path / "elsewhere").iterdir())


def test_bad_clips_are_skipped_until_too_few_are_left(tmp_path):
  root = tmp_path / "data"
  write_clip(root / "good.mp4")
  write_clip(root / "short.mp4", frames=3)
  (root / "bad.mp4").write_bytes((root / "good.mp4").read_bytes()[:-300])
  source = open_folder(root, tmp_path / "cache")
  assert source.num_examples == 1
  assert sorted(path for path, _ in source.report.skipped) == ["bad.mp4", "short.mp4"]
  with pytest.raises(UserError, match="0 usable clips, 1 are needed") as caught:
    open_folder(root, tmp_path / "cache", frames=7)
  assert "\n" not in str(caught.value)
  source = open_folder(root, tmp_path / "cache2", frames=3, max_bytes_per_clip=8 * 12 * 3 * 4)
  assert dict(source.report.skipped)["good.mp4"].startswith("needs more than the limit")


def test_all_skipped_files_are_listed_in_a_file(tmp_path):
  root, cache = tmp_path / "data", tmp_path / "cache"
  names = [f"{i}.mp4" for i in range(6)] + ["new\nline.mp4", "b\udcff.mp4"]
  (root / "a").mkdir(parents=True)
  for name in names:
    (root / "a" / name).write_bytes(b"no video")
  write_clip(root / "a" / "good.mp4")
  lines = []
  source = open_folder(root, cache, report=lines.append)
  listed = pathlib.Path(source.report.skipped_list)
  assert listed.parent == cache
  at = lines.index(f"8 files skipped, listed in {listed}:")
  assert lines[at + 6] == "  and 3 more" and all("/" in line for line in lines[at + 1 : at + 6])
  skipped_lines = listed.read_text(encoding="utf-8").splitlines()
  assert [line.split(": not readable as a video (")[0] for line in skipped_lines] == [
    f"{root}/{path}".replace("\n", "\\n").replace("\udcff", "\\udcff")
    for path, _ in source.report.skipped
  ]
  assert len(skipped_lines) == 8
  # Another split, or another folder, writes another list into the same cache.
  write_clip(tmp_path / "other" / "short.mp4", frames=3)
  write_clip(tmp_path / "other" / "good.mp4")
  other = open_folder(tmp_path / "other", cache).report.skipped_list
  every = open_folder(root, cache, split="all").report.skipped_list
  assert len({other, every, str(listed)}) == 3
  # The list is removed when no file is skipped any more.
  for name in names:
    (root / "a" / name).unlink()
  assert open_folder(root, cache).report.skipped_list == "" and not listed.exists()
  assert os.path.exists(other)


def test_a_cache_without_room_for_the_list_will_do(tmp_path, monkeypatch):
  root, cache = tmp_path / "data", tmp_path / "cache"
  write_clip(root / "good.mp4")
  write_clip(root / "short.mp4", frames=3)
  open_folder(root, cache, frames=3)  # all clips are decoded

  def refuse(path):
    raise UserError(f"{path}: cannot be written (Read-only file system)")

  monkeypatch.setattr("vidgan_jax.data.sources.video_folder.atomic_file", refuse)
  lines = []
  source = open_folder(root, cache, report=lines.append)
  assert source.num_examples == 1 and source.report.skipped_list == ""
  assert "WARNING" in lines[0] and "Read-only file system" in lines[0]
  assert "1 files skipped:" in lines


def test_classes_without_usable_clips_are_named_in_one_line(tmp_path):
  root, lines = tmp_path / "data", []
  for name in ("Alpha", "Beta", "Gamma"):
    write_clip(root / name / "1.mp4", frames=6 if name == "Beta" else 3)
  open_folder(root, tmp_path / "cache", report=lines.append)
  warnings = [line for line in lines if "WARNING" in line]
  assert warnings == ["WARNING: classes without a usable clip: Alpha, Gamma"]
  for arguments in (dict(frames=3), dict(num_classes=0)):
    lines.clear()
    open_folder(root, tmp_path / "cache", report=lines.append, **arguments)
    assert not [line for line in lines if "WARNING" in line]


def test_of_many_classes_without_clips_some_are_named(tmp_path):
  classes = [f"Class{index:03d}" for index in range(101)]
  root, lines = folder_with_lists(tmp_path / "data", ["Class000/a.mp4 1"], (), classes), []
  write_clip(root / "Class000" / "a.mp4")
  open_folder(root, tmp_path / "cache", report=lines.append)
  (warning,) = (line for line in lines if "WARNING" in line)
  assert "clip: Class001, Class002, " in warning and warning.endswith("Class020 and 80 more")


def test_bad_arguments_are_refused(tmp_path):
  write_clip(tmp_path / "data" / "1.mp4")
  (tmp_path / "empty").mkdir()
  for root, arguments, words in (
    ("nowhere", {}, "no such folder"),
    ("empty", {}, "contains no video files"),
    ("data", {"crop": "middle"}, "unknown crop 'middle', known are: random, center"),
    ("data", {"split": "dev"}, "unknown split 'dev', known are: train, val, test, all"),
    ("data", {"split": "val"}, "so there is no val split"),
    ("data", {"split_folders": "train"}, "split_folders is 'train'; it must be auto, none, or"),
    ("data", {"split_folders": "a=train"}, "names 'a', but no clip is in a folder of this name"),
    ("data", {"stride": 0}, "stride"),
  ):
    with pytest.raises(UserError, match=words):
      open_folder(tmp_path / root, tmp_path / "cache", **arguments)
