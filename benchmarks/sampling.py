"""Times the generation of clips on this machine's default device.

  python benchmarks/sampling.py
  python benchmarks/sampling.py --runlocal      # tries the program at small sizes

The cases, DVD-GAN's generator with random weights:

  latency     2 clips of 48 frames, 64x64, ch 64; the paper reports 150 ms on one TPU core
  throughput  64 clips of 12 frames, 64x64, ch 128

The benchmark times the compiled program of `Run.sample`, from latents on the device to uint8 clips
on the device, after warm-up. It prints the median and the 95th percentile of --calls. Model TFLOP/s
counts one forward pass as the paper writes it. Each case appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input or a case that failed.
"""

import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime.errors import UserError

CASES = {"latency": ("kinetics600_64x48", 2), "throughput": ("kinetics600_64x12", 64)}

_CASES = settings.define_cases("cases", CASES)
_CALLS = flags.DEFINE_integer("calls", 50, "Timed calls.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 5, "Calls before the timed ones.", lower_bound=1)
_PRECISION, _SAVINGS = settings.define_precision_and_savings()
_RUNLOCAL = flags.DEFINE_bool("runlocal", False, "Use the small sizes of the runlocal variants.")
settings.define_results()
settings.define_worker()


def _measure(case) -> dict:
  """Times one case in this process."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from configs import dvd_gan
  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.models import registry
  from vidgan_jax.models.contract import Context
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime import precision
  from vidgan_jax.sampling import generation

  row, clips = CASES[case]
  config = dvd_gan.get_config(row + (",runlocal" if _RUNLOCAL.value else ""))
  with config.unlocked():
    config.precision, config.model.savings = _PRECISION.value, _SAVINGS.value
  platform = meshes.platform()
  gan = registry.build(config, platform=platform)
  variables = jax.jit(lambda: gan.init(jax.random.key(0))["generator"])()
  variables.pop("spectral", None)
  labels = jnp.arange(clips) % max(1, gan.num_classes)
  latents = generation.draw_latents(gan, jax.random.key(1), clips)
  inputs = gan.sampling_inputs(jax.random.key(2), labels, Context())
  begin = time.perf_counter()
  program = generation.generate.lower(gan, variables, latents, inputs, gan.frames).compile()
  compile_seconds = time.perf_counter() - begin
  seconds = []
  for _ in range(_WARM_UP.value + _CALLS.value):
    begin = time.perf_counter()
    out = jax.block_until_ready(program(variables, latents, inputs))
    seconds.append(time.perf_counter() - begin)
  if len(np.unique(out)) < 2:
    raise UserError(f"{case} generates clips without content")
  written = registry.build(config, platform=platform, ops="plain")
  work = summary.forward_flops(written, summary.abstract_variables(written))["generator"]
  return {
    "case": case,
    "config": row,
    "config_hash": settings.config_hash(config),
    "clips": clips,
    "frames": gan.frames,
    "resolution": gan.resolution,
    "precision": precision.policy(config.precision, platform).name,
    "savings": config.model.savings,
    "device": jax.devices()[0].device_kind,
    "seconds": seconds[_WARM_UP.value :],
    "compile_seconds": compile_seconds,
    "as_written_flops": work * clips,
  }


_COLUMNS = "case clips precision p50_ms p95_ms videos/s model_TFLOP/s compile_s"


def _row(result) -> list[str]:
  """The table's row of a result."""
  seconds = sorted(result["seconds"])
  median, percentile_95 = seconds[len(seconds) // 2], seconds[int(0.95 * (len(seconds) - 1))]
  return [
    result["case"],
    f"{result['clips']}x{result['frames']}x{result['resolution']}x{result['resolution']}",
    result["precision"],
    f"{1e3 * median:.2f}",
    f"{1e3 * percentile_95:.2f}",
    f"{result['clips'] / median:.1f}",
    f"{result['as_written_flops'] / median / 1e12:.2f}",
    f"{result['compile_seconds']:.0f}",
  ]


def main():
  """Measures the cases one after the other."""
  names = settings.chosen(_CASES.value, CASES)
  settings.run_all(__file__, names, _row, _COLUMNS)


if __name__ == "__main__":
  settings.run(main, _measure)
