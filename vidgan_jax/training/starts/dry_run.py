"""Checks a run without training it: config, data, weights, folder and memory (train --dry_run)."""

import contextlib
import pathlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.files import log_files
from vidgan_jax.training import capacity
from vidgan_jax.training import workdir as workdirs

_RATES = 20  # records of the log whose seconds per iteration are used


def describe(
  workdir: str,
  start: Callable[[], Any],
  activations: Callable[[ConfigDict], int],
  report: Callable[[str], None],
) -> None:
  """Opens a run as training does, reports what it would train, and leaves no new folder behind.

  Args:
    workdir: folder of the run.
    start: makes the `training.loop.Trainer` of this folder, which checks everything but the size of
      the compiled iteration.
    activations: returns the bytes of activations of one iteration on all devices, an estimate.
    report: called with lines for the user.

  Raises:
    UserError: training would refuse this run.
  """
  with _no_new_folder(workdir):
    trainer = start()
    config, gan, data = trainer.config, trainer.gan, trainer.source
    classes = f"{gan.num_classes} classes" if gan.num_classes else "no classes"
    report(
      f"model: {gan.name}, {gan.frames} frames of {gan.resolution}x{gan.resolution}, {classes}"
    )
    report(f"data: {_describe_data(config, data)}")
    needed = activations(config)
    report(_describe_memory(trainer, needed))
    if not _fits(trainer, needed):
      report(
        "WARNING: this is more than a device has; docs/training.md has settings that need less"
      )
    if config.model.get("earlier_run"):
      report(f"earlier stage: {config.model.earlier_run}, which fits")
    steps = trainer.checkpoints.steps()
    begin = max(steps, default=0)
    where = f"continues from the checkpoint at iteration {begin}" if steps else "is new"
    report(f"run: {trainer.workdir} {where}; it ends at iteration {config.num_iterations}")
    if not steps and (difference := workdirs.replaced(pathlib.Path(workdir), config)):
      report(f"it replaces the config of a run without checkpoints: {difference}")
    report(_describe_time(trainer.workdir, config.num_iterations - begin))
  report("no iteration was run, and the run's folder is as before; without --dry_run, it trains")


@contextlib.contextmanager
def _no_new_folder(workdir: str) -> Iterator[None]:
  """Removes the empty folders that opening a run creates."""
  new = workdirs.missing(workdir)
  try:
    yield
  finally:
    workdirs.remove_empty(new)


def _describe_data(config: ConfigDict, source: Any) -> str:
  names = source.class_names
  shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
  classes = f" in {len(names)} classes ({shown})" if names else ""
  where = config.data.get("directory") or "generated"
  return f"{config.data.name} ({where}): {source.num_examples:,} clips{classes}"


def _describe_memory(trainer: Any, activations: int) -> str:
  """The estimated memory of an iteration on each device, and the memory of a device."""
  config, mesh = trainer.config, trainer.mesh
  state = states.describe_size(trainer.like, mesh, config.sharding)
  each = activations / mesh.devices.size
  memory = capacity.device_memory(mesh)
  has = _bytes(memory) if memory else "an unknown amount"
  return (
    f"memory: {state}; activations of one iteration about {_bytes(each)} on each, an "
    f"estimate without the compiler's own memory; each device ({mesh.devices.flat[0].device_kind}) "
    f"has {has}"
  )


def _fits(trainer: Any, activations: int) -> bool:
  """Whether state and activations are within the memory of a device, as far as it is known."""
  memory, devices = capacity.device_memory(trainer.mesh), trainer.mesh.devices.size
  state = sharding.bytes_per_device(trainer.like, devices, trainer.config.sharding)
  return memory is None or state + activations / devices <= memory


def _bytes(count: float) -> str:
  return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _describe_time(workdir: pathlib.Path, left: int) -> str:
  """The seconds per iteration that the run's log holds, and the hours that are left."""
  records = log_files.read_log(workdir / "log.jsonl") if (workdir / "log.jsonl").exists() else []
  seconds = [r["time/step_seconds"] for r in records if "time/step_seconds" in r][-_RATES:]
  if not seconds:
    return "time per iteration: unknown before the first iterations"
  median = statistics.median(seconds)
  hours = median * max(0, left) / 3600
  return f"time per iteration: {median:.3g} s so far; {max(0, left):,} are left, {hours:,.1f} hours"
