"""Clips as HTML for notebooks."""

import base64
import html.parser
import subprocess
import sys

import numpy as np
import pytest

import vidgan_jax
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import inline_video, video_files


class Elements(html.parser.HTMLParser):
  """The elements of a page, as (name, attributes), and its texts."""

  def __init__(self, page):
    super().__init__()
    self.elements, self.texts = [], []
    self.feed(page)

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_data(self, data):
    self.texts.append(data)

  @property
  def video(self):
    (attributes,) = (attributes for tag, attributes in self.elements if tag == "video")
    return attributes


def shades(*shape):
  """Clips [*shape, 3 frames, 16, 16, 3], each of one grey value: 0, 10, 20, ..."""
  values = 10 * np.arange(np.prod(shape), dtype=np.uint8).reshape(*shape, 1, 1, 1, 1)
  return np.broadcast_to(values, (*shape, 3, 16, 16, 3))


def decoded(shown, folder):
  """The frames of the video in a page, uint8 [T, H, W, 3], and its frame rate."""
  attributes = Elements(shown._repr_html_()).video
  kind, content = attributes["src"].split(",", 1)
  assert kind == "data:video/mp4;base64"
  (folder / "shown.mp4").write_bytes(base64.b64decode(content))
  frames, rate = video_files.read_video(folder / "shown.mp4")
  assert frames.shape[1:3] == (int(attributes["height"]), int(attributes["width"]))
  return frames, rate


def test_the_video_shows_the_clips_enlarged_side_by_side(tmp_path):
  frames, rate = decoded(vidgan_jax.show(shades(4), columns=2, frame_rate=5), tmp_path)
  assert len(frames) == 3 and rate == 5
  pitch = 6 * (16 + 2)  # the smallest whole number that makes 16 pixels at least 96
  for number in range(4):
    row, column = divmod(number, 2)
    tile = frames[:, row * pitch :, column * pitch :][:, 4:92, 4:92]
    assert np.abs(tile.astype(int) - 10 * number).max() <= 2
  strip = frames[:, 2 * pitch - 12 :]
  assert 50 <= strip.shape[1] <= 62 and np.abs(strip[:, 6:].astype(int) - 24).max() <= 6


@pytest.mark.parametrize(
  ("shape", "options", "rows", "columns"),
  [
    ((), {}, 1, 1),
    ((5,), {}, 2, 3),
    ((6,), {"rows": ["a", "b"]}, 2, 3),
    ((5,), {"rows": ["a", "b"], "columns": 3}, 2, 3),
    ((2, 4), {}, 2, 4),
    ((2, 4), {"rows": ["a", "b"]}, 2, 4),
  ],
)
def test_grids(tmp_path, shape, options, rows, columns):
  frames, _ = decoded(vidgan_jax.show(shades(*shape), **options), tmp_path)
  assert frames.shape[2] == 6 * (18 * columns - 2)
  assert frames.shape[1] == 6 * (18 * rows - 2 + 10)


def test_wide_grids_are_enlarged_less(tmp_path):
  frames, _ = decoded(vidgan_jax.show(shades(20), columns=20), tmp_path)
  assert frames.shape[2] == 2 * (18 * 20 - 2)


def test_names_stand_beside_their_rows_and_are_escaped():
  names = ["<script>alert(1)</script>", "قفز"]
  page = Elements(vidgan_jax.show(shades(4), rows=names)._repr_html_())
  assert [text for text in page.texts if text.strip()] == names
  assert {tag for tag, _ in page.elements} == {"div", "video"}
  heights = [a["style"] for tag, a in page.elements if tag == "div" and "height" in a["style"]]
  assert len(heights) == 2 and all(style.startswith("height:108px") for style in heights)


def test_it_plays_by_itself_and_without_other_files():
  video = Elements(vidgan_jax.show(shades(1))._repr_html_()).video
  assert {"autoplay", "loop", "muted", "playsinline", "controls"} <= set(video)
  assert repr(vidgan_jax.show(shades(2))).startswith("<2 clips of 3 frames, 16x16 pixels;")


@pytest.mark.parametrize(
  ("clips", "options", "words"),
  [
    (np.zeros((2, 3, 8, 8, 3)), {}, "found float64 [2, 3, 8, 8, 3]"),
    (np.zeros((3, 8, 8), np.uint8), {}, "found uint8 [3, 8, 8]"),
    (np.zeros((3, 8, 8, 4), np.uint8), {}, "found uint8 [3, 8, 8, 4]"),
    (np.zeros((0, 3, 8, 8, 3), np.uint8), {}, "no clip"),
    (shades(5), {"rows": ["a", "b"]}, "2 names of rows do not fit 5 clips"),
    (shades(4), {"rows": ["a"], "columns": 2}, "1 names of rows do not fit 4 clips in 2 columns"),
    (shades(4), {"rows": "ab"}, "list of names"),
    (shades(4), {"columns": 0}, "columns is 0"),
    (shades(4), {"frame_rate": 0}, "frame_rate is 0"),
    (shades(4), {"frame_rate": float("nan")}, "frame_rate is nan"),
    (np.zeros((30, 1, 200, 200, 3), np.uint8), {"columns": 30}, "show fewer"),
  ],
)
def test_bad_input_is_refused_in_one_sentence(clips, options, words):
  with pytest.raises(UserError) as error:
    inline_video.show(clips, **options)
  assert words in str(error.value) and "\n" not in str(error.value)


def test_it_needs_neither_jax_nor_a_notebook():
  program = """
import sys
sys.modules["jax"] = sys.modules["IPython"] = None
import numpy as np, vidgan_jax
vidgan_jax.show(np.zeros((2, 8, 8, 3), np.uint8))
"""
  assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
