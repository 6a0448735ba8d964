"""Prepared sets read without tensorflow."""

import dataclasses
import gc
import json
import re
import shutil

import numpy as np
import psutil
import pytest

from vidgan_jax.data.formats import index
from vidgan_jax.data.pipeline import Batches, Prefetcher, augmentation_generator
from vidgan_jax.data.prepare import run
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources import prepared, prepared_folder
from vidgan_jax.data.sources.prepared import Prepared
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import read_video
from vidgan_jax.runtime.files.video_writers import write_mp4

NAMES = tuple(f"class{i}" for i in range(10))


@pytest.fixture(scope="module")
def ramps(tmp_path_factory, write_prepared, ramp):
  """Ten lossless clips of 9 to 18 frames, 10x14 pixels, with row, column and time as pixels."""
  clips = [ramp(9 + i, 10, 14) for i in range(10)]
  folder = tmp_path_factory.mktemp("ramps")
  return write_prepared(folder, clips, range(10), NAMES, shards=3, png=True)


@pytest.fixture
def damaged(tmp_path, write_prepared, textured):
  """A function that writes a set of six JPEG clips, damages one, and returns (folder, its row)."""

  def make(row=2):
    clips = [textured(6, 16, 16, seed=i) for i in range(6)]
    folder = write_prepared(tmp_path / "set", clips, range(6), NAMES[:6])
    info = index.read_prepared(folder)
    clips, frames = index.read_index(folder, info, "train")
    clip = clips[row]
    path = folder / info.splits["train"].shards[clip["shard"]].file
    content = bytearray(path.read_bytes())
    for offset, length, _ in frames[int(clip["first"]) :][: int(clip["frames"])].tolist():
      content[offset + length // 2 : offset + length - 2] = bytes(length - 2 - length // 2)
    path.write_bytes(content)
    return folder, row

  return make


def source_of(folder, **options):
  options = {"frames": 3, "stride": 2, "resolution": 10, "report": lambda line: None, **options}
  return Prepared([folder], **options)


def batches_of(source, steps=2, seed=1, **options):
  return Batches(source, 4, steps, seed, **options)


def test_an_example_shows_the_place_it_was_cut_from(ramps):
  source = source_of(ramps, horizontal_flip=True, temporal_reversal=True)
  assert (source.num_examples, source.class_names) == (10, NAMES)
  flips, backward, lefts = [], [], set()
  for ordinal in range(200):
    clip, label = source.example(ordinal % 10, augmentation_generator(0, ordinal))
    assert clip.shape == (3, 10, 10, 3) and clip.dtype == np.uint8
    row, column, time = np.moveaxis(clip.astype(int), -1, 0)
    assert (row == np.arange(10)[:, None]).all()
    step = time[1, 0, 0] - time[0, 0, 0]
    assert abs(step) == 2 and (time == time[0, 0, 0] + step * np.arange(3)[:, None, None]).all()
    assert time.max() <= 9 + label - 1  # a clip of class i has 9 + i frames
    assert (np.abs(np.diff(column, axis=2)) == 1).all()
    lefts.add(column.min())
    flips.append(column[0, 0, 0] > column[0, 0, 1])
    backward.append(step < 0)
  assert lefts == {0, 1, 2, 3, 4}
  assert 60 < sum(flips) < 140 and 60 < sum(backward) < 140


def test_windows_reach_every_frame_and_no_further(ramps):
  source = source_of(ramps, classes=("class1",))  # ten frames; a window covers five
  clips = [source.example(0, augmentation_generator(0, ordinal))[0] for ordinal in range(100)]
  assert {int(clip[0, 0, 0, 2]) for clip in clips} == {0, 1, 2, 3, 4}


def test_only_the_bytes_of_the_frames_used_are_read(ramps, monkeypatch):
  """One read per frame with a stride, one read for all frames without."""
  ranges = []
  read = prepared_folder._Shard.read
  monkeypatch.setattr(
    prepared_folder._Shard, "read", lambda self, *where: ranges.append(where) or read(self, *where)
  )
  source = source_of(ramps)
  del ranges[:]
  fetched = source.fetch(3, augmentation_generator(0, 0))
  assert [length for _, length in ranges] == [len(picture) for picture in fetched.pictures]
  source = source_of(ramps, stride=1, temporal_reversal=True)
  del ranges[:]
  for ordinal in range(10):
    fetched = source.fetch(3, augmentation_generator(0, ordinal))
    times = list(fetched.view.frames)
    assert len(ranges) == ordinal + 1 and abs(times[1] - times[0]) == 1
    assert ranges[-1][1] < sum(map(len, fetched.pictures)) + 3 * 8
    clip, _ = source.example(3, augmentation_generator(0, ordinal))
    assert clip[:, 0, 0, 2].tolist() == times
    del ranges[ordinal + 1 :]


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_and_workers_change_nothing(ramps, hosts, workers):
  source = source_of(ramps, horizontal_flip=True, temporal_reversal=True)
  whole = batches_of(source)
  parts = [
    batches_of(source, host_index=host, host_count=hosts, workers=workers) for host in range(hosts)
  ]
  for iteration in (0, 3, 10**6):
    expected, batches = whole(iteration), [part(iteration) for part in parts]
    for name in ("clip", "label"):
      assert (np.concatenate([part[name] for part in batches], axis=1) == expected[name]).all()


def test_a_stream_goes_on_at_any_step_as_if_it_had_never_stopped(ramps):
  with Prefetcher(batches_of(source_of(ramps)), stop=8) as stream:
    expected = dict(stream)
  for start in range(8):
    # A newly opened source, as in a new process.
    with Prefetcher(batches_of(source_of(ramps), workers=3), start, depth=3, stop=8) as stream:
      for iteration, batch in stream:
        assert (batch["clip"] == expected[iteration]["clip"]).all()
        assert (batch["label"] == expected[iteration]["label"]).all()


def test_two_epochs_see_every_clip_exactly_twice(ramps):
  batches = batches_of(source_of(ramps), steps=1, workers=2)
  seen = np.concatenate([batches(iteration)["label"].ravel() for iteration in range(5)])
  assert np.bincount(seen).tolist() == [2] * 10
  assert np.bincount(seen[:10]).tolist() == [1] * 10


def test_a_subset_has_labels_in_the_order_of_its_names(ramps):
  source = source_of(ramps, classes=("class7", "class2"), num_classes=2)
  assert source.class_names == ("class7", "class2") and source.num_examples == 2
  longest = [source.example(i, augmentation_generator(0, 0))[1] for i in range(2)]
  lengths = [len(source.fetch(i, augmentation_generator(0, 0)).pictures) for i in range(2)]
  assert sorted(longest) == [0, 1] and lengths == [3, 3]
  batch = batches_of(source, steps=8)(0)
  times = batch["clip"][..., 2].max(axis=(2, 3, 4))
  assert times[batch["label"] == 1].max() <= 10 < times[batch["label"] == 0].max()
  with pytest.raises(UserError, match="has no class 'class11'"):
    source_of(ramps, classes=("class11",))


def test_short_clips_are_left_out_and_counted(ramps):
  lines = []
  source = source_of(ramps, min_frames=12, report=lines.append)
  assert source.num_examples == 7 and source.num_classes == 10
  assert "7 clips, 105 frames, 3 shorter than 12 frames are left out, 10 classes" in lines[0]
  assert lines[1].startswith("WARNING: classes without a usable clip: class0")
  with pytest.raises(
    UserError, match=r"0 clips, 0 frames, 10 shorter than 20 frames .*; 1 clips are"
  ):
    source_of(ramps, frames=10)
  with pytest.raises(UserError, match="8 clips are needed"):
    source_of(ramps, min_frames=12, min_clips=8)


def test_several_folders_are_one_set(ramps, tmp_path, write_prepared, ramp):
  more = write_prepared(tmp_path, [ramp(30, 10, 10)] * 2, [0, 1], ("new", "class3"))
  source = Prepared([ramps, more, more], frames=3, resolution=10, report=lambda line: None)
  assert source.num_examples == 14 and source.class_names == (*NAMES, "new")
  labels = [source.example(i, augmentation_generator(0, i))[1] for i in range(14)]
  assert np.bincount(labels).tolist() == [1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 2]
  assert Prepared([ramps, more], frames=3, resolution=10, classes=("new",)).num_examples == 1


def test_classes_are_the_same_in_every_form_of_unicode(tmp_path, write_prepared, ramp):
  one, other = (
    write_prepared(tmp_path / name, [ramp(9, 10, 10)] * 2, [0, 1], (spelled, "b"))
    for name, spelled in (("one", "caf\u00e9"), ("other", "cafe\u0301"))
  )
  quiet = dict(frames=3, resolution=10, report=lambda line: None)
  both = Prepared([one, other], num_classes=2, **quiet)
  assert both.class_names == ("caf\u00e9", "b") and both.num_examples == 4
  some = Prepared([one, other], classes=("CAFE\u0301",), **quiet)
  assert some.class_names == ("caf\u00e9",) and some.num_examples == 2
  with pytest.raises(UserError, match=r"has no class '0' .* takes names; known are caf\u00e9, b"):
    Prepared([one], classes=("0",), **quiet)


def test_a_folder_named_twice_is_opened_once(ramps, tmp_path, monkeypatch):
  opened, open_folders = [], prepared_folder.open_folders
  monkeypatch.setattr(
    prepared_folder, "open_folders", lambda *all_: opened.append(all_[0]) or open_folders(*all_)
  )
  (tmp_path / "link").symlink_to(ramps)
  names = [ramps, tmp_path / "link", f"{ramps}/"]
  source = Prepared(names, frames=3, resolution=10, report=lambda line: None)
  assert source.num_examples == 30 and len(opened) == 1
  labels = [source.example(i, augmentation_generator(0, i))[1] for i in range(30)]
  assert np.bincount(labels).tolist() == [3] * 10


def test_few_files_are_open_however_many_there_are(tmp_path, monkeypatch, write_prepared, ramp):
  """The limit holds for all folders together."""
  monkeypatch.setattr(prepared_folder, "OPEN_FILES", 5)
  folders = [
    write_prepared(tmp_path / name, [ramp(4, 8, 8)] * 6, shards=6, png=True) for name in "abc"
  ]
  shards = lambda: sum("tfrecord" in file.path for file in psutil.Process().open_files())
  assert shards() == 0
  source = Prepared(folders, frames=3, resolution=8, num_classes=0, report=lambda line: None)
  for iteration in range(4):
    batches_of(source, steps=5, workers=3)(iteration)
    assert 1 <= shards() <= 5
  del source
  gc.collect()
  assert shards() == 0


def test_a_folder_that_gives_nothing_is_told(ramps, tmp_path, write_prepared, ramp):
  short = write_prepared(tmp_path, [ramp(5, 10, 10)] * 2, [0, 1], NAMES[:2])
  lines = []
  Prepared([ramps, short], frames=3, resolution=10, min_frames=9, report=lines.append)
  assert lines[0] == f"WARNING: {short} (train): none of its clips is in use"


@pytest.fixture
def two_splits(tmp_path, write_prepared, ramp):
  """A set of three training clips and two test clips of another length."""
  parts = {}
  for split, count, frames in (("train", 3, 8), ("test", 2, 5)):
    clips = [ramp(frames, 10, 10)] * count
    write_prepared(tmp_path, clips, range(count), NAMES[:3], png=True, split=split)
    info = index.read_prepared(tmp_path)
    parts |= info.splits
  index.write_prepared(tmp_path, dataclasses.replace(info, splits=parts))
  return tmp_path


def test_a_split_is_chosen_by_its_name_or_all_are(two_splits):
  clips_of = {}
  for split in ("train", "test", "all"):
    source = source_of(two_splits, stride=1, split=split)
    clips = [source.fetch(i, augmentation_generator(0, i)) for i in range(source.num_examples)]
    clips_of[split] = [(source._clips[c.clip]["frames"], c.label) for c in clips]
  assert clips_of["train"] == [(8, 0), (8, 2), (8, 1)]  # two files
  assert clips_of["test"] == [(5, 0), (5, 1)]
  assert clips_of["all"] == clips_of["train"] + clips_of["test"]
  identities = {source_of(two_splits, stride=1, split=split).identity() for split in clips_of}
  assert len(identities) == 3


def test_labels_may_be_dropped_or_absent(ramps, tmp_path, write_prepared, ramp):
  assert source_of(ramps, num_classes=0).example(3, augmentation_generator(0, 0))[1] == 0
  folder = write_prepared(tmp_path, [ramp(9, 10, 10)] * 3, png=True)
  source = source_of(folder, num_classes=0)
  assert (source.num_examples, source.class_names) == (3, ())
  with pytest.raises(UserError, match="has 0 classes, but num_classes is 3"):
    source_of(folder, num_classes=3)
  with pytest.raises(UserError, match="others have none"):
    Prepared([folder, ramps], frames=3, resolution=10, report=lambda line: None)
  both = Prepared([folder, ramps], frames=3, resolution=10, num_classes=0, report=lambda line: None)
  assert both.num_examples == 13


def test_an_identity_tells_other_data_apart(ramps, tmp_path, write_prepared, ramp):
  identities = {
    source_of(ramps).identity(),
    source_of(ramps, classes=NAMES[:9]).identity(),
    source_of(ramps, min_frames=10).identity(),
    source_of(ramps, num_classes=0).identity(),
    source_of(write_prepared(tmp_path, [ramp(9, 10, 10)] * 10, range(10), NAMES)).identity(),
  }
  assert len(identities) == 5
  other = shutil.copytree(ramps, tmp_path / "other")
  content = (other / index.FILE_NAME).read_text()
  shard = index.read_prepared(other).splits["train"].shards[1]
  (other / index.FILE_NAME).write_text(content.replace(shard.sha256, 64 * "0"))
  assert source_of(other).identity() not in identities
  assert source_of(ramps).identity() == source_of(ramps, stride=1, horizontal_flip=True).identity()


def test_what_prepare_makes_is_read(tmp_path, textured):
  for name in ("b", "a"):
    write_mp4(tmp_path / "videos" / name / "1.mp4", textured(8, 48, 64, seed=ord(name)), 10)
  output = str(tmp_path / "set")
  request = Request("folder", str(tmp_path / "videos"), output, resolution=32, quality=None)
  run.prepare(request, report=lambda line: None)
  source = source_of(output, stride=1, resolution=32, crop="center", num_classes=2)
  assert source.class_names == ("a", "b")
  for index_, name in enumerate(source.class_names):
    clip, label = source.example(index_, augmentation_generator(0, 0))
    start = source.fetch(index_, augmentation_generator(0, 0)).view.frames.start
    video, _ = read_video(tmp_path / "videos" / name / "1.mp4", short_side=32)
    assert label == index_ and (clip == video[start : start + 3, :, 5:37]).all()


def test_a_missing_set_is_told_with_the_command_that_makes_it(tmp_path):
  command = re.escape(
    f"vidgan prepare --source=ucf101 --input=VIDEOS --output={tmp_path}/x --resolution=64"
  )
  with pytest.raises(
    UserError, match=f"^{tmp_path}/x: no such folder; make it, for example with: {command}$"
  ):
    source_of(tmp_path / "x", resolution=64, prepare="--source=ucf101")
  (tmp_path / "x").mkdir()
  with pytest.raises(UserError, match=f"is not a prepared data set .* make one with: {command}$"):
    source_of(tmp_path / "x", resolution=64, prepare="--source=ucf101")


def test_the_error_without_a_finished_set_gives_the_command(ramps, tmp_path, write_prepared, ramp):
  """`prepare` refuses folders that are not empty, so the message names another one."""
  videos = tmp_path / "my videos"
  (videos / "a").mkdir(parents=True)
  with pytest.raises(UserError) as caught:
    source_of(f"{videos}/", resolution=64)
  assert str(caught.value) == (
    f"{videos}/: is not a prepared data set (has no prepared.json); make one with: vidgan "
    f"prepare --source=SOURCE --input='{videos}/' --output='{videos}_prepared' "
    "--resolution=64"
  )
  (tmp_path / "begun" / ".preparing").mkdir(parents=True)
  with pytest.raises(UserError, match="begun: preparation was not finished; run its prepare comm"):
    source_of(tmp_path / "begun")
  small = write_prepared(tmp_path / "small", [ramp(9, 8, 8)] * 2, [0, 1], ("a", "b"))
  with pytest.raises(UserError, match=rf"^{small}: has pictures of 8x8 .*--output={small}_10 "):
    Prepared([ramps, small], frames=3, resolution=10, report=lambda line: None)


def test_what_does_not_fit_is_refused_in_one_line(tmp_path, write_prepared, ramp):
  folder = write_prepared(tmp_path / "set", [ramp(9, 10, 14)] * 2, [0, 1], ("a", "b"))
  with pytest.raises(
    UserError,
    match=r"10x14 pixels, .* resolution 12; make another set, for example with: vidgan prepare",
  ):
    source_of(folder, resolution=12)
  with pytest.raises(UserError, match="has 2 classes, but num_classes is 3"):
    source_of(folder, num_classes=3)
  with pytest.raises(UserError, match=r"no split 'test', known are: train; set config\.data\.spl"):
    source_of(folder, split="test")
  with pytest.raises(UserError, match=r"split_number 1, but config\.data\.split_number is 2"):
    source_of(folder, split_number=2)
  with pytest.raises(UserError, match="damaged is 'ignore', known are: stop, skip"):
    source_of(folder, damaged="ignore")
  features = json.loads((folder / "features.json").read_text())
  features["featuresDict"]["features"]["image"] = None
  index.write_json(folder / "features.json", features)
  with pytest.raises(UserError, match="are frame_rate, id, image, label, video; expected"):
    source_of(folder)
  empty = write_prepared(tmp_path / "empty", [], [], ("a",))
  with pytest.raises(UserError, match="its split 'train' is empty"):
    source_of(empty)


def test_labels_outside_the_classes_are_refused(tmp_path, write_prepared, ramp):
  folder = write_prepared(tmp_path, [ramp(9, 10, 10)] * 3, [0, 1, 2], ("a", "b"), shards=1)
  with pytest.raises(UserError, match="row 2: its label is outside the range of the classes"):
    source_of(folder)


def test_a_damaged_clip_is_named_and_fatal(damaged):
  folder, row = damaged()
  source = source_of(folder)
  for other in set(range(6)) - {row}:
    source.example(other, augmentation_generator(0, 0))
  words = r"tfrecord-00000-of-00002: clip 2 \(byte \d+\): frame \d is damaged: .*damaged=skip"
  with pytest.raises(UserError, match=words):
    source.example(row, augmentation_generator(0, 0))
  with pytest.raises(UserError, match=words):
    for iteration in range(2):
      batches_of(source, workers=3)(iteration)


@pytest.mark.parametrize("fraction", [0.4, 0.7])
def test_a_flipped_bit_that_decodes_is_noticed(tmp_path, write_prepared, textured, fraction):
  """The flipped bit leaves another picture, which no decoder reports."""
  clips = [textured(3, 32, 32, seed=i) for i in range(2)]
  folder = write_prepared(tmp_path, clips, [0, 1], NAMES[:2], shards=1)
  whole, _ = source_of(folder, stride=1).example(1, augmentation_generator(0, 0))
  info = index.read_prepared(folder)
  offset, length, _ = index.read_index(folder, info, "train")[1][4].tolist()  # frame 1 of clip 1
  path = folder / info.splits["train"].shards[0].file
  content = bytearray(path.read_bytes())
  content[offset + int(fraction * length)] ^= 16
  path.write_bytes(content)
  other = np.asarray(prepared.pictures.decode(bytes(content[offset : offset + length]), 32, 32))
  assert (other[:10, :10] != whole[1]).any()
  source = source_of(folder, stride=1)
  source.example(0, augmentation_generator(0, 0))
  with pytest.raises(
    UserError, match=r"clip 1 \(byte \d+\): frame 1 is damaged: its checksum diff"
  ):
    source.example(1, augmentation_generator(0, 0))
  source = source_of(folder, stride=1, damaged="skip")
  assert source.example(1, augmentation_generator(0, 0))[1] == 0


def test_an_index_that_points_nowhere_is_damage(tmp_path, write_prepared, ramp):
  """The index of frames within a clip is not checked before they are read."""
  clips = [ramp(5, 10, 10), ramp(5, 10, 10) + np.uint8([0, 0, 100])]
  folder = write_prepared(tmp_path, clips, shards=1, png=True)
  info = index.read_prepared(folder)
  clips, frames = (np.array(part) for part in index.read_index(folder, info, "train"))
  for offset, length in ((2**64 - 5, 5), (2**63, 5), (0, 2**32 - 1), (10**6, 10)):
    changed = frames.copy()
    changed["offset"][1], changed["length"][1] = offset, length
    split = dataclasses.replace(
      info.splits["train"], index=index.write_index(folder, "train", clips, changed)
    )
    index.write_prepared(folder, dataclasses.replace(info, splits={"train": split}))
    for stride in (1, 2):
      source = source_of(folder, frames=2, stride=stride, damaged="skip", num_classes=0)
      for ordinal in range(8):
        clip, _ = source.example(0, augmentation_generator(0, ordinal))
        assert 1 not in clip[:, 0, 0, 2]  # 101 is the value of the replacing clip


def test_a_system_may_hand_over_less_than_is_there(ramps, monkeypatch):
  source = source_of(ramps, stride=1)
  expected, _ = source.example(3, augmentation_generator(0, 0))
  pread = prepared_folder.os.pread
  monkeypatch.setattr(prepared_folder.os, "pread", lambda file, n, at: pread(file, n // 2 + 1, at))
  assert (source.example(3, augmentation_generator(0, 0))[0] == expected).all()


def test_others_stand_in_for_a_damaged_clip_always_the_same(damaged):
  folder, row = damaged()
  lines = []
  source = source_of(folder, damaged="skip", report=lines.append)
  stood_in = [source.example(row, augmentation_generator(0, i))[1] for i in range(60)]
  assert set(stood_in) == {0, 1, 2, 3, 4, 5} - {row + 2}  # rows of the first shard: 0, 2, 4
  assert sum("other clips replace it" in line for line in lines) == 1
  parts = [batches_of(source_of(folder, damaged="skip"), workers=w) for w in (1, 5)]
  for iteration in range(6):
    first, second = (part(iteration) for part in parts)
    assert (first["clip"] == second["clip"]).all() and (first["label"] == second["label"]).all()


def test_a_shard_cut_short_is_named_and_fatal_or_skipped(damaged):
  folder, _ = damaged(0)
  path = folder / "tiny-train.tfrecord-00001-of-00002"
  path.write_bytes(path.read_bytes()[:-2000])
  with pytest.raises(UserError, match=r"00001-of-00002: damaged, it has \d+ bytes instead of \d+"):
    source_of(folder)
  lines = []
  source = source_of(folder, damaged="skip", report=lines.append)
  assert lines[0].startswith("WARNING: ") and "00001-of-00002: damaged" in lines[0]
  assert all(source.example(5, augmentation_generator(0, i))[1] != 5 for i in range(10))
  path.unlink()  # with all clips damaged, reading stops
  with pytest.raises(UserError, match=r"00001-of-00002: not readable \(No such file"):
    source_of(folder, damaged="skip")
  path.mkdir()
  with pytest.raises(UserError, match=r"not readable \(Is a directory\)"):
    source_of(folder, damaged="skip").example(5, augmentation_generator(0, 0))


def test_nothing_but_damage_ends(damaged, monkeypatch):
  folder, _ = damaged()
  source = source_of(folder, damaged="skip")
  monkeypatch.setattr(prepared.pictures, "check", _refuse)
  with pytest.raises(UserError, match="100 clips in a row are damaged"):
    source.example(0, augmentation_generator(0, 0))


def _refuse(*_):
  raise prepared.pictures.PictureError("no")
