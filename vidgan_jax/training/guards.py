"""Guards: they stop a failing run before its state replaces a good checkpoint."""

import math
from typing import Any

from vidgan_jax.runtime.checkpoints import first_non_finite
from vidgan_jax.runtime.errors import Stopped
from vidgan_jax.runtime.hooks import Hook


class DarkGuard(Hook):
  """Stops a run whose generated clips have become dark (thesis 4.5).

  While the last logged iteration is dark, the loop saves no checkpoint, except when the run ends or
  is interrupted. So the newest checkpoint is from before the dark iterations.

  Args:
    fraction: an iteration is dark if more than this fraction of its generated clips is dark.
    patience: number of consecutive dark logged iterations that stop the run. 0 never stops it.
  """

  def __init__(self, fraction: float, patience: int):
    self.fraction, self.patience, self._count = fraction, patience, 0

  def metrics(self, step: int, metrics: dict[str, float]) -> None:
    """Counts dark iterations. Raises `Stopped` when their number reaches the patience."""
    self.replay(step, metrics)
    if self.patience and self._count >= self.patience:
      raise Stopped(
        f"stopped at iteration {step}: more than {self.fraction:.0%} of the generated clips were "
        f"dark at {self._count} logged iterations in a row (config.guard)"
      )

  def replay(self, step: int, metrics: dict[str, float]) -> None:
    """Counts dark iterations, also in the log of an interrupted run."""
    dark = float(metrics.get("pixel/generated_dark", 0)) > self.fraction
    self._count = self._count + 1 if dark else 0

  def healthy(self) -> bool:
    """False if the last logged iteration was dark."""
    return not (self.patience and self._count)


def check_finite(
  step: int, finite: float, metrics: dict[str, float] | None = None, state: Any = None
) -> None:
  """Raises `Stopped` if losses, gradients or the state of iteration `step` are not finite.

  Args:
    step: the iteration.
    finite: its metric "finite", 1 if everything was finite.
    metrics: all metrics of the iteration. The message names the first that is not finite.
    state: the state after this iteration or the next. If all metrics are finite, the message names
      its first array that is not.
  """
  if finite == 1:
    return
  names = [name for name, value in (metrics or {}).items() if not math.isfinite(value)]
  if not names and state is not None:
    names = [first_non_finite(state)]
  raise Stopped(
    f"stopped at iteration {step}: {names[0] if names else 'a loss or gradient'} is not finite; "
    "no state after it was saved"
  )
