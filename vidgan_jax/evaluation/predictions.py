"""Compares the clips of a run that continues given frames with the true ones, as they are drawn."""

from typing import Any

import jax
import numpy as np

from vidgan_jax.evaluation.metrics.prediction import Predictions
from vidgan_jax.evaluation.statistics import prediction
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError


class Compared:
  """Generated clips that are compared with the clips that they continue whenever they are drawn.

  So the clips are generated once, for features and for these measures.

  Args:
    generated: clips, see `evaluation.clips`, with `given(begin, end)`, the whole clips that they
      continue, `given_frames`, and `given_count`, the number of different clips.
    mesh: the devices that the clips are on.

  Raises:
    UserError: frames are smaller than the window of SSIM.
  """

  def __init__(self, generated: Any, mesh: jax.sharding.Mesh):
    self.shape, self.about = generated.shape, generated.about
    if min(self.shape[1:3]) < prediction.LEAST_SIZE:
      raise UserError(
        f"frames of {self.shape[1]}x{self.shape[2]} are too small for SSIM, whose window has "
        f"{prediction.LEAST_SIZE} pixels"
      )
    self._generated, self._mesh = generated, mesh
    self._values: dict[int, dict[str, jax.Array]] = {}  # by number of the first clip

  def __call__(self, begin: int, end: int) -> tuple[Any, Any]:
    """Clips begin..end-1 and their labels; see `evaluation.clips`."""
    clips, labels = self._generated(begin, end)
    true = meshes.replicate(self._generated.given(begin, end)[:, : self.shape[0]], self._mesh)
    self._values[begin] = prediction.quality(clips, true, self._generated.given_frames)
    return clips, labels

  def predictions(self, count: int) -> Predictions:
    """The values of the first `count` clips. All processes must call this."""
    parts = [
      (begin, processes.local(values, self._mesh)) for begin, values in sorted(self._values.items())
    ]
    names = parts[0][1]
    table = {name: np.full(count, np.nan, np.float32) for name in names}
    for begin, values in parts:
      for name in names:
        # The last batch has clips beyond the last one that is scored.
        part = np.asarray(values[name])[: max(0, count - begin)]
        table[name][begin : begin + len(part)] = part
    return Predictions(table, self._generated.given_count)
