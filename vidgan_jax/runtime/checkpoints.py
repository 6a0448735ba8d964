"""Saves and restores checkpoints. No other module uses Orbax.

A checkpoint holds the training state, its step and the timers. It is written asynchronously and
gets its final name when it is complete. It stores a checksum of each array, computed on the array's
devices. `restore` compares them, and falls back to the previous checkpoint if one is damaged.
"""

import logging
import pathlib
import re
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.buckets import checkpoint_folders
from vidgan_jax.runtime.errors import Stopped, Unavailable, UserError, is_temporary
from vidgan_jax.runtime.files import json_files
from vidgan_jax.runtime.trees import checksum_on_host, checksums, first_non_finite, leaf_names

_SYSTEM_ERRORS = re.compile(
  "No space left on device|Disk quota exceeded|File too large|Input/output error|"
  "Read-only file system|Stale file handle|Too many open files"
)

# TensorStore's errors of a bucket begin with such a status; those of files name the reason.
_TEMPORARY = re.compile("UNAVAILABLE|DEADLINE_EXCEEDED|Input/output error|Stale file handle")


def _is_retrieved(record: logging.LogRecord) -> bool:
  """A filter for asyncio's log: drops reports of exceptions that no code has retrieved."""
  return "exception was never retrieved" not in record.getMessage()


def _kind(error: BaseException) -> type[UserError]:
  """The class of the error that tells the user of this one."""
  temporary = is_temporary(error) or _TEMPORARY.search(str(error))
  return Unavailable if temporary else UserError


def _first_line(error: BaseException) -> str:
  text = str(error).strip().splitlines()
  return (text[0] if text else type(error).__name__)[:200]


class Checkpoints:
  """The checkpoints of one run.

  Args:
    directory: folder of the checkpoints. The first save creates it.
    keep: number of newest checkpoints to keep, at least 2, so that `restore` has one to fall back
      on.
    report: called with each line for the user, such as a warning.
  """

  def __init__(self, directory, keep: int = 3, report=print):
    self.directory = pathlib.Path(directory).absolute()
    self._keep = max(2, keep)
    self._report = report
    self._manager = None
    self._last_saved: int | None = None
    self._folder = checkpoint_folders.open_folder(directory)

  def _open(self, create: bool):
    # Orbax logs every file at INFO and WARNING. It logs each error that it raises, with a traceback
    # of every thread, at ERROR. Set here and not on import, because absl.app.run resets the level.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs files that are absent
    # If a save fails, asyncio logs a traceback for each array. One of the errors is raised anyway.
    logging.getLogger("asyncio").addFilter(_is_retrieved)
    if self._manager is None:
      self._manager = ocp.CheckpointManager(
        self._folder.for_orbax(create),
        item_handlers={
          "state": ocp.StandardCheckpointHandler(),
          "extra": ocp.JsonCheckpointHandler(),
        },
        options=ocp.CheckpointManagerOptions(
          max_to_keep=self._keep,
          create=create,
          cleanup_tmp_directories=create,
          enable_async_checkpointing=True,
        ),
      )
    return self._manager

  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    return self._folder.steps()

  def save(self, step: int, state, timers: dict) -> None:
    """Begins to write the state after `step` iterations. Returns before it is on disk.

    Does nothing if there is a checkpoint at `step` already.

    Raises:
      UserError: this save or the previous one failed (such as a full disk). Older checkpoints stay.
      Stopped: the state contains a number that is not finite. It is not saved.
    """
    if step in self.steps():
      return
    self.wait()  # raises the errors of the previous save
    bad = first_non_finite(state)
    if bad:
      raise Stopped(f"stopped at iteration {step}: {bad} is not finite; this state is not saved")
    self._last_saved = step
    try:
      extra = {"step": step, "timers": timers, "checksums": checksums(state)}
      self._open(create=True).save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra)),
      )
    except Exception as error:
      raise self._failed(step, error) from error

  def read_back(self, step: int, state) -> None:
    """Waits until a checkpoint is saved, reads it back and verifies it.

    Compares names, shapes and types with the state, and the arrays with their checksums. The arrays
    are read into the host's memory, because the devices may not have room for a second state.

    Args:
      step: iteration of the checkpoint.
      state: the state that was saved, or its shapes.

    Raises:
      UserError: the save failed, or the checkpoint differs from what was saved.
    """
    # A new manager reads. In a bucket checkpoints have no temporary names, and the one that saved
    # takes its checkpoint for unfinished in all processes but process 0, which finishes it.
    self.close()
    processes.wait_for_all("checkpoint complete")
    fault = None
    try:
      manager = self._open(create=False)
      self._compare(manager.item_metadata(step).state.tree, state)
      placeholder = lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape)
      restored = manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(jax.tree.map(placeholder, state)),
          extra=ocp.args.JsonRestore(),
        ),
      )
      for name, old, leaf in zip(
        leaf_names(state),
        restored.extra["checksums"],
        jax.tree.leaves(restored.state),
        strict=True,
      ):
        if old != checksum_on_host(leaf):
          raise ValueError(f"the checksum of {name} does not match")
    except Exception as error:
      fault = error
    self.close()  # the next save opens one that may create folders
    if processes.where(fault is not None):
      reason = self._reason(fault) if fault else "another process could not read it"
      raise UserError(
        f"the checkpoint at iteration {step} in {self.directory} was written but cannot be read "
        f"back ({reason}); training stops, because it could not be continued from this checkpoint"
      ) from fault

  def check(self) -> None:
    """Raises UserError if an earlier save has failed. Does not wait."""
    try:
      if self._manager is not None:
        self._manager.check_for_errors()
    except Exception as error:
      raise self._failed(self._last_saved, error) from error

  def wait(self) -> None:
    """Waits until the current save is on disk; raises UserError if it failed."""
    try:
      if self._manager is not None:
        self._manager.wait_until_finished()
    except Exception as error:
      raise self._failed(self._last_saved, error) from error

  def _failed(self, step, error) -> UserError:
    """Removes the leftovers of a failed save; returns the error to raise."""
    if processes.first():
      self._folder.remove_unfinished()
    steps = self.steps()
    newest = (
      f"the checkpoint at iteration {steps[-1]} is unchanged" if steps else "there is none yet"
    )
    return _kind(error)(
      f"could not save the checkpoint at iteration {step} in {self.directory}: "
      f"{self._reason(error)}; {newest}"
    )

  def _reason(self, error) -> str:
    """The error in a few words, with the directory's name in place of its descriptor."""
    system = _SYSTEM_ERRORS.search(str(error))  # TensorStore writes several lines before it
    if system:
      return system[0]
    return self._folder.in_words(_first_line(error))

  def restore(self, like, step: int | None = None):
    """Restores the newest checkpoint that is not damaged.

    Args:
      like: a state of `jax.ShapeDtypeStruct`s with shardings, on any number of devices.
      step: restore this checkpoint only; None tries all of them, newest first.

    Returns:
      (state, timers), or None if there is no checkpoint.

    Raises:
      UserError: a checkpoint belongs to another model (the message names the first parameter that
        differs), or all checkpoints are damaged.
    """
    steps = self.steps() if step is None else [s for s in self.steps() if s == step]
    if not steps:
      if step is not None:
        raise UserError(
          f"no checkpoint at iteration {step} in {self.directory}; there are: "
          f"{', '.join(map(str, self.steps())) or 'none'}"
        )
      return None
    for candidate in reversed(steps):
      try:
        return self._restore(candidate, like)
      except UserError:
        raise
      except Exception as error:
        # The checkpoint may be intact.
        if _kind(error) is Unavailable or isinstance(error, (PermissionError, MemoryError)):
          raise _kind(error)(
            f"cannot read the checkpoint at iteration {candidate} in {self.directory}: "
            f"{self._reason(error)}"
          ) from error
        if "RESOURCE_EXHAUSTED" in str(error):
          raise UserError(
            f"not enough memory for the checkpoint at iteration {candidate}: {self._reason(error)}"
          ) from error
        if step is None and candidate not in self.steps():
          # A run that still trains has deleted it in the meantime, and has saved newer ones.
          return self.restore(like)
        self._report(
          f"WARNING: the checkpoint at iteration {candidate} is damaged ({self._reason(error)})"
        )
      if step is None and candidate != steps[0]:
        earlier = steps[steps.index(candidate) - 1]
        self._report(f"WARNING: falling back to the checkpoint at iteration {earlier}")
    raise UserError(f"all checkpoints in {self.directory} are damaged")

  def _restore(self, step, like):
    fault, restored = None, None
    try:
      manager = self._open(create=False)
      self._compare(manager.item_metadata(step).state.tree, like)
      restored = manager.restore(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardRestore(like), extra=ocp.args.JsonRestore()),
      )
    except Exception as error:
      fault = error
    failed, others = processes.where(fault is not None), processes.where(fault is None)
    if failed and others:
      # Every process reads names and shapes, so damage there would fail in all of them.
      reason = f": {self._reason(fault)}" if fault else ""
      raise UserError(
        f"process {failed[0]} could not read its part of the checkpoint at iteration {step} in "
        f"{self.directory}, but other processes could read theirs{reason}; nothing was changed. If "
        f"a file is damaged, rename the folder {step}, and the run continues from the previous "
        "checkpoint"
      ) from fault
    if fault:
      raise fault
    state, extra = restored.state, restored.extra
    if not json_files.fits(extra, {"timers": {"seconds": float}, "checksums": [int]}):
      raise ValueError("its timers or checksums are damaged")
    for name, old, new in zip(leaf_names(state), extra["checksums"], checksums(state), strict=True):
      if old != new:
        raise ValueError(f"the checksum of {name} does not match")
    if int(state.step) != step:
      raise ValueError(f"it contains the state after {int(state.step)} iterations")
    return state, extra["timers"]

  def restore_part(self, like, part, step: int | None = None):
    """Restores some arrays of one checkpoint; the others are not read.

    Args:
      like: the shapes of the whole state; see `restore`.
      part: nested dictionaries with some leaves of `like`, at the same names.
      step: the checkpoint; None is the newest.

    Returns:
      (part, step, checksum): arrays in place of shapes, the iteration, a number that differs where
      the arrays do. None if there is no such checkpoint.

    Raises:
      UserError: the checkpoint belongs to another model, or is damaged.
    """
    steps = self.steps() if step is None else [s for s in self.steps() if s == step]
    if not steps:
      return None
    try:
      manager = self._open(create=False)
      self._compare(manager.item_metadata(steps[-1]).state.tree, like)
      only_extra = ocp.args.Composite(extra=ocp.args.JsonRestore())
      extra = manager.restore(steps[-1], args=only_extra).extra
      args = ocp.args.PyTreeRestore(
        item=part,
        restore_args=ocp.checkpoint_utils.construct_restore_args(part),
        partial_restore=True,
      )
      with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(
          self._folder.for_orbax(False) / str(steps[-1]) / "state", args=args
        )
      stored = dict(zip(leaf_names(like), extra["checksums"], strict=True))
      sums = checksums(restored)
      for name, new in zip(leaf_names(restored), sums, strict=True):
        if stored[name] != new:
          raise ValueError(f"the checksum of {name} does not match")
    except UserError:
      raise
    except Exception as error:
      raise _kind(error)(
        f"cannot read the checkpoint at iteration {steps[-1]} in {self.directory}: "
        f"{self._reason(error)}"
      ) from error
    return restored, steps[-1], zlib.crc32(repr(sums).encode())

  def _compare(self, saved, like):
    """Raises UserError on the first array, by name, that is missing or differs in shape or type."""
    stored = {
      name: (tuple(leaf.shape), str(leaf.dtype))
      for name, leaf in zip(leaf_names(saved), jax.tree.leaves(saved), strict=True)
    }
    wanted = {
      name: (tuple(leaf.shape), str(leaf.dtype))
      for name, leaf in zip(leaf_names(like), jax.tree.leaves(like), strict=True)
    }
    for name in sorted({*stored, *wanted}):
      if stored.get(name) != wanted.get(name):
        describe = lambda entry: "absent" if entry is None else f"{entry[1]} {list(entry[0])}"
        raise UserError(
          f"the checkpoint in {self.directory} belongs to another model: {name} is "
          f"{describe(stored.get(name))} there and {describe(wanted.get(name))} here"
        )

  def set_aside(self, after: int) -> None:
    """Renames damaged checkpoints to STEP.damaged, so that STEP can be saved again. Collective.

    Args:
      after: iteration of the checkpoint that was restored. All newer ones are renamed.
    """
    self.close()
    processes.wait_for_all("checkpoints read")
    for step in self.steps() if processes.first() else ():
      if step > after:
        self._folder.set_aside(step)
    processes.wait_for_all("checkpoints set aside")

  def remove(self, step: int) -> None:
    """Removes a checkpoint that `wait` or another process has completed."""
    self._folder.remove(step)

  def close(self) -> None:
    """Waits until the current save is on disk, and closes Orbax's manager."""
    self.wait()
    if self._manager is not None:
      self._manager.close()
      self._manager = None

  def __enter__(self):
    """Opens a `with` statement, whose end closes the checkpoints."""
    return self

  def __exit__(self, *error):
    self.close()
