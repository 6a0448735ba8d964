"""Nearest-neighbour views of a source, and the speed of the moving shapes."""

import numpy as np
import pytest

from vidgan_jax.data.build import build_source
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.data.sources.nearest_view import NearestView
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import UserError


def built(frames=3, resolution=16, **changes):
  config = configuration.base_config()
  fields = {"name": "moving_shapes", "num_examples": 5, **changes}
  schema.set_fields(config, {f"data.{name}": value for name, value in fields.items()})
  return build_source(config.data, frames=frames, resolution=resolution, num_classes=4)


def clip_of(source, index=2):
  return source.example(index, np.random.default_rng(0))[0]


def test_a_view_keeps_every_fourth_row_and_column():
  whole = MovingShapes(5, 3, 64, 4, 0)
  view = built(view="nearest", view_resolution=64)
  assert isinstance(view, NearestView)
  assert (view.frames, view.resolution, view.num_examples, view.num_classes) == (3, 16, 5, 4)
  assert view.class_names == whole.class_names
  np.testing.assert_array_equal(clip_of(view), clip_of(whole)[:, ::4, ::4])
  assert not np.array_equal(clip_of(view), clip_of(built()))  # drawn with smooth edges
  filled = np.empty((3, 16, 16, 3), np.uint8)
  assert view.fill(filled, 2, np.random.default_rng(0)) == 2
  np.testing.assert_array_equal(filled, clip_of(view))
  assert view.description()["checksum"] != whole.description()["checksum"]


@pytest.mark.parametrize("changes", [{}, {"view": "nearest"}, {"view_resolution": 64}])
def test_without_both_fields_clips_have_the_models_resolution(changes):
  source = built(**changes)
  assert isinstance(source, MovingShapes)
  np.testing.assert_array_equal(clip_of(source), clip_of(MovingShapes(5, 3, 16, 4, 0)))


@pytest.mark.parametrize("side", [8, 40])
def test_a_view_that_does_not_fit_is_refused(side):
  message = f"view_resolution is {side}, must be a multiple of the model's resolution, 16"
  with pytest.raises(UserError, match=message):
    built(view="nearest", view_resolution=side)


def test_smaller_time_steps_show_the_same_scene_more_slowly():
  slow, fast = built(frames=9, time_step=0.25), built(frames=3, time_step=1.0)
  np.testing.assert_array_equal(clip_of(slow)[::4], clip_of(fast))
  np.testing.assert_array_equal(clip_of(fast), clip_of(MovingShapes(5, 3, 16, 4, 0)))
