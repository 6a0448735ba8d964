"""Names, checksums and finiteness of the leaves of a pytree."""

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 1 << 24  # array elements per block when a checksum is computed on the host


def path_name(path) -> str:
  """The name of one path of a pytree, such as "generator/params/linear/kernel"."""
  word = lambda part: str(
    getattr(part, "key", None) or getattr(part, "name", None) or getattr(part, "idx", 0)
  )
  return "/".join(word(part) for part in path)


def leaf_names(tree) -> list[str]:
  """Names of all leaves, in the tree's order."""
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [path_name(path) for path, _ in paths]


def _checksum(array):
  """Sum of the array's 32-bit words times odd weights, modulo 2**32.

  The weights are odd, so a single flipped bit always changes the sum.
  """
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


def _all_finite(leaves):
  return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def _per_leaf(function, tree) -> list:
  """Evaluates `function(leaves)`, one number per leaf, on the devices that hold the leaves.

  Returns:
    The numbers as a list, in every process.
  """
  leaves = jax.tree.leaves(tree)
  mesh = getattr(getattr(leaves[0], "sharding", None), "mesh", None)
  # Replicated, because a process can only read arrays on its own devices.
  replicated = mesh and jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.device_get(jax.jit(function, out_shardings=replicated)(leaves)).tolist()


def checksums(tree) -> list[int]:
  """One checksum per leaf. It does not depend on the number of devices."""
  return _per_leaf(_all_checksums, tree)


def first_non_finite(tree) -> str | None:
  """The name of the first leaf with a number that is not finite, or None."""
  finite = _per_leaf(_all_finite, tree)
  return next((name for name, good in zip(leaf_names(tree), finite, strict=True) if not good), None)


def checksum_on_host(array: np.ndarray) -> int:
  """The checksum of a NumPy array, equal to that of `checksums`."""
  array = np.ascontiguousarray(array)
  kind = None if array.dtype == np.bool_ else np.uint32 if array.dtype.itemsize >= 4 else np.uint16
  bits, total = (array if kind is None else array.view(kind)).ravel(), 0
  for begin in range(0, bits.size, _BLOCK):
    block = bits[begin : begin + _BLOCK].astype(np.uint32)
    weights = 2 * np.arange(begin, begin + block.size, dtype=np.uint32) + np.uint32(1)
    total += int(np.sum(block * weights, dtype=np.uint32))
  return total % 2**32
