"""The interface between the training loop and the hooks that run between its iterations.

A hook draws previews, computes scores, measures curvature or guards the run. In every iteration the
loop calls `before_save` of the hooks that are due, then saves a checkpoint if one is due, then
trains. `metrics` receives the metrics of an iteration one iteration later.

With several processes, all of them call every method except `before_save`: process 0 calls it for
ordinary hooks, every process for collective hooks. `due` and `healthy` must therefore depend only
on the iteration and the metrics, which are the same in all processes.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class HookContext:
  """What the loop passes to `Hook.before_save`.

  Attributes:
    step: number of finished iterations.
    state: `TrainState` after `step` iterations. With several processes it is a copy on this
      process's first device. Do not keep it: the next iteration reuses its memory.
    sharded_state: the same state, sharded over the devices of the run. Collective hooks pass it to
      what all processes do together, such as saving a checkpoint.
    frozen: variables of frozen earlier stages; see `models.contract.Context`.
    gan: the `VideoGan` in training.
    config: the whole config of the run.
    source: the training data.
    mesh: mesh to compute on. Ordinary hooks run on process 0 with a one-device mesh and a fully
      addressable `state`. Collective hooks run on every process with the global mesh.
    workdir: folder of the run.
    log: the run's log. `log.summary` and `log.clip` write to TensorBoard.
    start_step: number of iterations that were finished when this process began to train.
    last: whether the run ends after this step.
    stop_requested: returns whether a signal asked the run to save and exit. Long work should call
      it now and then, and return early if it is true.
  """

  step: int
  state: Any
  sharded_state: Any
  frozen: Any
  gan: Any
  config: Any
  source: Any
  mesh: Any
  workdir: pathlib.Path
  log: Any
  start_step: int = 0
  last: bool = False
  stop_requested: Callable[[], bool] = lambda: False


class Hook:
  """Base class of all hooks. Does nothing.

  Attributes:
    collective: whether every process calls `before_save`, or process 0 alone.
  """

  collective: bool = False

  def due(self, step: int, last: bool) -> bool:
    """Whether the loop calls `before_save` after `step` iterations. `last`: the run ends there."""
    return False

  def before_save(self, context: HookContext) -> None:
    """Runs when the hook is due, before the state is saved or trained further."""

  def metrics(self, step: int, metrics: dict[str, float]) -> None:
    """Receives the metrics of each logged iteration, before the next save."""

  def replay(self, step: int, metrics: dict[str, float]) -> None:
    """Receives each record of the log when a run resumes, oldest first."""

  def healthy(self) -> bool:
    """Whether the current state may be saved as a checkpoint to resume from."""
    return True
