import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers.convolution import Conv, Dense
from vidgan_jax.layers.heads import SlicedHead
from vidgan_jax.layers.progressive import minibatch_deviation, pixel_norm
from vidgan_jax.ops import convolution
from vidgan_jax.runtime.errors import UserError


def test_pixel_norm_equals_numpy(x64, normal, assert_close, assert_gradient):
  x, weights = normal((2, 3, 2, 4, 5)), normal((2, 3, 2, 4, 5), 1)
  expected = np.empty_like(x)
  for place in np.ndindex(2, 3, 2, 4):
    expected[place] = x[place] / np.sqrt(sum(value**2 for value in x[place]) / 5 + 1e-8)
  assert_close(pixel_norm(x), expected)
  assert_gradient(lambda x: jnp.sum(weights * pixel_norm(x)), (x,), tolerance=1e-7)


def test_pixel_norm_of_bfloat16_is_taken_in_float32(normal):
  x = jnp.asarray(100 * normal((3, 64)), jnp.bfloat16)
  found = pixel_norm(x)
  assert found.dtype == jnp.bfloat16
  wide = np.asarray(x, np.float64)
  expected = wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True))
  np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=2**-8)


def deviations(x, group):
  """The appended channel, one clip at a time."""
  channel = np.empty(x.shape[:-1])
  for begin in range(0, len(x), group):
    clips, spread = x[begin : begin + group], []
    for place in np.ndindex(*x.shape[1:]):
      values = [clip[place] for clip in clips]
      mean = sum(values) / len(values)
      spread.append(np.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-8))
    channel[begin : begin + group] = np.mean(spread)
  return channel


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (4, 4), (2, 2), (1, 1)])
def test_minibatch_deviation_equals_numpy(x64, normal, assert_close, assert_gradient, batch, group):
  x, weights = normal((batch, 2, 3, 2, 3)), normal((batch, 2, 3, 2, 4), 1)
  found = minibatch_deviation(x)
  assert_close(found[..., :3], x)
  assert_close(found[..., 3], deviations(x, group))
  assert_gradient(lambda x: jnp.sum(weights * minibatch_deviation(x)), (x,), tolerance=1e-7)


def test_minibatch_deviation_has_groups_of_consecutive_clips(x64, normal, assert_close):
  """So the first four of eight clips have the same channel when they are alone on a device."""
  x = normal((8, 1, 2, 2, 3))
  assert_close(minibatch_deviation(x)[:4], minibatch_deviation(x[:4]))
  with pytest.raises(UserError, match="batch of 6 clips does not divide into groups of 4"):
    minibatch_deviation(x[:6])


@pytest.mark.parametrize("gain", [1.0, np.sqrt(2)])
def test_equalized_layers_scale_their_kernels(x64, wide, normal, reference, assert_close, gain):
  settings = wide(spectral=False, equalized=gain)
  x = normal((2, 3, 4, 4, 5))
  module = Conv(6, (3, 3, 3), settings)
  params = module.init(jax.random.key(0), x)["params"]
  params = {**params, "bias": normal((6,))}
  scaled = np.asarray(params["kernel"]) * gain / np.sqrt(27 * 5)
  expected = reference.convolve(x, scaled, params["bias"])
  assert_close(module.apply({"params": params}, x), expected)
  rows = normal((3, 5))
  module = Dense(7, settings)
  params = module.init(jax.random.key(1), rows)["params"]
  expected = rows @ np.asarray(params["kernel"]) * gain / np.sqrt(5)
  assert_close(module.apply({"params": params}, rows), expected)


def test_equalized_kernels_are_drawn_from_a_standard_normal(x64, wide):
  settings = dataclasses.replace(wide(spectral=False, equalized=1.0), initializer="orthogonal")
  kernel = Dense(300, settings).init(jax.random.key(0), jnp.zeros((1, 200)))["params"]["kernel"]
  assert abs(float(jnp.std(kernel)) - 1) < 0.02 and abs(float(jnp.mean(kernel))) < 0.02
  assert float(jnp.max(jnp.abs(kernel))) > 3.5  # not truncated


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (3, 1, 2)])
def test_upsampling_with_a_factor_for_time_equals_numpy(normal, factors):
  x = normal((2, 3, 2, 4, 5)).astype(np.float32)
  expected = x
  for axis, factor in enumerate(factors, 1):
    expected = expected.repeat(factor, axis)
  np.testing.assert_array_equal(convolution.upsample_nearest(x, factors), expected)


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2)])
def test_mean_pooling_is_the_scaled_transpose_of_upsampling(x64, normal, assert_close, factors):
  small, large = normal((2, 2, 2, 3, 4)), normal((2, 2 * factors[0], 4, 6, 4), 1)
  left = np.sum(np.asarray(convolution.upsample_nearest(small, factors)) * large)
  right = np.prod(factors) * np.sum(small * np.asarray(convolution.average_pool(large, factors)))
  assert_close(left, right)


def test_sliced_head_equals_numpy(x64, wide, draw, normal, assert_close, assert_gradient):
  features = normal((4, 6))
  module = SlicedHead(5, 0.2, wide())
  params = draw(module, features)
  assert {name: a.shape for name, a in params.items()} == {
    "projection": (6, 5),
    "scale": (5,),
    "offset": (5,),
  }
  found = jax.jit(lambda p, x: module.apply({"params": p}, x))(params, features)
  affine = np.empty((4, 5))
  for clip, k in np.ndindex(4, 5):
    projected = sum(features[clip, c] * params["projection"][c, k] for c in range(6))
    affine[clip, k] = params["scale"][k] * projected + params["offset"][k]
  assert_close(found["affine"], affine)
  assert_close(found["score"], np.where(affine < 0, 0.2 * affine, affine).mean(axis=1))
  assert_close(found["scale"], np.tile(params["scale"], (4, 1)))
  score = lambda p, x: jnp.sum(module.apply({"params": p}, x)["score"])
  assert_gradient(score, (params, features), tolerance=1e-7)


def test_sliced_head_at_the_start(x64, wide):
  """W is drawn from N(0, 1), every scale is 1 and every offset 0."""
  params = SlicedHead(64, 0.2, wide()).init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
  assert abs(float(jnp.std(params["projection"])) - 1) < 0.05
  assert jnp.all(params["scale"] == 1) and jnp.all(params["offset"] == 0)
