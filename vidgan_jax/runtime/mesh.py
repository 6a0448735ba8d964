"""The device mesh and how state and batches lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vidgan_jax.runtime.errors import UserError

DATA = "data"


def make_mesh(devices=None) -> jax.sharding.Mesh:
  """A mesh with one axis, "data", over `devices` (default: all), ordered by (process, id).

  In this order the devices of a process are adjacent, so each process feeds one contiguous slice of
  the batch (`part_of_batch`). `jax.make_mesh` orders TPUs along their torus instead, which scatters
  the devices of a host on every v4, v5e, v5p and v6e slice of several hosts. With one axis the
  order does not change the collectives: XLA maps each onto the torus by itself.
  """
  devices = jax.devices() if devices is None else devices
  ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
  return jax.sharding.Mesh(np.asarray(ordered), (DATA,), axis_types=(AxisType.Auto,))


def platform(mesh: jax.sharding.Mesh | None = None) -> str:
  """What kind of devices a program is for: "cpu", "gpu" or "tpu".

  Whatever depends on the kind of device (the form of the arithmetic, the `auto` precision, compiler
  options) gets this name handed in. Nothing else asks for the backend of this process, because a
  program may be compiled here for other devices.

  Args:
    mesh: the devices; None is the default device of this process.
  """
  device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
  return device.platform


def replicated(mesh) -> NamedSharding:
  """The same array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh):
  """Puts arrays on every device; of several processes, each has the same ones and no other's."""
  whole = replicated(mesh)
  if jax.process_count() == 1:
    return jax.device_put(tree, whole)

  def put(array):
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
      words, kind = put(jax.random.key_data(array)), jax.random.key_impl(array)
      return jax.random.wrap_key_data(words, impl=kind)
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, whole, lambda index: array[index])

  return jax.tree.map(put, tree)


def batch_sharding(mesh, axis: int = 0) -> NamedSharding:
  """Array axis `axis` split over the devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))


def split_batch(array, mesh):
  """Under `jit`: constrains `array` [B, ...] to lie split over the devices, where B divides."""
  if not array.ndim or array.shape[0] % mesh.devices.size:
    return array
  return jax.lax.with_sharding_constraint(array, batch_sharding(mesh))


def spread(tree, places):
  """Gives every device a copy of its own of arrays that are whole or in parts.

  Args:
    tree: of arrays.
    places: the `NamedSharding` of each: whole, or split over the devices along one axis.

  Returns:
    arrays [devices, ...], a copy on each device, for `on_each_device`.

  The gradient by a copy stays on its device. Here, where copies are made, gradients are summed over
  the devices: once for each array, however often and in whatever folded form a network uses it,
  and into parts where the array lies in parts. Left to the compiler, each use has a sum of its own:
  twelve for a recurrent kernel, and 16 numbers for 9 of a folded one.
  """
  leaves, structure = jax.tree.flatten(tree)
  places = structure.flatten_up_to(places)
  mesh, specs = places[0].mesh, [place.spec for place in places]

  def copy(*parts):
    return tuple(_whole_copy(part, spec)[None] for part, spec in zip(parts, specs, strict=True))

  copies = jax.shard_map(
    copy, mesh=mesh, in_specs=tuple(specs), out_specs=(PartitionSpec(DATA),) * len(specs)
  )(*leaves)
  return structure.unflatten(copies)


def _whole_copy(part, spec):
  for axis, name in enumerate(spec):
    if name == DATA:
      return jax.lax.all_gather(part, DATA, axis=axis, tiled=True)
  return _to_varying(part, (DATA,))


def on_each_device(function, mesh):
  """Runs `function(weights, split, whole)` on each device with its own part of the batch.

  Args:
    function: takes a tree of weights, a tree of arrays [B, ...] of which each device gets its part,
      and a tree that each gets as it is; returns (split results, whole results), the latter equal
      on all devices (`mean_over_devices` makes them so).
    mesh: None or one device calls the function as it is; else weights are those of `spread`.
  """
  if mesh is None or mesh.devices.size == 1:
    return function
  split, whole = PartitionSpec(DATA), PartitionSpec()

  def own(weights, parts, given):
    return function(jax.tree.map(lambda copy: copy[0], weights), parts, given)

  return jax.shard_map(own, mesh=mesh, in_specs=(split, split, whole), out_specs=(split, whole))


def _varying(array) -> frozenset:
  """The mesh axes over which an array differs inside `on_each_device`."""
  kind = jax.typeof(array)
  return kind.vma if hasattr(kind, "vma") else kind.mat.varying  # JAX before 0.10, since


def _to_varying(array, axes: tuple[str, ...]):
  """`array`, allowed to differ over mesh axes over which it is equal so far."""
  if hasattr(jax.lax, "pcast"):
    return jax.lax.pcast(array, axes, to="varying")
  return jax.lax.pvary(array, axes)  # type: ignore[attr-defined]  # JAX before 0.8


def like_devices(array, other):
  """`array`, allowed to differ from device to device where `other` does (a scan's first state)."""
  axes = tuple(_varying(other) - _varying(array))
  return _to_varying(array, axes) if axes else array


def mean_over_devices(tree):
  """The mean over the devices inside `on_each_device`, elsewhere the arrays themselves."""
  varies = any(DATA in _varying(array) for array in jax.tree.leaves(tree))
  return jax.lax.pmean(tree, DATA) if varies else tree


def check_batch(batch_size: int, mesh, microbatch: int = 0) -> None:
  """UserError where a batch, or its micro-batches, cannot be split evenly over the mesh."""
  check_division(batch_size, mesh.devices.size, microbatch)


def check_division(batch_size: int, devices: int, microbatch: int = 0) -> None:
  """UserError where a batch, or its micro-batches, cannot be split evenly over so many devices."""
  if batch_size < 1:
    raise UserError(f"batch_size {batch_size} must be at least 1")
  if microbatch < 0:
    raise UserError(f"microbatch {microbatch} must be at least 0 (the whole batch at once)")
  if batch_size % devices:
    raise UserError(f"batch_size {batch_size} is not divisible by the number of devices, {devices}")
  if microbatch and batch_size % microbatch:
    raise UserError(f"batch_size {batch_size} is not divisible by microbatch {microbatch}")
  if microbatch % devices:
    raise UserError(f"microbatch {microbatch} is not divisible by the number of devices, {devices}")


def part_of_batch(mesh) -> tuple[int, int]:
  """Which slice of a batch this process feeds, as (index, number of slices).

  Raises:
    UserError: where processes have different numbers of devices on the mesh.
    ValueError: where the devices of a process are not adjacent on the mesh; those of `make_mesh`
      are.
  """
  processes = [device.process_index for device in mesh.devices.flat]
  order = list(dict.fromkeys(processes))
  counts = {process: processes.count(process) for process in order}
  if len(set(counts.values())) > 1:
    told = ", ".join(f"process {process} has {count}" for process, count in counts.items())
    raise UserError(f"every process needs the same number of devices, but {told}")
  if processes != [process for process in order for _ in range(counts[process])]:
    raise ValueError("the devices of a process are not adjacent on the mesh: use make_mesh")
  return order.index(jax.process_index()), len(order)


def put_batch(batch, mesh, axis: int = 1):
  """Places this process' part of a batch, {name: NumPy array}, split along `axis`.

  With one process that is the whole batch; with several, each hands in its own slice.
  """
  sharding = batch_sharding(mesh, axis)
  put = lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a))
  return jax.tree.map(put, batch)
