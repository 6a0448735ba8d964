r"""Trains a video GAN, or continues a run where it stopped.

  vidgan train --config=dvd_gan:kinetics600_64x12 --workdir=DIR \
      --config.data.directory=VIDEOS [--config.batch_size=64 ...]

Writes config.json, log.jsonl, tensorboard/, samples/, curves.png and checkpoints/ into DIR. The
same command continues from the newest checkpoint. On CPU, the result equals that of a run without
an interruption bit for bit.

  vidgan train --config=... --workdir=NEW --init_from=RUN_OR_EXPORT

begins with the weights of another run or exported model: those that fit by name and shape, class
embeddings by the names of the classes. The others are listed.

  vidgan train --config=... --workdir=DIR --restart_from=STEP [--config.optimizer.generator_lr=...]

goes back to a checkpoint of the run in DIR and trains on in DIR/branches/NUMBER, with other random
numbers and, if given, other learning rates. No file of the run in DIR changes. With
--config.guard.restarts=3 a run does so automatically, up to three times, when a guard stops it.

  vidgan train --config=... --print_config
  vidgan train --config=... --workdir=DIR --dry_run

The first prints the config as JSON. The second checks the config, the data, the folder and the
memory as training does, without training and without writing into DIR. Like training, it first
decodes a folder of videos into the cache, which may take long; a prepared set needs no cache.

These signals save a checkpoint and stop the run: SIGTERM, Ctrl-C (not if several processes train
together), SIGHUP (sent by a terminal that closes, unless the command runs under nohup), and
SIGUSR1, SIGUSR2 and SIGXCPU (sent by schedulers before a time limit).

Exit codes: 0 done; 1 a network, a bucket or another process failed (try again), or a bug; 2 bad
input, or files that cannot be written; 3 stopped by a guard (losses or weights are not finite, or
the generated clips are dark); 75 stopped by a signal, and the same command continues; 130 Ctrl-C
before training began, or a second time.
"""

import functools

from absl import flags
from ml_collections import ConfigDict

from vidgan_jax.runtime import door, preemption
from vidgan_jax.runtime.config import base_switches, named, schema
from vidgan_jax.runtime.errors import UserError

_CONFIG = named.define_flag()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run. Required, except with --print_config."
)
_PRINT = flags.DEFINE_bool("print_config", False, "Print the config as JSON, and do nothing else.")
_DRY = flags.DEFINE_bool("dry_run", False, "Check everything and report it, but do not train.")
_INIT = flags.DEFINE_string(
  "init_from", None, "Folder of the run or exported model whose weights a new run begins with."
)
_RESTART = schema.define(
  "restart_from",
  schema.integer(
    None,
    "Iteration of a checkpoint of the run to go back to, in a branch of its own.",
    least=0,
    most=schema.LARGEST_STEP,
  ),
)
_CACHE = schema.define("compilation_cache", base_switches.COMPILATION_CACHE)
_COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "For several processes: host:port of process 0, or auto to detect it (TPU pods, Slurm, ...).",
)
_PROCESSES = schema.define(
  "num_processes",
  schema.integer(None, "Number of processes that train together.", least=1, most=1_000_000),
)
_PROCESS = schema.define(
  "process_id",
  schema.integer(None, "Number of this process, from 0.", least=0, most=1_000_000),
)
flags.mark_flag_as_required("config")


def main(argv):
  """Opens the run and trains it to its end; returns the exit code."""
  del argv
  config, workdir = _CONFIG.value, _WORKDIR.value
  if _PRINT.value:
    return _print_config(config)
  if workdir is None:
    raise UserError("--workdir is required")
  if _INIT.value is not None and _RESTART.value is not None:
    raise UserError(
      "--init_from and --restart_from exclude each other: one begins a new run, the "
      "other goes back in a run that exists"
    )
  if not workdir:  # pathlib would use the current folder
    raise UserError("--workdir is empty")
  if _COORDINATOR.value is None:  # with several processes, JAX handles SIGTERM
    preemption.exit_on_sigterm(door.report)
  import jax  # imported here, so that --help and bad flags are quick

  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.models import switches
  from vidgan_jax.runtime import processes
  from vidgan_jax.runtime.hardware import compilation, flops, memory
  from vidgan_jax.sampling.exported import Exported
  from vidgan_jax.training import loop
  from vidgan_jax.training import workdir as workdirs
  from vidgan_jax.training.starts import restarts

  switches.check(config)
  memory.keep_freed_on_cpu()
  # Before `start`, because the evaluation hook loads a network, which initialises the devices.
  processes.start(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
  compilation.enable_cache(_CACHE.value, door.report)

  def start(config: ConfigDict, workdir: str) -> loop.Trainer:
    return loop.Trainer(
      config,
      workdir,
      _hooks(config),
      flops_per_clip=functools.partial(summary.flops_per_clip, config),
      peak_flops=flops.peak_flops(jax.devices()[0]),
      report=door.report,
      init_from=_INIT.value,
      open_export=Exported,
    )

  if _DRY.value:
    return _check_only(config, workdir, start)
  trainer = restarts.train(config, workdir, start, restart_from=_RESTART.value, report=door.report)
  for line in workdirs.list_results(trainer.workdir):
    trainer.report(line)
  return preemption.EXIT_CODE if trainer.stopped else 0


def _print_config(config: ConfigDict) -> int:
  """Prints a config that training accepts; returns the exit code."""
  present = [name for name in door.present_flags() if name not in ("config", "print_config")]
  door.check_unused(present, "with --print_config")
  from vidgan_jax.models import switches
  from vidgan_jax.runtime.config import configuration

  switches.check(config)
  door.report(configuration.to_json(config).rstrip())
  return 0


def _check_only(config: ConfigDict, workdir: str, start) -> int:
  """Reports what `start` would train; returns the exit code."""
  from vidgan_jax.runtime import processes
  from vidgan_jax.training.starts import dry_run, restarts

  door.check_unused(("restart_from",), "with --dry_run")
  report = door.report if processes.first() else lambda line: None
  config, workdir = restarts.opened(config, workdir, report=report)
  dry_run.describe(workdir, lambda: start(config, workdir), _activation_bytes, report)
  return 0


def _activation_bytes(config: ConfigDict) -> int:
  """Estimated bytes of activations of one iteration, on all devices together."""
  import jax

  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.runtime import precision

  policy = precision.policy(config.precision, jax.devices()[0].platform).name
  cost = summary.summarize(
    config,
    batch_size=config.microbatch or None,
    dtype="bfloat16" if policy == "bfloat16" else "float32",
  )
  return cost["activations"][cost["remat"]]["batch_bytes"]


def _hooks(config: ConfigDict) -> list:
  """What runs between iterations, made anew for each folder that is trained."""
  from vidgan_jax.sampling.preview import PreviewHook
  from vidgan_jax.training.curves import CurvesHook

  hooks = [PreviewHook(config.sample_every), CurvesHook(config.sample_every)]
  if config.get("analysis") and config.analysis.every:
    from vidgan_jax.analysis.curvature.hook import CurvatureHook

    hooks.append(CurvatureHook(config.analysis))
  if config.get("evaluation") and config.evaluation.every:
    from vidgan_jax.evaluation.hook import EvaluationHook
    from vidgan_jax.sampling import stream

    hooks.append(EvaluationHook(config.evaluation, stream.from_hook_context, door.report))
  return hooks


def _fields(config) -> list[str]:
  """Lines about the fields of a config, for --help."""
  from vidgan_jax.models import switches

  return schema.help_lines(switches.of_model(config.get("model")), config)


if __name__ == "__main__":
  door.run(main, fields=_fields)
