"""The papers' claims, tried on the built-in moving shapes.

  python benchmarks/claims.py [--cases=dvd_gan,k_1] [--seeds=0,1] [--output=FOLDER]
  python benchmarks/claims.py --page

Each case trains a small model with every seed of --seeds and scores 1000 of its clips by the
protocol "moving_shapes", in processes of their own. Cases that are compared differ in one thing.
One line of JSON per case and seed is appended to --results; what is in that file is not measured
again, and a run in --output continues where it stopped. Then the claims of `claim_table.py` get a
verdict: "shows" if the 95 % intervals of all seeds show the claim, "does not show" if all show its
contrary, else "undecided".

  dvd_gan            `configs/quickstart.py`: 32x32, 6 frames, the spatial discriminator sees 3
  spatial_only, temporal_only     one discriminator
  k_1, k_6           the spatial discriminator sees 1 or all 6 frames
  phi_*              what the temporal discriminator sees: all pixels (identity), means over 4x4
                     pixels (pool4), a random crop (half_crop); dvd_gan sees means over 2x2
  hinge_of_sum       the hinge of the sum of a clip's scores; dvd_gan has the mean of their hinges
  time_into_batch, time_into_channel   the temporal discriminator keeps all time steps in its 3-D
                     blocks (dvd_gan: one of 6 is left) and then merges them into batch or channels
  pixel_loss         with the thesis' average pixel loss
  tgan, tgan_f, tgan_tsm          `configs/tgan.py:shapes` with 3-D, factorised and 2-D kernels
  tgan_v2, tgan_v2_whole          `configs/tgan_v2.py:shapes` with and without subsampling layers,
                     with batches of 8, half of the iterations
  tgan_v2_all_clips  the same with subsampling layers that keep all clips of the batch

Scores besides those of the protocol: "brightness" is the mean generated pixel over the last quarter
of the log, relative to the real one; "curvature" is the geometric mean of the largest eigenvalue's
magnitude over the measurements after the start; "seconds" are those of an iteration.

--page writes docs/claims.md from the results. Exit codes: 0 done, 2 bad input.
"""

import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

import cascade_claims
import claim_table
import result_lines
import scipy.stats
import settings  # makes the package importable
import verdicts
from absl import flags

from vidgan_jax.runtime.errors import UserError

_DISCRIMINATOR, _SUBSAMPLING = "model.discriminator.", "model.subsampling."
_DVD_GAN: dict[str, dict[str, Any]] = {
  "dvd_gan": {},
  "spatial_only": {f"{_DISCRIMINATOR}temporal": False},
  "temporal_only": {f"{_DISCRIMINATOR}sampled_frames": 0},
  "k_1": {f"{_DISCRIMINATOR}sampled_frames": 1},
  "k_6": {f"{_DISCRIMINATOR}sampled_frames": 6},
  **{
    f"phi_{phi}": {f"{_DISCRIMINATOR}downsampling": phi}
    for phi in ("identity", "pool4", "half_crop")
  },
  "hinge_of_sum": {"model.aggregation": "sum_before"},
  **{
    f"time_into_{axis}": {
      f"{_DISCRIMINATOR}pool_time": False,
      f"{_DISCRIMINATOR}time_into": axis,
    }
    for axis in ("batch", "channel")
  },
  "pixel_loss": {"model.pixel_loss.weight": 1.0},
}
# Half of the config's clips and iterations, because iterations without subsampling layers are slow.
_TGAN_V2 = {"batch_size": 8, "num_iterations": 1500}
# {case: (config, changes, flags of `evaluate`)}
CASES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
  **{name: ("quickstart.py", changes, ()) for name, changes in _DVD_GAN.items()},
  "tgan": ("tgan.py:shapes", {}, ()),
  "tgan_f": ("tgan.py:shapes_f", {}, ()),
  "tgan_tsm": ("tgan.py:shapes_tsm", {}, ()),
  **{
    name: ("tgan_v2.py:shapes", {**_TGAN_V2, **changes}, ("--standing_passes=0",))
    for name, changes in {
      "tgan_v2": {},
      "tgan_v2_whole": {f"{_SUBSAMPLING}layers": 0},
      "tgan_v2_all_clips": {f"{_SUBSAMPLING}batch": False},
    }.items()
  },
}
_TRUNCATED = 0.5
_PAGE = settings.ROOT / "docs" / "claims.md"
_NOTES = settings.ROOT / "benchmarks" / "claims_notes.md"  # what results and clips show, by eye

_CASES = settings.define_cases("cases", CASES)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Seeds of each case.")
_ITERATIONS = flags.DEFINE_integer(
  "iterations", 600, "Of the cases of DVD-GAN. The others have those of their configs, divided by "
  "--divide.", lower_bound=20,
)  # fmt: skip
_DIVIDE = flags.DEFINE_integer("divide", 1, "Divides the iterations of the others.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", str(settings.ROOT / "runs" / "claims"), "For the runs.")
_COUNT = flags.DEFINE_integer("count", 1000, "Generated clips.", lower_bound=16)
_WRITE_PAGE = flags.DEFINE_bool("page", False, "Write docs/claims.md from the results, and end.")
settings.define_worker()
_RESULTS = settings.define_results()
flags.set_default(_RESULTS, str(settings.ROOT / "benchmarks" / "claims.jsonl"))


def changes(case: str, seed: int) -> dict[str, Any]:
  """What a case and seed change of the case's config."""
  config = settings.config_of(CASES[case][0], {})
  iterations = _ITERATIONS.value
  if case not in _DVD_GAN:
    whole = CASES[case][1].get("num_iterations", config.num_iterations)
    iterations = max(1, whole // _DIVIDE.value)
  fields: dict[str, Any] = {
    "seed": seed,
    "num_iterations": iterations,
    "checkpoint_every": max(1, iterations // 4),
    "sample_every": iterations,
    "log_every": 10,
  }
  if config.analysis.every:
    fields["analysis.every"] = max(1, iterations // 8)
  if "decay_iterations" in config.optimizer and config.optimizer.decay_iterations:
    fields["optimizer.decay_iterations"] = iterations
  return {**CASES[case][1], **fields}


def _evaluated(case: str, workdir: pathlib.Path, truncation: float) -> dict[str, list[float]]:
  """Scores {metric: [value, low, high]} of the last checkpoint, with 95 % intervals."""
  output = workdir / f"scores_{truncation:g}"
  shutil.rmtree(output, ignore_errors=True)  # left by a measurement that was interrupted
  command = [
    *(sys.executable, "-m", "vidgan_jax.evaluate", f"--workdir={workdir}", f"--output={output}"),
    *(f"--count={_COUNT.value}", f"--truncation={truncation}", *CASES[case][2]),
  ]
  done = subprocess.run(command, cwd=settings.ROOT, capture_output=True, text=True)
  if done.returncode:
    raise UserError((done.stdout + done.stderr)[-2000:])
  scores = {}
  for record in json.loads((output / "results.json").read_text(encoding="utf-8"))["records"]:
    if record["interval"] is not None:
      scores[record["metric"]] = [record["value"], *record["interval"]]
  return scores


def brightness(log: list[dict[str, Any]]) -> list[float]:
  """Mean generated pixel relative to the real one, over the last quarter of a log.

  Args:
    log: records of `log.jsonl`; those with pixel statistics count.

  Returns:
    the value, and a 95 % interval from the spread of the logged iterations.
  """
  names = ("red", "green", "blue")
  side = lambda record, which: sum(record[f"pixel/{which}_{name}"] for name in names)
  records = [record for record in log if "pixel/generated_red" in record]
  records = records[-max(2, len(records) // 4) :]
  ratios = [side(record, "generated") / side(record, "real") for record in records]
  value = statistics.fmean(ratios)
  margin = 1.96 * statistics.stdev(ratios) / math.sqrt(len(ratios))
  return [value, value - margin, value + margin]


def curvature(records: list[dict[str, Any]]) -> list[float]:
  """Geometric mean of the largest eigenvalue's magnitude, over measurements after the start.

  Args:
    records: of `hessian.json`.

  Returns:
    the value, and a 95 % interval of Student's t from the spread of the logarithms, as if
    successive measurements were independent.
  """
  logs = [
    math.log(max(abs(record["smallest"]), abs(record["largest"])))
    for record in records
    if record["step"] > 0
  ]
  value = statistics.fmean(logs)
  quantile = float(scipy.stats.t.ppf(0.975, len(logs) - 1))
  margin = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
  return [math.exp(value), math.exp(value - margin), math.exp(value + margin)]


def _seconds(log: list[dict[str, Any]]) -> list[float]:
  """Seconds per iteration: the median of the log, and its 95 % interval by order statistics."""
  return verdicts.median([r["time/step_seconds"] for r in log if "time/step_seconds" in r])


def _measure(name: str) -> dict[str, Any]:
  """Trains and scores CASE@SEED."""
  case, seed = name.split("@")
  workdir = pathlib.Path(_OUTPUT.value).resolve() / f"{case}_{seed}"
  fields, begin = changes(case, int(seed)), time.perf_counter()
  settings.train(CASES[case][0], workdir, fields)
  trained = time.perf_counter() - begin
  log = result_lines.read(workdir / "log.jsonl", "step")
  scores = _evaluated(case, workdir, 1.0)
  if case == "dvd_gan":
    truncated = _evaluated(case, workdir, _TRUNCATED)
    scores |= {f"{metric}@{_TRUNCATED}": value for metric, value in truncated.items()}
  scores["brightness"] = brightness(log)
  scores["seconds"] = _seconds(log)
  analysis = workdir / "analysis" / "hessian.json"
  if analysis.exists():
    records = json.loads(analysis.read_text(encoding="utf-8"))
    scores["curvature"] = curvature(records["records"])
  return {
    "case": case,
    "seed": int(seed),
    "config": CASES[case][0],
    "iterations": fields["num_iterations"],
    "train_seconds": round(trained, 1),
    "count": _COUNT.value,
    "scores": scores,
  }


def _scores_table(results: list[dict[str, Any]]) -> list[list[str]]:
  """The scores of all cases and seeds, with a header."""
  metrics = list(dict.fromkeys(metric for r in results for metric in r["scores"]))
  metrics = [metric for metric in metrics if metric != "kvd" and "@" not in metric]
  table = [["case", "seed", "iterations", *metrics]]
  for result in results:
    row = [f"`{result['case']}`", str(result["seed"]), str(result["iterations"])]
    for metric in metrics:
      score = result["scores"].get(metric)
      row.append(f"{score[0]:.3g} [{score[1]:.3g}, {score[2]:.3g}]" if score else "-")
    table.append(row)
  return table


def _results(path: pathlib.Path) -> list[dict[str, Any]]:
  return result_lines.read(path, "case", "seed", "iterations", "scores")


def _latest(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """The last line of each case and seed, in the order of `CASES`."""
  last = {(r["case"], r["seed"]): r for r in results}
  order = list(CASES)
  return sorted(last.values(), key=lambda r: (order.index(r["case"]), r["seed"]))


_CLAIMS_HEADER = ["claim", "source", "comparison", "verdict", "effect, by seed"]
_HEAD = """# The papers' claims

Small models, trained on the built-in moving shapes on a CPU, repeat comparisons of the papers. \
Cases that are compared differ in one thing and have the same number of iterations. A verdict is \
"shows" if the 95 % intervals of all seeds show the claim, "does not show" if all show its \
contrary, and else "undecided". The intervals are those of the drawn clips, not of repeated \
trainings. "Keeps" means: at least 0.9 of the other score. A claim that small models do not show \
may hold for large ones.

```sh
python benchmarks/claims.py --iterations=400 --divide=4
python benchmarks/cascades.py --channels=4
python benchmarks/claims.py --page
```

trains, scores and writes this page; `benchmarks/claims.py` and `benchmarks/cascades.py` (SSW-GAN) \
describe the cases. Effects are differences of scores, or ratios for "over". Scores are those of \
the protocol `moving_shapes`, with 1000 clips; those of SSW-GAN are measured with 512 clips: a \
Fréchet distance by features of the built-in classifier, and "grounding", the root mean square \
difference from the first stage's pixels (0 to 255). "@0.5" is a score of clips drawn with \
truncation 0.5. Brightness is that of generated over that of real pixels; curvature is the \
magnitude of the largest eigenvalue of the Hessian. Memory is the compiler's and has no interval. \
"Not yet" has not been run.
"""
_ELSEWHERE = """## Measured on other pages

* [ssw_gan.md](ssw_gan.md): the cascade at twice the width, beside a DVD-GAN; memory and time
* [tgan_v2.md](tgan_v2.md): FLOPs and memory that subsampling saves at full width, time at a quarter
* [ldvd.md](ldvd.md): curvature over training, one seed
* [small_data.md](small_data.md): R1 and augmentation on few clips
"""


def _markdown(table: list[list[str]]) -> str:
  lines = ["| " + " | ".join(row) + " |" for row in table]
  return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def page(results: list[dict[str, Any]], cascades: dict[str, dict]) -> str:
  """The text of docs/claims.md, from results of this file and of `cascades.py`."""
  results = _latest(results)
  claims = [*claim_table.rows(results), *cascade_claims.rows(cascades)]
  parts = [_HEAD, _markdown([_CLAIMS_HEADER, *claims])]
  if results:
    parts.append(_NOTES.read_text(encoding="utf-8"))
    dates = sorted(r["date"][:10] for r in results)
    versions = results[-1]["versions"]
    minutes = sum(r["train_seconds"] for r in results) / 60
    parts.append(
      f"## Scores\n\nFrom {dates[0]} to {dates[-1]}, jax {versions['jax']}, "
      f"{results[-1]['cpu']}, {results[-1]['cores']} core(s) that other programs used too; "
      f"{minutes:.0f} minutes of training, compilation included."
    )
    parts.append(_markdown(_scores_table(results)))
  return "\n\n".join([*(part.strip() for part in parts), _ELSEWHERE.strip()]) + "\n"


def main():
  """Measures what is missing, one case after the other, and prints verdicts."""
  path = pathlib.Path(_RESULTS.value)
  if _WRITE_PAGE.value:
    if not _results(path):
      raise UserError(f"--results={path}: has no results yet")
    cascades = cascade_claims.read(str(settings.ROOT / "benchmarks" / "cascades.jsonl"))
    _PAGE.write_text(page(_results(path), cascades), encoding="utf-8")
    settings.door.report(f"written: {_PAGE}")
    return
  chosen = settings.chosen(_CASES.value, CASES)
  seeds = list(dict.fromkeys(_SEEDS.value))
  if not seeds or not all(seed.isdecimal() for seed in seeds):
    raise UserError(f"--seeds={','.join(seeds)} is not a list of integers from 0")
  names = [f"{case}@{seed}" for seed in seeds for case in chosen]
  known = {f"{r['case']}@{r['seed']}": r for r in _results(path)}
  failed = []
  for name in names:
    case, seed = name.split("@")
    iterations = changes(case, int(seed))["num_iterations"]
    if name in known and known[name]["iterations"] == iterations:
      settings.door.report(f"{name}: measured before")
      continue
    try:
      settings.append(str(path), "claims", settings.in_fresh_process(__file__, name))
      settings.door.report(f"{name}: done")
    except UserError as error:
      settings.door.report(str(error))
      failed.append(name)
  results = _latest(_results(path))
  if results:
    settings.show(_scores_table(results))
  settings.show([_CLAIMS_HEADER, *claim_table.rows(results)])
  if failed:
    raise UserError(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
  settings.run(main, _measure)
