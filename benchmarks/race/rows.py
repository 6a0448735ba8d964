"""Trains, draws and scores one row of the league: one system, one seed, one budget."""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from race import entries, processes, scoring
from race.budget import PARTS, Ledger
from race.entries import Entry
from race.tasks import Task
from vidgan_jax.runtime.errors import UserError

_DIVERGED = 3  # exit code of a training whose losses or weights are not finite
CHECKPOINT_EVERY = 200  # iterations; a signal saves one too
CONTROLS = ("real", "reversed", "shuffled", "frozen", "noise")


class Busy(Exception):
  """Another process works on this row."""


@dataclasses.dataclass(frozen=True)
class Budget:
  """What each row may spend: processor minutes of training, or iterations of each stage."""

  minutes: float | None = None
  iterations: int | None = None

  @property
  def name(self) -> str:
    """For folders and tables."""
    return f"{self.minutes:g}min" if self.iterations is None else f"{self.iterations}it"

  def seconds(self, stages: int) -> float | None:
    """Processor seconds of each of `stages` stages; None if iterations are counted."""
    return None if self.minutes is None else 60 * self.minutes / stages

  def is_spent(self, ledger: Ledger, stages: int) -> bool:
    """Whether a run has trained for its share of the budget."""
    spent = ledger.summary()
    if self.iterations is not None:
      return spent["iterations"] >= self.iterations
    return spent["training"] >= 60 * self.minutes / stages

  def check(self, ledger: Ledger, stages: int) -> None:
    """UserError if a run has trained for longer than its share: its row would claim too little.

    A run ends some iterations after its time is spent, so a tenth and ten seconds are allowed.
    """
    spent = ledger.summary()
    if self.iterations is not None:
      over = spent["iterations"] > self.iterations
    else:
      over = spent["training"] > 1.1 * 60 * self.minutes / stages + 10
    if over:
      raise UserError(
        f"{ledger.path.parent} has trained for more than {self.name} already: take another "
        "--output for a smaller budget"
      )


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """Holds the folder of a row; Busy if another process has it."""
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / "lock", "w", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      raise Busy(str(folder)) from error
    yield


def run_folder(folder: pathlib.Path, entry: Entry, stage: int, budget: Budget) -> pathlib.Path:
  """The folder of a stage's run.

  A single run continues if the budget grows. A later stage of a cascade depends on the weights of
  the stage before, so a cascade has new folders for another budget; its first stage goes on from
  a copy of the longest one that it has.
  """
  if len(entry.stages) == 1:
    return folder / "run"
  return folder / budget.name / f"stage{stage + 1}"


def _copy_first_stage(folder: pathlib.Path, target: pathlib.Path, budget: Budget) -> None:
  """Copies the first stage of the longest smaller budget, if there is one."""
  if target.exists():
    return
  spent = lambda run: Ledger(run).summary()
  if budget.iterations is not None:
    fits = lambda run: spent(run)["iterations"] <= budget.iterations
  else:
    fits = lambda run: spent(run)["training"] <= budget.seconds(2)
  found = [run for run in folder.glob("*/stage1") if run != target and fits(run)]
  if found:
    shutil.copytree(max(found, key=lambda run: spent(run)["iterations"]), target)


def _is_finished(run: pathlib.Path) -> bool:
  """Whether the run counts as finished, so that a later stage can begin on it."""
  config = json.loads((run / "config.json").read_text(encoding="utf-8"))
  return Ledger(run).summary()["iterations"] >= config["num_iterations"]


def train(
  entry: Entry,
  task: Task,
  folder: pathlib.Path,
  budget: Budget,
  setting: Mapping[str, Any],
) -> list[pathlib.Path]:
  """Trains all stages until the budget is spent; continues what exists.

  Args:
    entry: the system.
    task: the task.
    folder: of the row.
    budget: of the row.
    setting: "width", "seed" and "trial" (whether the speed is tried).

  Returns:
    the folders of the runs.

  Raises:
    UserError: a training failed.
    processes.Interrupted: a signal came.
  """
  runs: list[pathlib.Path] = []
  for number in range(len(entry.stages)):
    run = run_folder(folder, entry, number, budget)
    budget.check(Ledger(run), len(entry.stages))
    is_last = number + 1 == len(entry.stages)
    if not (budget.is_spent(Ledger(run), len(entry.stages)) and (is_last or _is_finished(run))):
      if not number and len(entry.stages) > 1:
        _copy_first_stage(folder, run, budget)
      job = _job(entry, task, setting, runs, run)
      job |= {"seconds": budget.seconds(len(entry.stages)), "iterations": budget.iterations}
      job["finish"] = not is_last
      log = folder / "log.txt"
      done = processes.run_job("trainer", job, log)
      if done.code == processes.STOPPED:
        raise processes.Interrupted
      if done.code == _DIVERGED:
        raise UserError(f"{entry.name}: losses or weights are not finite, see {log}")
      processes.check(done, f"training {entry.name}", log)
    runs.append(run)
  return runs


def _job(
  entry: Entry,
  task: Task,
  setting: Mapping[str, Any],
  earlier: list[pathlib.Path],
  run: pathlib.Path,
) -> dict[str, Any]:
  """What `trainer.py` needs to train the stage after the runs `earlier`, without its budget."""
  number = len(earlier)
  stage = entry.stages[number]
  fields = entries.fields(entry, number, setting["width"], task.classes, setting["seed"])
  fields |= task.data(stage) | {"checkpoint_every": CHECKPOINT_EVERY}
  if earlier:
    fields["model.earlier_run"] = str(earlier[-1])
  if setting["trial"]:
    fields |= stage.trial
  return {"config": stage.config, "fields": fields, "workdir": str(run)}


def spent(runs: list[pathlib.Path]) -> dict[str, Any]:
  """Iterations, processor minutes by part, and peak memory in MB, over the runs of a row."""
  summaries = [Ledger(run).summary() for run in runs]
  return {
    "iterations": [summary["iterations"] for summary in summaries],
    "minutes": {part: sum(s[part] for s in summaries) / 60 for part in PARTS},
    "peak_mb": round(max(s["peak_bytes"] for s in summaries) / 1e6),
  }


def row(entry: Entry, task: Task, folder: pathlib.Path, budget: Budget, setting: dict) -> dict:
  """Trains, draws and scores a row; returns its line of league.jsonl.

  Raises:
    UserError: a program failed.
    processes.Interrupted: a signal came; the same call continues.
    Busy: another process works on this row.
  """
  with locked(folder):
    runs = train(entry, task, folder, budget, setting)
    scored = folder / budget.name
    scored.mkdir(exist_ok=True)
    drawing = scoring.draw(entry, task, runs[-1], scored)
    records, evaluating = scoring.evaluate(task, scored)
    result = spent(runs)
    result["minutes"] |= {"drawing": drawing / 60, "scoring": evaluating / 60}
    return {
      "task": task.name,
      "system": entry.name,
      "seed": setting["seed"],
      "budget": budget.name,
      "width": dict(entry.widths[setting["width"]]),
      **result,
      "scores": records,
    }


def control(name: str, task: Task, folder: pathlib.Path) -> dict:
  """Scores real clips, as they are or damaged, as if a system had drawn them."""
  from vidgan_jax.evaluation.statistics import controls

  with locked(folder):
    with np.load(task.held_out) as stored:
      clips, labels = stored["clips"], stored["labels"]
    if name == "noise":
      clips = controls.apply("noise", clips, controls.LADDERS["noise"][-1], 0, 0)
    elif name != "real":
      clips = controls.apply(name, clips, None, 0, 0)
    np.savez(folder / "clips.npz", clips=clips, labels=labels)
    records, seconds = scoring.evaluate(task, folder)
  return {
    "task": task.name,
    "system": f"control_{name}",
    "minutes": {"scoring": seconds / 60},
    "scores": records,
  }
