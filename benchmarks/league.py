"""All systems of the project on one table: the same clips, budget, scores and rule for the size.

  python benchmarks/league.py trials --output=FOLDER
  python benchmarks/league.py --output=FOLDER [--minutes=20] [--seeds=0,1] [--systems=main]
  python benchmarks/league.py rescore --output=FOLDER
  python benchmarks/league.py page --output=FOLDER

`trials` chooses the width of each system by its speed (`race/choice.py`) and writes
league_trials.json. Without a word, the command trains, draws and scores each system with each seed
and appends a line to league.jsonl for each finished row. `rescore` scores the clips again that the
rows of --task have in FOLDER, and replaces their scores in league.jsonl: run it after a change of
the evaluation. `page` writes docs/league.md and its
pictures from league.jsonl, and a page with moving clips into FOLDER.

The budget of a row is --minutes of processor time for training, without compilation and saving, or
--iterations. SIGTERM or Ctrl-C stops the league at any moment; the same command continues. With
more --minutes, the same runs train on. Two commands with the same --output and different --core
share the rows.

Exit codes: 0 done; 2 bad input, or rows failed; 75 stopped by a signal.
"""

import datetime
import os
import pathlib
import sys

import settings  # makes the package importable
from absl import flags
from race import choice, entries, league_file, processes, rows, scoring, tasks, weizmann
from race.rows import Budget

from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

HERE = pathlib.Path(__file__).resolve().parent
_WORDS = ("trials", "rescore", "page")
_WORD = next((word for word in sys.argv[1:2] if word in _WORDS), None)  # what to do

_OUTPUT = flags.DEFINE_string("output", str(settings.ROOT / "runs" / "league"), "For the runs.")
_TASK = flags.DEFINE_enum("task", "shapes", ["shapes", "weizmann"], "What is learned.")
_VIDEOS = flags.DEFINE_string("videos", None, "For the task weizmann: its videos, as UCF-101's.")
_MINUTES = flags.DEFINE_float("minutes", 20.0, "Processor minutes of training for each row.")
_ITERATIONS = flags.DEFINE_integer(
  "iterations", None, "Iterations of each stage, instead of --minutes.", lower_bound=1
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds.")
_SYSTEMS = flags.DEFINE_list(
  "systems", ["all"], f"all, main, controls, or of {', '.join(entries.BY_NAME)}."
)
_CORE = flags.DEFINE_integer("core", None, "Uses only this core.", lower_bound=0)
_RESULTS = flags.DEFINE_string(
  "results", str(HERE / "league.jsonl"), "File to which finished rows are appended."
)
_TRIALS = flags.DEFINE_string("trials", str(HERE / "league_trials.json"), "File of the trials.")
settings.above_zero("minutes")


def _chosen() -> list[str]:
  """Names of the systems of --systems."""
  groups = {"all": list(entries.BY_NAME), "main": list(entries.MAIN), "controls": []}
  names = [name.strip() for name in _SYSTEMS.value]
  expanded = [each for name in names for each in groups.get(name, [name])]
  return settings.chosen(expanded, entries.BY_NAME, "system")


def _seeds() -> list[int]:
  """The seeds of --seeds."""
  seeds = list(dict.fromkeys(_SEEDS.value))
  if not seeds or not all(s.isdecimal() and int(s) < 2**31 for s in seeds):
    raise UserError(f"--seeds={','.join(seeds)} is not a list of integers from 0")
  return [int(s) for s in seeds]


def _folder() -> pathlib.Path:
  return pathlib.Path(_OUTPUT.value).resolve() / _TASK.value


def _task() -> tasks.Task:
  """The task, with its files."""
  if _TASK.value == "weizmann":
    return weizmann.task(_folder() / "data", _VIDEOS.value)
  return tasks.shapes(_folder() / "data")


def try_widths() -> None:
  """Runs the trials that are missing."""
  if _TASK.value != choice.TASK:
    raise UserError(f"trials are those of --task={choice.TASK}, for all tasks")
  names, trials = _chosen(), choice.Trials(pathlib.Path(_TRIALS.value))
  task = _task()
  failed = []
  for entry in (entries.BY_NAME[name] for name in names if not entries.BY_NAME[name].like):
    try:
      _try_system(entry, task, trials)
    except rows.Busy:
      door.report(f"{entry.name}: another process tries it")
    except UserError as error:
      door.report(f"{entry.name}: {error}")
      failed.append(entry.name)
  if failed:
    raise UserError(f"failed: {'; '.join(failed)}")


def _try_system(entry: entries.Entry, task: tasks.Task, trials: choice.Trials) -> None:
  """Runs the missing trials of a system, from its narrowest width on."""
  budget = Budget(minutes=choice.SECONDS / 60 * len(entry.stages))
  while not choice.is_over(rates := trials.rates(task.name, entry.name), len(entry.widths)):
    width = len(rates)
    folder = _folder() / "trials" / f"{entry.name}_{width}"
    setting = {"width": width, "seed": 1000, "trial": True}
    with rows.locked(folder):
      runs = rows.train(entry, task, folder, budget, setting)
    spent = [rows.spent([run]) for run in runs]
    iterations = [each["iterations"][0] for each in spent]
    seconds = [60 * each["minutes"]["training"] for each in spent]
    trial = {
      "width": dict(entry.widths[width]),
      "iterations": iterations,
      "seconds": [round(each, 2) for each in seconds],
      "compiling_seconds": [round(60 * each["minutes"]["compiling"], 1) for each in spent],
      "peak_mb": max(each["peak_mb"] for each in spent),
      "rate": round(choice.rate(iterations, seconds), 2),
    }
    trials.add(task.name, entry.name, trial)
    door.report(f"{entry.name}, {trial['width']}: {trial['rate']} iterations a minute")


def _budget() -> Budget:
  if _ITERATIONS.value is not None:
    return Budget(iterations=_ITERATIONS.value)
  return Budget(minutes=_MINUTES.value)


def race() -> None:
  """Runs the rows that league.jsonl lacks; a row that fails does not stop the others."""
  names, seeds, budget, failed = _chosen(), _seeds(), _budget(), []
  trials, file = choice.Trials(pathlib.Path(_TRIALS.value)), league_file.File(_RESULTS.value)
  work = [(name, None) for name in rows.CONTROLS]
  work += [(name, seed) for seed in seeds for name in names]
  task = _task()
  for name, seed in work:
    row_name = f"control_{name}" if seed is None else name
    if file.has(task.name, row_name, seed, None if seed is None else budget.name):
      continue
    label = row_name if seed is None else f"{name}, seed {seed}"
    door.report(f"{label}: begins")
    try:
      if seed is None:
        result = rows.control(name, task, _folder() / row_name)
      else:
        entry = entries.BY_NAME[name]
        width = trials.width(choice.TASK, entry.chosen_like, len(entry.widths))
        setting = {"width": width, "seed": seed, "trial": False}
        result = rows.row(entry, task, _folder() / f"{name}_{seed}", budget, setting)
    except rows.Busy:
      door.report(f"{label}: another process works on it")
      continue
    except UserError as error:
      door.report(f"{label}: {error}")
      failed.append(label)
      continue
    settings.append(_RESULTS.value, "league", result)
    door.report(f"{label}: done, {league_file.line(result)}")
  if failed:
    raise UserError(f"failed: {'; '.join(failed)}")


def rescore() -> None:
  """Replaces the scores of all rows of the task; their clips must be stored."""
  file, output = league_file.File(_RESULTS.value), _folder().parent
  chosen = [row for row in file.rows() if row["task"] == _TASK.value]
  if not chosen:
    raise UserError(f"--results={_RESULTS.value} has no rows of --task={_TASK.value}")
  clips = [league_file.clips_of(row, output) for row in chosen]
  if missing := [str(path) for path in clips if not path.exists()]:
    raise UserError(f"rows without clips in --output: {len(missing)}, such as {missing[0]}")
  task = _task()
  for row, path in zip(chosen, clips, strict=True):
    records, seconds = scoring.evaluate(task, path.parent)
    today = datetime.date.today().isoformat()
    file.update(row, {"scores": records, "rescored": today}, {"scoring": seconds / 60})
    door.report(f"{row['system']}: {league_file.line({**row, 'scores': records})}")


def main(argv: list[str]) -> int:
  """Runs the trials or the race, scores anew, or writes the page."""
  del argv
  if _CORE.value is not None:
    try:
      os.sched_setaffinity(0, {_CORE.value})
    except OSError as error:
      raise UserError(f"--core={_CORE.value}: this machine has no such core") from error
  try:
    if _WORD == "page":
      from race import page

      page.write(_folder().parent, pathlib.Path(_RESULTS.value), pathlib.Path(_TRIALS.value))
    elif _WORD == "trials":
      try_widths()
    elif _WORD == "rescore":
      rescore()
    else:
      race()
  except processes.Interrupted:
    door.report("stopped by a signal; the same command continues")
    return processes.STOPPED
  return 0


if __name__ == "__main__":
  door.run(main, [argument for argument in sys.argv if argument != _WORD])
