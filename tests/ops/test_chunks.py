"""Functions computed in chunks equal the functions, and the chunks bound the memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vidgan_jax.ops import chunks
from vidgan_jax.runtime import mesh as meshes

BATCH, WIDTH = 8, 3


def layer(parts, shared):
  """Each example by itself: a result of the form of "x", one of another form, and no gradient."""
  hidden = jnp.tanh(parts["x"] @ shared["kernel"] * parts["gain"] + shared["bias"])
  return {"same": hidden + parts["x"] ** 2, "other": jnp.sum(jnp.sin(hidden), -1)}


@pytest.fixture
def arguments(normal):
  parts = {"x": normal((BATCH, 2, WIDTH)), "gain": normal((BATCH, 1, 1), 1)}
  return parts, {"kernel": normal((WIDTH, WIDTH), 2), "bias": normal((WIDTH,), 3)}


def both(run, factors, parts, shared):
  """Results, and gradients by parts and by what is shared."""

  def scalar(parts, shared):
    results = run(parts, shared)
    weighted = jax.tree.map(lambda a: jnp.sum(a * factors[: a.ndim].sum()), results)
    return sum(jax.tree.leaves(jax.tree.map(jnp.sin, weighted))), results

  return jax.grad(scalar, argnums=(0, 1), has_aux=True)(parts, shared)


@pytest.mark.parametrize("count", [1, 2, 8, 3])
def test_chunks_equal_the_batch(x64, arguments, normal, assert_close, count):
  factors = normal((4,), 5)
  run = functools.partial(chunks.mapped, layer, count)
  expected = jax.jit(functools.partial(both, layer, factors))(*arguments)
  program = jax.jit(functools.partial(both, run, factors))
  assert_close(program(*arguments), expected, 1e-13)
  loops = str(jax.make_jaxpr(program)(*arguments)).count("scan[")
  assert (loops > 0) == (count in (2, 8))  # 3 does not divide the batch


def test_chunks_equal_the_batch_on_eight_devices(x64, normal, assert_close):
  """Weights are spread over the devices; a mean over them is the same on all."""
  mesh = meshes.make_mesh()
  parts = {"x": normal((16, 2, WIDTH)), "gain": normal((16, 1, 1), 1)}
  shared = {"kernel": normal((WIDTH, WIDTH), 2), "bias": normal((WIDTH,), 3)}
  whole = meshes.replicated(mesh)

  def loss(run, devices, parts, shared):
    def network(weights, parts, _):
      mean = meshes.mean_over_devices(jnp.mean(parts["x"], axis=(0, 1)))
      results = run(parts, {"kernel": weights["kernel"], "bias": weights["bias"] + mean})
      return results, {}

    if devices is not None:
      shared = meshes.spread(shared, jax.tree.map(lambda _: whole, shared))
    results, _ = meshes.on_each_device(network, devices)(shared, parts, {})
    return sum(jnp.sum(jnp.sin(3 * a)) for a in jax.tree.leaves(results))

  gradient = lambda run, devices: jax.jit(
    jax.grad(functools.partial(loss, run, devices), argnums=(0, 1))
  )
  expected = gradient(layer, None)(parts, shared)
  split = jax.device_put(parts, jax.sharding.NamedSharding(mesh, PartitionSpec(meshes.DATA)))
  actual = gradient(functools.partial(chunks.mapped, layer, 2), mesh)(
    split, jax.device_put(shared, whole)
  )
  assert_close(jax.device_get(actual), expected, 1e-13)


def test_labels_and_keys_pass_through_a_mapped_function(x64, normal, assert_close):
  """Discriminators get labels and random keys as well; only numbers have gradients."""
  table, x = normal((4, WIDTH)), normal((BATCH, WIDTH), 1)
  labels = np.arange(BATCH) % 4

  def score(view, shared):
    table, key = shared
    noise = jax.random.normal(key, (WIDTH,), jnp.float64)
    return jnp.sum(jnp.sin(table[view["label"]] * view["clip"] + noise), -1)

  def loss(run, table, x):
    scores = run({"clip": x, "label": labels}, (table, jax.random.key(1)))
    return jnp.sum(scores**2)

  gradients = [
    jax.jit(jax.grad(functools.partial(loss, run), argnums=(0, 1)))(table, x)
    for run in (score, functools.partial(chunks.mapped, score, 4))
  ]
  assert_close(gradients[1], gradients[0], 1e-13)


def test_second_derivatives_of_a_mapped_function(x64, arguments, assert_close):
  """R1 differentiates the gradient by the clips once more, by the weights."""
  parts, shared = arguments

  def penalty(run, shared):
    score = lambda x: jnp.sum(run({**parts, "x": x}, shared)["other"])
    return jnp.sum(jax.grad(score)(parts["x"]) ** 2)

  gradients = [
    jax.jit(jax.grad(functools.partial(penalty, run)))(shared)
    for run in (layer, functools.partial(chunks.mapped, layer, 4))
  ]
  assert_close(gradients[1], gradients[0], 1e-12)


def test_chunks_need_less_memory():
  """Eight activations of each example: temporaries of the whole batch against those of chunks."""

  def deep(x, kernel):
    for _ in range(8):
      x = jnp.tanh(x @ kernel)
    return x

  x, kernel = jnp.ones((64, 256, 16)), jnp.ones((16, 16))
  size = {}
  for count in (1, 16):
    loss = lambda x, k, count=count: jnp.sum(chunks.mapped(deep, count, x, k) ** 2)
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, kernel).compile()
    size[count] = program.memory_analysis().temp_size_in_bytes / x.nbytes
  assert size[1] > 7
  assert size[16] < 4, size


def convolution(x, parts, shared):
  """A layer as a step: a result with the form of x, and sums over the examples."""
  hidden = jnp.tanh(x @ shared["kernel"] * parts["gain"] + shared["bias"])
  return hidden + parts["skip"], {"sum": jnp.sum(hidden, 0), "squares": jnp.sum(hidden**2)}


def widening(x, parts, shared):
  """A layer as a step: a result that is twice as wide as x, and no sums."""
  return jnp.sin(x @ jnp.concatenate([shared["kernel"]] * 2, 1) * parts["gain"]), ()


def two_steps(count, x, parts, shared, first):
  """`first`, then `convolution` of its result; in chunks, the result of `first` is not kept."""
  before = chunks.Step(first, x, parts[0], shared[0])
  x, sums = first(x, parts[0], shared[0]) if count == 1 else chunks.in_place(before, count)
  if count == 1:
    result, more = convolution(x, parts[1], shared[1])
  else:
    result, more = chunks.in_place(chunks.Step(convolution, x, parts[1], shared[1]), count, before)
  return result, (sums, more)


@pytest.mark.parametrize("first", [convolution, widening])
@pytest.mark.parametrize("count", [2, 8])
def test_steps_in_place_equal_the_batch(x64, normal, assert_close, count, first):
  wide = WIDTH * (2 if first is widening else 1)
  x = normal((BATCH, 2, WIDTH))
  part = lambda width, seed: {
    "gain": normal((BATCH, 1, width), seed),
    "skip": normal((BATCH, 2, width), seed + 1),
  }
  kernel = lambda width, seed: {"kernel": normal((width, width), seed), "bias": normal((width,), 9)}
  parts = [part(wide, 1), part(wide, 3)]
  shared = [kernel(WIDTH, 5), kernel(wide, 6)]

  def scalar(count, x, parts, shared):
    result, totals = two_steps(count, x, parts, shared, first)
    every = [jnp.sum(jnp.sin(3 * a)) for a in jax.tree.leaves((result, totals))]
    return sum(every), (result, totals)

  gradient = lambda count: jax.grad(
    functools.partial(scalar, count), argnums=(0, 1, 2), has_aux=True
  )
  expected = jax.jit(gradient(1))(x, parts, shared)
  assert_close(jax.jit(gradient(count))(x, parts, shared), expected, 1e-12)


def test_totals_of_activations_have_gradients(x64, normal, assert_close):
  """The activations have two readers, and the sums are over the batch."""
  x, factors = normal((BATCH, 2, WIDTH)), normal((2, WIDTH), 1)
  sums = lambda x: (jnp.sum(x, 0), jnp.sum(x**2, 0))

  def loss(tap, x):
    x, (total, squares) = tap(x)
    return jnp.sum(jnp.sin(x * total)) + jnp.sum(jnp.cos(x) + factors * squares)

  expected = jax.jit(jax.grad(functools.partial(loss, lambda x: (x, sums(x)))))(x)
  tap = functools.partial(chunks.with_totals, sums, 4)
  assert_close(jax.jit(jax.grad(functools.partial(loss, tap)))(x), expected, 1e-13)


def test_a_step_in_place_needs_no_more_than_its_results():
  """What is kept for the backward pass, a chunk, and nothing of the inner activations."""

  def deep(x, _, kernel):
    for _ in range(8):
      x = jnp.tanh(x @ kernel)
    return x, ()

  x, kernel = jnp.ones((64, 256, 16)), jnp.ones((16, 16))
  size = {}
  for count in (1, 16):

    def loss(x, kernel, count=count):
      step = chunks.Step(deep, x, (), kernel)
      result = deep(x, (), kernel)[0] if count == 1 else chunks.in_place(step, count)[0]
      return jnp.sum(result**2)

    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, kernel).compile()
    size[count] = program.memory_analysis().temp_size_in_bytes / x.nbytes
  assert size[1] > 7
  assert size[16] < 4, size
