"""Gradients of one update: through spectral normalisation, and over micro-batches.

An update applies its networks with spectrally normalised weights, and computes the gradient of its
loss with respect to these weights. `normalize` returns them together with a pullback, which maps
gradients with respect to the weights to gradients with respect to the parameters. `accumulate`
averages the gradients of an update over micro-batches.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.layers import spectral_norm
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding
from vidgan_jax.training.state import Network


@dataclasses.dataclass(frozen=True)
class NormalizedNetwork:
  """A network with spectrally normalised weights, as one update applies it.

  Attributes:
    weights: the normalised parameters. On several devices each array has one copy per device along
      a new first axis (`runtime.mesh.spread`).
    pullback: maps gradients with respect to `weights` to gradients with respect to the parameters.
    spectral: the vectors of the power iteration, advanced by one step.
    sigmas: {path of a kernel: its largest singular value}.
    batch_stats: running statistics of batch normalisation.
  """

  weights: Any
  pullback: Callable[[Any], Any]
  spectral: Any
  sigmas: dict[str, jax.Array]
  batch_stats: Any


def normalize(
  network: Network, name: str, *, eps: float, mesh: jax.sharding.Mesh | None, rules: str
) -> NormalizedNetwork:
  """Normalises a network's weights once, for all passes of one update.

  Args:
    network: parameters and vectors of the power iteration.
    name: path of the network in the state, e.g. "generator". Sharding rules refer to it.
    eps: lower bound of norms.
    mesh: devices that share a batch. None is one device.
    rules: name of the sharding rules, the value of `config.sharding`.
  """

  def normalized(params: Any) -> tuple[Any, tuple[Any, dict[str, jax.Array]]]:
    weights, spectral, sigmas = spectral_norm.normalize(params, network.spectral, eps=eps)
    if mesh is not None and mesh.devices.size > 1:
      weights = meshes.spread(weights, sharding.shardings(weights, mesh, rules, f"{name}/params/"))
    return weights, (spectral, sigmas)

  weights, pullback, (spectral, sigmas) = jax.vjp(normalized, network.params, has_aux=True)
  return NormalizedNetwork(
    weights, lambda gradients: pullback(gradients)[0], spectral, sigmas, network.batch_stats
  )


def after_update(tree: Any, metrics: dict) -> tuple[Any, dict]:
  """Makes all later uses of some arrays wait for the update that returned `metrics`.

  Nothing else orders passes within an iteration that need the same weights or the same generated
  clips. Without this barrier, XLA runs them side by side, and keeps the activations of the
  generator's update in memory during the discriminators' updates: 135.9 instead of 108.2 GiB for
  DVD-GAN at batch 512 with `block_inputs`, as compiled for one H100 when the barrier was new.
  docs/training.md has today's figure.

  Args:
    tree: the generator's normalised weights, or the clips for the discriminators.
    metrics: of the update.

  Returns:
    Both, with the same values.
  """
  return jax.lax.optimization_barrier((tree, metrics))


def accumulate(
  function: Callable,
  weights: Any,
  batch: Any,
  extra: Any = None,
  *,
  count: int,
  mesh: jax.sharding.Mesh | None,
) -> tuple[Any, Any, Any]:
  """Averages `function(weights, batch, extra, index)` over the micro-batches of a batch.

  Micro-batch i holds the examples i, i + count, i + 2 count, ... of the batch. With this stride
  every device holds its share of every micro-batch, and no example moves between devices.

  Args:
    function: returns (gradients with respect to `weights`, means, results) of one micro-batch.
      Means are averaged like gradients; results are stacked. `index` is the number of the
      micro-batch, or None if the batch is not split.
    weights: normalised weights.
    batch: tree of arrays [B, ...], B divisible by `count`.
    extra: more input of `function`, for example the results of an earlier call: a tree of arrays
      [count, ...] of which each micro-batch gets one row. If the batch is not split, `function`
      gets it as it is.
    count: number of micro-batches. 1 does not split the batch.
    mesh: devices that share a batch. None is one device.

  Returns:
    gradients and means, averaged over the micro-batches, and the results of all micro-batches,
    stacked along a new first axis if the batch is split.
  """
  if count == 1:
    return function(weights, batch, extra, None)

  def split(array: jax.Array) -> jax.Array:
    return jnp.moveaxis(array.reshape(-1, count, *array.shape[1:]), 1, 0)

  def add(totals: Any, micro_batch: Any) -> tuple[Any, Any]:
    gradients, means, results = function(weights, *micro_batch)
    return jax.tree.map(jnp.add, totals, (gradients, means)), results

  xs = jax.tree.map(split, batch), extra, jnp.arange(count)
  first = jax.tree.map(lambda a: a[0], xs)
  shapes = jax.eval_shape(lambda *micro_batch: function(weights, *micro_batch)[:2], *first)
  gradients, means = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
  if mesh is not None and mesh.devices.size > 1:
    gradients = jax.tree.map(lambda a: meshes.split_batch(a, mesh), gradients)
  totals, results = jax.lax.scan(add, (gradients, means), xs)
  return *jax.tree.map(lambda a: a / count, totals), results
