import types

import numpy as np
import pytest

from vidgan_jax.data.build import build_source
from vidgan_jax.data.moving_shapes import MovingShapes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.video_files import write_mp4


def config_of(**changes):
  fields = dict(
    name="moving_shapes",
    directory="",
    num_examples=20,
    seed=3,
    variety=1.0,
    stride=1,
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
  assert lines == [f"{tmp_path}/a.npz: 4 clips, 3 classes"]
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
  make = "python -m vidgan_jax.prepare --source=ucf101 --input=VIDEOS --output={} --resolution=64"
  for directory, line in (
    (f"{tmp_path}/x y", f"{tmp_path}/x y: no such folder; make it with: " + make),
    ("", "config.data.directory names no folder; make a set with: " + make),
  ):
    with pytest.raises(UserError) as caught:
      build_source(
        config_of(name=name, directory=directory), frames=4, resolution=64, num_classes=2
      )
    assert str(caught.value) == line.format(f"'{directory}'" if directory else "DIR")


def test_unknown_names_are_refused_with_the_known_ones():
  with pytest.raises(UserError, match=r"'ucf'.* moving_shapes, npz, video_folder, prepared"):
    build_source(config_of(name="ucf"), frames=4, resolution=16, num_classes=8)
  with pytest.raises(UserError, match="negative"):
    build_source(config_of(), frames=4, resolution=16, num_classes=-1)
