"""The order in which the frames of a clip are read."""

import pytest

from vidgan_jax.data.prepare import inputs


@pytest.mark.parametrize(
  "names",
  [
    ["1.jpg", "2.jpg", "9.jpg", "10.jpg", "11.jpg", "100.jpg"],
    ["frame2.png", "frame10.png", "frame100.png"],
    ["0001.png", "0002.png", "0010.png"],
    ["clip1_frame2.png", "clip1_frame10.png", "clip2_frame1.png"],
  ],
)
def test_frames_are_in_the_order_of_their_numbers(names):
  assert sorted(reversed(names), key=inputs.natural) == names
