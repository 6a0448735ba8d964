"""Opens the finished runs of a system's frozen earlier stages.

An earlier stage is described in the config (`config.model.earlier`) and compared with the config of
the run that it is loaded from. Only the averaged generator and the iteration are read from its
checkpoint. `earlier.json` in the workdir records which checkpoint a run was trained on, so that a
resumed run uses the same one.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.layers import normalization
from vidgan_jax.models import stored_config
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.models.ssw_gan.config import EARLIER
from vidgan_jax.models.ssw_gan.system import SAMPLES
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz, paths
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.training import optimizers

RECORD = "earlier.json"
_FORM = {"step": int, "checksum": int}
_SAMPLES_BYTES = 16 * 2**30


@dataclasses.dataclass(frozen=True)
class _Opened:
  """An earlier stage, ready for use.

  Attributes:
    frozen: its entry in `Context.frozen`.
    folder: of its run.
    step: iterations that its generator was trained for.
    checksum: of its arrays.
    finished: whether its run has ended.
  """

  frozen: dict[str, Any]
  folder: str
  step: int
  checksum: int
  finished: bool


def with_absolute_run(config: ConfigDict) -> ConfigDict:
  """A copy of the config in which the folder of the earlier run has its absolute path."""
  if not config.model.get("earlier_run"):
    return config
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.model.earlier_run = paths.absolute(config.model.earlier_run, "config.model.earlier_run")
  return config


def frozen_variables(
  config: ConfigDict,
  gan: VideoGan,
  workdir: str | os.PathLike,
  *,
  mesh: Mesh | None = None,
  training: bool = False,
  report: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Opens the earlier stages of a run; returns `Context.frozen`, which `Staged` explains.

  Args:
    config: of the run.
    gan: its system.
    workdir: its folder.
    mesh: devices to load onto; None is the first device alone.
    training: load what only training needs, too.
    report: called with lines for the user.

  Raises:
    UserError: an earlier run is missing, has another model or other classes, or no longer has the
      checkpoint that this run was trained on.
  """
  if not gan.stages:
    return {}
  mesh = mesh or meshes.make_mesh(jax.devices()[:1])
  opened = _open(config, gan, workdir, states.class_names(workdir), mesh, report)
  return _frozen(config, gan, opened, mesh, training)


def for_training(
  config: ConfigDict,
  gan: VideoGan,
  workdir: str | os.PathLike,
  class_names: Sequence[str],
  mesh: Mesh,
  report: Callable[[str], None] = print,
) -> tuple[dict[str, Any], dict[str, int]]:
  """As `frozen_variables`, for training on data whose classes have the names `class_names`.

  Returns:
    `Context.frozen`, and the record that `write_record` writes; both are {} without stages.

  Raises:
    UserError: see `frozen_variables`, or the earlier run is unfinished.
  """
  if not gan.stages:
    return {}, {}
  opened = _open(config, gan, workdir, class_names, mesh, report)
  if opened is None:
    return _frozen(config, gan, None, mesh, True), {}
  if not opened.finished and _record(workdir) is None:
    raise UserError(
      f"the earlier run in {opened.folder} is unfinished, at iteration {opened.step}; continue it, "
      f"or end it there with --config.num_iterations={opened.step}"
    )
  record = {"step": opened.step, "checksum": opened.checksum}
  return _frozen(config, gan, opened, mesh, True), record


def write_record(workdir: str | os.PathLike, record: dict[str, int]) -> None:
  """Writes the record of a run's earlier stage, in the first process; nothing if it is empty."""

  def write() -> None:
    if _record(workdir) == record:
      return
    try:
      with atomic_file(pathlib.Path(workdir) / RECORD) as temporary:
        pathlib.Path(temporary).write_text(json.dumps(record) + "\n", encoding="utf-8")
    except OSError as error:
      raise UserError(f"cannot write to {workdir}: {error.strerror or error}") from error

  if record:
    processes.in_first(write)


def copy_record(workdir: str | os.PathLike, folder: str | os.PathLike) -> None:
  """Copies what a run records of other runs to a folder with another of its checkpoints."""
  for name in (RECORD, states.INIT):
    path = pathlib.Path(workdir) / name
    if path.exists():
      with atomic_file(pathlib.Path(folder) / name) as temporary:
        pathlib.Path(temporary).write_bytes(path.read_bytes())


def _record(workdir: str | os.PathLike) -> dict[str, int] | None:
  """Which checkpoint of the earlier run the run in `workdir` was trained on; None if unknown."""
  if not Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS).steps():
    return None  # nothing was trained yet
  try:
    return json_files.read(pathlib.Path(workdir) / RECORD, _FORM)
  except FileNotFoundError:
    return None


def _frozen(
  config: ConfigDict, gan: VideoGan, opened: _Opened | None, mesh: Mesh, training: bool
) -> dict[str, Any]:
  frozen = {EARLIER: opened.frozen} if opened else {}
  if training and config.model.x_l_source == "folder":
    frozen[SAMPLES] = _samples(config.model.earlier_samples, gan.stages[EARLIER], mesh)
  return frozen


def _open(
  config: ConfigDict,
  gan: VideoGan,
  workdir: str | os.PathLike,
  class_names: Sequence[str],
  mesh: Mesh,
  report: Callable[[str], None],
) -> _Opened | None:
  """Opens the earlier stage and the stages before it; None if the config names no run."""
  if not gan.frozen_runs.get(EARLIER):
    if config.model.x_l_source == "real":
      return None
    raise UserError(
      "config.model.earlier_run is empty: name the folder of the earlier stage's finished run"
    )
  folder, stage = _locate(gan.frozen_runs[EARLIER], workdir), gan.stages[EARLIER]
  states.refuse_export(folder, "training a stage after it")
  try:
    of_run = states.read_config(folder)
  except UserError as error:
    name = pathlib.Path(gan.frozen_runs[EARLIER]).name
    raise UserError(
      f"the earlier stage is not there: {error}; put its run back, or put it beside {workdir} with "
      f"the name {name}"
    ) from error
  difference = stored_config.first_model_difference(of_run.model, config.model[EARLIER])
  if difference:
    raise UserError(
      f"the earlier run in {folder} has another model, so it is not the stage before this one: "
      f"{difference}"
    )
  _check_classes(folder, class_names)
  record = _record(workdir)
  average, vectors, step, checksum = _restore(folder, of_run, stage, record, mesh, report)
  if record and record["checksum"] != checksum:
    raise UserError(
      f"the earlier run in {folder} is not the one that the run in {workdir} was trained on: its "
      f"generator after {step} iterations differs"
    )
  weights = states.normalized_average(average, vectors, stage.spectral_eps)
  inner: dict[str, Any] = {}
  if stage.stages:
    own = dataclasses.replace(stage, frozen_runs={EARLIER: of_run.model.earlier_run})
    before = _open(of_run, own, folder, class_names, mesh, report)
    if before is None:
      raise UserError(
        f"the earlier run in {folder} was trained without an earlier run and draws no clips"
      )
    inner = {EARLIER: before.frozen}
  variables = {"params": weights, normalization.COLLECTION: average["batch_stats"]}
  frozen = {"variables": variables, "frozen": inner}
  return _Opened(frozen, folder, step, checksum, step >= of_run.num_iterations)


def _restore(
  folder: str,
  config: ConfigDict,
  stage: VideoGan,
  record: dict[str, int] | None,
  mesh: Mesh,
  report: Callable[[str], None],
) -> tuple[dict[str, Any], Any, int, int]:
  """Reads the averaged generator: parameters and statistics, power iteration, step, checksum."""
  like = states.abstract(stage, optimizers.build(config, stage.discriminators), config.seed, mesh)
  part = {
    "step": like.step,
    "generator": {"spectral": like.generator.spectral},
    "ema": {"params": like.ema.params, "batch_stats": like.ema.batch_stats},
  }
  wanted = record["step"] if record else None
  if wanted is None:
    states.mention_branch(folder, report)
  checkpoints = Checkpoints(pathlib.Path(folder) / states.CHECKPOINTS, report=report)
  restored = checkpoints.restore_part(like, part, wanted)
  checkpoints.close()
  if restored is None:
    missing = "no checkpoint yet" if wanted is None else f"no checkpoint at iteration {wanted} any"
    more = "" if wanted is None else " more, on which this run was trained"
    raise UserError(f"the earlier run in {folder} has {missing}{more}")
  arrays, step, checksum = restored
  return arrays["ema"], arrays["generator"]["spectral"], step, checksum


def _locate(run: str, workdir: str | os.PathLike) -> str:
  """The folder of an earlier run: its path, or a folder of the same name beside `workdir`."""
  run = paths.staged(run, "config.model.earlier_run")
  beside = pathlib.Path(os.path.abspath(workdir)).parent / pathlib.Path(run).name
  return run if os.path.isdir(run) or not beside.is_dir() else str(beside)


def _check_classes(folder: str, class_names: Sequence[str]) -> None:
  """UserError if labels mean other classes in the earlier run than in this one."""
  before = states.class_names(folder)
  if not before or not class_names:
    return
  if len(before) != len(class_names):
    raise UserError(
      f"the earlier run in {folder} has {len(before)} classes, this run has {len(class_names)}"
    )
  for label, (there, here) in enumerate(zip(before, class_names, strict=True)):
    if there != here:
      raise UserError(
        f"the earlier run in {folder} has other classes: class {label} is {there!r} there and "
        f"{here!r} here"
      )


def _samples(path: str, stage: VideoGan, mesh: Mesh) -> dict[str, jax.Array]:
  """Reads clips of the earlier stage that `sample` wrote: `SswGan.example_frozen` has the form."""
  path = paths.fetched(path, "config.model.earlier_samples")
  if os.path.isdir(path):
    path = os.path.join(path, "samples.npz")
  if not os.path.isfile(path):
    raise UserError(f"config.model.earlier_samples: {path}: no such file")
  with npz.open_npz(path, _SAMPLES_BYTES) as archive:
    clips, labels = archive.read("clips"), archive.read("labels")
  expected = (stage.frames, stage.resolution, stage.resolution, 3)
  if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[1:] != expected or not len(clips):
    raise UserError(
      f"{path}: expected uint8 clips [N, {', '.join(map(str, expected))}] of the earlier stage, "
      f"found {clips.dtype} {list(clips.shape)}"
    )
  classes = max(1, stage.num_classes)
  if labels.shape != clips.shape[:1] or labels.dtype.kind not in "iu":
    raise UserError(f"{path}: expected {len(clips)} integer labels")
  if labels.min() < 0 or labels.max() >= classes:
    raise UserError(f"{path}: a label is outside 0..{classes - 1}")
  arrays = {"clip": clips, "label": labels.astype(np.int32)}
  return meshes.replicate(arrays, mesh)
