import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers import spectral_norm
from vidgan_jax.layers.convolution import Conv, Dense, Embed
from vidgan_jax.layers.recurrent import ConvGRU
from vidgan_jax.layers.settings import LayerSettings

SHAPES = {
  "conv": ("kernel", (3, 3, 4, 6)),
  "conv3d": ("kernel", (3, 3, 3, 2, 5)),
  "linear": ("kernel", (7, 9)),
  "twin": ("kernel", (7, 9)),  # shares a batched power iteration with the weight before
  "embedding": ("embedding", (5, 8)),
}


def rows(name, weight):
  """A weight in PyTorch's layout, [out, in * window], or [classes, features] for tables."""
  if name == "embedding":
    return weight
  return np.moveaxis(weight, -1, 0).reshape(weight.shape[-1], -1)


def iterate(matrix, u, count=1):
  """Power iteration as in Miyato et al., algorithm 1, in BigGAN's order: v first, then u."""
  for _ in range(count):
    v = matrix.T @ u
    v = v / np.linalg.norm(v)
    u = matrix @ v
    u = u / np.linalg.norm(u)
  return u, v, u @ matrix @ v


@pytest.fixture
def layers(normal):
  """Parameters with a bias for each weight, and vectors for the weights alone."""
  params, vectors = {}, {}
  for seed, (layer, (name, shape)) in enumerate(SHAPES.items()):
    params[layer] = {name: normal(shape, seed), "bias": normal(shape[-1:], 10 + seed)}
    vectors[layer] = {name: normal((rows(name, params[layer][name]).shape[0],), 20 + seed)}
  params["plain"] = {"kernel": normal((3, 3), 99)}
  return params, vectors


@pytest.mark.parametrize("iterations", [1, 3])
def test_weights_and_vectors_equal_numpy(x64, layers, assert_close, iterations):
  params, vectors = layers
  normalize = jax.jit(spectral_norm.normalize, static_argnames=("eps", "iterations"))
  weights, advanced, sigmas = normalize(params, vectors, iterations=iterations)
  expected = {layer: dict(leaves) for layer, leaves in params.items()}
  expected_vectors, expected_sigmas = {}, {}
  for layer, (name, _) in SHAPES.items():
    weight = params[layer][name]
    u, _, sigma = iterate(rows(name, weight), vectors[layer][name], iterations)
    expected[layer][name] = weight / sigma
    expected_vectors[layer] = {name: u}
    expected_sigmas[f"{layer}/{name}"] = sigma
  assert_close(weights, expected)
  assert_close(advanced, expected_vectors)
  assert_close(sigmas, expected_sigmas)


def test_single_iterations_from_advancing_vectors_reach_the_largest_singular_value(x64, layers):
  params, vectors = layers
  step = jax.jit(lambda u: spectral_norm.normalize(params, u)[1:])
  for _ in range(300):
    vectors, sigmas = step(vectors)
  for layer, (name, _) in SHAPES.items():
    largest = np.linalg.svd(rows(name, params[layer][name]), compute_uv=False)[0]
    assert abs(sigmas[f"{layer}/{name}"] - largest) < 1e-10 * largest
    assert abs(np.linalg.norm(vectors[layer][name]) - 1) < 1e-12
  weights, _, _ = jax.jit(spectral_norm.normalize)(params, vectors)
  for layer, (name, _) in SHAPES.items():
    assert abs(np.linalg.norm(rows(name, np.asarray(weights[layer][name])), 2) - 1) < 1e-9


def test_gradient_flows_through_sigma_with_constant_vectors(
  x64, layers, normal, randomized, assert_gradient
):
  params, vectors = layers
  factors = randomized(params, 5)
  fixed = {}
  for layer, (name, _) in SHAPES.items():
    fixed[layer] = iterate(rows(name, params[layer][name]), vectors[layer][name])[:2]

  def inner(weights):
    return sum(jax.tree.leaves(jax.tree.map(lambda w, f: jnp.sum(w * f), weights, factors)))

  def held(params):
    """The same scalar with u and v held at their initial values."""
    weights = {layer: dict(leaves) for layer, leaves in params.items()}
    for layer, (name, _) in SHAPES.items():
      u, v = fixed[layer]
      weight = params[layer][name]
      matrix = weight
      if name != "embedding":
        matrix = jnp.moveaxis(weight, -1, 0).reshape(weight.shape[-1], -1)
      weights[layer][name] = weight / jnp.einsum("o,oi,i->", u, matrix, v)
    return inner(weights)

  gradient = jax.jit(jax.grad(lambda p: inner(spectral_norm.normalize(p, vectors)[0])))(params)
  assert_gradient(held, (params,), (gradient,), directions=5)
  # If u and v changed with the weights, the slope after a single iteration would differ.
  moving = lambda p: inner(spectral_norm.normalize(p, vectors)[0])
  with pytest.raises(AssertionError):
    assert_gradient(moving, (params,), (gradient,))


def test_no_vectors_normalize_nothing(layers):
  params, _ = layers
  weights, advanced, sigmas = spectral_norm.normalize(params, {})
  assert advanced == {} and sigmas == {}
  jax.tree.map(np.testing.assert_array_equal, weights, params)


def test_narrow_weights_are_normalized_in_float32_and_stay_narrow(normal):
  weight = jnp.asarray(normal((6, 4)), jnp.bfloat16)
  u = jnp.asarray(normal((4,)), jnp.float32)
  weights, advanced, sigmas = spectral_norm.normalize({"kernel": weight}, {"kernel": u})
  _, _, sigma = iterate(np.asarray(weight, np.float64).T, np.asarray(u, np.float64))
  assert sigmas["kernel"].dtype == advanced["kernel"].dtype == jnp.float32
  assert abs(sigmas["kernel"] - sigma) < 1e-5 * sigma
  assert weights["kernel"].dtype == jnp.bfloat16


def test_eps_bounds_the_norms_from_below(x64):
  """With tiny weights v = W^T u / eps is short, so sigma is far below the singular value."""
  matrix, u = 1e-6 * np.eye(3), np.array([1.0, 0.0, 0.0])
  sigma, _ = spectral_norm.largest_singular_value(matrix, u, eps=1e-4)
  assert abs(sigma - 1e-6 * 1e-2 * 1e-4) < 1e-20
  assert abs(spectral_norm.largest_singular_value(matrix, u)[0] - 1e-6) < 1e-18


def shapes_of(module, *arguments):
  variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments))
  return jax.tree.map(lambda a: a.shape, variables)


@pytest.mark.parametrize(
  ("build", "x", "expected"),
  [
    (lambda s: Conv(6, (3, 3), s), np.zeros((1, 2, 4, 4, 3), np.float32), {"kernel": (6,)}),
    (lambda s: Dense(5, s), np.zeros((1, 3), np.float32), {"kernel": (5,)}),
    (lambda s: Embed(7, 4, s), np.zeros((1,), np.int32), {"embedding": (7,)}),
    (
      lambda s: ConvGRU(4, s),
      np.zeros((1, 2, 4, 4, 3), np.float32),
      {
        name: {"kernel": (4,)}
        for name in ("reset", "update", "candidate", "gate_state", "gate_input")
      },
    ),
  ],
)
def test_layers_declare_a_vector_at_the_path_of_each_weight(build, x, expected):
  shapes = shapes_of(build(LayerSettings()), x)
  assert shapes[spectral_norm.COLLECTION] == expected
  assert spectral_norm.COLLECTION not in shapes_of(build(LayerSettings(spectral=False)), x)


def test_vectors_are_drawn_at_random_and_modules_do_not_normalize_by_themselves(normal):
  module, x = Dense(400, LayerSettings()), normal((2, 3)).astype(np.float32)
  variables = module.init(jax.random.key(0), x)
  u = np.asarray(variables[spectral_norm.COLLECTION]["kernel"])
  assert abs(u.mean()) < 0.2 and abs(u.std() - 1) < 0.15
  scaled = jax.tree.map(lambda a: 10 * a, {"params": variables["params"]})
  np.testing.assert_allclose(
    module.apply(scaled, x), 10 * module.apply(variables, x), rtol=1e-5, atol=1e-5
  )
