"""The folder of a run: checks it, locks it during training, and lists its results."""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.models import stored_config
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.buckets import leases, staged
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks


def create(workdir: str | os.PathLike, config: ConfigDict) -> pathlib.Path:
  """Creates the run's folder, or checks the run in it. Writes nothing into the folder.

  Raises:
    UserError: the folder cannot be written, is not the same folder in all processes, is in use by
      another process, or holds checkpoints of another config. The message then names the first
      field that differs.
  """
  workdir = pathlib.Path(workdir)
  processes.share_a_folder(workdir, "workdir")
  _check(workdir, config)
  processes.in_first(lambda: _check_free(workdir))
  return workdir


def missing(workdir: str | os.PathLike) -> list[pathlib.Path]:
  """The folders that `create` would make: `workdir` and those above it that do not exist."""
  path = pathlib.Path(os.path.abspath(workdir))
  return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: Iterable[pathlib.Path]) -> None:
  """Removes folders that are empty; the first ones may be within the others."""
  for folder in folders:
    with contextlib.suppress(OSError):
      folder.rmdir()


def check_fault(workdir: str | os.PathLike, gan: VideoGan, report: Callable = print) -> None:
  """If `gan.fault` is set, refuses a new run, and warns if the run has checkpoints already."""
  if gan.fault and Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS).steps():
    report(f"WARNING: {gan.fault}; the run continues as it began")
  else:
    gan.check_new()


def _check_free(workdir: pathlib.Path) -> None:
  """UserError if a process trains in this folder, or in a run whose folder `best` this is."""
  locks.check(workdir, _purpose(workdir))
  parent = workdir.absolute().parent
  if (parent / states.CONFIG).exists():
    locks.check(parent, _purpose(workdir))


@contextlib.contextmanager
def locked(
  workdir: pathlib.Path, config: ConfigDict, description: dict, report: Callable = print
) -> Iterator[None]:
  """Locks a run's folder, and writes the config and the description of the data into it.

  If several processes train together, all call this function, and process 0 holds the lock.

  Args:
    workdir: a folder checked by `create`. It is checked again, because another process may have
      started a run there since.
    config: the whole config of the run.
    description: description of the training data, see `state.check_data`.
    report: receives lines for the user.

  Raises:
    UserError: as in `create`, or the folder holds checkpoints of a run on other data.
  """
  with contextlib.ExitStack() as stack:

    def begin() -> None:
      stack.enter_context(locks.held(workdir, _purpose(workdir), report))
      if _check(workdir, config):
        states.check_data(workdir, description)
      elif difference := replaced(workdir, config):
        report(f"replaces the config of a run without checkpoints: {difference}")
      _write(workdir / states.CONFIG, configuration.to_json(config))
      _write(workdir / states.DATA, json.dumps(description, indent=2) + "\n")

    processes.in_first(begin)
    yield


def _purpose(workdir: pathlib.Path) -> str:
  """What the lock is for, as its error message says it."""
  return f"use {workdir} as workdir"


def _check(workdir: pathlib.Path, config: ConfigDict) -> list[int]:
  """Creates the folder if it is missing, and checks it; returns the steps of its checkpoints."""
  path = workdir / states.CONFIG
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if not os.access(workdir, os.W_OK | os.X_OK):
      raise PermissionError(f"no permission to write in {workdir}")
    states.refuse_export(workdir, "training")
    steps = Checkpoints(workdir / states.CHECKPOINTS).steps()
    if steps and not path.exists():
      raise UserError(
        f"{workdir} has checkpoints but no {states.CONFIG}, which says how they were trained: put "
        "it back, or train in another folder"
      )
    difference = replaced(workdir, config)
    if steps and difference:
      raise UserError(f"{workdir} holds a run of another config: {difference}")
  except (FileExistsError, NotADirectoryError) as error:
    raise UserError(f"cannot use {workdir} as workdir: a file is there, not a folder") from error
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"cannot use {workdir} as workdir: {reason}") from error
  return steps


def replaced(workdir: pathlib.Path, config: ConfigDict) -> str | None:
  """The first field in which the config in a folder differs; None if they agree, or there is none.

  Raises:
    UserError: the file there is not a run's config.
  """
  path = workdir / states.CONFIG
  if not os.path.lexists(path):
    return None
  if not path.is_file():
    raise UserError(f"cannot use {workdir} as workdir: {states.CONFIG} is no file; move it away")
  try:
    there = states.read_config(workdir)
  except UserError as error:
    raise UserError(f"{error}; move {states.CONFIG} away, or train in another folder") from error
  return stored_config.first_difference(there, config)


def write_back(workdir: pathlib.Path) -> None:
  """If the run is in a bucket, writes what has changed in its folder there. In process 0 alone.

  Raises:
    UserError: the bucket cannot be written, or another process has taken over the run.
  """
  address = staged.address(workdir)
  if address is not None:
    leases.check_kept(address)
    staged.push()


def _write(path: pathlib.Path, text: str) -> None:
  """Writes a file completely or not at all; UserError if that fails."""
  temporary = path.with_suffix(".tmp")
  try:
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"cannot use {path.parent} as workdir: {error}") from error


def list_results(workdir: str | os.PathLike) -> list[str]:
  """Returns one line for each kind of result in a run's folder, with its path."""
  lines = []
  for name, what in (
    ("samples", "samples generated during training"),
    ("curves.png", "curves"),
    ("analysis", "curvature of the discriminators"),
    ("evaluation", "scores"),
    ("branches", "branches, each a complete run folder"),
    ("best", "best state, a complete run folder"),
    ("log.jsonl", "log"),
    ("tensorboard", "TensorBoard"),
    (states.CHECKPOINTS, "checkpoints"),
  ):
    if (pathlib.Path(workdir) / name).exists():
      lines.append(f"{what}: {pathlib.Path(workdir) / name}")
  return lines
