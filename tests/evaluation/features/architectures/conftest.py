"""Fixtures for tests of networks: a convolution in NumPy, and a relative error."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def convolution():
  """A function that computes a convolution in float64, as one matrix product for each frame.

  Its arguments are x [B, T, H, W, in], kernel [out, in, t, h, w], stride and padding; the last two
  are triples for time, height and width.
  """

  def convolve(x, kernel, stride=(1, 1, 1), padding=(1, 1, 1)):
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *((p, p) for p in padding), (0, 0)))
    rows = np.asarray(kernel, np.float64).transpose(2, 3, 4, 1, 0).reshape(-1, len(kernel))
    axes = (1, 2, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axes)
    windows = windows[:, :: stride[0], :: stride[1], :: stride[2]]
    windows = np.moveaxis(windows, 4, -1)  # [B, T', H', W', t, h, w, in]
    sizes = windows.shape[:4]
    out = np.empty((*sizes, len(kernel)))
    for clip in range(sizes[0]):
      for frame in range(sizes[1]):
        out[clip, frame] = windows[clip, frame].reshape(*sizes[2:], -1) @ rows
    return out

  return convolve


@pytest.fixture(scope="session")
def relative():
  """A function (actual, expected) -> norm of the difference divided by the norm of `expected`."""
  return lambda a, b: float(np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b))
