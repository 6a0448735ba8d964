"""f, the nearest-neighbour subsampling of clips (SSW-GAN 3.1), the same for all its uses.

The data of SSW-GAN's first stage, the view of its matching discriminators and the injection of a
low-resolution clip into a generator all use this function, so that they see the same pixels.
"""

from typing import Any


def nearest(clips: Any, time: int = 1, space: int = 1) -> Any:
  """Keeps every `time`-th frame, and every `space`-th row and column, beginning with the first.

  Args:
    clips: [..., T, H, W, C], a NumPy or a JAX array.
    time: distance between kept frames.
    space: distance between kept rows and columns.

  Returns:
    [..., ceil(T / time), ceil(H / space), ceil(W / space), C]; a view if `clips` is NumPy's.
  """
  return clips[..., ::time, ::space, ::space, :]
