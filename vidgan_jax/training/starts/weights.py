"""Begins a run with the weights of another run, or of an exported model.

What is taken, and what is not, is decided by `matching`. Iterations count from 0, optimizers begin
anew. The state is saved at once as the checkpoint at iteration 0, so that the run never needs the
other model again: it may be moved, trained further or deleted. `init.json` in the workdir records
where the weights come from.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

import vidgan_jax.training.state as states
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, paths
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.runtime.trees import leaf_names
from vidgan_jax.training.starts import matching
from vidgan_jax.training.state import TrainState

_FORM = {"source": str, "kind": str, "step": range(0, 2**31), "fingerprint": str}
_LISTED = 8  # lines on the screen; init.json lists all


@dataclasses.dataclass(frozen=True)
class _Opened:
  """Another model, of which nothing is read yet.

  Attributes:
    folder: its absolute path.
    kind: "run" or "exported model".
    step: iterations that it was trained for.
    class_names: by label; () if it has no classes, or does not record their names.
    shapes: {name: shape and type} of its arrays, see `matching.arrays`.
    read: a function of names that returns {name: array}, on every device, and a text that differs
      where the arrays do.
  """

  folder: str
  kind: str
  step: int
  class_names: tuple[str, ...]
  shapes: matching.Shapes
  read: Callable[[Sequence[str]], tuple[dict[str, jax.Array], str]]


class InitialWeights:
  """The weights of another model, for the first state of a run; see `for_training`."""

  def __init__(self, opened: _Opened, plan: matching.Plan, like: TrainState):
    self._opened, self._plan, self._like = opened, plan, like

  def lines(self) -> list[str]:
    """Lines for the user: where the weights come from, and what is not taken."""
    plan, opened = self._plan, self._opened
    own = {n: a for n, a in matching.arrays(self._like).items() if _is_own_parameter(n)}
    size = lambda names: sum(math.prod(own[n].shape) for n in names if n in own)
    whole, every = size(plan.whole), size(own)
    lines = [
      f"beginning with the weights of the {opened.kind} {opened.folder} at iteration "
      f"{opened.step}: {whole:,} of {every:,} parameters are taken"
    ]
    if plan.rows:
      lines.append(f"rows of class embeddings are taken for: {', '.join(plan.classes)}")
    left = [f"not taken: {name} ({why})" for name, why in plan.left.items() if name in own]
    lines += left if len(left) <= _LISTED + 1 else left[:_LISTED]
    if len(left) > _LISTED + 1:
      lines.append(f"not taken: {len(left) - _LISTED} more arrays, see {states.INIT}")
    return lines

  def into(self, state: TrainState, workdir: str | os.PathLike) -> TrainState:
    """Returns a new run's random state with the weights in it, and writes `init.json`.

    Raises:
      UserError: the other model cannot be read any more, or the record cannot be written.
    """
    plan = self._plan
    taken, fingerprint = self._opened.read(plan.taken)
    fresh = matching.arrays(state)
    tables = {name: fresh[name] for name in plan.rows}

    def merge(tables: dict[str, jax.Array], taken: dict[str, jax.Array]) -> dict[str, jax.Array]:
      return {
        name: matching.merged(tables.get(name), array, plan.rows.get(name), fresh_types[name])
        for name, array in taken.items()
      }

    fresh_types = {name: fresh[name].dtype for name in taken}
    shardings = {name: fresh[name].sharding for name in taken}
    merged = jax.jit(merge, out_shardings=shardings)(tables, taken)
    leaves = zip(leaf_names(state), jax.tree.leaves(state), strict=True)
    leaves = [merged.get(name, leaf) for name, leaf in leaves]
    processes.in_first(lambda: _write(workdir, self._record(fingerprint)))
    return jax.tree.unflatten(jax.tree.structure(state), leaves)

  def _record(self, fingerprint: str) -> dict[str, Any]:
    plan, opened = self._plan, self._opened
    return {
      "source": opened.folder,
      "kind": opened.kind,
      "step": opened.step,
      "fingerprint": fingerprint,
      "classes": list(plan.classes),
      "taken": list(plan.whole),
      "rows_of_classes": list(plan.rows),
      "not_taken": dict(plan.left),
      "unused": list(plan.unused),
    }


def for_training(
  init_from: str | None,
  workdir: str | os.PathLike,
  config: ConfigDict,
  like: TrainState,
  class_names: Sequence[str],
  mesh: Mesh,
  open_export: Callable[[str], Any] | None = None,
  report: Callable[[str], None] = print,
) -> InitialWeights | None:
  """Opens the model that a new run begins with, and compares it with the run's.

  Args:
    init_from: folder of a run or of an exported model; None begins with random weights.
    workdir: folder of the run.
    config: its config.
    like: its shapes, see `state.abstract`.
    class_names: names of its classes by label.
    mesh: devices of the run.
    open_export: opens the folder of an exported model (`sampling.exported.Exported`).
    report: called with lines for the user.

  Returns:
    None if the run begins with random weights, or has a checkpoint, from which it continues.

  Raises:
    UserError: there is no model, nothing in it fits, or the run in `workdir` did not begin with it.
  """
  workdir = pathlib.Path(workdir)
  if Checkpoints(workdir / states.CHECKPOINTS).steps():
    _check_same(init_from, workdir, report)
    return None
  if init_from is None:
    return None
  folder = _folder(init_from)
  if os.path.realpath(folder) == os.path.realpath(workdir):
    raise UserError(f"--init_from is {folder}, the folder of this run; it must be another one")
  if states.is_export(folder):
    opened = _of_export(folder, open_export, mesh)
  else:
    opened = _of_run(folder, mesh)
    states.mention_branch(folder, report)
  axes = matching.class_axes(config, meshes.platform(mesh))
  here = matching.arrays(like)
  plan = matching.plan(here, opened.shapes, axes, class_names, opened.class_names)
  if not any(_is_own_parameter(name) for name in plan.taken):
    raise UserError(
      f"--init_from: no array of the {opened.kind} {folder} fits this model by name and shape"
    )
  weights = InitialWeights(opened, plan, like)
  for line in weights.lines():
    report(line)
  return weights


def remove_record(workdir: str | os.PathLike) -> None:
  """Removes the record of a run that stopped before its first checkpoint and now begins anew."""
  processes.in_first(lambda: (pathlib.Path(workdir) / states.INIT).unlink(missing_ok=True))


def _is_own_parameter(name: str) -> bool:
  """Whether an array is a parameter of a network; the average's copies do not count."""
  return matching.collection(name) == matching.PARAMS and not name.startswith("ema/")


def _folder(init_from: str) -> str:
  if not init_from:
    raise UserError("--init_from is empty; name the folder of a run or of an exported model")
  return os.path.abspath(paths.run(init_from, "--init_from"))


def _check_same(init_from: str | None, workdir: pathlib.Path, report: Callable) -> None:
  """UserError if the run in `workdir`, which has checkpoints, did not begin with `init_from`."""
  try:
    record = json_files.read(workdir / states.INIT, _FORM)
  except FileNotFoundError:
    record = None
  if record is None and init_from is not None:
    raise UserError(
      f"{workdir} holds a run that began with random weights; --init_from={init_from} needs a new "
      "folder"
    )
  if record is None:
    return
  if init_from is not None and _folder(init_from) != record["source"]:
    raise UserError(
      f"{workdir} holds a run that began with the weights of {record['source']}, not of "
      f"--init_from={init_from}; leave the flag out to continue this run, or train in a new folder"
    )
  report(f"this run began with the weights of {record['source']} at iteration {record['step']}")


def _of_run(folder: str, mesh: Mesh) -> _Opened:
  """Opens a run at its newest checkpoint."""
  config = states.read_config(folder)
  _, like = states.described(folder, config, mesh)
  steps = Checkpoints(pathlib.Path(folder) / states.CHECKPOINTS).steps()
  if not steps:
    raise UserError(f"--init_from: the run in {folder} has no checkpoint yet")
  step = steps[-1]
  shapes = matching.arrays(like)

  def read(names: Sequence[str]) -> tuple[dict[str, jax.Array], str]:
    with Checkpoints(pathlib.Path(folder) / states.CHECKPOINTS) as checkpoints:
      restored = checkpoints.restore_part(like, _nested({n: shapes[n] for n in names}), step)
    if restored is None:
      raise UserError(f"--init_from: the run in {folder} has deleted its checkpoint {step}")
    return matching.arrays(restored[0]), f"{restored[2]:08x}"

  return _Opened(folder, "run", step, states.class_names(folder), shapes, read)


def _of_export(folder: str, open_export: Callable[[str], Any] | None, mesh: Mesh) -> _Opened:
  """Opens an exported model, which has the average of the generator and nothing else."""
  if open_export is None:
    raise UserError(f"--init_from: {folder} is an exported model, which only the command opens")
  model = open_export(folder)
  found = matching.arrays(model.state)

  def read(names: Sequence[str]) -> tuple[dict[str, jax.Array], str]:
    chosen = {name: jax.device_get(found[name]) for name in names}
    return meshes.replicate(chosen, mesh), model.fingerprint

  step = int(model.state.step)
  return _Opened(folder, "exported model", step, states.class_names(folder), found, read)


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
  """Nested dictionaries with the leaves at "a/b/c"."""
  tree: dict[str, Any] = {}
  for name, leaf in flat.items():
    *path, last = name.split("/")
    part = tree
    for step in path:
      part = part.setdefault(step, {})
    part[last] = leaf
  return tree


def _write(workdir: str | os.PathLike, record: dict[str, Any]) -> None:
  with atomic_file(pathlib.Path(workdir) / states.INIT) as temporary:
    text = json.dumps(record, indent=2) + "\n"
    pathlib.Path(temporary).write_text(text, encoding="utf-8")
