"""Which arrays of a state are split over the devices, and where their gradients are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.errors import UserError


@pytest.mark.parametrize(
  ("shape", "devices", "expected"),
  [
    ((3, 3, 64, 128), 8, PartitionSpec(None, None, "data")),
    ((3, 3, 3, 128), 8, PartitionSpec(None, None, None, "data")),  # 3 is not divisible by 8
    ((3, 3, 63, 3), 8, PartitionSpec()),  # no axis is divisible by 8
    ((8, 3, 63, 3), 8, PartitionSpec("data")),
    ((121, 4096), 8, PartitionSpec(None, "data")),
    ((128,), 8, PartitionSpec()),  # small
    ((4096,), 8, PartitionSpec("data")),
    ((3, 3, 64, 128), 1, PartitionSpec()),
    ((), 8, PartitionSpec()),
  ],
)
def test_input_channels_are_split_before_other_axes(shape, devices, expected):
  assert sharding.specification(shape, sharding.SPLIT, devices) == expected
  assert sharding.specification(shape, sharding.WHOLE, devices) == PartitionSpec()


def test_the_first_rule_that_matches_decides():
  kernel = jax.ShapeDtypeStruct((64, 64), jnp.float32)
  tree = {
    "step": jax.ShapeDtypeStruct((), jnp.int32),
    "generator": {"params": {"kernel": kernel}, "batch_stats": {"mean": kernel}},
    "ema": {"batch_stats": {"mean": kernel}},
  }
  assert sharding.describe(tree, 8, "zero1") == [
    "ema/batch_stats/mean float32[64,64] whole",
    "generator/batch_stats/mean float32[64,64] whole",
    "generator/params/kernel float32[64,64] ('data',)",
    "step int32[] whole",
  ]
  assert all("whole" in line for line in sharding.describe(tree, 8, "replicated"))

  whole, part = 64 * 64 * 4, 64 * 64 * 4 // 8
  assert sharding.bytes_per_device(tree, 8, "zero1") == 2 * whole + part + 4
  assert sharding.bytes_per_device(tree, 8, "replicated") == 3 * whole + 4


def test_unknown_rules_are_refused():
  with pytest.raises(UserError, match="unknown sharding 'zero3'; known: replicated, zero1"):
    sharding.shardings({"a": jnp.zeros(3)}, meshes.make_mesh(), "zero3")


@pytest.mark.parametrize("stages", [(8,), (2, 4), (4, 2)])
@pytest.mark.parametrize("rules", ["replicated", "zero1"])
def test_each_device_has_a_copy_and_gradients_are_sharded_like_the_weights(
  rules, stages, monkeypatch
):
  mesh = meshes.make_mesh()
  if len(stages) > 1:
    staged = jax.sharding.Mesh(mesh.devices.reshape(stages), meshes.STAGES)
    monkeypatch.setattr(meshes, "in_stages", lambda mesh: staged)
  generator = np.random.default_rng(0)
  kernel = generator.normal(size=(16, 128)).astype(np.float32)
  batch = generator.normal(size=(8, 16)).astype(np.float32)
  shardings = sharding.shardings({"kernel": kernel}, mesh, rules)

  def layer(weights, batch, shift):
    out = jnp.sin(batch @ weights["kernel"]) + shift
    return out, meshes.mean_over_devices(jnp.mean(out))

  def loss(weights, batch):
    copies = meshes.spread(weights, shardings)
    assert copies["kernel"].shape == (8, 16, 128)
    out, mean = meshes.on_each_device(layer, mesh)(copies, batch, jnp.float32(3))
    return jnp.sum(out), mean

  arguments = (
    jax.device_put({"kernel": kernel}, shardings),
    jax.device_put(batch, meshes.batch_sharding(mesh)),
  )
  gradient, mean = jax.jit(jax.grad(loss, has_aux=True))(*arguments)
  assert gradient["kernel"].sharding.is_equivalent_to(shardings["kernel"], 2)
  np.testing.assert_allclose(gradient["kernel"], batch.T @ np.cos(batch @ kernel), atol=1e-5)
  np.testing.assert_allclose(mean, np.mean(np.sin(batch @ kernel)) + 3, rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Device:
  """As a device of a slice that is not here."""

  id: int
  process_index: int
  platform: str


@pytest.mark.parametrize(
  ("platform", "processes", "each", "stages"),
  [
    ("tpu", 16, 4, {"processes": 16, "devices_of_process": 4}),
    ("tpu", 64, 4, {"processes": 64, "devices_of_process": 4}),
    ("tpu", 12, 4, {"data": 48}),
    ("gpu", 16, 8, {"data": 128}),
  ],
)
def test_large_tpu_slices_sum_gradients_in_two_stages(platform, processes, each, stages):
  devices = [Device(i, i // each, platform) for i in range(processes * each)]
  mesh = meshes.in_stages(jax.sharding.Mesh(np.array(devices), ("data",)))
  assert dict(mesh.shape) == stages
  assert [d.id for d in mesh.devices.flat] == list(range(processes * each))


def test_uneven_processes_have_one_stage():
  devices = [Device(i, int(i >= 30), "tpu") for i in range(64)]
  mesh = jax.sharding.Mesh(np.array(devices), ("data",))
  assert meshes.in_stages(mesh) is mesh


def test_one_device_needs_no_copies():
  layer = lambda weights, batch, shift: (weights * batch + shift, None)
  assert meshes.on_each_device(layer, None) is layer
  assert meshes.on_each_device(layer, meshes.make_mesh(jax.devices()[:1])) is layer
