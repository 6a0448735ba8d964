"""When MoCoGAN's content code stops mattering: three settings besides the plain one.

  python benchmarks/collapse.py [--cases=plain,batch_16] [--seeds=0] [--output=FOLDER]
  python benchmarks/collapse.py --page

Each case trains `configs/mocogan.py:shapes` at half of that config's width (8 channels, an eighth
of the paper's) with the published learning rate of 2e-4, without noise in the discriminators:

  plain          batches of 8 clips
  batch_16       batches of 16 clips
  categories     the generator also gets a clip's class; the discriminator of clips classifies, and
                 both are trained with that loss (the authors' categorical model, with InfoGAN's
                 term). This discriminator has one layer more than the plain one.
  spectral_norm  spectral normalisation of both discriminators, beside their batch normalisation

Every --every iterations, and before the first, --grid contents are combined with --grid motions,
and `variance_grid.py` splits the variance of the pixels, in [-1, 1], of all these clips. Latents
are the same in all cases and at all iterations. Clips come from the generator as it is then: this
config has no moving average. Batch normalisation uses standing statistics, as `vidgan sample` does.
With categories, the content is the content code alone: the grid is drawn for one class of each
motion, and the variances are averaged. "category" is the variance over all classes of the mean over
--grid pairs of a content and a motion, estimated alike.

A case *holds* at an iteration if its content variance is at least a tenth of the data's. The data's
content variance is that of real moving shapes, whose contents (shape, colours) and motions (kind,
path, phase, speed) are combined in the same way. A case holds *until* the last measured iteration
before its content variance is below this level for the first time. The number of measured
iterations at which it holds is reported too, because a variance may fall and rise again.

Before training, the content variance is that of fine noise, which initial weights make of any
latent, and it can fade for other reasons than a collapse. So the same variances are measured of
clips whose pixels are averaged over squares of 8x8. This was added after the first result; the rule
does not use it.

Each case and seed is trained and measured in a process of its own. One line of JSON for each is
appended to --results. What is in that file is not measured again, and a run in --output continues
where it stopped.

--page writes docs/collapse.md and its pictures. Exit codes: 0 done, 2 bad input.
"""

import json
import pathlib
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import collapse_page
import numpy as np
import settings  # makes the package importable
import variance_grid
from absl import flags

from vidgan_jax.data.sources import moving_shapes
from vidgan_jax.runtime.errors import UserError

CONFIG = "mocogan.py:shapes"
_D = "model.discriminator."
_COMMON = {
  "optimizer.generator_lr": 2e-4,
  "optimizer.discriminator_lr": 2e-4,
  "model.generator.channels": 8,
  f"{_D}channels": 8,
  "analysis.every": 0,
  "sample_every": 0,
  "checkpoints_kept": 10_000,
  "guard.dark_patience": 0,  # a collapsed run trains on
}
CASES: dict[str, dict[str, Any]] = {
  "plain": {},
  "batch_16": {"batch_size": 16},
  "categories": {
    "model.num_classes": len(moving_shapes.CLASS_NAMES),
    "model.categories": len(moving_shapes.CLASS_NAMES),
    "model.infogan": True,
    f"{_D}video": "categorical",
  },
  "spectral_norm": {f"{_D}spectral": True},
}
_SHOWN = 4  # contents of one motion, and motions of one content, in the pictures
_REAL_GRID = 32
# One class of each motion, with different shapes.
_CLASSES = [number * len(moving_shapes.SHAPES) + number for number in range(4)]

_CASES = settings.define_cases("cases", CASES)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds of each case.")
_ITERATIONS = flags.DEFINE_integer("iterations", 800, "Of each run.", lower_bound=1)
_EVERY = flags.DEFINE_integer("every", 50, "Iterations between measurements.", lower_bound=1)
_GRID = flags.DEFINE_integer(
  "grid", 16, "Number of contents, and of motions.", lower_bound=_SHOWN, upper_bound=256
)
_OUTPUT = flags.DEFINE_string("output", str(settings.ROOT / "runs" / "collapse"), "For the runs.")
_WRITE_PAGE = flags.DEFINE_bool("page", False, "Write docs/collapse.md from the results, and end.")
settings.define_worker()
_RESULTS = settings.define_results()
flags.set_default(_RESULTS, str(settings.ROOT / "benchmarks" / "collapse.jsonl"))


def changes(case: str, seed: int) -> dict[str, Any]:
  """What a case and seed change of the config."""
  run = {
    "seed": seed,
    "num_iterations": _ITERATIONS.value,
    "checkpoint_every": _EVERY.value,
    "log_every": min(10, _EVERY.value),
  }
  return {**run, **_COMMON, **CASES[case]}


def _generate(run, contents: list[int], motions: list[int], label: int) -> np.ndarray:
  """Clips uint8 [N, T, H, W, 3] of pairs of a content and a motion, by number, and one class."""
  from vidgan_jax.runtime import streams
  from vidgan_jax.sampling import generation

  key = streams.key(0, streams.SAMPLING)
  drawn = generation.draw_latents(run.gan, key, _GRID.value)
  order = {"content": contents, "motion": motions, "start": motions}
  latents = {name: drawn[name][np.asarray(numbers)] for name, numbers in order.items()}
  labels = np.full(len(contents), label)
  return run.generate(latents, labels, batch_size=_GRID.value)


def _rows(run, label: int) -> Iterator[np.ndarray]:
  """The grid of clips of one class, for `variance_grid.decompose`."""
  numbers = list(range(_GRID.value))
  for content in numbers:
    yield variance_grid.pixels(_generate(run, [content] * len(numbers), numbers, label))


def _category_variance(run) -> float:
  """The variance over classes, of the mean over pairs of a content and a motion."""
  numbers = list(range(_GRID.value))
  rows = (
    variance_grid.pixels(_generate(run, numbers, numbers, label))
    for label in range(run.gan.categories)
  )
  return variance_grid.decompose(rows)["content"]


def _both(rows: Callable[[], Iterable[np.ndarray]]) -> dict[str, float]:
  """Splits the variance of a grid of clips, and that of coarse clips ("coarse_content", ...)."""
  squares = variance_grid.decompose(map(variance_grid.coarse, rows()))
  coarse = {f"coarse_{name}": value for name, value in squares.items()}
  return {**variance_grid.decompose(rows()), **coarse}


def _variances(run) -> dict[str, float]:
  """Measures a generator; see the module."""
  parts = []
  for label in _CLASSES if run.gan.categories else [0]:
    rows = list(_rows(run, label))
    parts.append(_both(lambda rows=rows: rows))
  means = {name: statistics.fmean(part[name] for part in parts) for name in parts[0]}
  return {**means, "category": _category_variance(run)} if run.gan.categories else means


def _shown(run) -> dict[str, np.ndarray]:
  """Clips for the picture: contents of one motion, then motions of one content; and classes."""
  numbers, same = list(range(_SHOWN)), [0] * _SHOWN
  grid = [_generate(run, numbers, same, 0), _generate(run, same, numbers, 0)[1:]]
  shown = {"clips": np.concatenate(grid)}
  if run.gan.categories:
    labels = range(0, run.gan.categories, run.gan.categories // (2 * _SHOWN))
    parts = [_generate(run, [0], [0], label) for label in labels]
    shown["classes"] = np.concatenate(parts)[: 2 * _SHOWN - 1]
  return shown


def _runs(workdir: pathlib.Path) -> Iterator[Any]:
  """The run in `workdir` before its first iteration, and at its checkpoints up to --iterations."""
  import jax

  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime.checkpoints import Checkpoints
  from vidgan_jax.sampling import run as runs
  from vidgan_jax.training import optimizers as transforms
  from vidgan_jax.training import state as states

  config = states.read_config(workdir)
  gan, like = states.described(workdir, config, meshes.make_mesh(jax.devices()[:1]))
  optimizers = transforms.build(config, gan.discriminators)
  quiet = {"report": lambda line: None}
  state = states.initialisation(gan, optimizers, config.seed, like)()
  yield runs.of_state(workdir, config, gan, state, use_ema=False, **quiet)
  checkpoints = Checkpoints(workdir / states.CHECKPOINTS, **quiet)
  for step in checkpoints.steps():
    if step <= _ITERATIONS.value and (step % _EVERY.value == 0 or step == _ITERATIONS.value):
      state, _ = checkpoints.restore(like, step)
      yield runs.of_state(workdir, config, gan, state, use_ema=False, **quiet)


def _seconds(workdir: pathlib.Path) -> float:
  """Median seconds of an iteration, over the run's log."""
  lines = (workdir / "log.jsonl").read_text(encoding="utf-8").splitlines()
  seconds = [json.loads(line).get("time/step_seconds") for line in lines]
  return statistics.median(value for value in seconds if value is not None)


def _measure(name: str) -> dict[str, Any]:
  """Trains CASE@SEED, and measures its checkpoints."""
  case, seed = name.split("@")
  workdir = pathlib.Path(_OUTPUT.value).resolve() / f"{case}_{seed}"
  settings.train(CONFIG, workdir, changes(case, int(seed)))
  measured, pictures = [], {}
  for run in _runs(workdir):
    measured.append({"iteration": run.step, **_variances(run)})
    pictures |= {f"{key}_{run.step}": clips for key, clips in _shown(run).items()}
  np.savez_compressed(workdir / "shown.npz", **pictures)
  sizes = (_REAL_GRID, run.gan.frames, run.gan.resolution)
  return {
    "case": case,
    "seed": int(seed),
    "config": CONFIG,
    "batch_size": int(run.config.batch_size),
    "iterations": _ITERATIONS.value,
    "every": _EVERY.value,
    "grid": _GRID.value,
    "seconds": round(_seconds(workdir), 3),
    "real": _both(lambda: variance_grid.crossed_shapes(*sizes, seed=0)),
    "measured": measured,
  }


def _known(results: list[dict[str, Any]], case: str, seed: int) -> bool:
  """Whether the last line of a case and seed was measured with these flags."""
  lines = [r for r in collapse_page.latest(results) if (r["case"], r["seed"]) == (case, seed)]
  values = {"iterations": _ITERATIONS.value, "every": _EVERY.value, "grid": _GRID.value}
  return bool(lines) and all(lines[0][name] == value for name, value in values.items())


def main():
  """Measures what is missing, one case after the other."""
  path, output = pathlib.Path(_RESULTS.value), pathlib.Path(_OUTPUT.value)
  if _WRITE_PAGE.value:
    collapse_page.write(path, output, settings.ROOT / "docs")
    return
  chosen = settings.chosen(_CASES.value, CASES)
  seeds = list(dict.fromkeys(_SEEDS.value))
  if not seeds or not all(seed.isdecimal() for seed in seeds):
    raise UserError(f"--seeds={','.join(seeds)} is not a list of integers from 0")
  failed = []
  for name in [f"{case}@{seed}" for seed in seeds for case in chosen]:
    case, seed = name.split("@")
    if _known(collapse_page.lines(path), case, int(seed)):
      settings.door.report(f"{name}: measured before")
      continue
    try:
      settings.append(str(path), "collapse", settings.in_fresh_process(__file__, name))
      settings.door.report(f"{name}: done")
    except UserError as error:
      settings.door.report(str(error))
      failed.append(name)
  results = collapse_page.latest(collapse_page.lines(path))
  if results:
    settings.show(collapse_page.summary(results))
  if failed:
    raise UserError(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
  settings.run(main, _measure)
