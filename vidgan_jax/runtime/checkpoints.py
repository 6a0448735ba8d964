"""Checkpoints: the one module that knows Orbax.

A checkpoint holds the state, its step and the timers. It is written asynchronously and appears
under its final name when complete. Every array carries a checksum, computed where it lives, so that
a damaged checkpoint is known as such and the one before it is taken.
"""

import logging
import pathlib
import shutil

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.trees import leaf_names

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax reports every file at INFO and WARNING


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


def checksums(tree) -> list[int]:
  """One number per leaf, the same on any number of devices."""
  leaves = jax.tree.leaves(tree)
  mesh = getattr(getattr(leaves[0], "sharding", None), "mesh", None)
  # Whole on every device: a process sees no other's part.
  whole = mesh and jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return [int(v) for v in jax.device_get(jax.jit(_all_checksums, out_shardings=whole)(leaves))]


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
    self._last_saved = None

  def _open(self, create: bool):
    if self._manager is None:
      self._manager = ocp.CheckpointManager(
        self.directory,
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
    return sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdigit())

  def save(self, step: int, state, timers: dict) -> None:
    """Begins to write the state after `step` iterations; returns before it is on disk.

    Raises:
      UserError: where this or the save before it failed (a full disk); older checkpoints stay.
    """
    if step in self.steps():
      return
    try:
      manager = self._open(create=True)
      manager.wait_until_finished()
      extra = {"step": step, "timers": timers, "checksums": checksums(state)}
      manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra)),
      )
      self._last_saved = step
    except Exception as error:
      raise self._failed(step, error) from error

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
      f"{_first_line(error)}; {kept}"
    )

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
          f"{_first_line(error)}"
        ) from error
      except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):
          raise UserError(
            f"no memory for the checkpoint at iteration {candidate}: {_first_line(error)}"
          ) from error
        self._report(
          f"WARNING: the checkpoint at iteration {candidate} is damaged ({_first_line(error)})"
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
    # Each process reads its own part: what one cannot read, none of them has.
    if not processes.all_agree(fault is None):
      raise fault or ValueError("another process could not read its part")
    state, extra = restored.state, restored.extra
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
