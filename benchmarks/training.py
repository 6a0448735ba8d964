"""Times full training iterations of published systems on the device at hand.

  python benchmarks/training.py                                  # the paper's row and the thesis'
  python benchmarks/training.py --rows=paper --batch_size=64 --remat=none
  python benchmarks/training.py --runlocal                       # does it run? sizes of a toy

The rows:

  paper   DVD-GAN, Kinetics-600, 64x64, 12 frames, ch 128, batch 512, with batch statistics of the
          whole batch
  thesis  Du's thesis, Kinetics-400, 64x64, 12 frames, batch 108

Every row runs in a fresh process: the training program that the loop compiles, on synthetic uint8
clips that lie on the device; 2 updates of both discriminators, 1 of the generator, with all that
belongs to them. s/iteration is the median after warm-up, from one finished iteration to the next.

MFU (model FLOP utilisation) = as-written FLOPs / s / peak, as-written being 5 G + 14 D forward
passes per clip with every tap of every convolution, whatever is saved. HFU (hardware) = FLOPs that
the program executes / s / peak: less by its exact savings, more by what it rematerialises
(`python -m vidgan_jax.summarize` tells both). The peak is --tflops, by default the device's
(`vidgan_jax.runtime.hardware.flops`). Peak GB is what the device's allocator held at most; XLA GB
what the compiler asked for: arguments and temporary buffers.

--compile_only compiles the rows and leaves the times out. Several such processes may compile side
by side into one JAX_COMPILATION_CACHE_DIR; measured one after the other, the rows then start at
once.

Every row appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input or a row that failed.
"""

import statistics
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

ROWS = {"paper": "kinetics600_64x12", "thesis": "thesis_kinetics400"}
# What `summarize` expects to fit one card of 141 GB.
REMAT = {"paper": "block_inputs", "thesis": "none"}

_ROWS = flags.DEFINE_list("rows", list(ROWS), f"Of {', '.join(ROWS)}.")
_ITERATIONS = flags.DEFINE_integer("iterations", 20, "Timed.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Iterations before the timed ones.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", None, "Clips; default the row's.", lower_bound=1)
_MICROBATCH = flags.DEFINE_integer("microbatch", 0, "See config.microbatch.", lower_bound=0)
_REMAT = flags.DEFINE_string("remat", None, "See config.model.remat; default the row's.")
_PRECISION = flags.DEFINE_string("precision", "auto", "See config.precision.")
_SAVINGS = flags.DEFINE_bool("savings", True, "The layers' exact savings.")
_SHARED = flags.DEFINE_bool("shared_fakes", False, "See config.model.shared_fakes.")
_SHARDING = flags.DEFINE_string("sharding", "replicated", "See config.sharding.")
_RUNLOCAL = flags.DEFINE_bool("runlocal", False, "The rows' runlocal sizes.")
_COMPILE_ONLY = flags.DEFINE_bool(
  "compile_only", False, "Compile, do not run: fills JAX_COMPILATION_CACHE_DIR and shows memory."
)
_TFLOPS = flags.DEFINE_float("tflops", None, "Peak of one device, TFLOP/s.")
settings.above_zero("tflops")
settings.define_results()
_WORKER = flags.DEFINE_string("worker", None, "Measure this row in this process, print JSON.")


def get_config(row: str):
  """The row's config under the flags."""
  from configs import dvd_gan

  config = dvd_gan.get_config(ROWS[row] + (",runlocal" if _RUNLOCAL.value else ""))
  with config.unlocked():
    config.batch_size = _BATCH.value or config.batch_size
    config.microbatch = _MICROBATCH.value
    config.precision = _PRECISION.value
    config.sharding = _SHARDING.value
    config.model.remat = _REMAT.value or REMAT[row]
    config.model.savings = _SAVINGS.value
    config.model.shared_fakes = _SHARED.value
  return config


def _seconds(program, gan, transforms, config, like, mesh) -> list[float]:
  """Seconds of each timed iteration of a compiled program; none with --compile_only."""
  import jax
  import numpy as np

  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.training import loop

  current = loop._initialised(gan, transforms, config, like)
  if _COMPILE_ONLY.value:
    return []
  random = np.random.default_rng(0)
  shape = (gan.schedule.discriminator_steps, config.batch_size)
  size = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
  batch = {
    "clip": random.integers(0, 256, size, dtype=np.uint8),
    "label": random.integers(0, max(1, gan.num_classes), shape, dtype=np.int32),
  }
  batch = meshes.put_batch(batch, mesh)
  seconds = []
  for _ in range(_WARM_UP.value + _ITERATIONS.value):
    begin = time.perf_counter()
    current, metrics = program(current, batch, {})
    finite = float(metrics["finite"])
    jax.block_until_ready(current)
    seconds.append(time.perf_counter() - begin)
    if finite != 1:
      raise UserError("the row has losses that are not finite")
  return seconds[_WARM_UP.value :]


def _measure(row) -> dict:
  """Times one row in this process."""
  import jax

  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.models import registry
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime import precision
  from vidgan_jax.runtime.hardware import flops
  from vidgan_jax.training import loop, optimizers, state
  from vidgan_jax.training.step import Iteration

  config = get_config(row)
  mesh = meshes.make_mesh()
  meshes.check_batch(config.batch_size, mesh, config.microbatch)
  platform = meshes.platform(mesh)
  gan = registry.build(config, platform=platform)
  transforms = optimizers.build(config, gan.discriminators)
  like = state.abstract(gan, transforms, config.seed, mesh, config.sharding)
  program, compile_seconds = loop._compiled(
    Iteration(gan, transforms, config, mesh), like, config, mesh, {}
  )
  seconds = _seconds(program, gan, transforms, config, like, mesh)
  device = jax.devices()[0]
  policy = precision.policy(config.precision, platform).name
  peak = _TFLOPS.value * 1e12 if _TFLOPS.value else flops.peak_flops(device)
  told = summary.summarize(config, dtype="bfloat16" if policy == "bfloat16" else "float32")
  memory, held = program.memory_analysis(), device.memory_stats() or {}
  return {
    "row": row,
    "batch_size": config.batch_size,
    "microbatch": config.microbatch,
    "remat": config.model.remat,
    "precision": policy,
    "savings": config.model.savings,
    "shared_fakes": config.model.shared_fakes,
    "config_hash": settings.config_hash(config),
    "device": f"{jax.device_count()} x {device.device_kind}",
    "seconds": seconds,
    "compile_seconds": compile_seconds,
    "as_written_flops": told["iteration"]["as_written"]["tflop"] * 1e12,
    "executed_flops": told["iteration"][config.model.remat]["tflop"] * 1e12,
    "peak_flops": peak and peak * jax.device_count(),
    "peak_bytes": held.get("peak_bytes_in_use"),
    "xla_bytes": memory and memory.argument_size_in_bytes + memory.temp_size_in_bytes,
  }


_COLUMNS = "row batch remat precision s/iteration range videos/s MFU HFU GB XLA_GB compile_s"


def _line(result) -> list[str]:
  timed = result["seconds"]  # none where the row is only compiled
  seconds = statistics.median(timed) if timed else None
  rate = lambda work: (
    f"{work / seconds / result['peak_flops']:.1%}" if timed and result["peak_flops"] else "-"
  )
  size = lambda bytes: f"{bytes / 1e9:.1f}" if bytes else "-"
  batch = str(result["batch_size"])
  return [
    result["row"],
    f"{batch}/{result['microbatch']}" if result["microbatch"] else batch,
    result["remat"],
    result["precision"],
    f"{seconds:.3f}" if timed else "-",
    f"{min(timed):.3f}-{max(timed):.3f}" if timed else "-",
    f"{result['batch_size'] / seconds:.2f}" if timed else "-",
    rate(result["as_written_flops"]),
    rate(result["executed_flops"]),
    size(result["peak_bytes"]),
    size(result["xla_bytes"]),
    f"{result['compile_seconds']:.0f}",
  ]


def main(argv):
  """Measures the rows one after the other."""
  del argv
  if _WORKER.value:
    settings.answer(_measure(_WORKER.value))
    return
  rows = settings.chosen(_ROWS.value, ROWS)
  for row in rows:
    get_config(row)
  settings.run_all(__file__, rows, _line, _COLUMNS)


if __name__ == "__main__":
  door.run(main)
