import time

import numpy as np
import pytest

from vidgan_jax.data.sources import moving_shapes
from vidgan_jax.data.sources.moving_shapes import (
  CLASS_NAMES,
  MovingShapes,
  draw_scene,
  render,
)
from vidgan_jax.runtime.errors import UserError


def clip_of(source, index):
  return source.example(index, np.random.default_rng(0))[0]


def foreground(clip):
  """A rough mask per frame: pixels that differ from the median frame, the background."""
  return np.abs(clip.astype(int) - np.median(clip, axis=0).astype(int)).max(-1) > 25


def test_clips_have_the_promised_form_and_balanced_labels():
  source = MovingShapes(24, frames=8, resolution=32, num_classes=8, seed=0)
  labels = []
  for index in range(24):
    clip, label = source.example(index, np.random.default_rng(index))
    assert clip.shape == (8, 32, 32, 3) and clip.dtype == np.uint8
    labels.append(label)
  assert np.bincount(labels).tolist() == [3] * 8
  assert source.class_names == CLASS_NAMES[:8] and len(set(CLASS_NAMES)) == 16


def test_the_first_eight_classes_hold_every_shape_equally_often():
  shapes = [name.split("_")[0] for name in CLASS_NAMES[:8]]
  assert sorted(shapes.count(shape) for shape in moving_shapes.SHAPES) == [2, 2, 2, 2]


def test_a_scene_is_a_function_of_seed_split_and_index():
  make = lambda **kw: MovingShapes(
    **{**dict(num_examples=10, frames=4, resolution=32, num_classes=8, seed=5), **kw}
  )
  reference = clip_of(make(), 3)
  assert (clip_of(make(cache_bytes=0), 3) == reference).all()
  assert (clip_of(make(num_examples=1000), 3) == reference).all()
  assert (clip_of(make(frames=9), 3)[:4] == reference).all()  # longer clips continue shorter ones
  assert (clip_of(make(seed=6), 3) != reference).any()
  assert (clip_of(make(split="test"), 3) != reference).any()


def test_train_and_test_share_no_scene():
  scenes = lambda split: {draw_scene(0, split, i, i % 8).colors.tobytes() for i in range(500)}
  train, test = scenes("train"), scenes("test")
  assert len(train) == len(test) == 500 and not train & test


@pytest.mark.parametrize("class_index", range(16))
def test_the_same_scene_appears_at_any_resolution(class_index):
  scene = draw_scene(1, "train", 7, class_index)
  small = render(scene, 3, 32).astype(float)
  large = render(scene, 3, 128).astype(float)
  pooled = large.reshape(3, 32, 4, 32, 4, 3).mean((2, 4))
  assert np.abs(small - pooled).mean() < 1.5
  assert np.abs(small - pooled).max() < 80  # soft edges differ in a few pixels


def test_shape_and_background_contrast_in_every_scene():
  weights = np.array([0.299, 0.587, 0.114])
  for index in range(2000):
    luminance = draw_scene(0, "train", index, index % 16).colors @ weights
    assert np.abs(luminance[:2] - luminance[2]).min() > 0.3


def test_horizontal_and_vertical_motion_go_their_ways_and_can_be_seen():
  times = np.arange(8.0)
  for index in range(200):
    for class_index, moving, still in ((0, 0, 1), (4, 1, 0)):
      scene = draw_scene(0, "train", index, class_index)
      path = moving_shapes._trajectory(scene, times)
      assert np.ptp(path[still]) == 0
      assert np.abs(np.diff(path[moving])).sum() > 0.3
      assert np.ptp(path[moving]) > 0.2


def test_circular_motion_turns_both_ways_and_pulsing_changes_the_size_alone():
  times = np.arange(8.0)
  turns = set()
  for index in range(40):
    scene = draw_scene(0, "train", index, 8)
    x, y, radius = moving_shapes._trajectory(scene, times)
    distance = np.hypot(x - scene.center[0], y - scene.center[1])
    assert np.ptp(distance) < 1e-9 and np.ptp(radius) == 0
    turns.add(np.sign(scene.frequency))
    x, y, radius = moving_shapes._trajectory(draw_scene(0, "train", index, 12), times)
    assert np.ptp(x) == np.ptp(y) == 0 and radius.max() / radius.min() > 1.5
  assert turns == {1, -1}


def test_shapes_stay_inside_the_image():
  times = np.arange(64.0)
  for index in range(300):
    for class_index in (0, 5, 10, 15):
      scene = draw_scene(2, "train", index, class_index)
      x, y, radius = moving_shapes._trajectory(scene, times)
      for center in (x, y):
        assert (center - 0.95 * radius > 0).all() and (center + 0.95 * radius < 1).all()
      assert 0.3 < 2 * scene.radius < 0.46


def test_edges_are_one_pixel_soft():
  scene = draw_scene(0, "train", 0, 0)
  for resolution in (32, 128):
    distance = np.array([-0.6, -0.5, 0.0, 0.25, 0.5, 0.6]) / resolution
    assert np.allclose(
      moving_shapes._soft_edge(distance, resolution), [1, 1, 0.5, 0.25, 0, 0], atol=1e-6
    )
  assert foreground(render(scene, 8, 32)).any(axis=(1, 2)).all()


def test_some_scenes_have_a_bar_and_resting_bars_stand_across_the_way():
  bars = [(s, s.bar) for s in (draw_scene(0, "train", i, i % 8) for i in range(800)) if s.bar]
  assert 0.15 < len(bars) / 800 < 0.35
  resting = [(scene.motion, bar[0]) for scene, bar in bars if bar[3] == 0]
  assert set(resting) == {("horizontal", 0), ("vertical", 1)}
  moving = [np.sign(bar[3]) for _, bar in bars if bar[3]]
  assert set(moving) == {1, -1}


def test_unlabelled_scenes_show_all_classes_with_label_0():
  source = MovingShapes(16, frames=2, resolution=16, num_classes=0, seed=0)
  labelled = MovingShapes(16, frames=2, resolution=16, num_classes=16, seed=0)
  assert source.num_classes == 0 and source.class_names == ()
  for index in range(16):
    clip, label = source.example(index, None)
    assert label == 0 and (clip == labelled.example(index, None)[0]).all()


def test_renders_fast_enough():
  source = MovingShapes(100, frames=8, resolution=32, num_classes=8, seed=0, cache_bytes=0)
  started = time.process_time()
  for index in range(100):
    source.example(index, None)
  assert 800 / (time.process_time() - started) > 1500


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"num_classes": 17}, "num_classes=17"),
    ({"num_examples": 0}, "num_examples"),
    ({"seed": -1}, "seed"),
    ({"split": "val"}, "'val'"),
  ],
)
def test_arguments_outside_their_range_are_refused(change, words):
  arguments = dict(num_examples=4, frames=2, resolution=16, num_classes=8, seed=0) | change
  with pytest.raises(UserError, match=words):
    MovingShapes(**arguments)


def test_an_index_outside_the_set_is_refused():
  source = MovingShapes(4, frames=2, resolution=16, num_classes=2, seed=0)
  for index in (-1, 4):
    with pytest.raises(IndexError):
      source.example(index, None)


def test_variety_zero_has_large_shapes_in_the_middle_of_plain_dark_ground():
  full = MovingShapes(64, frames=4, resolution=32, num_classes=8, seed=0)
  plain = MovingShapes(64, frames=4, resolution=32, num_classes=8, seed=0, variety=0.0)
  corners = []
  for index in range(64):
    a, b = (draw_scene(0, "train", index, index % 8, v) for v in (1.0, 0.0))
    assert (a.shape, a.motion, a.phase) == (b.shape, b.motion, b.phase)
    assert b.center == (0.5, 0.5) and b.radius == 0.28 > a.radius and b.tilt == 0 != a.tilt
    assert b.bar is None
    clip, label = plain.example(index, None)
    assert label == full.example(index, None)[1]
    corners.append(clip[:, 0, 0].astype(int))
  corners = np.array(corners)
  assert corners.max() < 100  # dark
  assert np.ptp(corners, axis=-1).max() <= 2  # and grey
  with pytest.raises(UserError, match="variety"):
    MovingShapes(4, frames=4, resolution=32, num_classes=8, seed=0, variety=1.5)
