"""The files of samples: contents, replacement, refusals, labels."""

import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks, video_files
from vidgan_jax.sampling import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("ride/bike", "..", "../../up", "/etc/passwd", "Eat, slowly", "7", "C:\\x\0y", ".hidden")
FILES = sorted({*files._NAMES} - {"stages.mp4"})  # which only --show_stages writes


@pytest.fixture
def clips():
  generator = np.random.default_rng(0)
  return generator.integers(0, 256, (5, 3, 8, 8, 3), dtype=np.uint8)


def everything(folder):
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(
  output, clips, labels=(0, 0, 1, 3, 7), names=NAMES, columns=2, overwrite=False, **options
):
  with files.new_output(output, overwrite) as folder:
    files.write_samples(folder, clips, np.array(labels), names, columns=columns, **options)


def test_every_file_is_there_opens_and_has_its_size(tmp_path, clips):
  output = tmp_path / "new" / "out"
  write(output, clips, frame_rate=5.0)
  lines = files.list_files(output, len(clips))
  assert sorted(p.name for p in output.iterdir()) == FILES
  for name in FILES:
    assert sum(str(output / name) in line for line in lines) == 1, name
  # 3 rows of 2 clips, 8 pixels enlarged by 16, under bars of 18 pixels, 4 pixels between them.
  grid, rate = video_files.read_video(output / "grid.mp4")
  width, height = 2 * 128 + 4, 3 * 146 + 2 * 4
  assert grid.shape == (3, height, width, 3) and rate == 5.0
  with Image.open(output / "grid.gif") as gif:
    assert gif.size == (width, height) and gif.n_frames == 3 and gif.info["duration"] == 200
  with Image.open(output / "contact_sheet.png") as sheet:
    assert sheet.size == (3 * 128 + 2 * 2, 5 * 146 + 4 * 2)
    second = np.asarray(sheet)[148:294]  # the second clip
    np.testing.assert_array_equal(second[18::16, 260::16], clips[1, 2])
    assert second[:18, :128].max() == 255 and second[:18, 132:].max() < 128  # named once
  videos = sorted((output / "clips").iterdir())
  assert len(videos) == 5
  for clip, path in zip(clips, videos, strict=True):
    shown, rate = video_files.read_video(path)
    assert shown.shape == (3, 128, 128, 3) and rate == 5.0
    # In the enlarged video, compression does not change the grey in the middle of a pixel.
    difference = shown[:, 8::16, 8::16].mean(-1) - clip.mean(-1)
    assert np.abs(difference).mean() < 8


def test_without_names_there_are_no_bars_and_large_grids_are_not_enlarged(tmp_path, clips):
  write(tmp_path / "a", clips, names=())
  with Image.open(tmp_path / "a" / "grid.gif") as gif:
    assert gif.size == (2 * 128 + 4, 3 * 128 + 2 * 4)
  write(tmp_path / "b", clips, labels=np.eye(9)[:5])  # mixtures of classes have no names
  with Image.open(tmp_path / "b" / "grid.gif") as gif:
    assert gif.size == (2 * 128 + 4, 3 * 128 + 2 * 4)
  many = np.zeros((100, 1, 8, 8, 3), np.uint8)
  write(tmp_path / "c", many, labels=[0] * 100, names=(), columns=1)
  with Image.open(tmp_path / "c" / "grid.gif") as gif:
    assert gif.size == (8 * 2, 100 * 8 * 2 + 99 * 4)


def test_numbers_come_back_without_pickle(tmp_path, clips):
  write(tmp_path, clips)
  with np.load(tmp_path / "samples.npz", allow_pickle=False) as archive:
    assert sorted(archive) == ["clips", "labels"]
    np.testing.assert_array_equal(archive["clips"], clips)
    assert archive["labels"].tolist() == [0, 0, 1, 3, 7]
  weights = np.full((5, 8), 0.125, np.float32)
  write(tmp_path, clips, weights, overwrite=True)
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
  (tmp_path / "notes.txt").write_text("mine")
  (tmp_path / "clips" / "notes.txt").write_text("mine")
  (tmp_path / "clips" / "mine.mp4").write_text("mine")
  before = everything(tmp_path)
  with pytest.raises(UserError, match=r"already holds grid.mp4, .*clips, \.\.\.; --overwrite"):
    write(tmp_path, clips[:2], labels=[4, 4])
  with files.new_output(tmp_path, overwrite=True):
    assert everything(tmp_path) == before  # old files stay until the new ones are complete
  write(tmp_path, clips[:2], labels=[4, 4], overwrite=True)
  after = everything(tmp_path)
  assert sorted(name for name in after if name.startswith("clips")) == [
    "clips/00000_Eat-slowly.mp4",
    "clips/00001_Eat-slowly.mp4",
    "clips/mine.mp4",
    "clips/notes.txt",
  ]
  assert after["notes.txt"] == b"mine"
  changed = [name for name in before if name in after and before[name] != after[name]]
  assert sorted(changed) == ["contact_sheet.png", "grid.gif", "grid.mp4", "samples.npz"]
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "notes.txt"])


def test_folders_that_hold_something_are_refused_and_empty_ones_are_kept(tmp_path, clips):
  (tmp_path / "taken").mkdir()
  (tmp_path / "taken" / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match=r"taken already holds notes.txt; --overwrite"):
    write(tmp_path / "taken", clips)
  assert everything(tmp_path) == {"taken/notes.txt": b"mine"}
  empty = tmp_path / "empty"
  empty.mkdir(mode=0o751)
  before = empty.stat()
  (tmp_path / "link").symlink_to("empty")
  write(tmp_path / "link", clips)
  assert sorted(path.name for path in empty.iterdir()) == FILES
  assert (empty.stat().st_ino, empty.stat().st_mode) == (before.st_ino, before.st_mode)
  (tmp_path / "dangling").symlink_to("later")
  write(tmp_path / "dangling", clips)
  assert everything(tmp_path / "later") == everything(empty)
  names = ["dangling", "empty", "later", "link", "taken"]
  assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_where_the_numbers_are_all_is(tmp_path, clips, monkeypatch):
  write(tmp_path, clips)
  replace, moved = os.replace, []

  def move(source, target):
    assert not (tmp_path / "samples.npz").exists() or ".partial" in str(target)
    replace(source, target)
    moved.append(target)

  monkeypatch.setattr(os, "replace", move)
  write(tmp_path, clips, overwrite=True)
  assert moved[-1] == tmp_path / "samples.npz" and len(everything(tmp_path)) == 4 + 5


KILLED = """
import os, signal, sys
import numpy as np
from vidgan_jax.sampling import files

def killed(file, **arrays):
  file.write(b"half")
  file.flush()
  os.kill(os.getpid(), signal.SIGKILL)

np.savez_compressed = killed
clips = np.zeros((2, 3, 8, 8, 3), np.uint8)
with files.new_output(sys.argv[1], sys.argv[2] == "True") as folder:
  files.write_samples(folder, clips, np.array([0, 1]), ["a", "b c"], columns=2)
"""


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "samples"])
def test_after_a_kill_the_output_is_as_before_and_the_next_one_is_whole(tmp_path, clips, there):
  output = tmp_path / "out"
  if there == "an empty folder":
    output.mkdir()
  if there == "samples":
    write(output, clips)
  before = everything(output)
  overwrite = there == "samples"
  command = [sys.executable, "-c", KILLED, output, str(overwrite)]
  result = subprocess.run(command, cwd=ROOT, check=False)
  assert result.returncode == -signal.SIGKILL
  (partial,) = tmp_path.rglob("*.partial")
  assert (partial / "grid.mp4").exists() and list(partial.glob(".samples.npz.*"))
  assert {k: v for k, v in everything(output).items() if not k.startswith(".partial")} == before
  assert output.exists() == (there != "nothing")
  write(output, clips[:3], labels=[0, 1, 2], overwrite=overwrite)
  write(tmp_path / "other", clips[:3], labels=[0, 1, 2])
  assert everything(output) == everything(tmp_path / "other")
  assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("there", ["nothing", "an empty folder", "samples"])
def test_what_fails_leaves_the_output_as_before(tmp_path, clips, monkeypatch, fault, there):
  if there != "nothing":
    (tmp_path / "out").mkdir()
  if there == "samples":
    write(tmp_path / "out", clips)
  before = sorted(tmp_path.rglob("*")), everything(tmp_path)

  def fail(file, **arrays):
    file.write(b"half")
    raise fault

  monkeypatch.setattr(np, "savez_compressed", fail)
  words = None if fault is KeyboardInterrupt else r"samples.npz: cannot be written \(No space left"
  with pytest.raises((KeyboardInterrupt, UserError), match=words):
    write(tmp_path / "out", clips[:2], labels=[0, 0], overwrite=True)
  assert (sorted(tmp_path.rglob("*")), everything(tmp_path)) == before


def test_a_rename_that_is_refused_is_one_line(tmp_path, clips):
  with (
    pytest.raises(UserError, match=r"cannot write samples to .*out: .*not empty"),
    files.new_output(tmp_path / "out", overwrite=False) as folder,
  ):
    (folder / "grid.gif").write_text("new")
    (tmp_path / "out").mkdir()  # another process creates it meanwhile
    (tmp_path / "out" / "grid.gif").write_text("mine")
  assert everything(tmp_path) == {"out/grid.gif": b"mine"}


def test_files_that_come_meanwhile_are_not_overwritten(tmp_path, clips):
  with (
    pytest.raises(UserError, match=r"already holds grid.gif"),
    files.new_output(tmp_path, overwrite=False) as folder,
  ):
    (folder / "grid.gif").write_text("new")
    (tmp_path / "grid.gif").write_text("mine")
  assert everything(tmp_path) == {"grid.gif": b"mine"}


@pytest.mark.parametrize("held", ["notes.txt", "clips/holiday.mp4", "clips/grid.gif", "grid.gif/x"])
@pytest.mark.parametrize("partial", ["out.partial", "out/.partial"])
def test_a_folder_of_the_partial_name_that_is_not_ours_stays(tmp_path, clips, held, partial):
  path = tmp_path / partial / held
  path.parent.mkdir(parents=True)
  path.write_text("mine")
  with pytest.raises(
    UserError, match=r"partial contains .*, which is not a sample; move it elsewhere"
  ):
    write(tmp_path / "out", clips)
  assert everything(tmp_path) == {f"{partial}/{held}": b"mine"}


@pytest.mark.parametrize("kind", ["file", "link", "link inside"])
def test_what_only_bears_the_partial_name_stays(tmp_path, clips, kind):
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "grid.gif").write_text("mine")
  partial = tmp_path / "out.partial"
  if kind == "file":
    partial.write_text("mine")
  elif kind == "link":
    partial.symlink_to("other")
  else:
    partial.mkdir()
    (partial / "clips").symlink_to("../other")
  before = sorted(tmp_path.rglob("*")), everything(tmp_path)
  with pytest.raises(UserError, match=r"cannot write samples to .*out.partial|is not a sample"):
    write(tmp_path / "out", clips)
  assert (sorted(tmp_path.rglob("*")), everything(tmp_path)) == before


def test_two_processes_do_not_write_to_one_place(tmp_path, clips, monkeypatch):
  monkeypatch.setattr(locks, "PATIENCE", 0.0)
  with files.new_output(tmp_path / "out", overwrite=False) as folder:
    (folder / "grid.gif").write_text("first")
    with pytest.raises(
      UserError, match=rf"cannot write samples to .*out: process {os.getpid()} on .* is using it"
    ):
      write(tmp_path / "out", clips)
  assert everything(tmp_path) == {"out/grid.gif": b"first"}


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/nowhere", ""])
def test_places_that_cannot_be_written_are_refused(tmp_path, path):
  (tmp_path / "file").write_text("mine")
  words = r"cannot write (samples )?to|has no name"
  with pytest.raises(UserError, match=words) as caught:
    with files.new_output(path and str(tmp_path / path), overwrite=True):
      pytest.fail("clips would be drawn in vain")
  assert "\n" not in str(caught.value)
  assert everything(tmp_path) == {"file": b"mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
@pytest.mark.parametrize("path", ["", "out"])
def test_folders_without_permission_are_refused(tmp_path, clips, path):
  tmp_path.chmod(0o500)
  with pytest.raises(UserError, match=r"cannot write samples to .*Permission denied"):
    write(tmp_path / path, clips)


@pytest.mark.parametrize(
  ("name", "what"), [("samples.npz", "is a folder"), ("clips", "is not a folder")]
)
def test_unexpected_entries_are_not_replaced(tmp_path, clips, name, what):
  path = pathlib.Path(tmp_path / name)
  path.mkdir() if what == "is a folder" else path.write_text("mine")
  with pytest.raises(UserError, match=f"{name} {what}; "):
    write(tmp_path, clips, overwrite=True)


@pytest.mark.parametrize(
  ("text", "labels"),
  [
    ("0,3", [0, 3]),
    (" 1 , 2 ", [1, 2]),
    ("ride/bike", [0]),
    ("RIDE/Bike,..,1", [0, 1, 1]),
    ("Eat, slowly", [4]),  # the whole text is a name
    ("name:7,index:7", [5, 7]),  # "7" alone could mean both
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
  assert (
    f"label {text.split(',')[-1]!r} is neither a number in 0..7 nor the name of a class" in message
  )
  assert "known names: ride/bike, .., ../../up," in message and ", ..." not in message[-6:]


def test_names_in_another_form_of_unicode_are_the_same():
  assert files.parse_labels("CAFE\u0301,caf\u00e9", ("b", "caf\u00e9"), 2) == [1, 1]
  assert files.parse_labels("b,B", ("B", "b"), 2) == [1, 0]
  with pytest.raises(UserError, match="nor the name of a class"):  # two names match
    files.parse_labels("BB", ("Bb", "bB"), 2)


@pytest.mark.parametrize(
  ("text", "labels"),
  [("5", [2]), ("007", [1]), ("index:0,name:2", [0, 0]), ("index:1", [1]), ("name:007", [1])],
)
def test_names_that_are_numbers_are_names(text, labels):
  assert files.parse_labels(text, ("2", "007", "5"), 3) == labels


@pytest.mark.parametrize("text", ["2", "1,2"])
def test_a_name_that_is_the_number_of_another_class_is_refused(text):
  words = "label '2' is the name of class 0 and the number of class '5'; write name:2 or index:2"
  with pytest.raises(UserError, match=words):
    files.parse_labels(text, ("2", "007", "5"), 3)
  for text in ("07", "index:3", "index:007", "name:3", "index:"):
    with pytest.raises(UserError, match=r"is neither a number in 0\.\.2 nor the name of a class"):
      files.parse_labels(text, ("2", "007", "5"), 3)


def test_numbers_that_are_the_names_of_their_classes_are_no_trouble():
  assert files.parse_labels("0,2", ("0", "1", "2"), 3) == [0, 2]


def test_of_many_classes_twenty_are_listed():
  with pytest.raises(UserError, match=r"c18, c19, \.\.\.$"):
    files.parse_labels("swim", [f"c{i}" for i in range(600)], 600)
  with pytest.raises(UserError, match=r"in 0\.\.599 nor the name of a class$"):
    files.parse_labels("swim", (), 600)


def test_a_model_without_classes_takes_no_labels():
  with pytest.raises(UserError, match="no classes; leave --labels out"):
    files.parse_labels("0", (), 0)
