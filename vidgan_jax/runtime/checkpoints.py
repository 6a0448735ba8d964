"""Checkpoints: the one module that knows Orbax.

A checkpoint holds the state, its step and the timers. It is written asynchronously and appears
under its final name when complete. Every array carries a checksum, computed where it lives, so that
a damaged checkpoint is known as such and the one before it is taken.
"""

import logging
import os
import pathlib
import re
import shutil
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.files import json_files
from vidgan_jax.runtime.trees import leaf_names

# Orbax takes the first four for patterns of several files, TensorStore the backslash for a slash.
_ODD = re.compile(r"[*?\[\]\\]")
_DESCRIPTORS = pathlib.Path("/proc/self/fd")
_SYSTEM = re.compile(
  "No space left on device|Disk quota exceeded|File too large|Input/output error|"
  "Read-only file system|Stale file handle|Too many open files"
)
_BLOCK = 1 << 24  # numbers whose checksum is taken at a time, on the host
_NAME = re.compile(r"0|[1-9][0-9]*")


def _checksum(array):
  """Sum of the array's 32-bit words times odd weights, modulo 2**32: one flipped bit shows."""
  bits = (
    array
    if array.dtype == jnp.bool_
    else jax.lax.bitcast_convert_type(
      array, jnp.uint32 if array.dtype.itemsize >= 4 else jnp.uint16
    )
  )
  bits = bits.ravel().astype(jnp.uint32)
  return jnp.sum(bits * (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1), dtype=jnp.uint32)


def _all_checksums(leaves):
  return jnp.stack([_checksum(leaf) for leaf in leaves])


def _all_finite(leaves):
  return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def _of_each(function, tree):
  """Numbers of a tree's leaves, on the host of every process."""
  leaves = jax.tree.leaves(tree)
  mesh = getattr(getattr(leaves[0], "sharding", None), "mesh", None)
  # Whole on every device: a process sees no other's part.
  whole = mesh and jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.device_get(jax.jit(function, out_shardings=whole)(leaves)).tolist()


def checksums(tree) -> list[int]:
  """One number per leaf, the same on any number of devices."""
  return _of_each(_all_checksums, tree)


def first_non_finite(tree) -> str | None:
  """The name of the first leaf that holds a number that is not finite."""
  finite = _of_each(_all_finite, tree)
  return next((name for name, good in zip(leaf_names(tree), finite, strict=True) if not good), None)


def _is_retrieved(record: logging.LogRecord) -> bool:
  """A filter of asyncio's log that drops errors which nobody has asked for."""
  return "exception was never retrieved" not in record.getMessage()


def _checksum_on_host(array: np.ndarray) -> int:
  """`_checksum` of an array of NumPy."""
  array = np.ascontiguousarray(array)
  kind = None if array.dtype == np.bool_ else np.uint32 if array.dtype.itemsize >= 4 else np.uint16
  bits, total = (array if kind is None else array.view(kind)).ravel(), 0
  for begin in range(0, bits.size, _BLOCK):
    block = bits[begin : begin + _BLOCK].astype(np.uint32)
    weights = 2 * np.arange(begin, begin + block.size, dtype=np.uint32) + np.uint32(1)
    total += int(np.sum(block * weights, dtype=np.uint32))
  return total % 2**32


def _taken_as_is(path: str) -> bool:
  """Whether Orbax and TensorStore open, by this path, the file that Python opens by it.

  TensorStore encodes paths as UTF-8, Python as the locale does (ISO-8859-1 and others). Bytes that
  are no text cannot be given to it at all.
  """
  try:
    return not _ODD.search(path) and os.fsencode(path) == path.encode("utf-8")
  except UnicodeEncodeError:
    return False


def _first_line(error: BaseException) -> str:
  text = str(error).strip().splitlines()
  return (text[0] if text else type(error).__name__)[:200]


class Checkpoints:
  """The checkpoints of one run.

  Args:
    directory: where they lie, created on the first save.
    keep: how many of the newest stay; at least 2, so that one can be fallen back on.
    report: called with one line for what the user should know.
  """

  def __init__(self, directory, keep: int = 3, report=print):
    self.directory = pathlib.Path(directory).absolute()
    self._keep = max(2, keep)
    self._report = report
    self._manager = None
    self._last_saved: int | None = None
    self._alias: int | None = None  # a descriptor of the directory, see `_path`

  def _path(self, create: bool) -> pathlib.Path:
    """The directory by a name that Orbax and TensorStore take as it is."""
    if _taken_as_is(str(self.directory)):
      return self.directory
    if self._alias is None:
      if not _DESCRIPTORS.is_dir():
        raise UserError(
          f"checkpoints cannot lie in {str(self.directory)!r} on this system; a path without "
          "* ? [ ] and backslashes is needed, and without accents where the locale is not UTF-8"
        )
      if create:
        self.directory.mkdir(parents=True, exist_ok=True)
      self._alias = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
      self._let_go = weakref.finalize(self, os.close, self._alias)
    return _DESCRIPTORS / str(self._alias)

  def _open(self, create: bool):
    # Orbax reports every file at INFO and WARNING, and what it then raises, with each thread's
    # traceback, at ERROR. Now and not on import: whoever runs by absl sets the level anew.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    # Of a save that fails each array's error is logged with a traceback; one of them is raised.
    logging.getLogger("asyncio").addFilter(_is_retrieved)
    if self._manager is None:
      self._manager = ocp.CheckpointManager(
        self._path(create),
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
    if not self.directory.is_dir():
      return []
    return sorted(int(p.name) for p in self.directory.iterdir() if _NAME.fullmatch(p.name))

  def save(self, step: int, state, timers: dict) -> None:
    """Begins to write the state after `step` iterations; returns before it is on disk.

    Raises:
      UserError: where this or the save before it failed (a full disk); older checkpoints stay.
      Stopped: where the state holds a number that is not finite; it is not saved.
    """
    if step in self.steps():
      return
    self.wait()  # what fails there is the save before
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
    """Waits for a checkpoint and compares what can be read of it with the state it was made of.

    It is read into the host's memory, whole, for the devices' may not hold a second state.

    Args:
      step: of the checkpoint.
      state: as it was saved, or its shapes.

    Raises:
      UserError: where saving it failed, or it does not hold names, shapes and numbers of the state.
    """
    self.wait()
    fault = None
    try:
      manager = self._open(create=False)
      self._compare(manager.item_metadata(step).state.tree, state)
      nothing = lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape)
      restored = manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(jax.tree.map(nothing, state)),
          extra=ocp.args.JsonRestore(),
        ),
      )
      for name, old, leaf in zip(
        leaf_names(state),
        restored.extra["checksums"],
        jax.tree.leaves(restored.state),
        strict=True,
      ):
        if old != _checksum_on_host(leaf):
          raise ValueError(f"the checksum of {name} does not fit")
    except Exception as error:
      fault = error
    if processes.where(fault is not None):
      reason = self._reason(fault) if fault else "another process could not read it"
      raise UserError(
        f"the checkpoint at iteration {step} in {self.directory} was written but cannot be read "
        f"back ({reason}); training stops, for it could not be continued"
      ) from fault

  def check(self) -> None:
    """Raises UserError where a save begun earlier has failed."""
    try:
      if self._manager is not None:
        self._manager.check_for_errors()
    except Exception as error:
      raise self._failed(self._last_saved, error) from error

  def wait(self) -> None:
    """Waits until what was begun is on disk; UserError where it failed."""
    try:
      if self._manager is not None:
        self._manager.wait_until_finished()
    except Exception as error:
      raise self._failed(self._last_saved, error) from error

  def _failed(self, step, error):
    if processes.first():
      for leftover in self.directory.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)
    good = self.steps()
    kept = f"the checkpoint at iteration {good[-1]} is untouched" if good else "there is none yet"
    return UserError(
      f"could not save the checkpoint at iteration {step} in {self.directory}: "
      f"{self._reason(error)}; {kept}"
    )

  def _reason(self, error) -> str:
    """What an error says, by the directory's own name."""
    system = _SYSTEM.search(str(error))  # behind lines of TensorStore's own
    if system:
      return system[0]
    text = _first_line(error)
    return text.replace(str(self._path(False)), str(self.directory)) if self._alias else text

  def restore(self, like, step: int | None = None):
    """Restores the newest sound checkpoint.

    Args:
      like: a state of `jax.ShapeDtypeStruct`s with shardings; any number of devices.
      step: this one and no other.

    Returns:
      (state, timers), or None where there is no checkpoint at all.

    Raises:
      UserError: where a checkpoint belongs to another model (names the first differing
        parameter), or none of those there is sound.
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
      except (PermissionError, MemoryError) as error:  # says nothing about the checkpoint
        raise UserError(
          f"cannot read the checkpoint at iteration {candidate} in {self.directory}: "
          f"{self._reason(error)}"
        ) from error
      except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):
          raise UserError(
            f"no memory for the checkpoint at iteration {candidate}: {self._reason(error)}"
          ) from error
        if step is None and candidate not in self.steps():
          # The run that saves here has removed it meanwhile, and has newer ones.
          return self.restore(like)
        self._report(
          f"WARNING: the checkpoint at iteration {candidate} is damaged ({self._reason(error)})"
        )
      if step is None and candidate != steps[0]:
        earlier = steps[steps.index(candidate) - 1]
        self._report(f"WARNING: falling back to the checkpoint at iteration {earlier}")
    raise UserError(f"no sound checkpoint in {self.directory}")

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
      # Damage would be seen by all: names and shapes are read by each.
      reason = f": {self._reason(fault)}" if fault else ""
      raise UserError(
        f"process {failed[0]} could not read its part of the checkpoint at iteration {step} in "
        f"{self.directory}, which other processes could{reason}; nothing was changed. Where a file "
        f"is damaged, rename {step} there, and the run continues from the checkpoint before"
      ) from fault
    if fault:
      raise fault
    state, extra = restored.state, restored.extra
    if not json_files.fits(extra, {"timers": {"seconds": float}, "checksums": [int]}):
      raise ValueError("its timers or checksums are damaged")
    for name, old, new in zip(leaf_names(state), extra["checksums"], checksums(state), strict=True):
      if old != new:
        raise ValueError(f"the checksum of {name} does not fit")
    if int(state.step) != step:
      raise ValueError(f"it holds the state after {int(state.step)} iterations")
    return state, extra["timers"]

  def _compare(self, saved, like):
    """UserError on the first array, by name, that differs in presence, shape or type."""
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
        tell = lambda entry: "absent" if entry is None else f"{entry[1]} {list(entry[0])}"
        raise UserError(
          f"the checkpoint in {self.directory} belongs to another model: {name} is "
          f"{tell(stored.get(name))} there and {tell(wanted.get(name))} here"
        )

  def set_aside(self, after: int) -> None:
    """Renames damaged checkpoints newer than `after`, so that their steps can be saved anew."""
    self.close()
    processes.meet("checkpoints read")
    for step in self.steps() if processes.first() else ():
      if step > after:
        target = self.directory / f"{step}.damaged"
        shutil.rmtree(target, ignore_errors=True)
        (self.directory / str(step)).rename(target)
    processes.meet("checkpoints set aside")

  def close(self) -> None:
    """Waits for what was begun and lets go."""
    self.wait()
    if self._manager is not None:
      self._manager.close()
      self._manager = None

  def __enter__(self):
    """Closes at the end of a `with` statement."""
    return self

  def __exit__(self, *error):
    self.close()
