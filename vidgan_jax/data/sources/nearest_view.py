"""A source whose examples are another source's, subsampled by nearest neighbour in space."""

import numpy as np

from vidgan_jax.data.sources.base import Source
from vidgan_jax.runtime.subsampling import nearest


class NearestView(Source):
  """Keeps every k-th row and column of another source's examples (SSW-GAN 3.1).

  The early stages of SSW-GAN train on f(x), which a later stage computes from its own clips x in
  the same way. Averaged pixels would have another distribution.

  Args:
    source: the larger examples.
    resolution: height and width of the view, a divisor of those of `source`.
  """

  def __init__(self, source: Source, resolution: int):
    self._source, self._factor = source, source.resolution // resolution
    self.num_examples, self.num_classes = source.num_examples, source.num_classes
    self.class_names, self.frames = source.class_names, source.frames
    self.resolution = resolution

  def identity(self) -> str:
    """See `Source.identity`."""
    return f"{self._source.identity()} nearest {self._factor}"

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example`."""
    clip, label = self._source.example(index, generator)
    return nearest(clip, space=self._factor), label
