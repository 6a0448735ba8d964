"""Functions of a batch of independent examples, computed chunk by chunk to save memory.

A function that treats each example of a batch by itself gives the same results whether it gets the
batch as a whole or in chunks. In chunks, one after the other, only the intermediate values of one
chunk are in memory. The backward pass computes each chunk again from its inputs.

`mapped` is for functions with small results, such as scores. `in_place` is for functions whose
results are as large as a network's activations.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.runtime import mesh as meshes


def mapped(function: Callable[[Any, Any], Any], count: int, parts: Any, shared: Any) -> Any:
  """Returns `function(parts, shared)`, computed in chunks if their number divides the batch.

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


@dataclasses.dataclass(frozen=True)
class Step:
  """A function of a batch, to be computed in chunks, with its arguments.

  Attributes:
    function: maps (x, parts, shared) to (result, totals): a result [B, ...], each example by
      itself, and a tree of sums over the examples. It must not refer to traced arrays.
    x: activations [B, ...].
    parts: tree of further arrays [B, ...].
    shared: tree of arrays that all examples share, such as weights.
  """

  function: Callable[[jax.Array, Any, Any], tuple[jax.Array, Any]]
  x: jax.Array
  parts: Any
  shared: Any


def in_place(step: Step, count: int, before: Step | None = None) -> tuple[jax.Array, Any]:
  """Returns `step.function` of its arguments, computed in chunks.

  The backward pass writes the gradient of x over that of the result, if they have the same shape
  and type, and the gradients of parts over the parts. It has no forward-mode derivative. All arrays
  must be of floating-point numbers.

  Args:
    step: what to compute. The number of chunks must divide its batch.
    count: number of chunks.
    before: the step whose result is `step.x`. With it, the result is written over x, which must
      have the same shape and type. The backward pass computes x again from the arguments of
      `before`, chunk by chunk, so that x is not kept for it.
  """
  arguments = step.x, step.parts, step.shared
  origin = () if before is None else (before.x, before.parts, before.shared)
  rebuild = None if before is None else before.function
  return _in_place(step.function, rebuild, count, *meshes.alike((*arguments, origin)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _in_place(
  function: Callable,
  rebuild: Callable | None,
  count: int,
  x: jax.Array,
  parts: Any,
  shared: Any,
  origin: Any,
) -> tuple[jax.Array, Any]:
  del origin
  size = x.shape[0] // count
  shapes = lambda x, parts: function(_chunk(x, 0, size), _chunk(parts, 0, size), shared)
  result, totals = jax.eval_shape(shapes, x, parts)
  result = jax.ShapeDtypeStruct((x.shape[0], *result.shape[1:]), result.dtype)
  over_x = rebuild is not None
  assert not over_x or _same_form(result, x), (result, x)
  if not over_x:
    result, x = _zeros(result, x)

  def step(index: jax.Array, state: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
    result, totals = state
    chunk = _read_once(result, index, size) if over_x else _chunk(x, index, size)
    of_chunk, sums = function(chunk, _chunk(parts, index, size), shared)
    return _write(result, of_chunk, index * size), jax.tree.map(jnp.add, totals, sums)

  totals = jax.tree.map(lambda like: _zeros(like, x)[0], totals)
  return jax.lax.fori_loop(0, count, step, (x if over_x else result, totals))


def _forward(
  function: Callable,
  rebuild: Callable | None,
  count: int,
  x: jax.Array,
  parts: Any,
  shared: Any,
  origin: Any,
) -> tuple[tuple[jax.Array, Any], Any]:
  results = _in_place(function, rebuild, count, x, parts, shared, origin)
  return results, (x if rebuild is None else None, parts, shared, origin)


def _backward(
  function: Callable, rebuild: Callable | None, count: int, kept: Any, given: tuple[jax.Array, Any]
) -> tuple[jax.Array, Any, Any, Any]:
  x, parts, shared, origin = kept
  by_result, by_totals = given
  size = by_result.shape[0] // count
  over_result = x is None or _same_form(by_result, x)
  by_x = by_result
  if not over_result:
    by_x, by_result = _zeros(x, by_result)

  def of_chunk(index: jax.Array) -> jax.Array:
    if rebuild is None:
      return _chunk(x, index, size)
    x_before, parts_before, shared_before = origin
    before = _chunk(x_before, index, size), _chunk(parts_before, index, size)
    return rebuild(*before, shared_before)[0]

  def step(index: jax.Array, state: tuple[jax.Array, Any, Any]) -> tuple[jax.Array, Any, Any]:
    by_x, by_parts, by_shared = state
    by_chunk = _read_once(by_x if over_result else by_result, index, size)
    parts = _read_once(by_parts, index, size)
    _, pullback = jax.vjp(function, of_chunk(index), parts, shared)
    *written, summed = pullback((by_chunk, by_totals))
    by_x, by_parts = _write((by_x, by_parts), tuple(written), index * size)
    return by_x, by_parts, jax.tree.map(jnp.add, by_shared, summed)

  by_shared = jax.tree.map(lambda like: _zeros(like, by_x)[0], shared)
  return *jax.lax.fori_loop(0, count, step, (by_x, parts, by_shared)), None


_in_place.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def with_totals(function: Callable[[jax.Array], Any], count: int, x: jax.Array) -> Any:
  """Returns x and `function(x)`, sums over its examples.

  Whatever else reads x must read the x that is returned. The backward pass then adds the gradient
  of the sums to that of all other readers, chunk by chunk and in place.

  Args:
    function: maps some examples [N, ...] to a tree of sums over them.
    count: number of chunks; it divides the batch.
    x: [B, ...].
  """
  del count
  return x, function(x)


def _with_totals(
  function: Callable[[jax.Array], Any], count: int, x: jax.Array
) -> tuple[Any, jax.Array]:
  return with_totals(function, count, x), x


def _add_totals(
  function: Callable[[jax.Array], Any], count: int, x: jax.Array, given: tuple[jax.Array, Any]
) -> tuple[jax.Array]:
  by_x, by_totals = given
  size = x.shape[0] // count

  def step(index: jax.Array, by_x: jax.Array) -> jax.Array:
    _, pullback = jax.vjp(function, _chunk(x, index, size))
    by_chunk = _read_once(by_x, index, size) + pullback(by_totals)[0]
    return _write(by_x, by_chunk, index * size)

  return (jax.lax.fori_loop(0, count, step, by_x),)


with_totals.defvjp(_with_totals, _add_totals)


def _same_form(one: Any, other: Any) -> bool:
  return (one.shape, one.dtype) == (other.shape, other.dtype)


def _chunk(tree: Any, index: jax.Array | int, size: int) -> Any:
  """Examples `index` * size to (`index` + 1) * size of all arrays."""
  return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, index * size, size), tree)


def _read_once(tree: Any, index: jax.Array, size: int) -> Any:
  """A chunk of arrays that are overwritten later.

  Without the barrier, XLA may fuse the read into several operations. Then it copies the whole
  arrays to keep the old values.
  """
  return jax.lax.optimization_barrier(_chunk(tree, index, size))


def _write(buffers: Any, values: Any, start: jax.Array) -> Any:
  """The buffers with the examples from `start` on replaced."""
  update = lambda buffer, value: jax.lax.dynamic_update_slice_in_dim(buffer, value, start, 0)
  return jax.tree.map(update, buffers, values)


def _zeros(form: Any, after: jax.Array) -> tuple[jax.Array, jax.Array]:
  """An array of zeros for a loop to write into or to add to, and the array `after`.

  The barrier makes the zeros exist no earlier than `after`, which is to be read from the result.
  Otherwise XLA makes all arrays of one shape from one array of zeros near the program's start.

  Args:
    form: has the shape and type.
    after: an array. The zeros differ between devices if it does.
  """
  zero = meshes.like_devices(jnp.zeros((), form.dtype), after)
  zero, after = jax.lax.optimization_barrier((zero, after))
  return jnp.broadcast_to(zero, form.shape), after
