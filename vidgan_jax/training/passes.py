"""Forward passes through generator and discriminators, as the updates of an iteration use them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import Arrays, Context, Side, VideoGan
from vidgan_jax.ops import chunks as chunked
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import streams
from vidgan_jax.training.gradients import NormalizedNetwork


@dataclasses.dataclass(frozen=True)
class Update:
  """Identifies one update of a run: all that it depends on besides networks and data.

  Attributes:
    seed: of the run.
    context: step and frozen stages.
    microstep: number of the update within the iteration, from which its random keys derive. Updates
      that share generated clips have the same number.
  """

  seed: int
  context: Context
  microstep: int

  def key(self, stream: str, index: jax.Array | None = None) -> jax.Array:
    """The random key of a stream, for the whole batch (`index` None) or for one micro-batch."""
    key = streams.key(self.seed, stream, self.context.step, self.microstep)
    return key if index is None else jax.random.fold_in(key, index)


@dataclasses.dataclass(frozen=True)
class GeneratorPass:
  """The clips of one pass through the generator.

  Attributes:
    side: latents, inputs and samples.
    batch_stats: statistics of this batch, as reported by the generator's batch normalisation.
    pullback: maps gradients with respect to the samples to gradients with respect to the
      generator's normalised weights. None unless the pass is differentiable.
  """

  side: Side
  batch_stats: Any
  pullback: Callable[[Any], Any] | None


def generate(
  gan: VideoGan,
  generator: NormalizedNetwork,
  batch: Arrays,
  update: Update,
  index: jax.Array | None = None,
  *,
  mesh: jax.sharding.Mesh | None,
  chunks: int = 1,
  differentiable: bool = False,
) -> GeneratorPass:
  """Draws latents and inputs, and generates as many clips as `batch` has.

  Args:
    gan: a `VideoGan`.
    generator: network to generate with.
    batch: the real batch.
    update: the update that needs the clips.
    index: number of the micro-batch. None is the whole batch.
    mesh: devices that share a batch. None is one device.
    chunks: parts of the clips, on each device, that pass through frozen earlier stages one after
      the other. In the generator itself, its layers' settings decide.
    differentiable: whether to return a pullback, which keeps the activations in memory.
  """
  size = batch["label"].shape[0]
  latents = _sharded(gan.latents(update.key(streams.LATENTS, index), size), mesh)
  inputs_key = update.key(streams.INPUTS, index)
  inputs = _sharded(gan.generated_inputs(inputs_key, batch, update.context), mesh)
  inputs = _derived(gan, latents, inputs, update.context, mesh, chunks)

  def network(
    weights: Any,
    latents_and_inputs: tuple[Arrays, Arrays],
    batch_stats_and_key: tuple[Any, jax.Array],
  ) -> tuple[Any, Any]:
    batch_stats, key = batch_stats_and_key
    variables = {"params": weights, normalization.COLLECTION: batch_stats}
    return gan.generate(variables, *latents_and_inputs, key, True)

  def samples_of(weights: Any) -> tuple[Any, Any]:
    key = update.key(streams.NOISE_GENERATOR, index)
    return meshes.on_each_device(network, mesh)(
      weights, (latents, inputs), (generator.batch_stats, key)
    )

  pullback = None
  if differentiable:
    samples, by_weights, reported = jax.vjp(samples_of, generator.weights, has_aux=True)
    pullback = lambda by_samples: by_weights(by_samples)[0]
  else:
    samples, reported = samples_of(generator.weights)
  batch_stats = reported.get(normalization.COLLECTION, {})
  return GeneratorPass(Side(inputs=inputs, samples=samples, latents=latents), batch_stats, pullback)


def _derived(
  gan: VideoGan,
  latents: Arrays,
  inputs: Arrays,
  context: Context,
  mesh: jax.sharding.Mesh | None,
  chunks: int,
) -> Arrays:
  """Completes the drawn inputs; frozen stages run on each device with its part of the batch."""
  if not gan.stages:
    return inputs

  def network(_: Any, drawn: tuple[Arrays, Arrays], frozen: Any) -> tuple[Arrays, Any]:
    # Frozen batch normalisation uses running statistics, so each clip is computed by itself.
    of_chunk = lambda drawn, frozen: gan.derive(frozen, *drawn)
    return chunked.mapped(of_chunk, chunks, drawn, frozen), {}

  # The frozen weights need no `spread`, which orders the sums of gradients.
  run = meshes.on_each_device(network, mesh)
  return jax.lax.stop_gradient(run({}, (latents, inputs), context.frozen)[0])


def _sharded(tree: Any, mesh: jax.sharding.Mesh | None) -> Any:
  """Shards the batch axis of arrays that are drawn from a key.

  The key is replicated. Without this constraint, the drawn arrays would be replicated too, and so
  would everything computed from them: each device would compute the generator's whole update.
  """
  if mesh is None:
    return tree
  return jax.tree.map(lambda a: meshes.split_batch(a, mesh), tree)


def real_side(gan: VideoGan, key: jax.Array, batch: Arrays, context: Context) -> Side:
  """Returns samples and inputs of the real batch."""
  samples = gan.real_samples(key, batch, context)
  return Side(inputs=gan.real_inputs(key, batch, context), samples=samples)


def discriminate(
  gan: VideoGan,
  name: str,
  weights: Any,
  batch_stats: Any,
  view: Arrays,
  key: jax.Array,
  *,
  mesh: jax.sharding.Mesh | None,
  chunks: int = 1,
) -> tuple[Any, Any]:
  """Scores a view with one discriminator.

  Args:
    gan: a `VideoGan`.
    name: of the discriminator.
    weights: its normalised weights.
    batch_stats: its running statistics of batch normalisation.
    view: arrays [B, ...], see `VideoGan.views`.
    key: random key of the network.
    mesh: devices that share a batch. None is one device.
    chunks: parts of the view, on each device, that pass through the network one after the other. 1
      passes the whole view. A discriminator with batch normalisation must have 1.

  Returns:
    The scores, and the statistics of this batch that batch normalisation reported.
  """

  def scores_of(view: Arrays, shared: tuple[Any, Any, jax.Array]) -> Any:
    weights, batch_stats, key = shared
    variables = {"params": weights, normalization.COLLECTION: batch_stats}
    return gan.discriminate(name, variables, view, key)[0]

  def network(
    weights: Any, view: Arrays, batch_stats_and_key: tuple[Any, jax.Array]
  ) -> tuple[Any, Any]:
    batch_stats, key = batch_stats_and_key
    if chunks > 1:
      return chunked.mapped(scores_of, chunks, view, (weights, batch_stats, key)), {}
    variables = {"params": weights, normalization.COLLECTION: batch_stats}
    return gan.discriminate(name, variables, view, key)

  scores, reported = meshes.on_each_device(network, mesh)(weights, view, (batch_stats, key))
  return scores, reported.get(normalization.COLLECTION, {})


def interleave(real: Any, generated: Any) -> Any:
  """Joins two batches [B, ...] to one [2B, ...]: real 0, generated 0, real 1, generated 1, ...

  In this order each device keeps its examples. Concatenation would move half of them.
  """
  return jax.tree.map(
    lambda r, g: jnp.stack([r, g.astype(r.dtype)], 1).reshape(-1, *r.shape[1:]), real, generated
  )


def separate(joint: Any) -> tuple[Any, Any]:
  """Splits a batch that `interleave` joined into the real and the generated half."""
  split = lambda which: jax.tree.map(lambda a: a.reshape(-1, 2, *a.shape[1:])[:, which], joint)
  return split(0), split(1)
