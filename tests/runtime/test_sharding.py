"""Which arrays of a state are split over the devices, and where their gradients are."""

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
    ((3, 3, 64, 128), 8, PartitionSpec(None, None, None, "data")),
    ((3, 3, 64, 3), 8, PartitionSpec(None, None, "data")),  # 3 is not divisible by 8
    ((3, 3, 63, 3), 8, PartitionSpec()),  # no axis is divisible by 8
    ((120, 4096), 8, PartitionSpec(None, "data")),
    ((128,), 8, PartitionSpec()),  # small
    ((4096,), 8, PartitionSpec("data")),
    ((3, 3, 64, 128), 1, PartitionSpec()),
    ((), 8, PartitionSpec()),
  ],
)
def test_the_last_divisible_axis_is_split(shape, devices, expected):
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
    "generator/params/kernel float32[64,64] (None, 'data')",
    "step int32[] whole",
  ]
  assert all("whole" in line for line in sharding.describe(tree, 8, "replicated"))

  whole, part = 64 * 64 * 4, 64 * 64 * 4 // 8
  assert sharding.bytes_per_device(tree, 8, "zero1") == 2 * whole + part + 4
  assert sharding.bytes_per_device(tree, 8, "replicated") == 3 * whole + 4


def test_unknown_rules_are_refused():
  with pytest.raises(UserError, match="unknown sharding 'zero3'; known: replicated, zero1"):
    sharding.shardings({"a": jnp.zeros(3)}, meshes.make_mesh(), "zero3")


@pytest.mark.parametrize("rules", ["replicated", "zero1"])
def test_each_device_has_a_copy_and_gradients_are_sharded_like_the_weights(rules):
  mesh = meshes.make_mesh()
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


def test_one_device_needs_no_copies():
  layer = lambda weights, batch, shift: (weights * batch + shift, None)
  assert meshes.on_each_device(layer, None) is layer
  assert meshes.on_each_device(layer, meshes.make_mesh(jax.devices()[:1])) is layer
