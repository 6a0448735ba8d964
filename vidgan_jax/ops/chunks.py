"""Functions of a batch of independent examples, computed chunk by chunk to save memory.

A function that treats each example of a batch by itself gives the same results whether it gets the
batch as a whole or in chunks. In chunks, one after the other, only the intermediate values of one
chunk are in memory. The backward pass computes each chunk again from its inputs.

A batch that the number of chunks does not divide is not split.
"""

from collections.abc import Callable
from typing import Any

import jax


def mapped(function: Callable[[Any, Any], Any], count: int, parts: Any, shared: Any) -> Any:
  """Returns `function(parts, shared)`, computed in chunks.

  Args:
    function: maps examples and `shared` to a tree of arrays [B, ...], each example by itself.
    count: number of chunks.
    parts: tree of arrays [B, ...].
    shared: what all examples share, such as weights.
  """
  sizes = {a.shape[0] for a in jax.tree.leaves(parts)}
  if count == 1 or any(size % count for size in sizes):
    return function(parts, shared)
  split = jax.tree.map(lambda a: a.reshape(count, -1, *a.shape[1:]), parts)
  # A scan needs no barrier against common subexpressions: its two passes are separate loops.
  one = jax.checkpoint(lambda chunk: function(chunk, shared), prevent_cse=False)
  results = jax.lax.map(one, split)
  return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), results)
