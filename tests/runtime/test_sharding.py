"""Which arrays lie whole and which in parts."""

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
    ((3, 3, 64, 3), 8, PartitionSpec(None, None, "data")),  # a picture's three channels
    ((3, 3, 63, 3), 8, PartitionSpec()),  # nothing divides
    ((120, 4096), 8, PartitionSpec(None, "data")),
    ((128,), 8, PartitionSpec()),  # small
    ((4096,), 8, PartitionSpec("data")),
    ((3, 3, 64, 128), 1, PartitionSpec()),
    ((), 8, PartitionSpec()),
  ],
)
def test_the_last_axis_that_divides_is_split(shape, devices, expected):
  assert sharding.specification(shape, sharding.SPLIT, devices) == expected
  assert sharding.specification(shape, sharding.WHOLE, devices) == PartitionSpec()


def test_the_first_rule_that_matches_decides():
  kernel = jax.ShapeDtypeStruct((64, 64), jnp.float32)
  tree = {
    "step": jax.ShapeDtypeStruct((), jnp.int32),
    "generator": {"params": {"kernel": kernel}, "batch_stats": {"mean": kernel}},
    "ema": {"batch_stats": {"mean": kernel}},
  }
  assert sharding.describe(tree, meshes.make_mesh(), "zero1") == [
    "ema/batch_stats/mean float32[64,64] whole",
    "generator/batch_stats/mean float32[64,64] whole",
    "generator/params/kernel float32[64,64] (None, 'data')",
    "step int32[] whole",
  ]
  assert all("whole" in line for line in sharding.describe(tree, meshes.make_mesh(), "replicated"))


def test_unknown_rules_are_refused():
  with pytest.raises(UserError, match="unknown sharding 'zero3'; known: replicated, zero1"):
    sharding.shardings({"a": jnp.zeros(3)}, meshes.make_mesh(), "zero3")


def test_gather_makes_whole_and_its_gradient_is_split():
  mesh = meshes.make_mesh()
  kernel = np.random.default_rng(0).normal(size=(16, 128)).astype(np.float32)
  place = sharding.shardings(kernel, mesh, "zero1")
  batch = np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32)

  def loss(kernel, batch):
    return jnp.sum(jnp.sin(batch @ sharding.gather(kernel, place)))

  arguments = jax.device_put(kernel, place), jax.device_put(batch, meshes.batch_sharding(mesh))
  gradient = jax.jit(jax.grad(loss), out_shardings=place)(*arguments)
  assert gradient.sharding.spec == PartitionSpec(None, "data")
  np.testing.assert_allclose(gradient, batch.T @ np.cos(batch @ kernel), atol=1e-5)
