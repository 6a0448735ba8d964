"""Times a full training iteration of DVD-GAN on the CPU, ours against PyTorch's.

  python benchmarks/iteration.py --iterations=20 --rounds=4
  python benchmarks/iteration.py --variants=plain,saved

An iteration is 2 updates of both discriminators and 1 of the generator with spectral normalisation,
Adam, frame sampling and moving average: 64x64, 12 frames, ch 16, batch 2, float32, on a synthetic
uint8 batch. The variants:

  plain           our training program, the networks as the paper writes them
  saved           our training program with its exact savings
  torch           `torch_twin`, eager
  torch_compiled  `torch_twin` under torch.compile

Our program is the one that the training loop compiles. The twin needs requirements-bench.txt;
`check_twin.py` checks it. It computes the losses only, not the other metrics of our step. Each
round runs every variant in a fresh process. The result of a process is the median of its iterations
after warm-up; the result of a variant is the median over rounds, printed with the range. The first
round starts with empty compilation caches and measures the compile time; later rounds reuse these
caches.

Model GF/s counts the work as written, whatever a variant saves: convolutions and products, padding
taps included, 2 FLOPs per multiply-add, 5 G + 14 D forward passes per clip
(`vidgan_jax.analysis.cost.summary`). "peak MB" is the largest resident memory during the timed
iterations, "compiling" the largest during compilation, warm-up and timed iterations.

Each run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input or a variant that failed.
"""

import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

import programs
import settings
from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

VARIANTS = ("plain", "saved", "torch", "torch_compiled")
_RATIOS = (
  ("saved", "plain"),
  ("saved", "torch"),
  ("saved", "torch_compiled"),
  ("torch_compiled", "torch"),
)
_ITERATIONS = flags.DEFINE_integer("iterations", 20, "Timed iterations per process.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 4, "Fresh processes per variant.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Iterations before the timed ones.", lower_bound=1)
_VARIANTS = settings.define_cases("variants", VARIANTS)
_CHANNELS = flags.DEFINE_integer("channels", 16, "ch of all networks.", lower_bound=1)
settings.define_results()
settings.define_worker()


def _ours(config):
  """Our training program as the `train` command runs it: (function (), compile seconds).

  The function runs one iteration and returns whether all losses are finite.
  """
  import jax

  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime.hardware import memory

  memory.keep_freed()
  program = programs.compile_iteration(config)
  state = program.initial_state(program.mesh)
  batch = settings.synthetic_batch(config)

  def step():
    nonlocal state
    state, metrics = program.call(state, meshes.put_batch(batch, program.mesh), {})
    jax.block_until_ready((state, metrics))
    return float(metrics["finite"]) == 1

  return step, program.compile_seconds


def _twin(config, compiled):
  """Like `_ours` for the twin, which compiles in its first iteration: (function (), None)."""
  import math

  import torch

  from benchmarks import torch_twin

  torch.set_num_threads(settings.cores())
  torch.manual_seed(config.seed)
  iteration = torch_twin.Iteration(config, torch_twin.build(config), compiled)
  batch = settings.synthetic_batch(config)
  return lambda: all(math.isfinite(loss) for loss in iteration.step(batch).values()), None


def _reset_peak():
  """Resets the system's record of this process' peak memory, if it can be reset."""
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
  except OSError:
    return


def _peak_bytes():
  """Largest resident size since `_reset_peak`, or of the whole process if there is no /proc."""
  try:
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(int(s.split()[1]) for s in status.splitlines() if s.startswith("VmHWM"))
  except (OSError, StopIteration):
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def _measure(variant) -> dict:
  """Times one variant in this process."""
  config = settings.get_config(_CHANNELS.value, savings=variant == "saved")
  if variant in ("plain", "saved"):
    step, compile_seconds = _ours(config)
  else:
    step, compile_seconds = _twin(config, variant == "torch_compiled")

  def timed():
    begin = time.perf_counter()
    finite = step()
    seconds = time.perf_counter() - begin
    if not finite:
      raise UserError(f"{variant} has losses that are not finite")
    return seconds

  first = timed()
  for _ in range(_WARM_UP.value - 1):
    timed()
  peak = _peak_bytes()
  _reset_peak()
  seconds = [timed() for _ in range(_ITERATIONS.value)]
  if variant == "torch_compiled":
    compile_seconds = first - statistics.median(seconds)
  return {
    "seconds": seconds,
    "compile_seconds": compile_seconds,
    "peak_bytes": _peak_bytes(),
    "peak_bytes_with_compilation": max(peak, _peak_bytes()),
  }


def _in_fresh_process(variant, cache) -> dict:
  """Runs `_measure` in a fresh process; compiled programs are cached in the folder `cache`."""
  environment = {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
    "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
  }
  passed_on = (_ITERATIONS, _WARM_UP, _CHANNELS)
  return settings.in_fresh_process(__file__, variant, environment, passed_on)


def _summary(processes, flops, batch_size) -> dict:
  """Numbers of one variant, from the results of its processes."""
  medians = [statistics.median(p["seconds"]) for p in processes]
  seconds = statistics.median(medians)
  largest = lambda name: max(p[name] for p in processes)
  return {
    "seconds": seconds,
    "seconds_of_rounds": medians,
    "videos_per_second": batch_size / seconds,
    "model_gflop_per_second": flops / seconds / 1e9,
    "compile_seconds": processes[0]["compile_seconds"],
    "peak_bytes": largest("peak_bytes"),
    "peak_bytes_with_compilation": largest("peak_bytes_with_compilation"),
  }


def _ratios(variants) -> dict:
  """{"a/b": {"ratio" of the medians, "of_rounds"}}."""
  ratios = {}
  for above, below in _RATIOS:
    if above in variants and below in variants:
      a, b = variants[above], variants[below]
      pairs = zip(a["seconds_of_rounds"], b["seconds_of_rounds"], strict=True)
      ratios[f"{above}/{below}"] = {
        "ratio": a["seconds"] / b["seconds"],
        "of_rounds": [x / y for x, y in pairs],
      }
  return ratios


def _table(record) -> list[str]:
  """The result as lines for the terminal."""
  versions = ", ".join(f"{n} {v}" for n, v in settings.versions().items() if v)
  lines = [
    f"{settings.cpu_name()}, {settings.cores()} cores; {versions}",
    f"config {record['config_hash']}: ch {record['channels']}, batch {record['batch_size']}, "
    f"{record['rounds']} rounds of {record['iterations']} iterations; as written "
    f"{record['flops'] / 1e9:.1f} GFLOP per iteration",
    "",
    f"{'':<16}{'s/iteration':>12}{'range':>15}{'videos/s':>10}{'model GF/s':>12}"
    f"{'compile s':>11}{'peak MB':>9}{'compiling':>11}",
  ]
  for name, v in record["variants"].items():
    span = f"{min(v['seconds_of_rounds']):.2f} to {max(v['seconds_of_rounds']):.2f}"
    compiled = "-" if v["compile_seconds"] is None else f"{v['compile_seconds']:.1f}"
    lines.append(
      f"{name:<16}{v['seconds']:>12.2f}{span:>15}{v['videos_per_second']:>10.3f}"
      f"{v['model_gflop_per_second']:>12.1f}{compiled:>11}{v['peak_bytes'] / 1e6:>9.0f}"
      f"{v['peak_bytes_with_compilation'] / 1e6:>11.0f}"
    )
  return [*lines, ""]


def main():
  """Measures all variants in turn, round by round."""
  chosen = settings.chosen_variants(_VARIANTS.value, VARIANTS)
  os.environ["JAX_PLATFORMS"] = "cpu"
  from vidgan_jax.analysis.cost import summary

  config = settings.get_config(_CHANNELS.value)
  flops = summary.flops_per_clip(config) * config.batch_size
  processes = {name: [] for name in chosen}
  with tempfile.TemporaryDirectory() as cache:
    for round_number in range(_ROUNDS.value):
      for name in chosen:
        processes[name].append(_in_fresh_process(name, cache))
        seconds = statistics.median(processes[name][-1]["seconds"])
        door.report(f"round {round_number + 1}, {name}: {seconds:.2f} s/iteration")
  variants = {name: _summary(p, flops, config.batch_size) for name, p in processes.items()}
  record = {
    "config_hash": settings.config_hash(config),
    "channels": _CHANNELS.value,
    "batch_size": config.batch_size,
    "iterations": _ITERATIONS.value,
    "warm_up": _WARM_UP.value,
    "rounds": _ROUNDS.value,
    "flops": flops,
    "variants": variants,
    "ratios": _ratios(variants),
  }
  door.report("")
  for line in _table(record):
    door.report(line)
  ratios = record["ratios"].items()
  settings.show_ratios({name: (each["ratio"], each["of_rounds"]) for name, each in ratios})
  settings.append(flags.FLAGS.results, "iteration", record)


if __name__ == "__main__":
  settings.run(main, _measure)
