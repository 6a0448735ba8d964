"""Lanczos' algorithm against dense eigenvalue decompositions."""

import jax
import numpy as np
import pytest

from vidgan_jax.analysis.curvature import hessian
from vidgan_jax.models import registry
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states


def leading(values, count=10):
  return values[np.argsort(-np.abs(values))][:count]


def symmetric(values, seed=0):
  size = len(values)
  basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
  return (basis * values) @ basis.T


@pytest.mark.parametrize("shift", [0.0, -0.5, -2.0])
def test_spectra_of_any_sign(x64, shift):
  values = np.random.default_rng(1).normal(size=200) ** 3 + shift
  matrix = symmetric(values)
  spectrum = hessian.lanczos(
    jax.jit(lambda v: matrix @ v), 200, iterations=200, tolerance=1e-8, dtype=np.float64
  )
  np.testing.assert_allclose(spectrum.eigenvalues, leading(values), rtol=1e-6)
  np.testing.assert_allclose(
    [spectrum.largest, spectrum.smallest], [max(values), min(values)], rtol=1e-6
  )


def test_no_copies_and_residuals_bound_the_errors(x64):
  """Without reorthogonalisation an outlier that converges early would appear twice."""
  values = np.concatenate([[1e4, -1e3], 10.0 ** np.linspace(-6, 2, 298)])
  matrix = symmetric(values)
  spectrum = hessian.lanczos(
    jax.jit(lambda v: matrix @ v), 300, iterations=60, tolerance=0, dtype=np.float64
  )
  assert np.sum(np.abs(spectrum.eigenvalues) > 101) == 2
  assert spectrum.residuals[-1] < 1  # a useful bound
  nearest = [np.min(np.abs(values - value)) for value in spectrum.eigenvalues]
  assert np.all(nearest <= spectrum.residuals + 1e-9)
  assert spectrum.iterations == 60


def test_operators_with_few_distinct_eigenvalues_end_early(x64):
  matrix = symmetric(np.array([3.0, 3, 3, -1, -1, 0, 0, 0]))
  spectrum = hessian.lanczos(lambda v: matrix @ v, 8, count=5, dtype=np.float64)
  np.testing.assert_allclose(sorted(spectrum.eigenvalues), [-1, 0, 3], atol=1e-9)


@pytest.fixture(scope="module")
def small(lean_config):
  """A function () that returns gan, state and batch of a small system, in float64."""

  def build():
    config = lean_config(precision="float64", **{"model.num_classes": 2})
    config.unlock()
    config.model.discriminator.channels = 2
    gan = registry.build(config, ops="plain")
    transforms = optimizers.build(config, gan.discriminators)
    state = jax.jit(lambda: states.create(gan, transforms, 0))()
    random = np.random.default_rng(0)
    batch = {
      "clip": random.integers(0, 256, (2, 4, 8, 8, 3), dtype=np.uint8),
      "label": np.array([0, 1], np.int32),
    }
    return gan, state, batch

  return build


def test_eigenvalues_of_a_discriminator_against_its_dense_hessian(x64, small):
  gan, state, batch = small()
  params = state.discriminators["spatial"].params
  fixed = hessian.fix_inputs(gan, 0, state, batch)
  flat, unravel = jax.flatten_util.ravel_pytree(params)
  loss = lambda v: hessian.discriminator_loss(gan, "spatial", 0, fixed, unravel(v))
  dense = np.asarray(jax.jit(jax.jacrev(jax.grad(loss)))(flat))
  np.testing.assert_allclose(dense, dense.T, atol=1e-9 * np.max(np.abs(dense)))
  values = np.linalg.eigvalsh(dense)
  assert np.min(values) < 0 < np.max(values)
  options = dict(iterations=len(flat), tolerance=1e-8)
  spectrum = hessian.spectrum(gan, state, batch, "spatial", **options)
  np.testing.assert_allclose(spectrum.eigenvalues, leading(values), rtol=1e-6)
  again = hessian.spectrum(gan, state, batch, "spatial", **options)
  np.testing.assert_array_equal(spectrum.eigenvalues, again.eigenvalues)


def test_products_equal_finite_differences_of_gradients(x64, load_config):
  """For a discriminator with batch norm and noise, in the form of ops for CPUs."""
  name, config = "video", load_config("tgan", "normal,runlocal")
  with config.unlocked():
    config.precision = "float64"
    config.model.resolution = 16
  gan = hessian.for_analysis(config, "cpu")
  transforms = optimizers.build(config, gan.discriminators)
  state = jax.jit(lambda: states.create(gan, transforms, 0))()
  random = np.random.default_rng(0)
  clips = random.integers(0, 256, (2, 16, 16, 16, 3), dtype=np.uint8)
  fixed = hessian.fix_inputs(gan, 0, state, {"clip": clips, "label": np.zeros(2, np.int32)})
  params = state.discriminators[name].params
  flat, unravel = jax.flatten_util.ravel_pytree(params)
  loss = lambda v: hessian.discriminator_loss(gan, name, 0, fixed, unravel(v))
  gradient = jax.jit(jax.grad(loss))
  direction = random.normal(size=flat.size)
  step = 1e-6
  expected = (gradient(flat + step * direction) - gradient(flat - step * direction)) / (2 * step)
  product = hessian.hessian_product(gan, name, 0, fixed, params, direction)
  assert np.linalg.norm(expected) > 1e-3
  assert np.linalg.norm(product - expected) < 1e-5 * np.linalg.norm(expected)


def test_products_that_are_not_finite_are_refused(x64):
  with pytest.raises(UserError, match="not finite"):
    hessian.lanczos(lambda v: v * np.nan, 4, dtype=np.float64)


def test_stop_abandons_the_iteration(x64):
  answers = iter([False, False, True])
  products = []
  with pytest.raises(hessian.Abandoned):
    hessian.lanczos(
      lambda v: products.append(v) or v * np.arange(4.0),
      4,
      dtype=np.float64,
      stop=lambda: next(answers),
    )
  assert len(products) == 2


def test_unknown_discriminators_are_refused(x64, small):
  gan, state, batch = small()
  with pytest.raises(UserError, match="unknown discriminator 'video'; known: spatial"):
    hessian.spectrum(gan, state, batch, "video")
