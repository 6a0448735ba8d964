"""Times full training iterations of published systems on this machine's default device.

  python benchmarks/training.py                                  # both rows
  python benchmarks/training.py --rows=paper --batch_size=64 --remat=none
  python benchmarks/training.py --runlocal                       # tries the program at small sizes

The rows:

  paper   DVD-GAN, Kinetics-600, 64x64, 12 frames, ch 128, batch 512, batch statistics over the
          whole batch
  thesis  Du's thesis, Kinetics-400, 64x64, 12 frames, batch 108

Each row is measured in a fresh process. It runs the program that the training loop compiles, on
synthetic uint8 clips that are already on the device. An iteration is 2 updates of both
discriminators and 1 of the generator. s/iteration is the median after warm-up, measured from the
end of one iteration to the end of the next.

MFU (model FLOP utilisation) = as-written FLOPs / s / peak. The as-written FLOPs are 5 G + 14 D
forward passes per clip, with every tap of every convolution, whatever the program saves. HFU
(hardware FLOP utilisation) = executed FLOPs / s / peak. Exact savings reduce the executed FLOPs,
rematerialisation adds to them; `vidgan summarize` prints both numbers. The peak is
--tflops, by default the device's (`vidgan_jax.runtime.hardware.flops`). "GB" is the peak memory of
the device's allocator. "XLA_GB" is the memory that the compiled program needs for its arguments and
temporary buffers.

--compile_only compiles the rows and measures no times. Several such processes may run in parallel
with the same JAX_COMPILATION_CACHE_DIR. Rows that are measured afterwards with this folder need not
compile.

Each row appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input or a row that failed.
"""

import statistics
import time

import programs
import settings
from absl import flags

from vidgan_jax.runtime.errors import UserError

ROWS = {"paper": "kinetics600_64x12", "thesis": "thesis_kinetics400"}
# With these policies `summarize` estimates that a row fits one card of 141 GB.
REMAT = {"paper": "block_inputs", "thesis": "none"}

_ROWS = settings.define_cases("rows", ROWS)
_ITERATIONS = flags.DEFINE_integer("iterations", 20, "Timed iterations.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Iterations before the timed ones.", lower_bound=1)
_BATCH = flags.DEFINE_integer(
  "batch_size", None, "Clips per update; default the row's.", lower_bound=1
)
_MICROBATCH = flags.DEFINE_integer("microbatch", 0, "See config.microbatch.", lower_bound=0)
_REMAT = flags.DEFINE_string("remat", None, "See config.model.remat; default the row's.")
_PRECISION, _SAVINGS = settings.define_precision_and_savings()
_SHARED = flags.DEFINE_bool("shared_fakes", False, "See config.model.shared_fakes.")
_SHARDING = flags.DEFINE_string("sharding", "replicated", "See config.sharding.")
_RUNLOCAL = flags.DEFINE_bool("runlocal", False, "Use the small sizes of the runlocal variants.")
_COMPILE_ONLY = flags.DEFINE_bool(
  "compile_only", False, "Compile, do not run: fills JAX_COMPILATION_CACHE_DIR and shows memory."
)
_TFLOPS = flags.DEFINE_float(
  "tflops", None, "Peak speed of one device in TFLOP/s; default the device's."
)
settings.above_zero("tflops")
settings.define_results()
settings.define_worker()


def get_config(row: str):
  """The config of a row, changed by the flags."""
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


def _seconds(program: programs.TrainingProgram, config) -> list[float]:
  """Seconds of each timed iteration; empty with --compile_only."""
  import jax

  from vidgan_jax.runtime import mesh as meshes

  state = program.initial_state(program.mesh)  # this compiles a program too
  if _COMPILE_ONLY.value:
    return []
  batch = meshes.put_batch(settings.synthetic_batch(config), program.mesh)
  seconds = []
  for _ in range(_WARM_UP.value + _ITERATIONS.value):
    begin = time.perf_counter()
    state, metrics = program.call(state, batch, {})
    finite = float(metrics["finite"])
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - begin)
    if finite != 1:
      raise UserError("the row has losses that are not finite")
  return seconds[_WARM_UP.value :]


def _measure(row) -> dict:
  """Times one row in this process."""
  import jax

  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime import precision
  from vidgan_jax.runtime.hardware import flops

  config = get_config(row)
  mesh = meshes.make_mesh()
  meshes.check_batch(config.batch_size, mesh, config.microbatch)
  program = programs.compile_iteration(config, mesh)
  seconds = _seconds(program, config)
  device = jax.devices()[0]
  policy = precision.policy(config.precision, meshes.platform(mesh)).name
  peak = _TFLOPS.value * 1e12 if _TFLOPS.value else flops.peak_flops(device)
  dtype = "bfloat16" if policy == "bfloat16" else "float32"
  work = summary.summarize(config, dtype=dtype)["iteration"]
  of_program, of_device = program.call.memory_analysis(), device.memory_stats() or {}
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
    "compile_seconds": program.compile_seconds,
    "as_written_flops": work["as_written"]["tflop"] * 1e12,
    "executed_flops": work[config.model.remat]["tflop"] * 1e12,
    "peak_flops": peak and peak * jax.device_count(),
    "peak_bytes": of_device.get("peak_bytes_in_use"),
    "xla_bytes": of_program and of_program.argument_size_in_bytes + of_program.temp_size_in_bytes,
  }


_COLUMNS = "row batch remat precision s/iteration range videos/s MFU HFU GB XLA_GB compile_s"


def _row(result) -> list[str]:
  """The table's row of a result."""
  timed = result["seconds"]  # empty with --compile_only
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


def main():
  """Measures the rows one after the other."""
  rows = settings.chosen(_ROWS.value, ROWS)
  for row in rows:
    get_config(row)  # refuses bad flags before anything is measured
  settings.run_all(__file__, rows, _row, _COLUMNS)


if __name__ == "__main__":
  settings.run(main, _measure)
