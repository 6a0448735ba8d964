"""Trains a run, and goes back to earlier checkpoints: where a user asks, or after a collapse."""

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.models import switches
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.training import earlier
from vidgan_jax.training.starts import branches, records
from vidgan_jax.training.starts.branches import Family


class Training(Protocol):
  """What trains one folder: `training.loop.Trainer`."""

  like: Any

  def run(self) -> Any:
    """Trains to the end; raises Stopped where a guard ends the run."""


Trained = TypeVar("Trained", bound=Training)


def train(
  config: ConfigDict,
  workdir: str | os.PathLike,
  start: Callable[[ConfigDict, str], Trained],
  *,
  restart_from: int | None = None,
  report: Callable[[str], None] = print,
) -> Trained:
  """Trains a run to its end, in its folder or in a branch of it.

  After a guard has stopped it, up to `config.guard.restarts` branches follow. The same call
  continues in the branch that was trained last.

  Args:
    config: the whole config.
    workdir: folder of a run, or of one of its branches.
    start: creates the `Trainer` of a folder, with new hooks, because hooks hold counts.
    restart_from: go back to the checkpoint at this iteration, in a branch; None continues the run.
    report: called with lines for the user.

  Returns:
    The last `Trainer`, after its run has ended.

  Raises:
    UserError: on bad input.
    Stopped: a guard ends the run, and no restart is left.
  """
  report = report if processes.first() else lambda line: None
  config, workdir = opened(config, workdir, restart_from=restart_from, report=report)
  while True:
    trainer = start(config, workdir)
    try:
      trainer.run()
      return trainer
    except Stopped as stopped:
      reason = str(stopped)
    # Outside of the handler, whose exception would keep the state on the devices.
    like = trainer.like
    del trainer
    following = _after_collapse(config, workdir, like, reason, report)
    if following is None:
      raise Stopped(reason)
    config, workdir = following


def opened(
  config: ConfigDict,
  workdir: str | os.PathLike,
  *,
  restart_from: int | None = None,
  report: Callable[[str], None] = print,
) -> tuple[ConfigDict, str]:
  """The config and the folder that `train` begins with; see there."""
  config = earlier.with_absolute_run(config)
  switches.check(config)
  workdir = paths.staged(workdir, "--workdir")
  family = Family(workdir)
  number = family.number
  config = family.config(number, config)
  if restart_from is not None:
    number, config = _restarted(family, config, workdir, restart_from, report)
  last = family.following(number) if config.guard.restarts else number
  if last != number:
    config = family.config(last, config, since=number)
    report(records.describe(family.home, family.branches, last))
  if last != family.number:
    report(f"training in {family.folder(last)}")
    return config, str(family.folder(last))
  return config, workdir


def _restarted(
  family: Family,
  config: ConfigDict,
  workdir: str,
  step: int,
  report: Callable[[str], None],
) -> tuple[int, ConfigDict]:
  """The branch that a user asks for, begun now or before, and its config."""
  states.refuse_export(workdir, "--restart_from")
  stored = states.read_config(workdir)
  difference = branches.difference(stored, config)
  if difference:
    raise UserError(
      f"{workdir} holds a run of another config: {difference}; --restart_from may change only "
      f"config.{' and config.'.join(records.RATES)}"
    )
  existing = family.find(family.number, step, config)
  if existing is not None:
    return existing, family.config(existing, config, since=family.number)
  checkpoints = Checkpoints(family.folder(family.number) / states.CHECKPOINTS)
  if step not in checkpoints.steps():
    known = ", ".join(map(str, checkpoints.steps())) or "none"
    raise UserError(
      f"--restart_from={step}: there is no such checkpoint in {checkpoints.directory}; there are: "
      f"{known}"
    )
  _, like = states.described(workdir, stored, meshes.make_mesh())
  if not _is_intact(family, family.number, step, like, report):
    raise UserError(f"--restart_from={step}: this checkpoint in {workdir} is damaged")
  number, config = family.begin(family.number, step, config, stored, report=report)
  report(f"going back to iteration {step}, in {family.folder(number)}{_describe(config, stored)}")
  return number, config


def _after_collapse(
  config: ConfigDict, workdir: str, like: Any, reason: str, report: Callable[[str], None]
) -> tuple[ConfigDict, str] | None:
  """The branch that follows a collapse of the run in `workdir`; None if no restart is left."""
  family = Family(workdir)
  current = family.branches.get(family.number)
  used = current.restarts if current else 0
  if used >= config.guard.restarts:
    return None
  starts = family.starts(family.number)
  found = next((s for s in starts if _is_intact(family, *s, like, report)), None)
  if found is None:
    report("no checkpoint to go back to")
    return None
  changed = branches.with_rates(config, config.guard.restart_rate)
  source, step = found
  number, changed = family.begin(
    source, step, changed, config, restarts=used + 1, reason=reason, report=report
  )
  report(
    f"{reason}; restart {used + 1} of {config.guard.restarts}: going back to iteration {step}, in "
    f"{family.folder(number)}{_describe(changed, config)}"
  )
  return changed, str(family.folder(number))


def _is_intact(
  family: Family, number: int, step: int, like: Any, report: Callable[[str], None]
) -> bool:
  """Whether a checkpoint can be read and has the right checksums. Collective."""
  directory = family.folder(number) / states.CHECKPOINTS
  try:
    with Checkpoints(directory) as checkpoints:
      checkpoints.read_back(step, like)
  except UserError:
    report(f"WARNING: the checkpoint at iteration {step} in {directory} cannot be read")
    return False
  return True


def _describe(config: ConfigDict, before: ConfigDict) -> str:
  """How a branch differs from the run that it leaves, as the end of a line."""
  pairs = zip(branches.rates(config).items(), branches.rates(before).values(), strict=True)
  changed = [f"config.{name} {old:g} -> {new:g}" for (name, new), old in pairs if new != old]
  return f", with new random numbers{''.join(f', {text}' for text in changed)}"
