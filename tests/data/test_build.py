import re
import shlex
import types

import numpy as np
import pytest

from vidgan_jax.data import build
from vidgan_jax.data.build import build_batches, build_source
from vidgan_jax.data.prepare.run import SOURCES
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files.video_writers import write_mp4


def config_of(**changes):
  fields = dict(
    name="moving_shapes",
    directory="",
    num_examples=20,
    seed=3,
    variety=1.0,
    stride=1,
    split="train",
    split_folders="auto",
    split_number=1,
    horizontal_flip=False,
    crop="random",
    cache_directory="",
    min_clips=1,
    prepare="--source=ucf101",
    mixture=(),
    classes=(),
    min_frames=0,
    temporal_reversal=False,
    damaged="stop",
    reader="python",
    workers=2,
  )
  return types.SimpleNamespace(**(fields | changes))


def test_moving_shapes_are_built_as_configured():
  for split in ("train", "test"):
    source = build_source(config_of(), frames=4, resolution=16, num_classes=8, split=split)
    expected = MovingShapes(20, frames=4, resolution=16, num_classes=8, seed=3, split=split)
    assert source.num_examples == 20
    for index in (0, 19):
      clip, label = source.example(index, None)
      assert (clip == expected.example(index, None)[0]).all() and label == index % 8


def test_an_npz_is_built_as_configured(tmp_path):
  clips = np.random.default_rng(0).integers(256, size=(4, 8, 16, 16, 3), dtype=np.uint8)
  np.savez(tmp_path / "a.npz", clips=clips, labels=np.array([0, 1, 2, 2]))
  config = config_of(name="npz", directory=str(tmp_path / "a.npz"), stride=2)
  lines = []
  source = build_source(config, frames=4, resolution=16, num_classes=3, report=lines.append)
  clip, label = source.example(2, np.random.default_rng(0))
  assert (clip == clips[2, ::2]).all() and label == 2
  assert lines[0] == f"{tmp_path}/a.npz: 4 clips, 3 classes" and len(lines) == 2
  assert "3 of 3 classes have fewer than 4 clips" in lines[1]
  assert build_source(config, frames=4, resolution=16, num_classes=0).num_classes == 0
  with pytest.raises(UserError, match="label 2 of clip 2"):
    build_source(config, frames=4, resolution=16, num_classes=2)


def test_a_video_folder_is_built_as_configured(tmp_path):
  clip = np.full((6, 16, 48, 3), 200, np.uint8)
  clip[:, :, 16:32] = 20
  for name in ("a", "b"):
    write_mp4(tmp_path / "data" / name / "1.mp4", clip, 10)
  config = config_of(
    name="video_folder",
    directory=str(tmp_path / "data"),
    stride=2,
    crop="center",
    cache_directory=str(tmp_path / "cache"),
  )
  lines = []
  source = build_source(config, frames=3, resolution=16, num_classes=2, report=lines.append)
  clip, label = source.example(1, np.random.default_rng(0))
  assert clip.shape == (3, 16, 16, 3) and label == 1 and clip[:, :, 4:12].max() < 40
  assert lines[0].startswith(f"{tmp_path}/data (train): 2 clips, 12 frames")
  with pytest.raises(UserError, match="0 usable clips"):
    build_source(config, frames=4, resolution=16, num_classes=2, report=lines.append)
  config.min_clips = 3
  with pytest.raises(UserError, match="3 are needed"):
    build_source(config, frames=3, resolution=16, num_classes=2, report=lines.append)
  with pytest.raises(UserError, match="no test split"):
    build_source(config, frames=3, resolution=16, num_classes=2, split="test")


def test_a_prepared_set_is_built_by_its_name_and_as_a_video_folder(tmp_path, write_prepared, ramp):
  folder = write_prepared(tmp_path, [ramp(9, 16, 24)] * 3, [0, 1, 1], ("a", "b"), png=True)
  for name in ("prepared", "video_folder"):
    config = config_of(name=name, directory=str(folder), stride=2, crop="center")
    source = build_source(config, frames=3, resolution=16, num_classes=2, report=lambda line: None)
    clip, _ = source.example(0, np.random.default_rng(0))
    assert clip[0, 0, 0, 1] == 4 and (np.diff(clip[:, 0, 0, 2]) == 2).all()
    config.mixture, config.classes, config.min_frames = (str(folder),), ("b",), 9
    source = build_source(config, frames=3, resolution=16, num_classes=1, report=lambda line: None)
    assert (source.num_examples, source.class_names) == (4, ("b",))


@pytest.mark.parametrize("name", ["prepared", "video_folder"])
def test_a_missing_set_is_told_with_the_command_that_makes_it(tmp_path, name):
  make = "vidgan prepare --source=ucf101 --input=VIDEOS --output={} --resolution=64"
  for directory, line in (
    (f"{tmp_path}/x y", f"{tmp_path}/x y: no such folder; make it, for example with: " + make),
    ("", "config.data.directory is empty; make a set with: " + make),
  ):
    with pytest.raises(UserError) as caught:
      build_source(
        config_of(name=name, directory=directory), frames=4, resolution=64, num_classes=2
      )
    assert str(caught.value) == line.format(f"'{directory}'" if directory else "DIR")
  config = config_of(name=name, directory=__file__)
  with pytest.raises(UserError, match=r"is a file, not a folder; make a set with: .*=DIR "):
    build_source(config, frames=4, resolution=64, num_classes=2)


CONFIGS = ("dvd_gan", "mocogan", "progressive_vgan", "tgan", "vgan", "weizmann")


def _expected_preparation(file, name):
  """Source, resize and crop of the data set of a config."""
  if file == "dvd_gan":
    kind = "ucf101" if "ucf101" in name else "kinetics"
    return kind, "area" if "thesis" in name else "bilinear", None
  if file == "weizmann":
    return "ucf101", "bilinear", None
  return ("folder", "bilinear", None) if "mug" in name else ("ucf101", "bilinear", 240)


@pytest.mark.parametrize("file", CONFIGS)
def test_the_command_for_every_missing_set_can_be_given(tmp_path, load_config, file):
  there = tmp_path / "videos"
  there.mkdir()
  names = load_config.names(file) if file != "weizmann" else ["weizmann"]
  tried = 0
  for name in names:
    config = load_config(file, name)
    if config.data.name == "moving_shapes":
      continue
    with config.unlocked():
      config.data.directory = str(tmp_path / "none")
    model = config.model
    wanted = {n: model[n] for n in ("frames", "resolution", "num_classes")}
    with pytest.raises(UserError) as caught:
      build_source(config.data, **wanted)
    command = shlex.split(str(caught.value).partition("make it, for example with: ")[2])
    assert command[:2] == ["vidgan", "prepare"]
    options = dict(word.removeprefix("--").split("=") for word in command[2:])
    assert (options.pop("input"), options.pop("output")) == ("VIDEOS", config.data.directory)
    options = {key: int(v) if v.isdigit() else v for key, v in options.items()}
    request = Request(input=str(there), output=config.data.directory, **options)
    request.check()
    assert request.source in SOURCES and request.resolution == config.model.resolution
    assert (request.source, request.resize, request.crop) == _expected_preparation(file, name), name
    tried += 1
  assert tried >= 1


@pytest.fixture
def raw(tmp_path):
  """A folder of one class with one video."""
  write_mp4(tmp_path / "raw" / "a" / "1.mp4", np.full((6, 16, 16, 3), 90, np.uint8), 10)
  return str(tmp_path / "raw")


@pytest.mark.parametrize("name", ["video_folder", "npz", "moving_shapes"])
@pytest.mark.parametrize(
  "change",
  [dict(mixture=("x",)), dict(classes=["a"]), dict(min_frames=9), dict(temporal_reversal=True)],
)
def test_what_a_source_cannot_do_is_refused(raw, tmp_path, name, change):
  np.savez(tmp_path / "a.npz", clips=np.full((2, 4, 16, 16, 3), 9, np.uint8))
  directory = {"video_folder": raw, "npz": f"{tmp_path}/a.npz", "moving_shapes": ""}[name]
  fields = {"name": name, "directory": directory, "cache_directory": f"{tmp_path}/cache"}
  wanted = dict(frames=4, resolution=16, num_classes=0, report=lambda line: None)
  build_source(config_of(**fields), **wanted)
  with pytest.raises(UserError) as caught:
    build_source(config_of(**fields, split_number=2, **change), **wanted)
  (field,) = change
  line = str(caught.value)
  assert line.startswith(f"config.data.{field}=") and re.search(
    "(a prepared set supports|sets support) it", line
  )
  if name == "video_folder":
    assert line.endswith(
      f"vidgan prepare --source=ucf101 --split_number=2 --input={raw} --output={raw}_prepared "
      "--resolution=16"
    )


def test_a_folder_that_shapes_do_not_need_is_told():
  lines = []
  config = config_of(directory="/my/videos")
  build_source(config, frames=4, resolution=16, num_classes=8, report=lines.append)
  assert lines == ["/my/videos is not read: config.data.name=moving_shapes reads no folder"]
  with pytest.raises(UserError, match=r"moving_shapes reads no folder: --config\.data\.name=video"):
    build.check_new(config)
  build.check_new(config_of())
  build.check_new(config_of(name="npz", directory="/my/clips.npz"))
  with pytest.raises(
    UserError, match=r"horizontal_flip=True is not supported by data\.name=moving_shap"
  ):
    build_source(config_of(horizontal_flip=True), frames=4, resolution=16, num_classes=8)


def test_a_reader_that_does_not_fit_the_source_is_told():
  source, lines = MovingShapes(8, 4, 8, 8, 0), []
  config = config_of(reader="tensorflow")
  build_batches(config, source, batch_size=2, steps=1, seed=0, report=lines.append)
  assert lines == [
    "config.data.reader=tensorflow reads only prepared sets; these clips are read without it"
  ]


def test_the_split_is_the_configurations_unless_another_is_asked_for(
  tmp_path, write_prepared, ramp, raw
):
  folder = write_prepared(tmp_path / "set", [ramp(9, 16, 16)] * 2, split="test")
  config = config_of(name="prepared", directory=str(folder), split="test")
  wanted = dict(frames=3, resolution=16, num_classes=0, report=lambda line: None)
  assert build_source(config, **wanted).num_examples == 2
  with pytest.raises(UserError, match="has no split 'train', known are: test"):
    build_source(config, split="train", **wanted)
  config.split_number = 3
  with pytest.raises(UserError, match=r"split_number 1, but config\.data\.split_number is 3"):
    build_source(config, **wanted)
  config = config_of(name="video_folder", directory=raw, split="test")
  with pytest.raises(UserError, match="there is no test split"):
    build_source(config, **wanted)


def test_a_set_that_is_being_prepared_is_no_folder_of_videos(tmp_path):
  (tmp_path / "set" / ".preparing").mkdir(parents=True)
  config = config_of(name="video_folder", directory=str(tmp_path / "set"))
  with pytest.raises(UserError, match="preparation was not finished; run its prepare command"):
    build_source(config, frames=3, resolution=16, num_classes=0)


def test_unknown_names_are_refused_with_the_known_ones():
  with pytest.raises(UserError, match=r"'ucf'.* moving_shapes, npz, video_folder, prepared"):
    build_source(config_of(name="ucf"), frames=4, resolution=16, num_classes=8)
  with pytest.raises(UserError, match="negative"):
    build_source(config_of(), frames=4, resolution=16, num_classes=-1)


@pytest.mark.parametrize("pixel", [0, 1])
def test_folders_whose_pictures_hold_only_0_and_1_are_refused(tmp_path, pixel):
  folder = tmp_path / "videos"
  folder.mkdir()
  for name, value in (("a", pixel), ("b", pixel)):
    write_mp4(folder / f"{name}.mp4", np.full((4, 16, 16, 3), value, np.uint8), 10)
  config = config_of(
    name="video_folder", directory=str(folder), cache_directory=str(tmp_path / "c")
  )
  build = lambda: build_source(
    config, frames=4, resolution=16, num_classes=0, report=lambda line: None
  )
  with pytest.raises(UserError, match="no pixel of 2 clips is above 1"):
    build()
  write_mp4(folder / "c.mp4", np.full((4, 16, 16, 3), 90, np.uint8), 10)
  assert build().num_examples == 3
