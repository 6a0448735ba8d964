"""Compares singular value clipping with NumPy's singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.objectives import constraints


def sigmas(kernel):
  matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
  return np.linalg.svd(matrix, compute_uv=False)


@pytest.mark.parametrize(
  "shape", [(4, 4, 4, 3, 64), (4, 4, 8, 1), (1, 4, 4, 16, 32), (1, 1, 1, 4, 50)]
)
@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_no_value_above_one_and_smaller_ones_untouched(shape, scale):
  kernel = (scale * np.random.default_rng(0).normal(size=shape)).astype(np.float32)
  before, clipped = sigmas(kernel), constraints.clip_singular_values(kernel)
  after = sigmas(clipped)
  assert np.max(after) <= 1 + 1e-5
  np.testing.assert_allclose(after, np.minimum(before, 1), atol=2e-6 * max(1, np.max(before)))
  matrix = kernel.reshape(-1, shape[-1]).astype(np.float64)
  u, s, vh = np.linalg.svd(matrix, full_matrices=False)
  expected = (u * np.minimum(s, 1)) @ vh
  close = 2e-6 * max(1, np.max(before))
  np.testing.assert_allclose(np.asarray(clipped).reshape(matrix.shape), expected, atol=close)
  if np.max(before) < 1:
    np.testing.assert_array_equal(clipped, kernel)


def test_gains_follow_the_running_variance_and_biases_stay():
  random = np.random.default_rng(0)
  variables = {
    "params": {
      "c0": {
        "kernel": random.normal(size=(4, 4, 3, 8)).astype(np.float32),
        "bias": np.full(8, 7.0, np.float32),
      },
      "norm": {"gain": np.array([5.0, 1e-9, 0.5, -3.0], np.float32)},
      "linear": {"kernel": np.full((4, 4), 9.0, np.float32)},
    },
    "batch_stats": {
      "norm": {"mean": np.zeros(4, np.float32), "variance": np.full(4, 4.0, np.float32)}
    },
  }
  after = jax.jit(constraints.singular_value_clipping)(variables)
  np.testing.assert_allclose(after["norm"]["gain"], [2.0, 0.02, 0.5, 0.02], rtol=1e-6)
  np.testing.assert_array_equal(after["c0"]["bias"], variables["params"]["c0"]["bias"])
  np.testing.assert_array_equal(after["linear"]["kernel"], variables["params"]["linear"]["kernel"])
  assert jnp.max(sigmas(after["c0"]["kernel"])) <= 1 + 1e-5
