"""Trains one run of the league until its budget is spent; `league.py` starts it as a process.

  python benchmarks/race/trainer.py --job=JOB.json

JOB.json has "config" (a name as for `vidgan train --config`), "fields" ({field: value}), "workdir",
and "seconds" of processor time for training, or "iterations"; the other one is null. When the time
is spent, the process sends itself SIGTERM, upon which training saves a checkpoint and ends. With
more seconds or iterations, the same run continues from there.

Exit codes: 0 the budget is spent; 2 bad input; 3 losses or weights are not finite; 75 stopped by
another signal, and the same job continues.
"""

import json
import os
import pathlib
import resource
import signal
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings
from absl import flags

from race.budget import Ledger, Meter
from vidgan_jax.runtime import door, preemption

_JOB = flags.DEFINE_string("job", None, "The JSON file of the job.", required=True)

ENDLESS = 10_000_000  # iterations of a run that its time ends


def metered(config: Any, workdir: str, seconds: float | None) -> Any:
  """A trainer that counts what it spends, and stops when `seconds` of training are spent.

  Args:
    config: the whole config.
    workdir: folder of the run.
    seconds: of processor time for training; None trains to the config's last iteration.
  """
  from vidgan_jax.training import loop

  ledger, meter = Ledger(workdir), Meter()

  class Metered(loop.Trainer):
    """Counts the parts of the time where the loop enters and leaves them."""

    spent_all = False  # whether the budget ended the run

    def _compile(self, index: int) -> Any:
      with meter.within("compiling"):
        return super()._compile(index)

    def _iterate(self, program: Any, state: Any, begin: int, clock: Any, stop: Any) -> Any:
      meter.add(ledger.begin(begin))
      with meter.within("training"):
        return super()._iterate(program, state, begin, clock, stop)

    def _before_save(self, state: Any, step: int, *others: Any) -> None:
      if seconds is not None and meter.spent()["training"] >= seconds:
        self.spent_all = True
        os.kill(os.getpid(), signal.SIGTERM)
      super()._before_save(state, step, *others)

    def _save(self, step: int, state: Any, timers: dict, *, read_back: bool) -> None:
      with meter.within("other"):
        ledger.add(step, meter.spent(), peak_bytes())
        super()._save(step, state, timers, read_back=read_back)

  return Metered(config, workdir, report=door.report)


def peak_bytes() -> int:
  """Largest resident memory of this process so far."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str]) -> int:
  """Trains the job; returns the exit code."""
  del argv
  job = json.loads(pathlib.Path(_JOB.value).read_text(encoding="utf-8"))
  preemption.exit_on_sigterm(door.report)
  from vidgan_jax.models import switches
  from vidgan_jax.runtime.hardware import compilation, memory

  endless = {"num_iterations": job["iterations"] or ENDLESS}
  config = settings.config_of(job["config"], {**job["fields"], **endless})
  switches.check(config)
  memory.keep_freed_on_cpu()
  compilation.enable_cache(None, door.report)
  trainer = metered(config, job["workdir"], job["seconds"])
  trainer.run()
  return preemption.EXIT_CODE if trainer.stopped and not trainer.spent_all else 0


if __name__ == "__main__":
  door.run(main)
