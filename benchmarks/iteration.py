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

Ours is the program that the training loop compiles. The twin, which needs requirements-bench.txt,
is checked by `check_twin.py`; it leaves out what our step reports besides its losses. Every round
runs every variant in a fresh process; a process' number is the median of its iterations after
warm-up, a variant's the median of its rounds, with their range. The first round begins with empty
compilation caches and tells the compile time, the others use what it compiled. Model GF/s
counts the work as written whatever a variant saves: convolutions and products, padding taps too, at
2 FLOPs per multiply-add, 5 G + 14 D forward passes per clip (`vidgan_jax.analysis.cost.summary`).
Peak MB is the largest resident memory while iterating; "compiling", that with compilation and
warm-up.

Every run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input or a variant that failed.
"""

import importlib.util
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

import settings  # first: it makes the package importable
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
_ITERATIONS = flags.DEFINE_integer("iterations", 20, "Timed per process.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 4, "Fresh processes per variant.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Iterations before the timed ones.", lower_bound=1)
_VARIANTS = flags.DEFINE_list("variants", list(VARIANTS), f"Of {', '.join(VARIANTS)}.")
_CHANNELS = flags.DEFINE_integer("channels", 16, "ch of all networks.", lower_bound=1)
_RESULTS = settings.define_results()
_WORKER = flags.DEFINE_enum(
  "worker", None, VARIANTS, "Measure this variant in this process and print JSON."
)


def _synthetic(config):
  """A batch {"clip": uint8 [D steps, B, T, H, W, 3], "label": int32 [D steps, B]}."""
  import numpy as np

  random, model = np.random.default_rng(0), config.model
  shape = (model.discriminator_steps, config.batch_size)
  pixels = (*shape, model.frames, model.resolution, model.resolution, 3)
  return {
    "clip": random.integers(0, 256, pixels, dtype=np.uint8),
    "label": random.integers(0, model.num_classes, shape, dtype=np.int32),
  }


def _ours(config):
  """Our training program as the door runs it: (step function, compile seconds)."""
  import jax

  from vidgan_jax.models import registry
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime.hardware import memory
  from vidgan_jax.training import loop, optimizers, state
  from vidgan_jax.training.step import Iteration

  memory.keep_freed()
  mesh = meshes.make_mesh()
  gan = registry.build(config, platform=meshes.platform(mesh))
  transforms = optimizers.build(config, gan.discriminators)
  like = state.abstract(gan, transforms, config.seed, mesh, config.sharding)
  iteration = Iteration(gan, transforms, config, mesh)
  program, seconds = loop._compiled(iteration, like, config, mesh, {})
  current = loop._initialised(gan, transforms, config, like)
  batch = _synthetic(config)

  def step():
    nonlocal current
    current, metrics = program(current, meshes.put_batch(batch, mesh), {})
    jax.block_until_ready((current, metrics))
    return float(metrics["finite"]) == 1

  return step, seconds


def _twin(config, compiled):
  """The twin's iteration: (step function, None); it compiles in its first step."""
  import math

  import torch

  from benchmarks import torch_twin

  torch.set_num_threads(settings.cores())
  torch.manual_seed(config.seed)
  iteration = torch_twin.Iteration(config, torch_twin.build(config), compiled)
  batch = _synthetic(config)
  return lambda: all(math.isfinite(loss) for loss in iteration.step(batch).values()), None


def _forget_peak():
  """Lets the peak of memory begin anew, where the system can."""
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
  except OSError:
    return


def _peak_bytes():
  """Largest resident size since `_forget_peak`, or of the whole process where there is no /proc."""
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
  _forget_peak()
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
  """Runs `_measure` elsewhere, with what is compiled in the folder `cache`."""
  environment = {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
    "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
  }
  handed_on = (_ITERATIONS, _WARM_UP, _CHANNELS)
  return settings.in_fresh_process(__file__, variant, environment, handed_on)


def _summary(processes, flops, batch_size) -> dict:
  """One variant's numbers over its processes."""
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
  """Lines for the terminal."""
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
  lines.append("")
  for name, r in record["ratios"].items():
    span = f"{min(r['of_rounds']):.2f} to {max(r['of_rounds']):.2f}"
    lines.append(f"{name:<32}{r['ratio']:>6.2f}   rounds {span}")
  return lines


def _chosen() -> list[str]:
  """The variants asked for that can run here."""
  chosen = [name.strip() for name in _VARIANTS.value]
  for name in chosen:
    if name not in VARIANTS:
      raise UserError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
  if importlib.util.find_spec("torch") is None:
    for name in [n for n in chosen if n.startswith("torch")]:
      door.report(f"{name} left out: no PyTorch here (pip install -r requirements-bench.txt)")
      chosen.remove(name)
  if not chosen:
    raise UserError("no variant to measure")
  return list(dict.fromkeys(chosen))


def main(argv):
  """Measures all variants in turn, round by round."""
  del argv
  if _WORKER.value:
    settings.answer(_measure(_WORKER.value))
    return
  chosen = _chosen()
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
  settings.append(_RESULTS.value, "iteration", record)


if __name__ == "__main__":
  door.run(main)
