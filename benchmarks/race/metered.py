"""A trainer that counts what it spends, and stops when its budget is spent."""

import os
import resource
import signal
from collections.abc import Callable
from typing import Any

from race.budget import Ledger, Meter
from vidgan_jax.runtime import door
from vidgan_jax.training import loop


class Metered(loop.Trainer):
  """Counts the parts of the processor time where the training loop enters and leaves them.

  Args:
    config: the whole config.
    workdir: folder of the run.
    seconds: of processor time for training; None trains to the config's last iteration. When they
      are spent, the process sends itself SIGTERM, upon which the loop saves a checkpoint and ends.
    report: called with lines for the user.
    others: as for `loop.Trainer`.

  Attributes:
    spent_all: whether the budget ended the run.
  """

  def __init__(
    self,
    config: Any,
    workdir: str,
    seconds: float | None,
    report: Callable[[str], None] = door.report,
    **others: Any,
  ):
    self._seconds, self.spent_all = seconds, False
    self._ledger, self._meter = Ledger(workdir), Meter()
    super().__init__(config, workdir, report=report, **others)

  def _compile(self, index: int) -> Any:
    with self._meter.within("compiling"):
      return super()._compile(index)

  def _iterate(self, program: Any, state: Any, begin: int, clock: Any, preemption: Any) -> Any:
    self._meter.add(self._ledger.begin(begin))
    with self._meter.within("training"):
      return super()._iterate(program, state, begin, clock, preemption)

  def _before_save(self, state: Any, step: int, *others: Any) -> None:
    if self._seconds is not None and self._meter.spent()["training"] >= self._seconds:
      self.spent_all = True
      os.kill(os.getpid(), signal.SIGTERM)
    super()._before_save(state, step, *others)

  def _save(self, step: int, state: Any, timers: dict, *, read_back: bool) -> None:
    with self._meter.within("other"):
      peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
      self._ledger.add(step, self._meter.spent(), peak)
      super()._save(step, state, timers, read_back=read_back)
