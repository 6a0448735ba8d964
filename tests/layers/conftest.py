"""The layers' arithmetic written once more in NumPy, in float64, as plainly as it can be."""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers.settings import LayerSettings


def _convolve(x, kernel, bias=0.0):
  """Correlation with zeros around, stride 1; `kernel` [*odd window, in, out], any leading axes."""
  window = kernel.shape[:-2]
  lead = x.ndim - len(window) - 1
  spatial = x.shape[lead:-1]
  padded = np.pad(x, [(0, 0)] * lead + [(size // 2, size // 2) for size in window] + [(0, 0)])
  out = np.zeros((*x.shape[:-1], kernel.shape[-1]))
  for tap in itertools.product(*(range(size) for size in window)):
    seen = tuple(slice(start, start + size) for start, size in zip(tap, spatial, strict=True))
    out = out + padded[(slice(None),) * lead + seen] @ kernel[tap]
  return out + bias


def _average(x, factors):
  """Means of whole windows on the last axes before the channels; a size-1 axis is kept."""
  for axis, factor in zip(range(-len(factors) - 1, -1), factors, strict=True):
    if x.shape[axis] == 1:
      continue
    starts = range(0, x.shape[axis] - factor + 1, factor)
    x = np.stack([x.take(range(start, start + factor), axis).mean(axis) for start in starts], axis)
  return x


def _repeat(x):
  """Every pixel of [..., H, W, C] four times."""
  return x.repeat(2, axis=-3).repeat(2, axis=-2)


def _batch_norm(x, gain, bias, statistics, epsilon=1e-5):
  """Normalises [B, T, H, W, C] by its own moments; `gain` and `bias` are [C] or [B, C]."""
  out = np.empty_like(x)
  gain = np.broadcast_to(gain, (x.shape[0], x.shape[-1]))
  bias = np.broadcast_to(bias, (x.shape[0], x.shape[-1]))
  for step, channel in itertools.product(range(x.shape[1]), range(x.shape[-1])):
    pool = x[..., channel] if statistics == "shared" else x[:, step, ..., channel]
    for example in range(x.shape[0]):
      centred = x[example, step, ..., channel] - pool.mean()
      normal = centred / np.sqrt(pool.var() + epsilon)
      out[example, step, ..., channel] = gain[example, channel] * normal + bias[example, channel]
  return out


@pytest.fixture(scope="session")
def reference():
  """NumPy's convolve, average, repeat, batch_norm, relu and sigmoid."""
  return types.SimpleNamespace(
    convolve=_convolve,
    average=_average,
    repeat=_repeat,
    batch_norm=_batch_norm,
    relu=lambda x: np.maximum(x, 0),
    sigmoid=lambda x: 1 / (1 + np.exp(-x)),
  )


@pytest.fixture(scope="session")
def wide():
  """A function that returns float64 settings with the given changes."""
  return lambda **changes: LayerSettings(dtype=jnp.float64, param_dtype=jnp.float64, **changes)


@pytest.fixture(scope="session")
def normal():
  """A function (shape, seed) that draws float64 normal numbers."""
  return lambda shape, seed=0: np.random.default_rng(1000 + seed).normal(size=shape)


@pytest.fixture(scope="session")
def draw(randomized):
  """A function (module, *arguments) that draws parameters for a module called so."""

  def parameters(module, *arguments, seed=0):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments))
    return randomized(shapes["params"], seed)

  return parameters
