"""Clips from videos at any path: their frames, order, labels and sizes, and what is refused."""

import shutil
import stat
import tempfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.sources import any_videos
from vidgan_jax.evaluation import given_clips
from vidgan_jax.evaluation.clips import ArrayClips
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_files import resize_bilinear
from vidgan_jax.runtime.files.video_writers import write_mp4

CLASSES = ("bird", "cat", "dog")


def rule(**fields):
  """A protocol without metrics, for clips of four frames."""
  return Protocol("tiny", "a test", (), **{"frames": 4, "stride": 1, **fields})


def pictures(folder, clip, ending="png"):
  """Writes a video as a folder of pictures: 1.png, 2.png, ..., 10.png."""
  folder.mkdir(parents=True)
  for number, image in enumerate(clip, 1):
    Image.fromarray(image).save(folder / f"{number}.{ending}")


def zipped(folder, file, compression=zipfile.ZIP_DEFLATED):
  """Zips a folder, with its name, in reversed order."""
  with zipfile.ZipFile(file, "w", compression) as archive:
    for path in sorted(folder.rglob("*"), reverse=True):
      archive.write(path, path.relative_to(folder.parent))
  return file


@pytest.fixture
def noise():
  """A function (videos, frames, height, width, seed) that returns random uint8 videos."""

  def draw(videos, frames=4, height=8, width=8, seed=0):
    shape = (videos, frames, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)

  return draw


def all_of(path, protocol=None, **options):
  drawn = given_clips.generated(path, protocol or rule(), report=lambda line: None, **options)
  return drawn.some(None)


def real_of(path, shape=(4, 8, 8, 3), protocol=None, count=None, **options):
  options.setdefault("report", lambda line: None)
  return given_clips.real(path, protocol or rule(), shape, **options).some(count)


def pixels(clips):
  return clips(0, clips.count)[0]


def test_the_same_clips_from_an_npz_folders_of_pictures_and_a_zip(noise, tmp_path):
  clips, labels = noise(30), np.arange(30) % 3
  order = np.argsort(labels, kind="stable")  # by name: class after class
  for number, (clip, label) in enumerate(zip(clips, labels, strict=True)):
    pictures(tmp_path / "videos" / CLASSES[label] / f"{number:03}", clip)
  (tmp_path / "videos" / ".hidden.png").write_bytes(b"no picture")
  np.savez(tmp_path / "clips.npz", clips=clips[order], labels=labels[order])
  file = zipped(tmp_path / "videos", tmp_path / "videos.zip")
  known = all_of(tmp_path / "clips.npz")
  for path in (tmp_path / "videos", file):
    read = all_of(path)
    assert np.array_equal(pixels(read), clips[order]) and np.array_equal(read.labels, known.labels)
    assert read.about == known.about and read.class_names == CLASSES and read.labelled
    some = given_clips.generated(path, rule(), report=lambda line: None).shuffled(3, 11)
    assert some.about == known.shuffled(3, 11).about and some.population == 30
    assert np.array_equal(some.labels, known.shuffled(3, 11).labels)
    assert real_of(path, count=7).about == known.some(7).about
  assert not any(
    entry.name not in ("videos", "videos.zip", "clips.npz") for entry in tmp_path.iterdir()
  )


def test_videos_and_a_zip_of_videos(noise, tmp_path, monkeypatch):
  temporary = tmp_path / "temporary"
  temporary.mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(temporary))
  # Smooth clips, because the codec stores noise badly.
  clips = np.stack([
    np.stack([resize_bilinear(frame, (16, 16)) for frame in clip]) for clip in noise(3, 4, 2, 2)
  ])  # fmt: skip
  (tmp_path / "videos").mkdir()
  for number, clip in enumerate(clips):
    write_mp4(tmp_path / "videos" / f"{number}.mp4", clip, 8)
  (tmp_path / "videos" / "notes.txt").write_text("not a video", encoding="utf-8")
  lines = []
  read = given_clips.generated(tmp_path / "videos", rule(), report=lines.append).some(None)
  assert pixels(read).shape == clips.shape and not read.labelled
  assert np.abs(pixels(read).astype(int) - clips).mean() < 6
  assert np.abs(pixels(read).astype(int) - clips[[1, 2, 0]]).mean() > 30
  (line,) = lines
  assert line.endswith(
    "4 frames at stride 1, random windows, 16x16 pixels, no classes; 1 other file(s) ignored"
  )
  file = zipped(tmp_path / "videos", tmp_path / "a.zip")
  assert all_of(file).about == read.about and not list(temporary.iterdir())


def numbered(folder, lengths, side=8):
  """Folders of pictures; all pixels of frame t of video v are 50 * v + t + 2."""
  for video, length in enumerate(lengths):
    clip = [np.full((side, side, 3), 50 * video + frame + 2, np.uint8) for frame in range(length)]
    pictures(folder / f"v{video}", clip)
  return folder


def frames_of(clips):
  return (pixels(clips)[..., 0, 0, 0].astype(int) - 2).tolist()


def test_windows_of_longer_videos(tmp_path):
  folder = numbered(tmp_path / "videos", [12, 30])
  first = rule(windows="first")
  assert frames_of(all_of(folder, first)) == [[0, 1, 2, 3], [50, 51, 52, 53]]
  assert frames_of(real_of(folder, protocol=rule(windows="first", stride=3))) == [
    [0, 3, 6, 9],
    [50, 53, 56, 59],
  ]
  # Generated videos have the stride of training already.
  assert frames_of(all_of(folder, rule(windows="first", stride=3))) == frames_of(
    all_of(folder, first)
  )
  each = rule(windows="each", windows_per_video=2)
  assert frames_of(real_of(folder, protocol=each)) == [
    [0, 1, 2, 3], [50, 51, 52, 53], [1, 2, 3, 4], [51, 52, 53, 54],
  ]  # fmt: skip
  assert len(frames_of(all_of(folder, each))) == 2
  starts = set()
  for seed in range(40):
    drawn = frames_of(all_of(folder, seed=seed))
    assert drawn == frames_of(all_of(folder, seed=seed))
    assert all(clip == list(range(clip[0], clip[0] + 4)) for clip in drawn)
    starts.add(drawn[0][0])
  assert starts == set(range(9))  # every window of the 12 frames
  assert len(frames_of(real_of(folder, protocol=rule(windows_per_video=3)))) == 6


def test_one_video_is_cut_into_successive_clips(tmp_path):
  folder = numbered(tmp_path / "videos", [11])
  for path in (folder, folder / "v0"):
    assert frames_of(all_of(path)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
  assert frames_of(real_of(folder, (2, 8, 8, 3), protocol=rule(stride=2))) == [[0, 2], [4, 6]]


def test_short_videos(tmp_path):
  folder = numbered(tmp_path / "videos", [4, 3, 5, 1, 4])
  with pytest.raises(UserError, match=r"2 of 5 generated videos are too short. The first is .*v1 "):
    all_of(folder)
  lines = []
  read = real_of(folder, report=lines.append)
  assert read.count == 3 == read.population and [clip[0] // 50 for clip in frames_of(read)] == [
    0,
    2,
    4,
  ]
  assert "2 left out as too short, first" in lines[0] and "v1 with 3 frame(s)" in lines[0]
  assert real_of(folder, count=3).count == 3
  with pytest.raises(
    UserError, match=r"4 real clips are requested, 3 can be .*--real_count=3 takes"
  ):
    real_of(folder, count=4)
  with pytest.raises(UserError, match=r"0 can be taken: 5 video.s. are too short"):
    real_of(folder, (9, 8, 8, 3))


def test_real_videos_of_other_sizes(noise, tmp_path):
  wide, tall = noise(1, 4, 16, 24)[0], noise(1, 4, 40, 20)[0]
  pictures(tmp_path / "real" / "a", wide)
  pictures(tmp_path / "real" / "b", tall)
  expected = [
    np.stack([resize_bilinear(frame, (8, 12))[:, 2:10] for frame in wide]),
    np.stack([resize_bilinear(frame, (16, 8))[4:12] for frame in tall]),
  ]
  assert np.array_equal(pixels(real_of(tmp_path / "real")), expected)
  corners = {
    pixels(real_of(tmp_path / "real", protocol=rule(crop="random"), seed=seed))[0].tobytes()
    for seed in range(30)
  }
  assert len(corners) == 5  # columns 0 to 4
  with pytest.raises(UserError, match=r"a: its pictures of 16x24 pixels are smaller .* 32x32"):
    real_of(tmp_path / "real", (4, 32, 32, 3))
  with pytest.raises(
    UserError, match=r"a: has 16x24 pixels, the generated clips 8x12; only for sq"
  ):
    real_of(tmp_path / "real", (4, 8, 12, 3))
  with pytest.raises(
    UserError, match=r"b: has 40x20 pixels, the first video 16x24; generated clips"
  ):
    all_of(tmp_path / "real")
  shutil.rmtree(tmp_path / "real" / "b")
  assert np.array_equal(pixels(real_of(tmp_path / "real", (4, 16, 24, 3)))[0], wide)


def test_classes(noise, tmp_path):
  def names(*folders):
    root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    for folder in folders:
      (root / folder).parent.mkdir(parents=True, exist_ok=True)
      (root / folder).write_bytes(b"")
    videos = any_videos.AnyVideos(root)
    return videos.class_names, [video.label for video in videos.videos]

  assert names("b/x.mp4", "b/y.mp4", "a/z.mp4") == (("a", "b"), [0, 1, 1])
  assert names("all/b/x.mp4", "all/b/y.mp4", "all/a/z.mp4") == (("a", "b"), [0, 1, 1])
  assert names("x.mp4", "y.mp4") == names("all/x.mp4", "all/y.mp4") == ((), [0, 0])
  assert names("x/1.png", "x/2.png", "y/1.png") == ((), [0, 0])
  assert names("x/frames/1.png", "y/frames/1.png", "z/frames/1.png") == ((), [0, 0, 0])
  with pytest.raises(UserError, match=r"x.mp4 is in no class folder, but 2 other videos are"):
    names("x.mp4", "a/y.mp4", "a/z.mp4")
  with pytest.raises(UserError, match=r"its folders test, train are splits, not classes"):
    names("train/x.mp4", "train/y.mp4", "test/z.mp4")
  # Labels of generated clips are the numbers of the same names among the real ones.
  clips = ArrayClips(noise(4), np.array([0, 1, 1, 0]))
  clips.class_names = ("a", "c")
  real = ArrayClips(noise(3), np.array([0, 1, 2]))
  real.class_names = ("a", "b", "c")
  assert given_clips.with_classes_of(real, clips).labels.tolist() == [0, 2, 2, 0]
  clips.class_names = ("a", "x")
  with pytest.raises(
    UserError, match=r"the class 'x' is not among those of the real clips: a, b, c"
  ):
    given_clips.with_classes_of(real, clips)
  clips.class_names = ("0", "1")  # of an .npz
  assert given_clips.with_classes_of(real, clips) is clips


def test_broken_input_is_named_in_one_line(noise, tmp_path):
  def refused(words, path):
    for read in (all_of, real_of):
      with pytest.raises(UserError, match=words) as error:
        read(path)
      assert "\n" not in str(error.value) and "vidgan_jax_zip_" not in str(error.value)

  (tmp_path / "empty").mkdir()
  refused("missing: no such file", tmp_path / "missing")
  refused("missing.zip: no such file", tmp_path / "missing.zip")
  refused("missing.mp4: no such file", tmp_path / "missing.mp4")
  refused("empty: contains no videos and no folders of pictures", tmp_path / "empty")
  (tmp_path / "empty" / "notes.txt").write_text("text", encoding="utf-8")
  refused("empty: contains no videos", tmp_path / "empty")
  refused("empty.zip: contains no videos", zipped(tmp_path / "empty", tmp_path / "empty.zip"))
  (tmp_path / "text.zip").write_text("no zip", encoding="utf-8")
  refused("text.zip: not a readable zip file", tmp_path / "text.zip")
  for number, clip in enumerate(noise(3, 8, 16, 16)):
    pictures(tmp_path / "pictures" / str(number), clip)
    (tmp_path / "videos").mkdir(exist_ok=True)
    write_mp4(tmp_path / "videos" / f"{number}.mp4", clip, 8)
  video = tmp_path / "videos" / "1.mp4"
  video.write_bytes(video.read_bytes()[:-300])
  refused("videos/1.mp4: ", tmp_path / "videos")
  refused(r"videos.zip/videos/1.mp4: ", zipped(tmp_path / "videos", tmp_path / "videos.zip"))
  for number in range(1, 9):
    (tmp_path / "pictures" / "1" / f"{number}.png").write_bytes(b"no picture")
  refused("pictures/1: .*png is not readable as a picture", tmp_path / "pictures")
  refused("p.zip/pictures/1: .*png is not rea", zipped(tmp_path / "pictures", tmp_path / "p.zip"))


def test_zip_files_with_other_paths_and_links_are_refused(tmp_path):
  for name, words in (
    ("/videos/a.png", "outside the zip file"),
    ("videos/../../a.png", "outside the zip file"),
    ("link", "is a link"),
  ):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK if name == "link" else stat.S_IFREG) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
      archive.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match=words):
      all_of(tmp_path / "a.zip")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_damage_of_a_zip_is_one_line(tmp_path, compression):
  clip = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), np.uint8)
  pictures(tmp_path / "videos" / "a", clip)
  pictures(tmp_path / "videos" / "b", clip[::-1])
  content = zipped(tmp_path / "videos", tmp_path / "a.zip", compression).read_bytes()
  protocol = rule(frames=2)
  all_of(tmp_path / "a.zip", protocol)
  generator, refused = np.random.default_rng(1), 0
  damaged = [content[:length] for length in range(0, len(content), 97)]
  for position in range(0, len(content), 11):
    changed = bytearray(content)
    changed[position] ^= int(generator.integers(1, 256))
    damaged.append(bytes(changed))
  for number, changed in enumerate(damaged):
    (tmp_path / "a.zip").write_bytes(changed)
    try:
      read = all_of(tmp_path / "a.zip", protocol)
    except UserError as error:
      assert "\n" not in str(error), number
      refused += 1
    else:  # a date, or a name whose picture is then another file's
      assert read.shape == (2, 3, 3, 3), number
  assert refused > len(damaged) // 3


def test_more_clips_than_memory_are_refused(tmp_path, monkeypatch):
  folder = numbered(tmp_path / "videos", [4, 4, 4])
  monkeypatch.setattr(given_clips.cores, "usable_memory", lambda: 3 * 4 * 8 * 8 * 3 - 1)
  with pytest.raises(UserError, match=r"3 clips need .* GiB .*--count=N takes fewer"):
    all_of(folder)
  with pytest.raises(UserError, match=r"--real_count=N takes fewer"):
    real_of(folder)
  assert real_of(folder, count=2).count == 2


def test_a_protocol_without_a_length_asks_for_one(tmp_path):
  folder = numbered(tmp_path / "videos", [6, 7])
  with pytest.raises(UserError, match=r"protocol tiny .* --frames=N .*v0 has 6\)"):
    all_of(folder, rule(frames=None))
