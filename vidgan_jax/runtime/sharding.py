"""Where the arrays of a state lie on the mesh: ordered rules from names to placements.

"replicated" keeps everything on every device. "zero1" (Rajbhandari et al. 2020, arXiv 1910.02054,
stage 1, with the float32 parameters counted as optimizer state) splits parameters, optimizer,
average and power-iteration vectors over the devices: each device normalises and updates its part,
the normalised weights are gathered once per update, and gradients are summed straight into parts
(`runtime.mesh.spread`).
"""

import re

import jax
from jax.sharding import NamedSharding, PartitionSpec

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import trees
from vidgan_jax.runtime.errors import UserError

WHOLE, SPLIT = "whole", "split"
# The first pattern that matches a leaf's whole name decides.
RULES = {
  "replicated": ((r".*", WHOLE),),
  "zero1": (
    (r"step", WHOLE),
    (r"(.*/)?batch_stats/.*", WHOLE),
    (r".*", SPLIT),
  ),
}
_SMALLEST = 1024  # numbers; a smaller array costs more to gather than it takes


def specification(shape: tuple[int, ...], how: str, devices: int) -> PartitionSpec:
  """How an array of `shape` lies: split along the last axis that the devices divide, or whole.

  The last axis of a kernel is the one that spectral normalisation keeps when it makes a matrix.
  """
  size = 1
  for length in shape:
    size *= length
  if how == SPLIT and devices > 1 and size >= _SMALLEST:
    for axis in reversed(range(len(shape))):
      if shape[axis] % devices == 0:
        return PartitionSpec(*[None] * axis, meshes.DATA)
  return PartitionSpec()


def check(rules: str) -> None:
  """UserError where no rules have that name."""
  if rules not in RULES:
    raise UserError(f"unknown sharding {rules!r}; known: {', '.join(RULES)}")


def specifications(tree, devices: int, rules: str, prefix: str = ""):
  """How each leaf of `tree` (arrays or shapes) lies on `devices` under the rules of that name.

  Args:
    tree: pytree.
    devices: how many.
    rules: a name in RULES.
    prefix: put in front of the leaves' names, for a part of a state.

  Returns:
    a tree of `PartitionSpec`.

  Raises:
    UserError: on unknown rules.
  """
  check(rules)

  def place(path, leaf):
    name = prefix + trees.path_name(path)
    how = next(how for pattern, how in RULES[rules] if re.fullmatch(pattern, name))
    return specification(leaf.shape, how, devices)

  return jax.tree_util.tree_map_with_path(place, tree)


def shardings(tree, mesh, rules: str, prefix: str = ""):
  """The sharding of each leaf of `tree` on a mesh; see `specifications`."""
  return jax.tree.map(
    lambda spec: NamedSharding(mesh, spec),
    specifications(tree, mesh.devices.size, rules, prefix),
    is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
  )


def bytes_per_device(tree, devices: int, rules: str) -> int:
  """What each device holds of `tree`."""
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
