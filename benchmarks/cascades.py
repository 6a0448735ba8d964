"""Claims of SSW-GAN's paper, tried on the built-in moving shapes.

  python benchmarks/cascades.py [--cases=matching,no_matching] [--channels=4] [--output=FOLDER]
  python benchmarks/cascades.py --cases=cost

It trains `configs/ssw_gan.py:shapes_stage1` once and, with every seed of --seeds, three systems:

  matching@SEED     shapes_stage2 on that stage: windows of 12 frames, 32x32
  no_matching@SEED  the same without the matching discriminator
  dvd_gan@SEED      a DVD-GAN of clips of 12 frames, 32x32, as the first stage is built

Then all of them generate --count clips of 12 frames, as in training, and of 48:

  distance   Frechet distance from as many real clips of the same length, by features of the
             built-in classifier, without the bias of few clips
  grounding  root mean square difference, 0..255, between the first stage's frames and the pixels of
             the clip that were drawn from them
  motion     mean absolute difference of neighbouring frames, 0..255, in the last quarter of 48
             frames, relative to that in the first quarter
  sharpness  power of the last frame over that of the first, at the upper half of the frequencies
             (`vidgan analyze --what=power_spectrum` draws the spectra)

The case "cost" compiles and times iterations with 8 clips, without training: both stages, and a
DVD-GAN of clips of 48 frames, 32x32, which both stages together generate.

Each claim of `cascade_claims.py` gets a verdict from 95 % intervals: "shows" if all seeds show it,
"does not show" if all seeds show its contrary, else "undecided".

Runs in --output continue where they stopped; finished ones are not trained again. One line of JSON
per case is appended to --results. Trained cases that this file has with the same settings are not
measured again, nor costs that it has. `claims.py --page` writes the verdicts on the last settings
in benchmarks/cascades.jsonl to docs/claims.md.

Exit codes: 0 done, 2 bad input.
"""

import pathlib
import time
from typing import Any

import cascade_claims
import numpy as np
import programs
import settings  # makes the package importable
import verdicts
from absl import flags

from vidgan_jax.runtime.errors import UserError

SYSTEMS = ("matching", "no_matching", "dvd_gan")
_BATCH = 8

# A DVD-GAN that is built like the first stage, for clips that the second stage sees.
_DVD_GAN = {
  "model.resolution": 32,
  "model.frames": 12,
  "model.generator.multipliers": (8, 8, 4, 2),
  "model.discriminator.multipliers": (2, 4, 8, 8),
  "data.time_step": 0.5,
}

_OUTPUT = flags.DEFINE_string("output", str(settings.ROOT / "runs" / "cascades"), "For the runs.")
_SEEDS = flags.DEFINE_list(
  "seeds", ["0", "1"], "Seeds of the systems; that of the first stage is 0."
)
_FIRST = flags.DEFINE_integer("first", 1200, "Iterations of the first stage.", lower_bound=1)
_ITERATIONS = flags.DEFINE_integer("iterations", 400, "Of the other systems.", lower_bound=1)
_CHANNELS = flags.DEFINE_integer(
  "channels", 8, "Width of the trained networks: fewer take less time.", lower_bound=1
)
_COUNT = flags.DEFINE_integer("count", 512, "Generated and real clips.", lower_bound=16)
_PASSES = flags.DEFINE_integer("passes", 32, "Standing passes.", lower_bound=1)
_TIMED = flags.DEFINE_integer("timed", 11, "Timed iterations of the case cost.", lower_bound=1)
_CASES = flags.DEFINE_list("cases", [*SYSTEMS, "cost"], f"Of {', '.join(SYSTEMS)}, cost.")
settings.define_worker()
_RESULTS = settings.define_results()
flags.set_default(_RESULTS, str(settings.ROOT / "benchmarks" / "cascades.jsonl"))
_CHANNEL_FIELDS = ("generator.channels", "discriminator.channels")


def experiment(system: str, seed: int, first: pathlib.Path) -> tuple[str, dict[str, Any]]:
  """A config's name and its changes, for a system that is trained on the run `first`."""
  changes: dict[str, Any] = {
    "seed": seed,
    "num_iterations": _ITERATIONS.value,
    "sample_every": _ITERATIONS.value,
    **_width("model"),
  }
  if system == "dvd_gan":
    return "ssw_gan.py:shapes_stage1", {**changes, **_DVD_GAN}
  changes |= {"model.earlier_run": str(first), **_width("model.earlier")}
  changes["model.discriminator.matching"] = system == "matching"
  return "ssw_gan.py:shapes_stage2", changes


def _width(model: str) -> dict[str, Any]:
  return {f"{model}.{field}": _CHANNELS.value for field in _CHANNEL_FIELDS}


def _real(config, frames: int) -> np.ndarray:
  """Clips of the test split, uint8 [--count, T, H, W, 3]."""
  from vidgan_jax.data import build
  from vidgan_jax.data.pipeline import augmentation_generator

  source = build.build_source(
    config.data,
    frames=frames,
    resolution=config.model.resolution,
    num_classes=config.model.num_classes,
    split="test",
    report=lambda line: None,
  )
  examples = (source.example(i, augmentation_generator(0, i)) for i in range(_COUNT.value))
  return np.stack([clip for clip, _ in examples])


def _root_mean(squares: np.ndarray) -> float:
  return float(np.sqrt(squares.mean()))


def _motion(clips: np.ndarray) -> np.ndarray:
  """Mean absolute difference of neighbouring frames [N, T - 1] of clips uint8 [N, T, H, W, 3]."""
  change = np.abs(np.diff(clips.astype(np.int16), axis=1))
  return change.mean(axis=(2, 3, 4))


def _kept(motion: np.ndarray) -> float:
  """Motion in the last quarter of the frames, relative to that in the first quarter."""
  quarter = motion.shape[1] // 4
  return float(motion[:, -quarter:].mean() / motion[:, :quarter].mean())


def _sharpness(spectra: np.ndarray) -> float:
  """High-frequency power of the last frames over that of the first, from [N, 2]."""
  first, last = spectra.mean(axis=0)
  return float(last / first)


def _high_power(clips: np.ndarray) -> np.ndarray:
  """Power at the upper half of the frequencies of the first and last frame, [N, 2], of clips."""
  from vidgan_jax.analysis.samples import power_spectrum

  ends = power_spectrum.luma(clips[:, [0, -1]])
  spectra = power_spectrum.radial_average(power_spectrum.power(ends.reshape(-1, *ends.shape[2:])))
  return spectra[:, (spectra.shape[1] + 1) // 2 :].mean(axis=1).reshape(len(clips), 2)


def _unrolled(run, frames: int) -> dict[str, Any]:
  """Measures clips of one length of a run."""
  from vidgan_jax.evaluation.statistics import intervals
  from vidgan_jax.runtime.subsampling import nearest

  labels = np.arange(_COUNT.value) % run.gan.num_classes
  clips, grounding, grounding_interval = _clips(run, labels, frames), None, None
  if run.gan.stages:  # the clips of both stages lie side by side
    low, clips = np.split(clips, 2, axis=3)
    factors = run.gan.temporal_factor, run.gan.space_factor
    difference = nearest(clips.astype(float), *factors) - nearest(low.astype(float), *factors)
    squares = np.square(difference).mean(axis=tuple(range(1, difference.ndim)))
    grounding = _root_mean(squares)
    grounding_interval = intervals.bootstrap(_root_mean, [squares])
  real = _real(run.config, frames)
  distance = intervals.halve_frechet(programs.shape_features(real), programs.shape_features(clips))
  motion, of_real, power = _motion(clips), _motion(real), _high_power(clips)
  return {
    "distance": distance.limit,
    "deviation": distance.deviation,
    "grounding": grounding,
    "grounding_interval": grounding_interval,
    "sharpness": _sharpness(power),
    "sharpness_interval": intervals.bootstrap(_sharpness, [power]),
    "real_sharpness": _sharpness(_high_power(real)),
    "motion": motion.mean(axis=0).round(3).tolist(),
    "real_motion": of_real.mean(axis=0).round(3).tolist(),
    "kept": _kept(motion),
    "kept_interval": intervals.bootstrap(_kept, [motion]),
    "real_kept": _kept(of_real),
  }


def _clips(run, labels: np.ndarray, frames: int) -> np.ndarray:
  """Clips uint8 [N, T, H, W, 3], or of all stages side by side."""
  from vidgan_jax.runtime import streams
  from vidgan_jax.sampling import generation

  key = streams.key(0, streams.SAMPLING)
  latents = generation.draw_latents(run.gan, key, len(labels), frames=frames)
  stages = bool(run.gan.stages)
  return run.generate(latents, labels, key=key, frames=frames, batch_size=32, show_stages=stages)


def _of_run(system: str, seed: int) -> dict[str, Any]:
  """Trains and measures a system."""
  import jax

  from vidgan_jax.sampling import run as runs

  folder = pathlib.Path(_OUTPUT.value).resolve()
  name, changes = experiment(system, seed, folder / "stage1")
  workdir = folder / f"{system}_{seed}"
  settings.train(name, workdir, changes)
  run = runs.load(workdir, standing_passes=_PASSES.value, report=lambda line: None)
  return {
    "system": system,
    "seed": seed,
    **_setting(),
    "device": jax.devices()[0].device_kind,
    "lengths": {str(frames): _unrolled(run, frames) for frames in cascade_claims.LENGTHS},
  }


def _setting() -> dict[str, int]:
  """See `cascade_claims.SETTING`."""
  values = (holder.value for holder in (_FIRST, _ITERATIONS, _CHANNELS, _COUNT, _PASSES))
  return dict(zip(cascade_claims.SETTING, values, strict=True))


def _seconds(result: dict[str, Any]) -> str:
  value, low, high = result["seconds"]
  return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _iteration_cost(name: str, changes: dict[str, Any]) -> dict[str, Any]:
  """Memory in bytes and seconds of a compiled iteration, with synthetic clips."""
  import jax

  from vidgan_jax.runtime import mesh as meshes

  config = settings.config_of(name, {**changes, "batch_size": _BATCH})
  program = programs.compile_iteration(config)
  memory = program.call.memory_analysis()
  state = program.initial_state(program.mesh)
  batch = meshes.put_batch(settings.synthetic_batch(config), program.mesh)
  seconds = []
  for _ in range(1 + _TIMED.value):
    begin = time.perf_counter()
    state, _ = program.call(state, batch, program.frozen)
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - begin)
  return {
    "device": jax.devices()[0].device_kind,
    "bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
    "seconds": verdicts.median(seconds[1:]),  # the first iteration warms up
  }


_COST_CONFIGS: tuple[tuple[str, dict[str, Any]], ...] = (
  ("ssw_gan.py:shapes_stage1", {}),
  ("ssw_gan.py:shapes_stage2", {}),
  ("ssw_gan.py:shapes_stage1", {**_DVD_GAN, "model.frames": 48}),
)
COSTS = dict(zip(cascade_claims.COSTS, _COST_CONFIGS, strict=True))


def _measure(case: str) -> dict[str, Any]:
  """Measures a case in this process."""
  if case in COSTS:
    return {"case": case, **_iteration_cost(*COSTS[case])}
  system, seed = case.split("@")
  return {"case": case, **_of_run(system, int(seed))}


def _rows(results: dict[str, dict]) -> list[list[str]]:
  """The table of the trained systems."""
  table = [["case", "frames", "distance", "grounding", "motion that remains", "of real clips"]]
  table[0].append("sharpness that remains")
  for name, result in results.items():
    for frames, measured in result.get("lengths", {}).items():
      margin = 1.96 * measured["deviation"]
      low, high = measured["kept_interval"]
      grounding, sharp = measured["grounding"], measured["sharpness_interval"]
      table.append(
        [
          name,
          frames,
          f"{measured['distance']:.0f} ± {margin:.0f}",
          "-" if grounding is None else f"{grounding:.1f}",
          f"{measured['kept']:.2f} ({low:.2f} to {high:.2f})",
          f"{measured['real_kept']:.2f}",
          f"{measured['sharpness']:.2f} ({sharp[0]:.2f} to {sharp[1]:.2f})",
        ]
      )
  return table


def main():
  """Trains and measures the cases one after the other."""
  chosen = settings.chosen(_CASES.value, [*SYSTEMS, "cost"])
  seeds = list(dict.fromkeys(_SEEDS.value))
  if not seeds or not all(s.isdecimal() for s in seeds):
    raise UserError(f"--seeds={','.join(seeds)} is not a list of integers from 0")
  names = [f"{system}@{s}" for s in seeds for system in SYSTEMS if system in chosen]
  names += COSTS if "cost" in chosen else []
  results = cascade_claims.read(_RESULTS.value, _setting())
  if any("matching" in name for name in names if name not in results):
    first = {"num_iterations": _FIRST.value, "sample_every": _FIRST.value, "seed": 0}
    first |= _width("model")
    settings.train("ssw_gan.py:shapes_stage1", pathlib.Path(_OUTPUT.value) / "stage1", first)
  for name in names:
    if name in results:
      settings.door.report(f"{name}: measured before")
      continue
    results[name] = settings.in_fresh_process(__file__, name)
    settings.append(_RESULTS.value, "cascades", results[name])
    settings.door.report(f"{name}: done")
  if len(table := _rows(results)) > 1:
    settings.show(table)
  costs = {name: result for name, result in results.items() if name in COSTS}
  if costs:
    rows = [[n, f"{r['bytes'] / 1e6:.0f}", _seconds(r)] for n, r in costs.items()]
    settings.show([["iteration with 8 clips", "memory, MB", "seconds"], *rows])
  if rows := cascade_claims.rows(results):
    settings.show([["claim", "source", "comparison", "verdict", "effect, by seed"], *rows])


if __name__ == "__main__":
  settings.run(main, _measure)
