"""The device mesh and how state and batches lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vidgan_jax.runtime.errors import UserError

DATA = "data"


def make_mesh(devices=None) -> jax.sharding.Mesh:
  """A mesh with one axis, "data", over all devices."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh) -> NamedSharding:
  """The same array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh, axis: int = 0) -> NamedSharding:
  """Array axis `axis` split over the devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))


def split_batch(array, mesh):
  """Under `jit`: constrains `array` [B, ...] to lie split over the devices, where B divides."""
  if not array.ndim or array.shape[0] % mesh.devices.size:
    return array
  return jax.lax.with_sharding_constraint(array, batch_sharding(mesh))


def on_each_device(function, mesh):
  """Runs `function(weights, split, whole)` on each device with its own part of the batch.

  Args:
    function: weights are varied over (see below), `split` is a tree of arrays [B, ...] of which
      each device gets its part, `whole` a tree that each gets as it is. Returns (split results,
      whole results), the latter equal on all devices (`mean_over_devices` makes them so).
    mesh: None or one device calls the function as it is.

  The gradient by weights is summed over devices where they enter, once for each array, however
  often and in whatever folded form the function uses them. Left to the compiler, each use has a sum
  of its own: twelve for a recurrent kernel, and 16/9 of the numbers for a folded one.
  """
  if mesh is None or mesh.devices.size == 1:
    return function
  split, whole = PartitionSpec(DATA), PartitionSpec()

  def varied(weights, parts, given):
    return function(jax.tree.map(_vary, weights), parts, given)

  return jax.shard_map(varied, mesh=mesh, in_specs=(whole, split, whole), out_specs=(split, whole))


def _vary(array):
  return jax.lax.pcast(array, DATA, to="varying")


def _varying(array) -> frozenset:
  """The mesh axes over which an array differs inside `on_each_device`."""
  kind = jax.typeof(array)
  return kind.vma if hasattr(kind, "vma") else kind.mat.varying  # JAX before 0.10, since


def like_devices(array, other):
  """`array`, allowed to differ from device to device where `other` does (a scan's first state)."""
  axes = tuple(_varying(other) - _varying(array))
  return jax.lax.pcast(array, axes, to="varying") if axes else array


def mean_over_devices(tree):
  """The mean over the devices inside `on_each_device`, elsewhere the arrays themselves."""
  varies = any(DATA in _varying(array) for array in jax.tree.leaves(tree))
  return jax.lax.pmean(tree, DATA) if varies else tree


def check_batch(batch_size: int, mesh) -> None:
  """UserError where `batch_size` cannot be split evenly over the mesh."""
  devices = mesh.devices.size
  if batch_size < 1 or batch_size % devices:
    raise UserError(f"batch_size {batch_size} is not divisible by the number of devices, {devices}")


def put_batch(batch, mesh, axis: int = 1):
  """Places this process' part of a batch, {name: NumPy array}, split along `axis`.

  With one process that is the whole batch; with several, each hands in its own slice.
  """
  sharding = batch_sharding(mesh, axis)
  put = lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a))
  return jax.tree.map(put, batch)
