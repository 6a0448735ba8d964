"""Layers that compute a training batch in chunks, between batch normalisations.

Batch normalisation needs the moments of the whole batch. All else in a generator treats each clip
by itself: with the moments given, chunks of the batch pass through it one after the other
(`ops.chunks`), and only the intermediate values of one chunk are in memory. Kernels and statistics
are those of the same layers without chunks.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidgan_jax.layers import normalization
from vidgan_jax.layers.normalization import EPSILON, Coefficients
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.ops import chunks, convolution


def count(module: nn.Module, settings: LayerSettings, x: jax.Array, train: bool) -> int:
  """The number of chunks that `module` computes a batch x [B, ...] in; 1 is the whole batch.

  Only training keeps activations for a backward pass. The batch of an initialisation is one clip.
  """
  if not train or module.is_initializing() or x.shape[0] % settings.chunks:
    return 1
  return settings.chunks


def apply(parent: nn.Module, layer: nn.Module, x: jax.Array, number: int) -> jax.Array:
  """Returns `layer(x)`, computed in chunks.

  Args:
    parent: the module whose compact method is running.
    layer: a layer with parameters only, made with its name in `parent` and `parent=None`.
    x: [B, ...].
    number: of chunks.
  """

  def run(x: jax.Array, parts: tuple, params: dict) -> tuple[jax.Array, tuple]:
    del parts
    return _applied(layer, params, x), ()

  return computed(chunks.Step(run, x, (), _parameters(parent, layer)), number)[0]


def _parameters(parent: nn.Module, layer: nn.Module) -> Any:
  """The parameters in `parent` of a layer that was made with `parent=None`."""
  assert layer.name is not None
  return parent.get_variable("params", layer.name)


def _applied(layer: nn.Module, params: Any, x: jax.Array) -> jax.Array:
  out: Any = layer.apply({"params": params}, x)
  return out


def computed(
  step: chunks.Step, number: int, before: chunks.Step | None = None
) -> tuple[jax.Array, Any]:
  """`chunks.in_place`, with a result that rematerialised blocks may store as a convolution's."""
  result, totals = chunks.in_place(step, number, before)
  return checkpoint_name(result, "conv_output"), totals


def with_means(
  x: jax.Array, statistics: str, number: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Returns x, for all other readers, and its `normalization.means`; see `chunks.with_totals`.

  Args:
    x: [B, T, H, W, C].
    statistics: of the batch normalisation.
    number: of chunks.
  """
  return chunks.with_totals(functools.partial(_means, statistics, x.shape[0]), number, x)


def _means(statistics: str, batch: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The part that some examples x of a batch have in its `normalization.means`."""
  mean, square = normalization.means(x, statistics)
  share = x.shape[0] / batch
  return share * mean, share * square


def normalized_convolution(
  parent: nn.Module,
  layer: nn.Module,
  x: jax.Array,
  coefficients: Coefficients,
  *,
  epsilon: float = EPSILON,
  skip: jax.Array | None = None,
  statistics: str = "",
) -> chunks.Step:
  """Returns the step layer(ReLU(normalised x)) + skip, to be computed in chunks.

  Args:
    parent: the module whose compact method is running.
    layer: a convolution, made with its name in `parent` and `parent=None`.
    x: [B, T, H, W, C].
    coefficients: of the normalisation.
    epsilon: added to the variance.
    skip: added to the result, after nearest-neighbour upsampling by 2 if it is smaller.
    statistics: of the next batch normalisation: the totals are then the `normalization.means` of
      the result, for equal chunks of `x`.
  """
  dtype = coefficients.mean.dtype
  of_each = lambda a: jnp.broadcast_to(jnp.asarray(a, dtype), (x.shape[0], 1, 1, 1, x.shape[-1]))
  parts = {"gain": of_each(coefficients.gain), "bias": of_each(coefficients.bias)}
  if skip is not None:
    parts["skip"] = skip
  shared = {
    "params": _parameters(parent, layer),
    "moments": (coefficients.mean, coefficients.variance),
  }
  batch = x.shape[0]

  def run(x: jax.Array, parts: dict[str, jax.Array], shared: dict) -> tuple[jax.Array, tuple]:
    mean, variance = shared["moments"]
    chunk = Coefficients(mean, variance, parts["gain"], parts["bias"])
    out = _applied(layer, shared["params"], jax.nn.relu(chunk.applied(x, epsilon)))
    if "skip" in parts:
      skip = parts["skip"]
      enlarge = skip.shape[2] != out.shape[2]
      out = out + (convolution.upsample_nearest(skip) if enlarge else skip)
    if not statistics:
      return out, ()
    return out, _means(statistics, batch, out)

  return chunks.Step(run, x, parts, shared)
