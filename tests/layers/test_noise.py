"""Normal noise is that of `jax.random.normal`, and exact in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from vidgan_jax.layers import noise

KEY, SHAPE = jax.random.key(5), (64, 257)


def test_float32_has_the_bits_of_jax():
  drawn = noise.normal(KEY, SHAPE)
  assert drawn.dtype == jnp.float32
  np.testing.assert_array_equal(drawn, jax.random.normal(KEY, SHAPE, jnp.float32))


def test_float64_is_the_same_noise_without_rounding(x64):
  drawn = noise.normal(KEY, SHAPE)
  assert drawn.dtype == jnp.float64
  rounded = jax.random.normal(KEY, SHAPE, jnp.float32)
  np.testing.assert_allclose(drawn, rounded, rtol=1e-5, atol=1e-6)
  low = np.nextafter(np.float32(-1), np.float32(0))
  uniform = np.asarray(jax.random.uniform(KEY, SHAPE, jnp.float32, low, 1), np.float64)
  np.testing.assert_allclose(drawn, special.ndtri((uniform + 1) / 2), rtol=1e-9, atol=1e-12)
  assert abs(np.mean(drawn)) < 0.03 and abs(np.std(drawn) - 1) < 0.03
