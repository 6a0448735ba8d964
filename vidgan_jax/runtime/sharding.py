"""How the arrays of a training state are distributed over the mesh: rules by name.

"replicated" keeps every array on every device. "zero1" splits parameters, optimizer, average and
power-iteration vectors over the devices (stage 1 of Rajbhandari et al. 2020, arXiv 1910.02054; the
float32 parameters count as optimizer state). Each device normalises and updates its part. The
normalised weights are gathered once per update, and the sums of gradients are sharded as the
weights are (`runtime.mesh.spread`).
"""

import re

import jax
from jax.sharding import NamedSharding, PartitionSpec

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import trees
from vidgan_jax.runtime.errors import UserError

WHOLE, SPLIT = "whole", "split"
# The first pattern that matches the whole name of an array decides.
RULES = {
  "replicated": ((r".*", WHOLE),),
  "zero1": (
    (r"step", WHOLE),
    (r"(.*/)?batch_stats/.*", WHOLE),
    (r".*", SPLIT),
  ),
}
_SMALLEST = 1024  # elements; splitting a smaller array costs more communication than it saves


def specification(shape: tuple[int, ...], how: str, devices: int) -> PartitionSpec:
  """The partition of an array of `shape` over the devices.

  `SPLIT` splits the last axis but one if its length is divisible by the number of devices, else the
  last axis that is. The last axis but one of a kernel is its input channels. A TPU stores the last
  axis in rows of 128 numbers; with parts of 64 or fewer output channels, XLA's compiler rearranges
  the whole kernel for each sum of gradients. An array without such an axis, or with fewer than 1024
  elements, stays whole.
  """
  size = 1
  for length in shape:
    size *= length
  if how == SPLIT and devices > 1 and size >= _SMALLEST:
    axes = list(reversed(range(len(shape))))
    for axis in axes[1:2] + axes[:1] + axes[2:]:
      if shape[axis] % devices == 0:
        return PartitionSpec(*[None] * axis, meshes.DATA)
  return PartitionSpec()


def check(rules: str) -> None:
  """Raises UserError if `rules` is not a name in RULES."""
  if rules not in RULES:
    raise UserError(f"unknown sharding {rules!r}; known: {', '.join(RULES)}")


def specifications(tree, devices: int, rules: str, prefix: str = ""):
  """The partition of each leaf of `tree`.

  Args:
    tree: pytree of arrays or shapes.
    devices: number of devices.
    rules: a name in RULES.
    prefix: put before the names of the leaves, if `tree` is a part of a state.

  Returns:
    A tree of `PartitionSpec`.

  Raises:
    UserError: the rules are unknown.
  """
  check(rules)

  def partition(path, leaf):
    name = prefix + trees.path_name(path)
    how = next(how for pattern, how in RULES[rules] if re.fullmatch(pattern, name))
    return specification(leaf.shape, how, devices)

  return jax.tree_util.tree_map_with_path(partition, tree)


def shardings(tree, mesh, rules: str, prefix: str = ""):
  """The sharding of each leaf of `tree` on a mesh; see `specifications`."""
  return jax.tree.map(
    lambda spec: NamedSharding(mesh, spec),
    specifications(tree, mesh.devices.size, rules, prefix),
    is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
  )


def bytes_per_device(tree, devices: int, rules: str) -> int:
  """Bytes of `tree` that each device stores."""
  specs = jax.tree.leaves(
    specifications(tree, devices, rules), is_leaf=lambda leaf: isinstance(leaf, PartitionSpec)
  )
  size = lambda leaf: leaf.size * leaf.dtype.itemsize
  return sum(
    size(leaf) // (devices if meshes.DATA in spec else 1)
    for leaf, spec in zip(jax.tree.leaves(tree), specs, strict=True)
  )


def describe(tree, devices: int, rules: str) -> list[str]:
  """One line per leaf: "name float32[3,3,64,128] (None, None, None, 'data')"."""
  lines = []
  for name, leaf, spec in zip(
    trees.leaf_names(tree),
    jax.tree.leaves(tree),
    jax.tree.leaves(
      specifications(tree, devices, rules), is_leaf=lambda leaf: isinstance(leaf, PartitionSpec)
    ),
    strict=True,
  ):
    shape = ",".join(map(str, leaf.shape))
    lines.append(f"{name} {leaf.dtype}[{shape}] {tuple(spec) or 'whole'}")
  return lines
