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
