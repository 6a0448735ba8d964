"""Checks of a request of `evaluate`, before anything is read or computed."""

import os
import pathlib

from vidgan_jax.data.sources import any_videos
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import results
from vidgan_jax.evaluation.request import Request
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths


def check(request: Request) -> None:
  """UserError if options contradict each other, or the results could not be written."""
  if not request.workdir and not request.clips:
    raise UserError("--workdir (a run) or --clips (videos or a file) is required")
  if request.clips and (
    request.every_checkpoint or request.follow or request.checkpoint is not None
  ):
    raise UserError("--clips has no checkpoints")
  if request.clips and tuple(request.truncations) != (1.0,):
    raise UserError("--truncation cannot be combined with --clips, which are generated already")
  if request.clips and not request.output:
    raise UserError("--clips needs --output")
  if sum((request.checkpoint is not None, request.every_checkpoint, request.follow)) > 1:
    raise UserError("give only one of --checkpoint, --every_checkpoint and --follow")
  if request.patience is not None and not request.follow:
    raise UserError("--patience needs --follow")
  if not request.truncations:
    raise UserError("--truncations needs at least one number")
  if request.clips and not (request.real or request.workdir):
    raise UserError(
      "--clips needs real clips to compare with: --real=VIDEOS or --real=FILE.npz, or the data of "
      "a run (--workdir)"
    )
  if request.real and request.split is not None:
    raise UserError("--split chooses from a run's data; it does not apply to --real")
  if request.real and request.stride is not None and not any_videos.at(request.real):
    raise UserError("--stride chooses frames of videos; it does not apply to clips of an .npz")
  _check_output(request)


def _check_output(request: Request) -> None:
  """UserError, before hours of evaluation, if the results cannot be written.

  The folder is not writable, or has results of another run or protocol.
  """
  target = pathlib.Path(request.output or folder(request))
  paths.check_writable(target)
  protocol = protocols.get_protocol(request.protocol).name
  heading = {"run": evaluated(request), "protocol": {"name": protocol}}
  results.existing(target / results.FILE, heading)


def evaluated(request: Request) -> dict[str, str]:
  """Path and name of the run or of the generated clips, for the files of results."""
  path = str(request.clips or request.workdir)
  whole = pathlib.Path(os.path.abspath(path)) if request.clips else pathlib.Path(path).resolve()
  return {"workdir": staged.named(path), "name": whole.name}


def folder(request: Request) -> pathlib.Path:
  """Default folder of the results of a run."""
  assert request.workdir is not None  # see `check`
  name = protocols.get_protocol(request.protocol).name  # not an alias
  return paths.results_folder(request.workdir, results.FOLDER, name)


def check_data(request: Request, name: str) -> None:
  """UserError if the data of the run, `config.data.name`, has no strides or no splits."""
  if request.stride is not None and name == "moving_shapes":
    raise UserError("--stride needs stored videos; moving_shapes draws each frame")
  if request.split is not None and name == "npz":
    raise UserError(
      "--split: the data is one .npz, which has no splits; --real=FILE.npz takes another file"
    )
