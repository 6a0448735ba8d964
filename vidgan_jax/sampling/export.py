"""What the command `export` does: writes the averaged generator of a run to a folder.

`sampling.exported` describes the folder.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

import vidgan_jax.training.state as states
from vidgan_jax.layers import normalization
from vidgan_jax.runtime.config import configuration, requests
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks, paths, tensors, video_writers
from vidgan_jax.runtime.hardware import memory
from vidgan_jax.sampling import cascade, conditioning, exported, model_card
from vidgan_jax.sampling import run as runs
from vidgan_jax.sampling.export_request import Request

_SHOWN = 16  # clips in the grid
_SIDE = 64  # pixels; smaller clips are enlarged in the grid


def fulfil(
  request: Request,
  scores: Callable[[str, int], Sequence[dict]] = lambda workdir, step: (),
  *,
  version: str = "",
  report: Callable[[str], None] = print,
) -> list[str]:
  """Writes the exported model; returns lines with the paths of the files.

  Args:
    request: what to export.
    scores: called with the folder of the run and the iteration; returns the scores of the model
      card, see `model_card.write`. The command passes it, because this package does not import
      `evaluation`.
    version: of this package.
    report: called with lines for the user.

  Raises:
    UserError: there is no run, or the output folder exists or cannot be written.
  """
  requests.check(request)
  _check_output(request.output)
  states.refuse_export(request.workdir, "export")
  config, gan, state = states.load(request.workdir, request.checkpoint, report=report)
  options: dict[str, Any] = dict(standing_passes=request.standing_passes, report=report)
  run = runs.of_state(request.workdir, config, gan, state, **options)
  run.check_frames(None)
  rows = scores(request.workdir, run.step)
  with _new_folder(request.output) as folder:
    report(f"exporting the moving average at iteration {run.step}")
    (folder / states.CONFIG).write_text(
      configuration.to_json(exported.without_paths(config)), encoding="utf-8"
    )
    data = states.recorded_data(request.workdir)
    if data is not None:
      shutil.copyfile(pathlib.Path(request.workdir) / states.DATA, folder / states.DATA)
    passes = _write_arrays(folder, run, exported.flat(exported.generator_tree(state)))
    grid = _write_grid(folder, run, report)
    fingerprint = exported.write_index(folder, run.step, passes, version)
    name = pathlib.Path(os.path.realpath(request.output)).name
    card = model_card.text(run, name, fingerprint, rows, grid, version, data or {})
    (folder / exported.CARD).write_text(card, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
  return [
    f"exported model, {size / 1e6:.1f} MB: {request.output} (fingerprint {fingerprint})",
    f"model card: {pathlib.Path(request.output) / exported.CARD}",
    f"to use it: vidgan sample --workdir={request.output} --output=DIR, or "
    f"vidgan_jax.load({request.output!r}) in Python",
  ]


def _write_arrays(folder: pathlib.Path, run: runs.Run, generator: dict[str, np.ndarray]) -> int:
  """Writes the .safetensors files; returns the passes of the standing statistics, 0 for none."""
  tensors.write(folder / exported.file_name(exported.GENERATOR), generator)
  if run.context.frozen:
    earlier = exported.flat(run.context.frozen)
    tensors.write(folder / exported.file_name(exported.EARLIER), earlier)
  if run.standing_passes < 1 or run.gan.needs_conditioning:
    return 0
  with memory.reported_if_full("a machine with more memory is needed"):
    own = run.variables().get(normalization.COLLECTION, {})
    statistics = {"own": own, "stages": cascade.statistics_of(run.context_of().frozen)}
  if not jax.tree.leaves(statistics):
    return 0
  tensors.write(folder / exported.file_name(exported.STANDING), exported.flat(statistics))
  return run.standing_passes


def _write_grid(folder: pathlib.Path, run: runs.Run, report: Callable[[str], None]) -> bool:
  """Writes a grid of clips; returns whether there is one."""
  gan = run.gan
  classes = max(1, gan.num_classes)
  labels = [number % classes for number in range(_SHOWN)]
  given: Any = None
  if gan.needs_conditioning:
    try:
      clips = conditioning.of_split(run.config, gan, "test", report=report)(0, _SHOWN)
    except UserError as error:
      report(f"no grid of clips, because the data to continue cannot be read: {error}")
      return False
    given = {"clip": clips[:, : gan.given_frames]}
  drawn = run.sample(0, labels=sorted(labels), conditioning=given)
  scale = -(-_SIDE // gan.resolution)
  grid = video_writers.grid(drawn.repeat(scale, axis=2).repeat(scale, axis=3))
  video_writers.write_gif(folder / exported.GRID, grid, 8.0)
  return True


def _check_output(output: str | os.PathLike) -> None:
  """UserError if `output` is a file or not an empty folder, or cannot be written."""
  if not str(output):
    raise UserError("--output is empty")
  target = pathlib.Path(os.path.realpath(output))
  if os.path.lexists(target) and not target.is_dir():
    raise UserError(f"{output} is a file; export to a folder that does not exist")
  try:
    occupied = target.is_dir() and any(target.iterdir())
  except OSError as error:
    raise UserError(f"cannot write to {output}: {error.strerror or error}") from error
  if occupied:
    raise UserError(f"{output} is not empty; export to a folder that does not exist")
  paths.check_writable(target.parent)  # the folder itself is replaced


@contextlib.contextmanager
def _new_folder(output: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary folder, OUTPUT.partial, which becomes `output` at the end.

  Raises:
    UserError: `output` exists and is not an empty folder, or cannot be written.
  """
  target = pathlib.Path(os.path.realpath(output))
  partial = target.with_name(f"{target.name}.partial")
  try:
    _check_output(output)  # again, because the run was loaded meanwhile
    target.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(partial, f"export to {output}", name=None):
      leftovers = {path.name for path in partial.iterdir()}  # of a killed process
      names = {*exported.KNOWN, states.EXPORT, exported.CARD}
      unknown = sorted(name for name in leftovers - names if not name.endswith(".tmp"))
      if unknown:
        raise UserError(f"{partial} contains {unknown[0]}, which export has not written; move it")
      for name in leftovers:
        (partial / name).unlink()
      try:
        yield partial
        partial.rename(target)
      except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
  except OSError as error:
    raise UserError(f"cannot write to {output}: {error.strerror or error}") from error
