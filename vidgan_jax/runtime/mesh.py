"""The device mesh, and how weights and batches are distributed over it."""

import collections

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vidgan_jax.runtime.errors import UserError

DATA = "data"
STAGES = ("processes", "devices_of_process")  # axes of a mesh for collectives in two stages
_IN_STAGES = 64  # devices from which on sums of gradients take two stages


def make_mesh(devices=None) -> jax.sharding.Mesh:
  """A mesh with one axis, "data", over `devices` (default: all), ordered by (process, id).

  In this order the devices of a process are adjacent, so each process feeds one contiguous slice of
  the batch (`part_of_batch`). `jax.make_mesh` orders TPUs along their torus instead, which scatters
  the devices of a host on every v4, v5e, v5p and v6e slice of several hosts. XLA maps each
  collective over all devices onto the torus by itself; those of `in_stages` follow this order.
  """
  devices = jax.devices() if devices is None else devices
  ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
  return jax.sharding.Mesh(np.asarray(ordered), (DATA,), axis_types=(AxisType.Auto,))


def platform(mesh: jax.sharding.Mesh | None = None) -> str:
  """The kind of devices that a program is for: "cpu", "gpu" or "tpu".

  Code that depends on the kind of device (the form of the arithmetic, the precision "auto",
  compiler options) receives this name as an argument. No other code asks for the backend of this
  process, because a program may be compiled here for other devices.

  Args:
    mesh: the devices; None is the default device of this process.
  """
  device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
  return device.platform


def replicated(mesh) -> NamedSharding:
  """The sharding of an array that every device holds completely."""
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh):
  """Copies arrays to every device of the mesh. Every process must pass identical arrays."""
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
  """The sharding of an array whose axis `axis` is split over the devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))


def split_batch(array, mesh):
  """Under `jit`: constrains `array` [B, ...] to be split over the devices along its first axis.

  Returns `array` itself if B is not divisible by the number of devices.
  """
  if not array.ndim or array.shape[0] % mesh.devices.size:
    return array
  return jax.lax.with_sharding_constraint(array, batch_sharding(mesh))


def spread(tree, shardings):
  """Copies weights to every device, along a new first axis.

  The transposed operation sums gradients over the devices. The gradient of a copy stays on its
  device until then. So each weight has one sum per backward pass, however often a network uses it,
  and the sum of a sharded weight is sharded too. The compiler alone would sum the gradient of each
  use: once per time step for a recurrent kernel, and 16 numbers instead of 9 for a folded 3x3 one.

  Args:
    tree: the weights.
    shardings: the `NamedSharding` of each weight: replicated, or split along one axis.

  Returns:
    A tree of arrays [devices, ...] with one copy on each device, for `on_each_device`.
  """
  leaves, structure = jax.tree.flatten(tree)
  shardings = structure.flatten_up_to(shardings)
  mesh = in_stages(shardings[0].mesh)
  axes = mesh.axis_names
  renamed = lambda spec: PartitionSpec(*[axes if name == DATA else name for name in spec])
  specs = [renamed(sharding.spec) for sharding in shardings]

  def copy(*parts):
    return tuple(_gathered(part, spec, axes)[None] for part, spec in zip(parts, specs, strict=True))

  copies = jax.shard_map(
    copy, mesh=mesh, in_specs=tuple(specs), out_specs=(PartitionSpec(axes),) * len(specs)
  )(*leaves)
  return structure.unflatten(copies)


def in_stages(mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
  """The same devices with one mesh axis for each stage of a collective: processes, then devices.

  XLA's compiler for TPUs (libtpu 0.0.42) makes an all-reduce of a reduce-scatter over 64 devices or
  more, which sends twice the bytes. It keeps the reduce-scatters of two stages, over the processes
  and over the devices of a process, also with 64 processes (v5e 16x16). For a 3x3 kernel of 2048
  channels on v5e 8x8 it expects 0.23 instead of 0.42 ms. The two all-gathers of the weights take
  4 % more than one.

  Returns:
    `mesh` itself, with one axis, for other hardware, for fewer than 64 devices, and if processes
    have different numbers of devices, which `part_of_batch` refuses.
  """
  devices = mesh.devices.reshape(-1)
  each = collections.Counter(device.process_index for device in devices)
  if platform(mesh) != "tpu" or devices.size < _IN_STAGES or len(set(each.values())) > 1:
    return mesh
  sizes = (len(each), devices.size // len(each))
  return jax.sharding.Mesh(devices.reshape(sizes), STAGES, axis_types=(AxisType.Auto,) * 2)


def _gathered(part, spec, axes):
  """The whole array on this device, from this device's part."""
  for axis, name in enumerate(spec):
    if name is not None:
      for stage in reversed(axes):
        part = jax.lax.all_gather(part, stage, axis=axis, tiled=True)
      return part
  return _to_varying(part, axes)


def on_each_device(function, mesh):
  """Wraps a function so that each device runs it on its part of the batch.

  Args:
    function: takes (weights, split, shared): a tree of weights, a tree of arrays [B, ...] of which
      each device receives its part, and a tree that all devices receive completely. Returns
      (split results, shared results). The shared results must be equal on all devices;
      `mean_over_devices` makes them so.
    mesh: the devices.

  Returns:
    A function of the same arguments; its weights are the result of `spread`. If `mesh` is None or
    has one device, `function` itself, whose weights are ordinary arrays.
  """
  if mesh is None or mesh.devices.size == 1:
    return function
  split, whole = PartitionSpec(DATA), PartitionSpec()

  def on_device(weights, parts, shared):
    return function(jax.tree.map(lambda copy: copy[0], weights), parts, shared)

  return jax.shard_map(
    on_device, mesh=mesh, in_specs=(split, split, whole), out_specs=(split, whole)
  )


def _varying(array) -> frozenset:
  """The mesh axes along which an array may differ, inside `on_each_device`."""
  kind = jax.typeof(array)
  return kind.vma if hasattr(kind, "vma") else kind.mat.varying  # before JAX 0.10, and since


def _to_varying(array, axes: tuple[str, ...]):
  """Marks `array` as possibly different along mesh axes, for the type check of `shard_map`."""
  if hasattr(jax.lax, "pcast"):
    return jax.lax.pcast(array, axes, to="varying")
  return jax.lax.pvary(array, axes)  # type: ignore[attr-defined]  # JAX before 0.8


def like_devices(array, other):
  """Marks `array` as different between devices if `other` is.

  `jax.lax.scan` requires it of its first state, whose type must equal that of later states.
  """
  axes = tuple(_varying(other) - _varying(array))
  return _to_varying(array, axes) if axes else array


def alike(tree):
  """Marks all arrays of a tree as different between devices if one of them is."""
  axes = frozenset().union(*map(_varying, jax.tree.leaves(tree)))
  mark = lambda array: _to_varying(array, tuple(axes - _varying(array)))
  return jax.tree.map(lambda a: mark(a) if axes - _varying(a) else a, tree)


def mean_over_devices(tree):
  """The mean over the devices, inside `on_each_device`; elsewhere the tree itself."""
  varies = any(DATA in _varying(array) for array in jax.tree.leaves(tree))
  return jax.lax.pmean(tree, DATA) if varies else tree


def check_batch(
  batch_size: int, mesh, microbatch: int = 0, multiple: int = 1, chunks: int = 1
) -> None:
  """Raises UserError unless a batch can be split over the mesh; see `check_division`."""
  check_division(batch_size, mesh.devices.size, microbatch, multiple, chunks)


def check_division(
  batch_size: int, devices: int, microbatch: int = 0, multiple: int = 1, chunks: int = 1
) -> None:
  """Raises UserError unless a batch and its micro-batches can be split evenly over the devices.

  Args:
    batch_size: clips of an update.
    devices: number of devices.
    microbatch: clips of a micro-batch, over all devices; 0 is the whole batch.
    multiple: each device's part of a micro-batch must be a multiple of this number of clips.
    chunks: equal chunks that each device's part of a micro-batch is split into; each of them must
      be a multiple of `multiple` too.
  """
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
  together = microbatch or batch_size
  if together % (devices * multiple):
    raise UserError(
      f"{'microbatch' if microbatch else 'batch_size'} {together} gives each of {devices} devices "
      f"{together // devices} clips at a time; this model needs a multiple of {multiple}"
    )
  if together % (devices * multiple * chunks):
    raise UserError(
      f"{'microbatch' if microbatch else 'batch_size'} {together} gives each of {devices} devices "
      f"{together // devices} clips at a time; config.chunks {chunks} needs a multiple of "
      f"{multiple * chunks}"
    )


def part_of_batch(mesh) -> tuple[int, int]:
  """The slice of a batch that this process loads, as (index, number of slices).

  Raises:
    UserError: processes have different numbers of devices.
    ValueError: the devices of a process are not adjacent on the mesh. On a mesh of `make_mesh` they
      are.
  """
  processes = [device.process_index for device in mesh.devices.flat]
  order = list(dict.fromkeys(processes))
  counts = {process: processes.count(process) for process in order}
  if len(set(counts.values())) > 1:
    numbers = ", ".join(f"process {process} has {count}" for process, count in counts.items())
    raise UserError(f"every process needs the same number of devices, but {numbers}")
  if processes != [process for process in order for _ in range(counts[process])]:
    raise ValueError("the devices of a process are not adjacent on the mesh: use make_mesh")
  return order.index(jax.process_index()), len(order)


def put_batch(batch, mesh, axis: int = 1):
  """Copies a batch to the devices, split along `axis`.

  Args:
    batch: {name: NumPy array}; with several processes, the slice of this process, see
      `part_of_batch`.
    mesh: the devices.
    axis: the batch axis of each array.

  Returns:
    {name: array}, the whole batch.
  """
  sharding = batch_sharding(mesh, axis)
  put = lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a))
  return jax.tree.map(put, batch)
