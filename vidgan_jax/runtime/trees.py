"""Names of a pytree's leaves."""

import jax


def path_name(path) -> str:
  """The name of one path of a pytree: "generator/params/linear/kernel"."""
  word = lambda part: str(
    getattr(part, "key", None) or getattr(part, "name", None) or getattr(part, "idx", 0)
  )
  return "/".join(word(part) for part in path)


def leaf_names(tree) -> list[str]:
  """Names of all leaves, in the tree's order."""
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [path_name(path) for path, _ in paths]
