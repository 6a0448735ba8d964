"""Whether the quickstart's config reaches the same scores in bfloat16 as in float32.

  python benchmarks/precision.py --output=FOLDER [--seeds=0,1] [--iterations=1200]

It trains `configs/quickstart.py` with every type of --precisions and every seed of --seeds, draws
samples and computes scores with the commands of `launch/quickstart.sh`. Each run PRECISION_SEED is
a folder in --output; its samples are in final/contact_sheet.png there.

The table has a row per metric: the score of each run with its 95 % interval over clips. The span of
a precision reaches from the lowest to the highest end of its seeds' intervals. The last column says
whether the spans of all precisions overlap. A metric without intervals is compared by its values.
The second table has the time of an iteration, without compilation and saving.

Runs in --output continue where they stopped; finished ones are not trained again. One line of JSON
per run is appended to --results.

Exit codes: 0 done, 2 bad input.
"""

import itertools
import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import settings  # makes the package importable
from absl import flags

from vidgan_jax.runtime.errors import UserError

PRECISIONS = ("float32", "bfloat16")
CONFIG, PROTOCOL = "quickstart.py", "moving_shapes"

_OUTPUT = flags.DEFINE_string("output", str(settings.ROOT / "runs" / "precision"), "For the runs.")
_PRECISIONS = settings.define_cases("precisions", PRECISIONS)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Seeds of the runs.")
_ITERATIONS = flags.DEFINE_integer("iterations", 1200, "Of each run.", lower_bound=1)
_COUNT = flags.DEFINE_integer(
  "count", None, "Generated and real clips; by default the protocol's.", lower_bound=16
)
settings.define_worker()
settings.define_results()


def _command(name: str, *arguments: str) -> None:
  """Runs a command of the package; raises UserError with the end of its output if it fails."""
  command = [sys.executable, "-m", f"vidgan_jax.{name}", *arguments]
  done = subprocess.run(command, cwd=settings.ROOT, capture_output=True, text=True)
  if done.returncode:
    raise UserError((done.stdout + done.stderr)[-2000:])


def _scores(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
  """{metric: {"value", "interval" or None, "real"}} of a finished run, computed if missing."""
  path = workdir / "evaluation" / PROTOCOL / "results.json"
  counts = [f"--{n}={_COUNT.value}" for n in ("count", "real_count") if _COUNT.value]

  def read() -> dict[str, dict[str, Any]]:
    records = json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []
    return {
      r["metric"]: {
        "value": r["value"],
        "interval": r["interval"],
        "real": (r.get("floor") or {}).get("value"),
      }
      for r in records
      if r["step"] == _ITERATIONS.value and _COUNT.value in (None, r["count_generated"])
    }

  if not read():
    _command("evaluate", f"--workdir={workdir}", f"--protocol={PROTOCOL}", *counts)
  return read()


def _seconds(workdir: pathlib.Path) -> float:
  """Median seconds of an iteration over the run's log."""
  lines = (workdir / "log.jsonl").read_text(encoding="utf-8").splitlines()
  records = [json.loads(line) for line in lines]
  return statistics.median(r["time/step_seconds"] for r in records if "time/step_seconds" in r)


def _measure(case: str) -> dict[str, Any]:
  """Trains and evaluates the run PRECISION_SEED."""
  import jax

  precision, seed = case.split("_")
  workdir = pathlib.Path(_OUTPUT.value).resolve() / case
  changes = {"precision": precision, "seed": int(seed), "num_iterations": _ITERATIONS.value}
  settings.train(CONFIG, workdir, changes)
  if not (workdir / "final" / "samples.npz").exists():
    _command("sample", f"--workdir={workdir}", f"--output={workdir / 'final'}", "--per_label=4")
  return {
    "case": case,
    "precision": precision,
    "seed": int(seed),
    "iterations": _ITERATIONS.value,
    "device": jax.devices()[0].device_kind,
    "seconds_per_iteration": _seconds(workdir),
    "scores": _scores(workdir),
  }


def span(scores: Sequence[Mapping]) -> tuple[float, float]:
  """From the lowest to the highest end of the intervals; a score without one is a point."""
  ends = [end for s in scores for end in (s["interval"] or (s["value"], s["value"]))]
  return min(ends), max(ends)


def overlap(spans: Sequence[tuple[float, float]]) -> bool:
  """Whether each two spans have a point in common."""
  return all(a[0] <= b[1] and b[0] <= a[1] for a, b in itertools.combinations(spans, 2))


def _text(score: Mapping) -> str:
  """A score and its interval."""
  if score["interval"] is None:
    return f"{score['value']:.4g}"
  low, high = score["interval"]
  return f"{score['value']:.4g} [{low:.4g}, {high:.4g}]"


def rows(results: Sequence[Mapping]) -> list[list[str]]:
  """The table of the scores of all runs; metrics that a run lacks are left out."""
  metrics = [m for m in results[0]["scores"] if all(m in r["scores"] for r in results)]
  precisions = list(dict.fromkeys(r["precision"] for r in results))
  table = [["metric", *(r["case"] for r in results), "real clips", "spans overlap"]]
  for metric in metrics:
    scores = [r["scores"][metric] for r in results]
    spans = [
      span([s for s, r in zip(scores, results, strict=True) if r["precision"] == p])
      for p in precisions
    ]
    real = scores[0]["real"]
    texts = [*map(_text, scores), "-" if real is None else f"{real:.4g}"]
    verdict = ("yes" if overlap(spans) else "NO") if len(spans) > 1 else "-"
    table.append([metric, *texts, verdict])
  return table


def main():
  """Trains and measures the runs one after the other."""
  precisions = settings.chosen(_PRECISIONS.value, PRECISIONS, "precision")
  seeds = list(dict.fromkeys(_SEEDS.value))
  if not seeds or not all(s.isdecimal() for s in seeds):
    raise UserError(f"--seeds={','.join(seeds)} is not a list of integers from 0")
  results = []
  for seed in seeds:
    for precision in precisions:
      results.append(settings.in_fresh_process(__file__, f"{precision}_{seed}"))
      settings.append(flags.FLAGS.results, "precision", results[-1])
      settings.door.report(f"{results[-1]['case']} on {results[-1]['device']}: done")
  results.sort(key=lambda r: (precisions.index(r["precision"]), r["seed"]))
  settings.show(rows(results))
  times = [[r["case"], f"{r['seconds_per_iteration']:.3f}"] for r in results]
  settings.show([["run", "s/iteration"], *times])


if __name__ == "__main__":
  settings.run(main, _measure)
