"""A run's folder: checked, locked while a process trains in it, and listed at the end."""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator

import vidgan_jax.training.state as states
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks


def make(workdir, config) -> pathlib.Path:
  """Makes the run's folder, or checks the run that lies there; writes nothing into it.

  Raises:
    UserError: where the folder cannot be written, is not one and the same in all processes, is in
      use, or holds checkpoints of another config (names the first field that differs).
  """
  workdir = pathlib.Path(workdir)
  processes.share_a_folder(workdir, "workdir")
  _check(workdir, config)
  processes.in_first(lambda: _check_free(workdir))
  return workdir


def check_fault(workdir, gan, report: Callable = print) -> None:
  """Refuses to begin a run with `gan.fault`; continues one that has checkpoints, with a warning."""
  if gan.fault and Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS).steps():
    report(f"WARNING: {gan.fault}; the run continues as it began")
  else:
    gan.check_new()


def _check_free(workdir) -> None:
  """Taken where a process trains in this folder, or in the one of which this is the best state."""
  locks.check(workdir, _what(workdir))
  around = workdir.absolute().parent
  if (around / states.CONFIG).exists():
    locks.check(around, _what(workdir))


@contextlib.contextmanager
def opened(workdir, config, description: dict, report: Callable = print) -> Iterator[None]:
  """Keeps other processes from training in a folder, and writes into it what is trained on what.

  Of several processes that train together, all call this and the first holds the lock.

  Args:
    workdir: made by `make`; another run may have come there since.
    config: of the run.
    description: of its data, see `state.check_data`.
    report: receives lines for the user.

  Raises:
    UserError: see `make`; or the folder holds checkpoints of a run on other data.
  """
  with contextlib.ExitStack() as stack:

    def begin():
      stack.enter_context(locks.held(workdir, _what(workdir), report))
      if _check(workdir, config):
        states.check_data(workdir, description)
      _write(workdir / states.CONFIG, configuration.to_json(config))
      _write(workdir / states.DATA, json.dumps(description, indent=2) + "\n")

    processes.in_first(begin)
    yield


def _what(workdir) -> str:
  return f"use {workdir} as workdir"


def _check(workdir, config) -> list[int]:
  """Makes the folder where it is missing; returns the steps of its checkpoints."""
  path = workdir / states.CONFIG
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if not os.access(workdir, os.W_OK | os.X_OK):
      raise PermissionError(f"no permission to write in {workdir}")
    steps = Checkpoints(workdir / states.CHECKPOINTS).steps()
    if steps and not path.exists():
      raise UserError(
        f"{workdir} has checkpoints but no {states.CONFIG}, which says how they were trained: put "
        "it back, or train in another folder"
      )
    if steps:
      difference = stored_config.first_difference(states.read_config(workdir), config)
      if difference:
        raise UserError(f"{workdir} holds a run of another config: {difference}")
  except (FileExistsError, NotADirectoryError) as error:
    raise UserError(f"cannot use {workdir} as workdir: a file is there, not a folder") from error
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"cannot use {workdir} as workdir: {reason}") from error
  return steps


def _write(path: pathlib.Path, text: str) -> None:
  """Writes a whole file or none; UserError where that fails."""
  temporary = path.with_suffix(".tmp")
  try:
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"cannot use {path.parent} as workdir: {error}") from error


def whereabouts(workdir) -> list[str]:
  """Lines that say where a run's results are."""
  found = []
  for name, what in (
    ("samples", "samples drawn while training"),
    ("curves.png", "curves"),
    ("analysis", "curvature of the discriminators"),
    ("evaluation", "scores"),
    ("best", "the best state, a run of its own"),
    ("log.jsonl", "log"),
    ("tensorboard", "TensorBoard"),
    (states.CHECKPOINTS, "checkpoints"),
  ):
    if (pathlib.Path(workdir) / name).exists():
      found.append(f"{what}: {pathlib.Path(workdir) / name}")
  return found
