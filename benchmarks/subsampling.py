"""What subsampling layers save: TGANv2 with 0 to 3 of them, with and without batch reduction.

  python benchmarks/subsampling.py
  python benchmarks/subsampling.py --cases=naive,proposed --resolutions=96 --nomemory

Each case is the whole iteration of `configs/tgan_v2.py:ucf101_192x16` (one update of the generator
and one of the discriminators, with R1) at one resolution:

  naive                  no subsampling layer
  frames_1 .. frames_3   1 to 3 layers that keep every second frame and all clips
  both_1 .. both_3       1 to 3 layers that keep every second frame and every second clip;
                         both_3 is the paper's model
  batch_3                3 layers that keep every second clip and all frames

Columns: FLOPs of a forward pass in training per clip of the batch, of the generator and of the four
discriminators; FLOPs of an iteration with --batch clips; memory of the compiled iteration (state,
batch and temporary arrays; ch 32, float32); seconds per iteration with all widths scaled to a small
ch (--channels; LSTM and discriminators have 32 ch and 2 ch channels, as in the paper's model).
The last columns are the authors' figure (figure/gflops.tsv and memory.tsv of
pfnet-research/tgan2): multiply-adds and memory of forward passes with 8 clips. A GFLOP per clip is
4 GMAC of 8 clips, which gives the figure's generator at 192 pixels to 0.2 %; its
discriminators are at 256 pixels, with 1.78 times the work. Memory is that of this backend: a
compiler for GPUs fuses more.

At 96 pixels the generator has one block less in front of its levels. Every case runs in a process
of its own and appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input.
"""

import statistics
import time

import programs
import settings  # makes the package importable
from absl import flags

# {case: (layers, keep every second frame, keep every second clip)}
CASES = {
  "naive": (0, True, True),
  **{f"frames_{n}": (n, True, False) for n in (1, 2, 3)},
  **{f"both_{n}": (n, True, True) for n in (1, 2, 3)},
  "batch_3": (3, False, True),
}
RESOLUTIONS = {"192": (16, 8, 4, 2, 1, 1), "96": (16, 8, 4, 2, 1)}  # widths of the blocks, in ch
# {case: GMAC of the generator and of the discriminators, GB of both}, of 8 clips.
PUBLISHED = {
  "naive": (360.57, 3067.28, 7.716, 15.689),
  "frames_3": (231.30, 758.54, 2.116, 3.000),
  "batch_3": (231.30, 541.29, 2.116, 2.770),
  "both_3": (205.08, 174.98, 1.091, 0.771),
}

_CASES = flags.DEFINE_list("cases", list(CASES), f"Of {', '.join(CASES)}.")
_RESOLUTIONS = flags.DEFINE_list("resolutions", list(RESOLUTIONS), "192, 96 or both.")
_BATCH = flags.DEFINE_integer("batch", 8, "Clips.", lower_bound=8)
_CHANNELS = flags.DEFINE_integer("channels", 8, "ch of the timed networks.", lower_bound=1)
_ITERATIONS = flags.DEFINE_integer("iterations", 5, "Timed.", lower_bound=1)
_MEMORY = flags.DEFINE_bool("memory", True, "Compile the iteration at ch 32.")
_TIME = flags.DEFINE_bool("time", True, "Compile and time the iteration at ch --channels.")
settings.define_worker()
settings.define_results()


def get_config(case: str, resolution: str):
  """The config of a case."""
  from configs import tgan_v2
  from vidgan_jax.runtime.config import schema

  layers, frames, batch = CASES[case]
  config = tgan_v2.get_config("ucf101_192x16").copy_and_resolve_references()
  changes = {
    "batch_size": _BATCH.value,
    "precision": "float32",
    "model.resolution": int(resolution),
    "model.generator.multipliers": RESOLUTIONS[resolution],
    "model.subsampling.layers": layers,
    "model.subsampling.frames": frames,
    "model.subsampling.batch": batch,
  }
  schema.set_fields(config, changes)
  return config


def _memory(config) -> int:
  """Bytes of the compiled iteration: its arguments and temporary arrays."""
  memory = programs.compile_iteration(config).call.memory_analysis()
  return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def _seconds(config) -> list[float]:
  """Seconds of each timed iteration."""
  import jax

  from vidgan_jax.runtime import mesh as meshes

  program = programs.compile_iteration(config)
  state = program.initial_state(program.mesh)
  batch = meshes.put_batch(settings.synthetic_batch(config), program.mesh)
  seconds = []
  for _ in range(1 + _ITERATIONS.value):
    begin = time.perf_counter()
    state, _ = program.call(state, batch, {})
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - begin)
  return seconds[1:]


def _measure(name: str) -> dict:
  """Measures one case in this process."""
  import jax

  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.models import registry
  from vidgan_jax.runtime.config import schema

  case, resolution = name.split("@")
  config = get_config(case, resolution)
  gan = registry.build(config, platform="gpu", ops="plain")
  forward = summary.forward_flops(gan, summary.abstract_variables(gan))
  generator = forward.pop("generator")
  result = {
    "case": case,
    "resolution": int(resolution),
    "batch_size": _BATCH.value,
    "channels": _CHANNELS.value,
    "device": jax.devices()[0].device_kind,
    "generator_flops": generator,
    "discriminator_flops": sum(forward.values()),
    "iteration_flops": summary.flops_per_clip(config) * _BATCH.value,
    "bytes": _memory(config) if _MEMORY.value else None,
  }
  ch = _CHANNELS.value
  narrow = {
    "model.generator.channels": ch,
    "model.generator.lstm_channels": 32 * ch,
    "model.discriminator.channels": 2 * ch,
  }
  schema.set_fields(config, narrow)
  return {**result, "seconds": _seconds(config) if _TIME.value else None}


_COLUMNS = (
  "case pixels G_GFLOP/clip D_GFLOP/clip iteration_TFLOP memory_GB s/iteration published_G_GMAC "
  "published_D_GMAC published_G_GB published_D_GB"
)


def _line(result) -> list[str]:
  published = PUBLISHED.get(result["case"]) if result["resolution"] == 192 else None
  seconds, size = result["seconds"], result["bytes"]
  return [
    result["case"],
    str(result["resolution"]),
    f"{result['generator_flops'] / 1e9:.1f}",
    f"{result['discriminator_flops'] / 1e9:.1f}",
    f"{result['iteration_flops'] / 1e12:.2f}",
    f"{size / 1e9:.2f}" if size else "-",
    f"{statistics.median(seconds):.2f}" if seconds else "-",
    *([f"{number:g}" for number in published] if published else ["-"] * 4),
  ]


def main():
  """Measures the cases one after the other."""
  cases = settings.chosen(_CASES.value, CASES)
  resolutions = settings.chosen(_RESOLUTIONS.value, RESOLUTIONS, "resolution")
  names = [f"{case}@{resolution}" for resolution in resolutions for case in cases]
  settings.run_all(__file__, names, _line, _COLUMNS)


if __name__ == "__main__":
  settings.run(main, _measure)
