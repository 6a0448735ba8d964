"""The files that samples become."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.runtime import video_files
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import files

NAMES = ("ride/bike", "..", "../../up", "/etc/passwd", "Eat, slowly", "7", "C:\\x\0y", ".hidden")


@pytest.fixture
def clips():
  generator = np.random.default_rng(0)
  return generator.integers(0, 256, (5, 3, 8, 8, 3), dtype=np.uint8)


def everything(folder):
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(output, clips, labels=(0, 0, 1, 3, 7), names=NAMES, columns=2, **options):
  return files.write_samples(output, clips, np.array(labels), names, columns=columns, **options)


def test_every_file_is_there_opens_and_has_its_size(tmp_path, clips):
  output = files.prepare_output(tmp_path / "new" / "out", overwrite=False)
  lines = write(output, clips, frame_rate=5.0)
  assert sorted(p.name for p in output.iterdir()) == sorted(files._NAMES)
  for name in files._NAMES:
    assert sum(str(output / name) in line for line in lines) == 1, name
  # 3 rows of 2, 2 pixels between them; MP4 enlarged to be seen: 8 pixels by 16.
  grid, rate = video_files.read_video(output / "grid.mp4")
  assert grid.shape == (3, 16 * 28, 16 * 18, 3) and rate == 5.0
  with Image.open(output / "grid.gif") as gif:
    assert gif.size == (18, 28) and gif.n_frames == 3 and gif.info["duration"] == 200
  with Image.open(output / "contact_sheet.png") as sheet:
    assert sheet.size == (3 * 8 + 2 * 2, 5 * 8 + 4 * 2)
    np.testing.assert_array_equal(np.asarray(sheet)[10:18, 20:28], clips[1, 2])
  videos = sorted((output / "clips").iterdir())
  assert len(videos) == 5
  for clip, path in zip(clips, videos, strict=True):
    shown, rate = video_files.read_video(path)
    assert shown.shape == (3, 128, 128, 3) and rate == 5.0
    # Enlarged, a pixel's middle keeps its grey through compression.
    difference = shown[:, 8::16, 8::16].mean(-1) - clip.mean(-1)
    assert np.abs(difference).mean() < 8


def test_numbers_come_back_without_pickle(tmp_path, clips):
  write(tmp_path, clips)
  with np.load(tmp_path / "samples.npz", allow_pickle=False) as archive:
    assert sorted(archive) == ["clips", "labels"]
    np.testing.assert_array_equal(archive["clips"], clips)
    assert archive["labels"].tolist() == [0, 0, 1, 3, 7]
  weights = np.full((5, 8), 0.125, np.float32)
  write(tmp_path, clips, weights)
  with np.load(tmp_path / "samples.npz", allow_pickle=False) as archive:
    np.testing.assert_array_equal(archive["labels"], weights)


def test_the_same_clips_give_the_same_bytes(tmp_path, clips):
  write(tmp_path / "a", clips)
  write(tmp_path / "b", clips)
  assert everything(tmp_path / "a") == everything(tmp_path / "b")


def test_class_names_cannot_lead_out_of_the_folder(tmp_path, clips):
  output = tmp_path / "out"
  write(output, clips.repeat(2, axis=0)[:8], labels=range(8))
  inside = {path for path in tmp_path.rglob("*") if path.is_file()}
  videos = sorted((output / "clips").iterdir())
  assert len(videos) == 8 and len(inside) == 8 + 4
  words = [path.name.removesuffix(".mp4") for path in videos]
  assert words[0] == "00000_ride-bike" and words[3] == "00003_etc-passwd"
  assert all(set(word) <= set("0123456789_-abcdefghijklmnopqrstuvwxyzCE") for word in words), words


def test_long_names_and_none_at_all_make_files(tmp_path, clips):
  write(tmp_path / "long", clips, labels=[0] * 5, names=["x" * 1000])
  assert len(sorted((tmp_path / "long" / "clips").iterdir())[0].name) < 80
  write(tmp_path / "none", clips, labels=[0] * 5, names=())
  assert (tmp_path / "none" / "clips" / "00004.mp4").exists()


def test_samples_are_not_overwritten_unless_asked(tmp_path, clips):
  write(tmp_path, clips)
  before = everything(tmp_path)
  with pytest.raises(UserError, match=r"already holds grid.mp4, .*clips; --overwrite replaces"):
    files.prepare_output(tmp_path, overwrite=False)
  assert everything(tmp_path) == before
  files.prepare_output(tmp_path, overwrite=True)
  assert everything(tmp_path) == before  # nothing goes before its successor is there
  (tmp_path / "notes.txt").write_text("mine")
  (tmp_path / "clips" / "notes.txt").write_text("mine")
  write(tmp_path, clips[:2], labels=[4, 4])
  after = everything(tmp_path)
  assert sorted(name for name in after if name.startswith("clips")) == [
    "clips/00000_Eat-slowly.mp4",
    "clips/00001_Eat-slowly.mp4",
    "clips/notes.txt",
  ]
  assert after["notes.txt"] == b"mine"
  changed = [name for name in before if name in after and before[name] != after[name]]
  assert sorted(changed) == ["contact_sheet.png", "grid.gif", "grid.mp4", "samples.npz"]


def test_an_interruption_leaves_whole_files(tmp_path, clips, monkeypatch):
  write(tmp_path, clips)
  before = everything(tmp_path)

  def interrupted(file, **arrays):
    file.write(b"half")
    raise KeyboardInterrupt

  monkeypatch.setattr(np, "savez_compressed", interrupted)
  with pytest.raises(KeyboardInterrupt):
    write(tmp_path, clips[:2], labels=[0, 0])
  after = everything(tmp_path)
  assert set(after) == set(before)  # no temporary file stays
  assert after["samples.npz"] == before["samples.npz"]


def test_a_full_disk_is_one_line(tmp_path, clips, monkeypatch):
  def full(file, **arrays):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez_compressed", full)
  with pytest.raises(UserError, match=r"samples.npz: cannot be written \(No space left"):
    write(tmp_path, clips)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere", ""])
def test_places_that_cannot_be_written_are_refused(tmp_path, place):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(UserError, match=r"cannot write samples to|has no name") as caught:
    files.prepare_output(place and str(tmp_path / place), overwrite=True)
  assert "\n" not in str(caught.value)
  assert everything(tmp_path) == {"file": b"mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folders_without_permission_are_refused(tmp_path):
  tmp_path.chmod(0o500)
  with pytest.raises(UserError, match="no permission to write"):
    files.prepare_output(tmp_path, overwrite=False)


@pytest.mark.parametrize(("name", "what"), [("samples.npz", "a folder"), ("clips", "no folder")])
def test_what_is_no_sample_is_not_replaced(tmp_path, name, what):
  path = pathlib.Path(tmp_path / name)
  path.mkdir() if what == "a folder" else path.write_text("mine")
  with pytest.raises(UserError, match=f"{name} is in the way: {what}"):
    files.prepare_output(tmp_path, overwrite=True)


@pytest.mark.parametrize(
  ("text", "labels"),
  [
    ("0,3", [0, 3]),
    (" 1 , 2 ", [1, 2]),
    ("ride/bike", [0]),
    ("RIDE/Bike,..,1", [0, 1, 1]),
    ("Eat, slowly", [4]),  # the whole text is a name
    ("7", [5]),  # a name goes before a number
    ("4,4,4", [4, 4, 4]),
  ],
)
def test_labels_are_read_by_number_name_and_any_case(text, labels):
  assert files.parse_labels(text, NAMES, 8) == labels


@pytest.mark.parametrize("text", ["swim", "8", "-1", "", "1,", "1.0", "0x1", "9" * 5000, "²"])
def test_unknown_labels_list_the_known_ones(text):
  with pytest.raises(UserError) as caught:
    files.parse_labels(text, NAMES, 8)
  message = str(caught.value)
  assert f"label {text.split(',')[-1]!r} is no number in 0..7 and no class" in message
  assert "known names: ride/bike, .., ../../up," in message and ", ..." not in message[-6:]


def test_of_many_classes_twenty_are_listed():
  with pytest.raises(UserError, match=r"c18, c19, \.\.\.$"):
    files.parse_labels("swim", [f"c{i}" for i in range(600)], 600)
  with pytest.raises(UserError, match=r"in 0\.\.599 and no class$"):
    files.parse_labels("swim", (), 600)


def test_a_model_without_classes_takes_no_labels():
  with pytest.raises(UserError, match="no classes; leave --labels out"):
    files.parse_labels("0", (), 0)
