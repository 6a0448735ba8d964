"""Trains one run of the league until its budget is spent; `league.py` starts it as a process.

  python benchmarks/race/trainer.py --job=JOB.json

JOB.json has "config" (a name as for `vidgan train --config`), "fields" ({field: value}), "workdir",
"finish" (whether a later stage follows, so that the run must count as finished at the end), and
"seconds" of processor time for training, or "iterations"; the other one is null. With more seconds
or iterations, the same run continues.

Exit codes: 0 the budget is spent; 2 bad input; 3 losses or weights are not finite; 75 stopped by a
signal from outside, and the same job continues.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings  # makes the package importable

from race import job
from vidgan_jax.runtime import door, preemption

ENDLESS = 10_000_000  # iterations of a run that its time ends


def main(argv: list[str]) -> int:
  """Trains the job; returns the exit code."""
  del argv
  preemption.exit_on_sigterm(door.report)
  work = job.begin()
  from vidgan_jax.models import switches

  endless = {"num_iterations": work["iterations"] or ENDLESS}
  config = settings.config_of(work["config"], {**work["fields"], **endless})
  switches.check(config)
  from race.budget import Ledger
  from race.metered import Metered
  from vidgan_jax.training import loop

  trainer = Metered(config, work["workdir"], work["seconds"])
  trainer.run()
  if trainer.spent_all and work["finish"]:
    done = {"num_iterations": Ledger(work["workdir"]).summary()["iterations"]}
    config = settings.config_of(work["config"], {**work["fields"], **done})
    loop.Trainer(config, work["workdir"], report=door.report).run()  # writes the config, and ends
  return preemption.EXIT_CODE if trainer.stopped and not trainer.spent_all else 0


if __name__ == "__main__":
  job.define()
  door.run(main)
