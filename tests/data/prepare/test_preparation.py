"""Whole preparations: the content of the set, resuming, refusals."""

import dataclasses
import errno
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time

import av
import google_crc32c
import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import inputs, run, shards
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.prepare.verify import verify
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks
from vidgan_jax.runtime.files.video_files import read_video

FRAMES = {
  "c3d/v_ApplyEyeMakeup_g01_c01": 164,
  "c3d/v_BaseballPitch_g01_c01": 107,
  "torchvision_videos/v_SoccerJuggling_g23_c01": 240,
  "torchvision_videos/v_SoccerJuggling_g24_c01": 251,
  "torchvision_videos/RATRACE_wave_f_nm_np1_fr_goo_37": 72,
  "torchvision_videos/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0": 74,
  "torchvision_videos/TrumanShow_wave_f_nm_np1_fr_med_26": 48,
  "torchvision_videos/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6": 83,
  "torchvision_videos/R6llTwEh07w": 303,
  "torchvision_videos/SOX5yA1l24A": 332,
  "torchvision_videos/WUzgd7C1pWA": 327,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_clip):
  """Ten small videos in three classes, and one truncated video."""
  folder = tmp_path_factory.mktemp("videos")
  for number in range(10):
    path = folder / f"class{number % 3}" / f"{number}.mp4"
    write_clip(path, frames=4 + number, height=32, width=48, seed=number, rate=25)
  content = (folder / "class0" / "0.mp4").read_bytes()
  (folder / "class0" / "cut.mp4").write_bytes(content[: len(content) // 2])
  return folder


def test_real_clips_have_the_frames_that_decode(footage, prepare, read_clips):
  directory, prepared, lines = prepare("folder", footage / "clips", resolution=16)
  rows, _ = index.read_index(directory, prepared, "train")
  clips = read_clips(directory)
  assert {name: len(frames) for name, (frames, _, _) in clips.items()} == FRAMES
  assert sorted(rows["frames"].tolist()) == sorted(FRAMES.values()) and not prepared.skipped
  assert prepared.splits["train"].frames == 2001
  assert clips["c3d/v_ApplyEyeMakeup_g01_c01"][2] == 25.0
  assert clips["torchvision_videos/R6llTwEh07w"][0].shape[1:] == (16, 21, 3)
  assert lines[-1].startswith("report.txt, skipped.txt and contact_sheet.png are in")


def test_odd_files_are_used_or_skipped_with_a_reason(footage, prepare):
  directory, prepared, _ = prepare("folder", footage / "odd", resolution=16)
  skipped = dict(
    re.fullmatch(r"train: ([^:]+): (.*)", line).groups()
    for line in (directory / "skipped.txt").read_text().splitlines()
  )
  assert set(skipped) == {
    "bitflips.avi", "corrupted.mp4", "empty.avi", "header_only.avi", "html_error_page.mp4",
    "no_moov_or_cut.mp4", "truncated.avi",
  }  # fmt: skip
  assert skipped["bitflips.avi"].startswith("damaged at frame 7")
  assert skipped["truncated.avi"].startswith("damaged or cut off at frame 28")
  assert prepared.splits["train"].clips == 17 and prepared.classes == ()
  rows, _ = index.read_index(directory, prepared, "train")
  assert (rows["height"] > rows["width"]).any()  # portrait and turned recordings stay upright


def test_every_folder_of_real_videos_is_prepared(footage, prepare):
  directory, prepared, lines = prepare("ucf101", footage / "ucf_weizmann", resolution=16)
  splits = {split: (part.clips, part.frames) for split, part in prepared.splits.items()}
  assert splits == {"train": (56, 4146), "test": (16, 1144)} and not prepared.skipped
  for split in splits:
    rows, _ = index.read_index(directory, prepared, split)
    assert set(rows["label"].tolist()) == set(range(6)) and set(rows["frame_rate"]) == {25.0}
  assert any(re.match(r"train +2 JumpingJack +\d+ #{40}$", line) for line in lines)


def test_stored_pictures_are_those_of_the_video(videos, prepare, read_clips):
  directory, prepared, _ = prepare("folder", videos, resolution=16, quality=None)
  assert prepared.classes == ("class0", "class1", "class2") and prepared.skipped == 1
  clips = read_clips(directory)
  assert len(clips) == 10
  for name, (frames, label, rate) in clips.items():
    video, video_rate = read_video(videos / f"{name}.mp4", short_side=16)
    assert np.array_equal(frames, video) and rate == video_rate == 25.0
    assert prepared.classes[label] == name.split("/")[0]
  _, frames = index.read_index(directory, prepared, "train")
  content = (directory / prepared.splits["train"].shards[0].file).read_bytes()
  for offset, length, checksum in frames.tolist():
    assert google_crc32c.value(content[offset : offset + length]) == checksum
    assert content[offset : offset + 8] == b"\x89PNG\r\n\x1a\n"
    assert content[offset + length - 8 : offset + length - 4] == b"IEND"


@pytest.mark.parametrize("kind", ["yuv420p10le", "gray", "yuv444p12le"])
def test_other_depths_and_gray_become_eight_bits_of_colour(tmp_path, prepare, read_clips, kind):
  (tmp_path / "data").mkdir()
  path = tmp_path / "data" / "deep.mkv"
  ramp = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("ffv1", rate=10)
    stream.height, stream.width, stream.pix_fmt = 32, 64, kind
    for _ in range(3):
      container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, format="rgb24")))
    container.mux(stream.encode())
  directory, _, _ = prepare("folder", tmp_path / "data", quality=None)
  ((frames, _, _),) = read_clips(directory).values()
  assert frames.shape == (3, 32, 64, 3) and np.abs(frames[1].astype(int) - ramp).max() <= 4


def test_stride_and_frame_rate_thin_out_frames(videos, prepare, read_clips):
  whole = read_clips(prepare("folder", videos, "whole", quality=None)[0])
  for settings in ({"stride": 2}, {"frame_rate": 12.5}):
    thin = read_clips(
      prepare("folder", videos, f"thin{len(settings)}{settings}", quality=None, **settings)[0]
    )
    for name, (frames, _, rate) in thin.items():
      assert rate == 12.5 and np.array_equal(frames, whole[name][0][::2])


def test_a_set_does_not_depend_on_the_workers(videos, prepare, contents):
  sets = [
    contents(prepare("folder", videos, f"out{workers}", workers=workers, clips_per_shard=3)[0])
    for workers in (1, 7)
  ]
  assert sets[0] == sets[1]
  assert set(sets[0]) == {
    *(f"folder-train.tfrecord-0000{number}-of-00004" for number in range(4)),
    "index/train-clips.npy", "index/train-frames.npy", "prepared.json", "features.json",
    "dataset_info.json", "label.labels.txt", "report.txt", "skipped.txt", "contact_sheet.png",
  }  # fmt: skip
  info = json.loads(sets[0]["dataset_info.json"])
  lengths = [int(length) for length in info["splits"][0]["shardLengths"]]
  assert sum(lengths) == 10 and sorted(lengths) == [2, 2, 3, 3]


def test_few_encoded_bytes_wait_for_a_slow_clip(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "_MAX_WAITING_BYTES", 25)
  encoded, released = [], threading.Event()

  def encode(item, request, labelled):
    if item == 1:
      released.wait(20)
    encoded.append(item)
    return shards.EncodedClip(b"0123456789", None, (1, 1), 0.0)

  monkeypatch.setattr(shards, "encode_clip", encode)
  writer = shards.Writer(str(tmp_path), str(tmp_path), None, False, workers=4)
  clips = writer._in_order(range(30))
  next(clips)
  time.sleep(0.5)
  waiting = len(encoded) - 1
  released.set()
  assert 3 <= waiting <= 3 + 3  # 30 bytes, plus the clips that workers were encoding
  next(clips)
  clips.close()  # ends, although workers wait
  encoded.clear()
  assert len(list(writer._in_order(range(30)))) == 30


def test_cores_are_counted_where_they_cannot_be_asked_for(videos, prepare, monkeypatch):
  monkeypatch.delattr(os, "sched_getaffinity")
  directory, _, _ = prepare("folder", videos)
  lines = []
  verify(str(directory), report=lines.append)
  assert any("10 clips" in line for line in lines), lines


def test_a_limit_takes_that_many_of_each_split(footage, prepare):
  _, prepared, _ = prepare("ucf101", footage / "ucf_weizmann", limit=3, resolution=8)
  assert {split: part.clips for split, part in prepared.splits.items()} == {"train": 3, "test": 3}


def test_the_report_and_the_sheet_show_what_is_there(videos, prepare):
  directory, _, lines = prepare("folder", videos, name="small")
  report = (directory / "report.txt").read_text().splitlines()
  assert report[0] == "small: 10 clips, 85 frames, 3 classes"
  assert re.match(
    r"train: 10 clips, 85 frames \(4 to 13 per clip\), 1 files, .* MiB, 48x32", report[1]
  )
  assert report[2] == "train: 1 skipped, listed in skipped.txt"
  assert report[3].startswith("  1, such as class0/cut.mp4: ")
  assert report[4] == (
    "train: note: 2 of 3 classes have fewer than 4 clips, too few for scores of one class: "
    "class1 (3), class2 (3)"
  )
  assert report[-3:] == [
    f"train    {c} class{c}      {n} {b * '#'}" for c, n, b in ((0, 4, 40), (1, 3, 30), (2, 3, 30))
  ]
  assert [line for line in report if line not in lines] == []
  with Image.open(directory / "contact_sheet.png") as sheet:
    assert sheet.size == (8 * 34 - 2, 8 * 34 - 2)
    assert np.asarray(sheet).std() > 30


# Prepares in a child process, kills it a given time after it finished a given number of shards (or
# lets it end), and prints how the child ended.
KILLER = """
import glob, os, signal, sys, time
from vidgan_jax.data.prepare import run
from vidgan_jax.data.prepare.settings import Request

for line in sys.stdin:
  data, output, shards, seconds = line.split()
  finished = lambda: len(glob.glob(output + "/.preparing/train-*.npz"))
  before = finished()
  child = os.fork()
  if not child:
    request = Request("folder", data, output, resolution=16, clips_per_shard=2, workers=2)
    run.prepare(request, report=lambda line: None)
    os._exit(0)
  if shards != "none":
    over = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while finished() < before + int(shards) and os.waitid(os.P_PID, child, over) is None:
      time.sleep(0.001)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)  # it is there, alive or not, until it is waited for
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_ten_times_and_resumed_it_comes_to_the_same_bytes(tmp_path, write_clip, contents):
  data = tmp_path / "data"
  for number in range(40):
    write_clip(data / f"{number % 2}" / f"{number}.mp4", 8, 64, 96, seed=number)
  with subprocess.Popen(
    [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as process:

    def code(output, shards="none", seconds=0.0):
      process.stdin.write(f"{data} {tmp_path / output} {shards} {seconds}\n")
      process.stdin.flush()
      return int(process.stdout.readline())

    assert code("whole") == 0
    generator = np.random.default_rng(int(time.monotonic()))
    codes, finished = [], {}
    while len(codes) < 10 and 0 not in codes:
      codes.append(code("killed", generator.integers(2), generator.uniform(0, 0.02)))
      shards_there = {path.name: path for path in tmp_path.glob("killed/*tfrecord*")}
      for description in tmp_path.glob("killed/.preparing/train-*.npz"):
        name = index.shard_name("folder", "train", int(description.stem[-5:]), 20)
        finished.setdefault(name, shards_there[name].stat().st_mtime_ns)
    if 0 not in codes:
      assert code("killed") == 0
    process.stdin.close()
  print(f"ended with {codes}, {len(finished)} of 20 files were finished before the last")
  assert codes.count(-signal.SIGKILL) >= 3, "the clips are too few for this machine"
  assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
  for name, changed in finished.items():  # finished shards were not written again
    assert (tmp_path / "killed" / name).stat().st_mtime_ns == changed


@pytest.mark.parametrize("last", [4, 9])
def test_a_stop_while_files_are_moved_into_place_is_made_good(
  videos, prepare, contents, monkeypatch, last, tmp_path
):
  whole = contents(prepare("folder", videos, "whole", clips_per_shard=4)[0])
  replace, moved = os.replace, []

  def stop(source, target):
    if "staging" in str(source) and "staging" not in str(target):
      moved.append(os.path.basename(target))
      if len(moved) == last:
        raise KeyboardInterrupt
    replace(source, target)

  monkeypatch.setattr(os, "replace", stop)
  with pytest.raises(KeyboardInterrupt):
    prepare("folder", videos, clips_per_shard=4)
  monkeypatch.undo()
  assert last < 9 or moved[-1] == "prepared.json"  # this file makes the set a finished one
  assert not (tmp_path / "out" / "prepared.json").exists()
  monkeypatch.setattr(shards, "encode_clip", lambda *a, **k: pytest.fail("was done already"))
  directory, _, lines = prepare("folder", videos, clips_per_shard=4)
  assert contents(directory) == whole
  assert any("3 of 3 files are finished" in line for line in lines)


def test_a_finished_set_is_left_as_it_is(videos, prepare, contents):
  directory, first, _ = prepare("folder", videos)
  before = contents(directory)
  _, again, lines = prepare("folder", videos, workers=1)
  assert again == first and contents(directory) == before
  assert lines == [f"{directory}: the set is already prepared, nothing to do"]


@pytest.mark.parametrize(
  "name",
  ["folder-train.tfrecord-00000-of-00001", "index/train-clips.npy", "label.labels.txt"],
)
def test_a_finished_set_that_lost_something_is_not_called_prepared(videos, prepare, name):
  directory, _, _ = prepare("folder", videos)
  path = directory / name
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(UserError, match=r"was finished before, --verify lists its faults"):
    prepare("folder", videos)


def test_what_finishes_a_set_is_on_the_disk_before_it_is_there(videos, prepare, monkeypatch):
  fsync, replace, synced = os.fsync, os.replace, set()

  def watched_fsync(number):
    synced.add(os.fstat(number).st_ino)
    fsync(number)

  def watched_replace(source, target):
    if "staging" in str(source) and "staging" not in str(target):
      assert os.stat(source).st_ino in synced, source
    replace(source, target)

  monkeypatch.setattr(os, "fsync", watched_fsync)
  monkeypatch.setattr(os, "replace", watched_replace)
  prepare("folder", videos)


def test_descriptions_of_finished_files_are_read_once(videos, prepare, monkeypatch):
  finish = run._finish
  monkeypatch.setattr(run, "_finish", lambda *arguments: None)
  prepare("folder", videos, clips_per_shard=4)
  monkeypatch.setattr(run, "_finish", finish)
  finished, asked = shards.Writer.finished, []

  def ask(writer, plan):
    asked.append(plan.file)
    return finished(writer, plan)

  monkeypatch.setattr(shards.Writer, "finished", ask)
  prepare("folder", videos, clips_per_shard=4)
  assert len(asked) == 3


def test_shards_with_another_index_are_written_again(videos, prepare, monkeypatch, contents):
  """Shards of an earlier version, whose index had fewer fields."""
  expected = contents(prepare("folder", videos, "whole", clips_per_shard=4)[0])
  finish = run._finish
  monkeypatch.setattr(run, "_finish", lambda *arguments: None)
  directory, _, _ = prepare("folder", videos, clips_per_shard=4)
  path = directory / ".preparing" / "train-00001.npz"
  with np.load(path) as archive:
    parts = dict(archive)
  np.savez(path, **parts | {"frames": parts["frames"][["offset", "length"]]})
  monkeypatch.setattr(run, "_finish", finish)
  prepare("folder", videos, clips_per_shard=4)
  assert contents(directory) == expected


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"resolution": 8}, "resolution is 16 there, but 8 was requested"),
    ({"quality": None}, "encoding is 'jpeg' there, but 'png' was requested"),
    ({"limit": 3}, "limit is None there, but 3 was requested"),
    ({"name": "other"}, "name is 'folder' there, but 'other' was requested"),
    ({"class_level": 0}, "class_level is 1 there, but 0 was requested"),
  ],
)
def test_other_settings_into_the_same_folder_are_refused(
  videos, prepare, contents, monkeypatch, tmp_path, finished, change, words
):
  if finished:
    prepare("folder", videos, resolution=16)
  else:
    monkeypatch.setattr(run, "_finish", lambda *arguments: None)
    prepare("folder", videos, resolution=16)
  before = contents(tmp_path / "out")
  with pytest.raises(UserError, match=words):
    prepare("folder", videos, **{"resolution": 16, **change})
  assert contents(tmp_path / "out") == before


def test_other_inputs_into_the_same_folder_are_refused(tmp_path, write_clip, prepare):
  write_clip(tmp_path / "data" / "1.mp4")
  prepare("folder", tmp_path / "data")
  write_clip(tmp_path / "data" / "2.mp4")
  with pytest.raises(UserError, match="the inputs differ from those at the beginning"):
    prepare("folder", tmp_path / "data")


def test_other_folders_are_refused(videos, prepare, tmp_path, contents):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "thesis.tex").write_text("mine")
  with pytest.raises(UserError, match="is not empty, and not a data set"):
    prepare("folder", videos)
  assert contents(tmp_path / "out") == {"thesis.tex": b"mine"}
  (tmp_path / "file").write_text("mine")
  with pytest.raises(UserError, match="is not a folder"):
    prepare("folder", videos, "file")
  with pytest.raises(UserError, match=r"cannot write to .*file/out: .*/file is no folder"):
    prepare("folder", videos, "file/out")
  for output in (videos, videos / "out", videos.parent):
    with pytest.raises(UserError, match="must not contain each other"):
      run.prepare(Request("folder", str(videos), str(output)))


def test_one_process_at_a_time(videos, prepare, tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "PATIENCE", 0.0)
  request = Request("folder", str(videos), str(tmp_path / "out"))
  code = "import sys; from vidgan_jax.data.prepare import workspace\n"
  code += "with workspace.opened(sys.argv[1], {}): print('open', flush=True); sys.stdin.read()"
  with subprocess.Popen(
    [sys.executable, "-c", code, request.output], stdin=subprocess.PIPE, stdout=subprocess.PIPE
  ) as process:
    assert process.stdout.readline() == b"open\n"
    with pytest.raises(
      UserError, match=r"cannot prepare .*out: process \d+ on .* has been using it since"
    ):
      prepare("folder", videos)
    process.stdin.close()


def test_a_set_that_another_process_finished_meanwhile_is_left_as_it_is(
  videos, prepare, contents, monkeypatch
):
  flock, finished = fcntl.flock, []

  def late(lock, operation):
    if not finished:  # another process opened, finished and removed the file that is opened here
      finished.append(True)
      directory, _, _ = prepare("folder", videos)
      finished.append((directory, contents(directory)))
    flock(lock, operation)

  monkeypatch.setattr(fcntl, "flock", late)
  monkeypatch.setattr(run, "_write_shards", write_once(run._write_shards))
  directory, _, lines = prepare("folder", videos)
  assert lines == [f"{directory}: the set is already prepared, nothing to do"]
  assert finished[1:] == [(directory, contents(directory))]


def write_once(write):
  calls = []

  def call(*arguments):
    calls.append(arguments)
    assert len(calls) == 1, "is written again"
    return write(*arguments)

  return call


def test_without_locks_it_says_so_and_goes_on(videos, prepare, monkeypatch):
  def flock(lock, operation):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", flock)
  _, _, lines = prepare("folder", videos)
  assert (
    sum("is on a file system without locks (No locks available)" in line for line in lines) == 1
  )


def test_a_set_without_usable_clips_is_refused_with_a_reason(tmp_path, prepare):
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "\x1b[2Jpage.mp4").write_text("<html>")
  with pytest.raises(
    UserError, match=r"split 'train' is empty: none of 1 clips .* \\x1b\[2Jpage"
  ) as e:
    prepare("folder", tmp_path / "data")
  assert str(e.value).isprintable()
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("others", [(), ("mine.txt",)])
def test_nothing_stays_of_a_set_with_an_empty_split(tmp_path, write_clip, prepare, others):
  """Otherwise the next call, with a valid request, would be refused."""
  for number, split in enumerate(("train", "train", "val")):
    write_clip(
      tmp_path / "data" / split / "a" / f"{number}.mp4", height=16 if split == "val" else 32
    )
  given = dict(quality=None, clips_per_shard=1)
  (tmp_path / "out").mkdir()

  def spoilt(request, listing, folder, report, write=run._write_shards):
    for name in others:
      (tmp_path / "out" / name).write_text("mine")
    return write(request, listing, folder, report)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run, "_write_shards", spoilt)
    for output in ("out", "new"):
      with pytest.raises(UserError, match=r"split 'val' is empty: .* smaller than the crop of 24"):
        prepare("folder", tmp_path / "data", output, crop=24, **given)
  assert not (tmp_path / "new").exists()
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == list(others)
  for path in (tmp_path / "out").iterdir():
    path.unlink()
  _, prepared, _ = prepare("folder", tmp_path / "data", crop=16, **given)
  assert prepared.splits["train"].clips == 2 and prepared.splits["val"].clips == 1


@pytest.mark.parametrize(
  ("settings", "enlarged"),
  [
    ({"resolution": 40}, "2 of 3 clips, from a smaller side of 16 to 32 pixels to 40"),
    ({"resolution": 24}, "1 of 3 clips, from a smaller side of 16 pixels to 24"),
    (
      {"resolution": 24, "crop": 16},
      "3 of 3 clips, from a smaller side of 16 pixels to 24",
    ),
    ({"resolution": 16}, None),
    ({}, None),
  ],
)
def test_clips_that_are_enlarged_are_reported_once(
  tmp_path, write_clip, prepare, settings, enlarged
):
  for number, side in enumerate((16, 32, 48)):
    write_clip(tmp_path / "data" / f"{number}.mp4", height=side, width=64, seed=number)
  directory, _, lines = prepare("folder", tmp_path / "data", clips_per_shard=1, **settings)
  expected = [] if enlarged is None else [f"enlarged: {enlarged}"]
  assert [line for line in lines if line.startswith("enlarged")] == expected
  report = (directory / "report.txt").read_text().splitlines()
  assert [line for line in report if line.startswith("enlarged")] == expected


@pytest.mark.parametrize(
  "kind", [OverflowError, ZeroDivisionError, IndexError, RuntimeError, OSError]
)
def test_one_odd_file_ends_no_job(videos, prepare, monkeypatch, kind):
  listed = run.SOURCES["folder"]

  def frames():
    raise kind("too odd\nand more")

  def with_odd(request):
    listing = listed(request)
    odd = inputs.Input("odd", 0, "odd.mp4", "0", frames)
    return dataclasses.replace(listing, splits={"train": [*listing.splits["train"], odd]})

  monkeypatch.setitem(run.SOURCES, "folder", with_odd)
  directory, prepared, _ = prepare("folder", videos)
  assert prepared.splits["train"].clips == 10 and prepared.skipped == 2
  line = f"train: odd.mp4: cannot be read ({kind.__name__}: too odd)\n"
  assert line in (directory / "skipped.txt").read_text()


def test_a_full_disk_is_reported_and_nothing_is_lost(videos, prepare, tmp_path, contents):
  """The test limits the size of files to simulate a full disk."""
  whole = contents(prepare("folder", videos, "whole", clips_per_shard=3, quality=None)[0])
  shard_sizes = sorted(len(whole[name]) for name in whole if "tfrecord" in name)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (shard_sizes[-1] - 1, limits[1]))
  try:
    with pytest.raises(UserError, match=r"tfrecord-0000\d-of-00004: cannot be written \(File too"):
      prepare("folder", videos, clips_per_shard=3, quality=None)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
  directory, _, _ = prepare("folder", videos, clips_per_shard=3, quality=None)
  assert contents(directory) == whole


@pytest.mark.parametrize(
  ("settings", "words"),
  [
    ({"name": "../x"}, "must consist of lower-case letters"),
    ({"resize": "lanczos"}, "--resize is 'lanczos', must be one of bilinear, area"),
    ({"resize": None}, "--resize is None, must be one of bilinear, area"),
    ({"stride": 2, "frame_rate": 5.0}, "only one of stride and frame_rate"),
    ({"lists": ("a.csv",)}, "only ucf101 and kinetics have lists, folder does not"),
    ({"split_number": 2}, "only ucf101 has numbered split lists .*, not folder"),
    ({"split_number": 1}, "only ucf101 has numbered split lists"),
    (
      {"source": "ucf101", "split_number": 0},
      "--split_number is 0, must be an integer from 1 to 99",
    ),
    ({"class_level": 9}, "no clip is 9 folders deep; class_level is 9"),
    (
      {"frame_rate": float("nan")},
      "--frame_rate is nan, must be a number above 0 and at most 1000",
    ),
    ({"quality": 101}, "--quality is 101, must be an integer from 1 to 100"),
    ({"resolution": 0}, "--resolution is 0, must be an integer from 1 to 8192"),
    ({"splits": "train"}, "--split is 'train', must be a list of texts"),
    ({"input": "/nowhere"}, "/nowhere: no such file or folder"),
    ({"source": "vhs"}, "unknown source 'vhs', known are: bair"),
  ],
)
def test_bad_requests_are_refused_before_anything_is_written(videos, tmp_path, settings, words):
  request = {"source": "folder", "input": str(videos), "output": str(tmp_path / "out"), **settings}
  with pytest.raises(UserError, match=words):
    run.prepare(Request(**request))
  assert not (tmp_path / "out").exists()
