"""Colours of videos are converted as the stream declares: BT.601, 709 or 2020, limited or full."""

import av
import numpy as np
import pytest

from vidgan_jax.runtime.files.video_files import read_video

COLORS = np.array(
  [[200, 30, 60], [20, 180, 90], [40, 60, 220], [128, 128, 128], [250, 240, 20]], float
)
# {matrix: (weight of red in luma, weight of blue, number of the matrix in ITU-T H.273)}
MATRICES = {"601": (0.299, 0.114, 5), "709": (0.2126, 0.0722, 1), "2020": (0.2627, 0.0593, 9)}
LIMITED, FULL = 1, 2


def planes(color, red, blue, full):
  """A colour as luma and two colour differences."""
  r, g, b = color / 255
  luma = red * r + (1 - red - blue) * g + blue * b
  differences = np.array([(b - luma) / (1 - blue) / 2, (r - luma) / (1 - red) / 2])
  if full:
    return np.round([255 * luma, *(255 * differences + 128)])
  return np.round([16 + 219 * luma, *(224 * differences + 128)])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", MATRICES)
def test_colors_are_as_declared(tmp_path, name, full):
  red, blue, number = MATRICES[name]
  path = tmp_path / "video.mp4"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
    stream.width = stream.height = 32
    stream.pix_fmt = "yuv444p"
    stream.codec_context.colorspace = number
    stream.codec_context.color_range = FULL if full else LIMITED
    for color in COLORS:
      values = planes(color, red, blue, full).astype(np.uint8)
      image = np.broadcast_to(values[:, None, None], (3, 32, 32))
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="yuv444p")
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  video, _ = read_video(path)
  assert np.max(np.abs(video.mean((1, 2)) - COLORS)) <= 2
