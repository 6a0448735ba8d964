"""Hooks: what happens between iterations.

At every iteration the loop first calls `before_save`, with a `Moment`, of the hooks that are due
(evaluation of the old state), then saves, then trains. Metrics of an iteration arrive one iteration
later, in `metrics`.

Where several processes train, every process calls all but `before_save`, which the first alone
calls, but of hooks that are `together`; so `due` and `healthy` must follow from the iteration and
the metrics, which all share.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

from vidgan_jax.runtime.checkpoints import first_non_finite
from vidgan_jax.runtime.errors import Stopped


@dataclasses.dataclass(frozen=True)
class Moment:
  """What a hook may look at.

  Attributes:
    step: iterations done.
    state: the state after them; valid during the call only, since it is donated to the next one.
    frozen: variables of frozen earlier stages.
    gan, config, workdir, log, source: of the run; `source` is its data.
    mesh: the devices of the run; of several processes the first one's own first, where `state` lies
      whole, but for hooks that are `together`, whose `state` is a copy on each one's own first.
    begin: iterations done when this process began to train.
    last: the run ends here.
    leaving: whether a signal has asked to save and leave: what takes long should look now and then.
    shared: the state as it lies on the devices of the run, for what all processes do with it.
  """

  step: int
  state: Any
  frozen: Any
  gan: Any
  config: Any
  mesh: Any
  workdir: pathlib.Path
  log: Any
  begin: int = 0
  last: bool = False
  source: Any = None
  leaving: Callable[[], bool] = lambda: False
  shared: Any = None


class Hook:
  """A hook that does nothing; subclasses do something.

  Attributes:
    together: whether every process calls `before_save`, where several train.
  """

  together = False

  def due(self, step: int, last: bool) -> bool:
    """Whether to call `before_save` after `step` iterations; `last` where the run ends there."""
    return False

  def before_save(self, moment: Moment) -> None:
    """Called where it is due, before the state is saved or trained on."""

  def metrics(self, step: int, metrics: dict[str, float]) -> None:
    """Called with the metrics of each logged iteration, before the next save."""

  def replay(self, step: int, metrics: dict[str, float]) -> None:
    """Called where a run continues, with each record of its log so far, oldest first."""

  def healthy(self) -> bool:
    """Whether a state may be saved now as one to come back to."""
    return True


class DarkGuard(Hook):
  """Stops a run whose generated clips have gone dark (thesis 4.5).

  While dark iterations are being counted no checkpoint is kept: the last one is from before.

  Args:
    fraction: dark where more generated clips than this are.
    patience: logged iterations in a row; 0 never stops.
  """

  def __init__(self, fraction: float, patience: int):
    self.fraction, self.patience, self._count = fraction, patience, 0

  def metrics(self, step, metrics):
    """Counts dark iterations; raises Stopped when patience ends."""
    self.replay(step, metrics)
    if self.patience and self._count >= self.patience:
      raise Stopped(
        f"stopped at iteration {step}: more than {self.fraction:.0%} of the generated clips were "
        f"dark at {self._count} logged iterations in a row (config.guard)"
      )

  def replay(self, step, metrics):
    """Counts as in the interrupted run."""
    dark = float(metrics.get("pixel/generated_dark", 0)) > self.fraction
    self._count = self._count + 1 if dark else 0

  def healthy(self):
    """False while dark iterations are being counted."""
    return not (self.patience and self._count)


def check_finite(step: int, finite: float, metrics: dict | None = None, state=None) -> None:
  """Raises Stopped where losses, gradients or the state of iteration `step` were not finite.

  Args:
    step: of the iteration.
    finite: its metric "finite", 1 where all was well.
    metrics: all its metrics, to name the first that was not.
    state: after this iteration or the next one, to name the first of its arrays where no metric is.
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
